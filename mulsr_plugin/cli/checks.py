"""Mistakes that can be seen without the libraries that take seconds to import; the work itself checks everything."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mulsr_plugin.cli.choices import shipped_weights


def check_input(path: str | os.PathLike[str] | None) -> None:
    """Refuse an input that is not there; None is one that was not given.

    Raises:
        FileNotFoundError: There is neither a file nor a folder at ``path``.
    """
    if path is not None and not Path(path).expanduser().exists():
        raise FileNotFoundError(f'There is no file or folder {path}; correct the path.')


def check_weights(name_or_path: str | os.PathLike[str] | None) -> None:
    """Refuse weights that are neither a file nor come with the package; None are those that were not given.

    Raises:
        FileNotFoundError: There are no such weights.
    """
    if name_or_path is None or str(name_or_path) in shipped_weights() or Path(name_or_path).is_file():
        return
    known = ', '.join(shipped_weights())
    raise FileNotFoundError(
        f'There is no checkpoint {name_or_path}, and the weights that come with the package are {known}; correct it.'
    )


def check_suffix(path: str | os.PathLike[str], suffixes: Sequence[str]) -> None:
    """Refuse an output whose name does not say one of the known formats.

    Raises:
        ValueError: Its suffix is none of ``suffixes``.
    """
    if Path(path).suffix.lower() not in suffixes:
        *others, last = (suffix for suffix in suffixes if suffix)
        wanted = f'{", ".join(others)} or {last}' if others else last
        raise ValueError(f'{path} does not end in {wanted}, which say the format to write; correct the name.')


def check_new(path: str | os.PathLike[str], force: bool | None = False) -> None:
    """Refuse an output that exists.

    Args:
        path: The output.
        force: Whether ``--force`` was given; None if the command has no such option. Default: False.

    Raises:
        FileExistsError: There is something at ``path``, be it a broken link.
    """
    if not force and os.path.lexists(path):
        advice = 'remove it or name another' if force is None else 'name another, or give --force to replace it'
        raise FileExistsError(f'{path} exists already and is left as it is: {advice}.')
