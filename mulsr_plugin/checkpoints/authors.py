"""Conversion of checkpoints that the authors of a network published into BasicSR's form.

Which networks are known, and how the names of their tensors translate, is in
:mod:`mulsr_plugin.checkpoints.author_releases`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mulsr_plugin.checkpoints.author_releases import RELEASES, Release
from mulsr_plugin.checkpoints.files import load_safely, save_atomically
from mulsr_plugin.checkpoints.wrappers import without_wrappers


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """Parameters under our names and the network they fit.

    Attributes:
        params (dict[str, Tensor]): State dict of the network.
        network_g (dict[str, Any]): Options that build the network, as in the block `network_g` of an option file. What
            the weights do not say, such as the scale, is absent.
    """

    params: dict[str, Tensor]
    network_g: dict[str, Any]


def convert_author_checkpoint(
    source: str | os.PathLike[str], target: str | os.PathLike[str], network: str | None = None, force: bool = False
) -> ConvertedCheckpoint:
    """Convert a released checkpoint file into one for `path: pretrain_network_g` with `param_key_g: params`.

    Args:
        source (str | PathLike): The authors' file: `{epoch, model, optimizer}` or `{state_dict, ...}`, or a bare
            state dict.
        target (str | PathLike): File to write; missing folders are made.
        network (str | None): Name in :data:`RELEASES`. Default: None, detected by the names of the tensors.
        force (bool): Replace an existing target. Default: False.

    Returns:
        ConvertedCheckpoint: What was written.

    Raises:
        FileNotFoundError: The source does not exist.
        FileExistsError: The target exists and `force` is off, or it is not a file of its own.
        ValueError: The source is damaged, is not a checkpoint of this network, or the network is unknown.
        OSError: The target cannot be written; an older file under this name is then untouched.
    """
    source, target = Path(source), Path(target)
    if network is not None:
        _release_of(network)
    _check_target(source, target, force)
    try:
        converted = convert_author_state(read_author_state(source), network)
    except ValueError as error:
        raise ValueError(f'{source}: {error}') from error
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(
            f'The folder of {target} cannot be made ({error.strerror}): name another file to write.'
        ) from error
    save_atomically({'params': converted.params}, target)
    return converted


def read_author_state(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the state dict of a released checkpoint; nothing but tensors and plain values is ever loaded.

    Args:
        path (str | PathLike): File with `{epoch, model, optimizer}` or `{state_dict, ...}`, or with the state dict
            itself.

    Returns:
        dict[str, Tensor]: Tensors on the CPU by the authors' names, without the names of PyTorch's wrappers.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, needs code to load, or holds no state dict.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'There is no file {path}: give the checkpoint that the authors published.')
    try:
        content = load_safely(path)
    except ValueError as error:
        raise ValueError(
            'it is not a checkpoint, it is cut off, or it holds objects that would run code on loading (as a model '
            'saved whole does), which is refused: download the file again from its authors, or save the state_dict of '
            "a model that you trust with the authors' code."
        ) from error
    if isinstance(content, dict) and 'params' in content:
        raise ValueError('this is a checkpoint in the form of BasicSR already: use it as it is.')
    keys = [key for key in ('model', 'state_dict') if isinstance(content, dict) and key in content]
    state = content[keys[0]] if keys else content
    if not isinstance(state, dict) or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            "this file holds no weights by name, neither at its top nor under 'model' or 'state_dict': give a training "
            'checkpoint.'
        )
    return without_wrappers({str(name): value.detach() for name, value in state.items()})


def convert_author_state(state: Mapping[str, Tensor], network: str | None = None) -> ConvertedCheckpoint:
    """Rename the tensors of a released checkpoint, drop those that nothing uses, and find the options they fit.

    Args:
        state (Mapping[str, Tensor]): State dict of the release, without the names of PyTorch's wrappers.
        network (str | None): Name in :data:`RELEASES`. Default: None, detected by the names of the tensors.

    Returns:
        ConvertedCheckpoint: Parameters and options.

    Raises:
        ValueError: The network is unknown, or a tensor is missing, unknown or of the wrong shape.
    """
    network = network or recognise_release(state)
    if network is None:
        raise ValueError(
            f"these are not the weights of the authors' {', '.join(RELEASES)}: give a checkpoint of one of these "
            'networks.'
        )
    release = _release_of(network)
    renamed = {release.rename(name): value.clone() for name, value in state.items()}
    params = {name: value for name, value in renamed.items() if name is not None}
    try:
        found = release.network.options_of_weights(params)
        if found is None:
            raise LookupError('the tensor that the network is detected by is missing')
        options = {**found, **release.options}
        with torch.device('meta'):
            expected = release.network(**options).state_dict()
    except (LookupError, ValueError) as error:  # a tensor is not there, or its shape makes no network
        raise ValueError(
            f"these are not the weights of the authors' {network}: give a checkpoint from {release.source}."
        ) from error
    _check_same_layout(params, expected)
    return ConvertedCheckpoint(params, {'type': network, **options})


def recognise_release(state: Mapping[str, Tensor]) -> str | None:
    """Return which network a released checkpoint belongs to, a name in :data:`RELEASES`; None for none of them.

    Args:
        state (Mapping[str, Tensor]): State dict of the release, without the names of PyTorch's wrappers.
    """
    return next((network for network, release in RELEASES.items() if release.marker in state), None)


def _release_of(network: str) -> Release:
    if network not in RELEASES:
        raise ValueError(f'There is no converter for {network!r}: choose one of {", ".join(sorted(RELEASES))}.')
    return RELEASES[network]


def _check_same_layout(params: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Refuse parameters that do not fill the network exactly."""
    faults = {
        'missing': sorted(expected.keys() - params.keys()),
        'unknown': sorted(params.keys() - expected.keys()),
        'of another shape': sorted(
            name for name in expected.keys() & params.keys() if expected[name].shape != params[name].shape
        ),
    }
    found = [f'{len(names)} {fault} (such as {names[0]})' for fault, names in faults.items() if names]
    if found:
        raise ValueError(
            f'the weights do not fill the network, {" and ".join(found)}: give a checkpoint of the released network.'
        )


def _check_target(source: Path, target: Path, force: bool) -> None:
    """Refuse to write over anything that the user did not clearly offer."""
    if target.is_dir():
        raise FileExistsError(f'{target} is a folder: name the file to write.')
    if target.exists() and source.exists() and target.samefile(source):
        raise FileExistsError(f'{target} is the file to convert itself: name another file to write.')
    if target.exists() and not force:
        raise FileExistsError(f'{target} exists: name another file, or use --force to replace it.')
