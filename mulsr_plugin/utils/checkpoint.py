"""Checkpoint files: written whole or not at all, read without running foreign code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save_atomically(content: Any, path: str | os.PathLike[str]) -> None:
    """Write ``content`` with ``torch.save`` under a temporary name, then rename it into place.

    Whatever happens on the way, ``path`` holds either its previous content or the new one.

    Args:
        content: Anything ``torch.save`` takes.
        path: File to write; its folder must exist.

    Raises:
        OSError: The file cannot be written; the sentence says why and that the old file is untouched.
    """
    path = Path(path)
    partial = path.with_name(f'.{path.name}.partial-{os.getpid()}')
    try:
        with open(partial, 'wb') as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise OSError(
            f'Cannot write {path} ({error}); a file already there is untouched: free some space or name another folder.'
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def load_safely(path: str | os.PathLike[str]) -> Any:
    """Read a file of ``torch.save`` onto the CPU, tensors and plain values only.

    Args:
        path: File to read.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds anything that would run code on loading.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no checkpoint {path}; check the path in the option file.')
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # zip, pickle, EOF and runtime errors alike mean: not a checkpoint we accept
        raise ValueError(
            f'{path} is damaged or is no checkpoint of tensors alone ({type(error).__name__}); '
            'use a file written by BasicSR, or convert it first.'
        ) from error
