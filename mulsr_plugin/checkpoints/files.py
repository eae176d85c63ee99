"""Checkpoint files: written whole or not at all, read without running foreign code, damage noticed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from mulsr_plugin.checkpoints.pickle_check import check_form
from mulsr_plugin.utils.files import replacing

SAFETENSORS = '.safetensors'
DESCRIPTION_KEY = 'mulsr_plugin'
"""What the weights beside it are, see ``describe_weights``; in the header of a safetensors file, as JSON."""


class CheckpointError(OSError):
    """A checkpoint cannot be written; one sentence for the user."""


def save_atomically(content: Any, path: str | os.PathLike[str]) -> None:
    """Write a checkpoint under a temporary name, flush it to the disk, then rename it into place.

    Whatever happens on the way, a kill of the process and a loss of power included, ``path`` holds either its previous
    content or the new one.

    Args:
        content: Anything ``torch.save`` takes; for a ``path`` that ends with ``.safetensors`` a state dict under the
            key ``params``, maybe its description under ``DESCRIPTION_KEY``, and nothing else.
        path: File to write; its folder must exist.

    Raises:
        CheckpointError: The file cannot be written; the sentence says why and that the old file is untouched.
        ValueError: A safetensors file was asked for and ``content`` is more than weights.
        ImportError: It was asked for and safetensors is not installed.
    """
    path = Path(path)
    data = _as_safetensors(content, path) if path.suffix == SAFETENSORS else None
    try:
        with replacing(path) as file:
            torch.save(content, file) if data is None else file.write(data)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise CheckpointError(
            f'Cannot write {path} ({" ".join(str(error).split())}); a file already there is untouched: free some space '
            'or name another folder.'
        ) from error


def load_safely(path: str | os.PathLike[str]) -> Any:
    """Read a checkpoint onto the CPU, tensors and plain values only.

    Files of ``torch.save`` are first compared with the checksums in them, which PyTorch itself never looks at, and
    looked through for what its releases before 2.10 let in (:mod:`mulsr_plugin.checkpoints.pickle_check`).

    Args:
        path: File of ``torch.save``, or one that ends with ``.safetensors``.

    Returns:
        What was saved; the tensors of a safetensors file under the key ``params``, beside their description if any.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds anything that would run code on loading.
        ImportError: It is a safetensors file and safetensors is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no checkpoint {path}; correct its path.')
    library = _safetensors(path) if path.suffix == SAFETENSORS else None
    try:
        if library is not None:
            return _from_safetensors(library, path)
        check_form(path)
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # zip, pickle, EOF and runtime errors alike mean: not a checkpoint we accept
        raise ValueError(
            f'{path} is damaged or is not a checkpoint of tensors alone ({type(error).__name__}); '
            'use a file written by BasicSR, or convert it first.'
        ) from error


def _as_safetensors(content: Any, path: Path) -> bytes:
    if not isinstance(content, dict) or {*content} - {DESCRIPTION_KEY} != {'params'}:
        raise ValueError(f'{path} can hold the weights of one network and nothing else; name a .pth file instead.')
    # neither views nor shared memory can be stored
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in content['params'].items()}
    header = {key: json.dumps(value) for key, value in content.items() if key == DESCRIPTION_KEY}
    return _safetensors(path).save(tensors, metadata={'format': 'pt', **header})


def _from_safetensors(library: ModuleType, path: Path) -> dict[str, Any]:
    content: dict[str, Any] = {'params': library.load_file(path)}
    with library.safe_open(path, framework='pt') as file:
        header = (file.metadata() or {}).get(DESCRIPTION_KEY)
    if header is not None:
        content[DESCRIPTION_KEY] = json.loads(header)
    return content


def _safetensors(path: Path) -> ModuleType:
    try:
        import safetensors.torch
    except ImportError as error:
        raise ImportError(f'{path} needs the package safetensors: pip install mulsr-plugin[formats].') from error
    return safetensors.torch
