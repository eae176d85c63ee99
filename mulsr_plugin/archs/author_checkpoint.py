"""Conversion of checkpoints that the authors of a network published into BasicSR's form.

:data:`CONVERTERS` has one entry per network: a function that takes the state dict of the release (tensors by name,
without the prefix of data parallelism) and returns the parameters under our names with the options of the network they
fit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.utils.checkpoint import load_safely, save_atomically

StateDict = dict[str, torch.Tensor]

_PARALLEL_PREFIX = 'module.'
_WEIGHT_NORM_NAMES = {'weight_g': 'parametrizations.weight.original0', 'weight_v': 'parametrizations.weight.original1'}


@dataclass(frozen=True)
class ConvertedCheckpoint:
    """Parameters under our names and the network they fit.

    Attributes:
        params (dict[str, Tensor]): State dict of the network.
        network_g (dict[str, Any]): Options that build the network, as in the block `network_g` of an option file. What
            the weights do not tell, such as the scale, is absent.
    """

    params: StateDict
    network_g: dict[str, Any]


def convert_author_checkpoint(
    source: str | os.PathLike[str], target: str | os.PathLike[str], network: str = 'MulSR', force: bool = False
) -> ConvertedCheckpoint:
    """Convert a released checkpoint file into one for `path: pretrain_network_g` with `param_key_g: params`.

    Args:
        source (str | PathLike): The authors' file: `{epoch, model, optimizer}` or a bare state dict.
        target (str | PathLike): File to write; missing folders are made.
        network (str): Name in :data:`CONVERTERS`. Default: 'MulSR'.
        force (bool): Replace an existing target. Default: False.

    Returns:
        ConvertedCheckpoint: What was written.

    Raises:
        FileNotFoundError: The source does not exist.
        FileExistsError: The target exists and `force` is off, or it is no file of its own.
        ValueError: The source is damaged, is not a checkpoint of this network, or the network is unknown.
        OSError: The target cannot be written; an older file under this name is then untouched.
    """
    source, target = Path(source), Path(target)
    if network not in CONVERTERS:
        raise ValueError(f'There is no converter for {network!r}: choose one of {", ".join(sorted(CONVERTERS))}.')
    _check_target(source, target, force)
    try:
        converted = CONVERTERS[network](read_author_state(source))
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


def read_author_state(path: str | os.PathLike[str]) -> StateDict:
    """Read the state dict of a released checkpoint; nothing but tensors and plain values is ever loaded.

    Args:
        path (str | PathLike): File with `{epoch, model, optimizer}` or with the state dict itself.

    Returns:
        dict[str, Tensor]: Tensors on the CPU by the authors' names, without the prefix `module.`.

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
            'this is no checkpoint, or it is cut off, or it holds objects that would run code on loading, which is '
            'refused: download the file again, and from its authors.'
        ) from error
    if isinstance(content, dict) and 'params' in content:
        raise ValueError('this is a checkpoint in the form of BasicSR already: use it as it is.')
    state = content['model'] if isinstance(content, dict) and 'model' in content else content
    if not isinstance(state, dict) or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(
            "this file holds no weights by name, neither at its top nor under 'model': give a training checkpoint."
        )
    return {str(name).removeprefix(_PARALLEL_PREFIX): value.detach() for name, value in state.items()}


def convert_mulsr(state: StateDict) -> ConvertedCheckpoint:
    """Convert the authors' MulSR: only the names of weight normalisation differ.

    Args:
        state (dict[str, Tensor]): State dict of the release, https://github.com/qianngli/MulSR.

    Returns:
        ConvertedCheckpoint: Parameters and options; the number of modules and the widths follow from the tensors.

    Raises:
        ValueError: A tensor is missing, unknown or of the wrong shape.
    """
    params = {_rename_weight_norm(name): value.clone() for name, value in state.items()}
    indices = {int(match[1]) for match in (re.match(r'inter_body\.(\d+)\.', name) for name in params) if match}
    head = params.get('rgb_head.parametrizations.weight.original1')
    if head is None or head.dim() != 4 or indices != set(range(len(indices))) or not indices:
        raise ValueError(
            'these are not the weights of the authors\' MulSR, whose names begin with "rgb_head." and "inter_body.0.": '
            'give a checkpoint of that network.'
        )
    options: dict[str, Any] = {'num_feat': head.shape[0], 'num_guide_ch': head.shape[1], 'num_modules': len(indices)}
    with torch.device('meta'):
        expected = MulSR(**options).state_dict()
    _check_same_layout(params, expected)
    return ConvertedCheckpoint(params, {'type': 'MulSR', **options})


CONVERTERS: dict[str, Callable[[StateDict], ConvertedCheckpoint]] = {'MulSR': convert_mulsr}


def _rename_weight_norm(name: str) -> str:
    """Replace the last part of an old weight-norm name by that of the parametrisation."""
    stem, _, leaf = name.rpartition('.')
    return f'{stem}.{_WEIGHT_NORM_NAMES.get(leaf, leaf)}'


def _check_same_layout(params: StateDict, expected: StateDict) -> None:
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
