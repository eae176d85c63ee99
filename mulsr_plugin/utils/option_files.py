"""Option files, read before anything is made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml


def read_option_file(path: str | os.PathLike[str], *blocks: str) -> dict[str, Any]:
    """Read an option file in BasicSR's form.

    Args:
        path: YAML file.
        *blocks: Names that it must have at its top.

    Returns:
        Its options, unchecked but for that.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no YAML file, or lacks one of the ``blocks``.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no option file {path}; those that ship with the plugin are in options/.')
    try:
        opt = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f'{path} is no YAML file ({" ".join(str(error).split())}); correct that place.') from error
    if not isinstance(opt, dict):
        raise ValueError(f'{path} holds no block of options; write "key: value" lines, as in the files of options/.')
    missing = [name for name in blocks if name not in opt]
    if missing:
        raise ValueError(f'{path} has no {missing[0]}; give an option file like those in options/.')
    return opt
