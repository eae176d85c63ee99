"""Saved training states of a run: which there are, the one to resume from, and removing old ones with their weights."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from mulsr_plugin.checkpoints.files import load_safely
from mulsr_plugin.checkpoints.weights import select_weights
from mulsr_plugin.utils.distributed import shared_by_first

_WEIGHTS = re.compile(r'net_g_(\d+)\.pth')
# what every state holds, BasicSR's own ones too
_STATE = {'epoch': int, 'iter': int, 'optimizers': list, 'schedulers': list}


def complete_states(models: str | os.PathLike[str], training_states: str | os.PathLike[str]) -> list[int]:
    """Return the iterations of the states whose weights are there too, ascending.

    Args:
        models: Folder of the weights, ``net_g_<iteration>.pth``.
        training_states: Folder of the states, ``<iteration>.state``.
    """
    return sorted(_weights(models).keys() & _states(training_states).keys())


def remove_old_states(
    models: str | os.PathLike[str],
    training_states: str | os.PathLike[str],
    current_iter: int,
    keep: int,
    best: Collection[int] = (),
) -> None:
    """Remove the states and weights of all but the last iterations; call it when a new state is complete.

    A kill at any moment leaves the states that are kept, and at most some weights, which the next call removes. Files
    of later iterations, of another branch of the run, are not touched, nor those with other names.

    Args:
        models: Folder of the weights.
        training_states: Folder of the states.
        current_iter: Iteration of the run.
        keep: How many complete states to keep, at least 1.
        best: Iterations whose weights are kept besides.

    Raises:
        OSError: A file cannot be removed.
    """
    complete = [number for number in complete_states(models, training_states) if number <= current_iter]
    if not complete:
        return
    kept = {*complete[-keep:], *range(complete[-1], current_iter + 1)}
    # the state first: without it nobody takes the weights for a place to resume from
    for files, spared in ((_states(training_states), kept), (_weights(models), kept | set(best))):
        for number, path in sorted(files.items()):
            if number <= current_iter and number not in spared:
                with suppress(FileNotFoundError):
                    path.unlink()


def find_resume_state(opt: dict[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """Load the training state that ``--auto_resume`` or ``path: resume_state`` means, for all processes the same.

    With ``--auto_resume`` a state that is damaged, or whose networks are, is skipped for the one before it.

    Args:
        opt: BasicSR's options; ``path: resume_state`` is filled in.

    Returns:
        The state, or None for a fresh start, and warnings for the log.

    Raises:
        FileNotFoundError: The state named by ``path: resume_state`` does not exist.
        ValueError: It is damaged.
    """
    if not opt['auto_resume']:
        path = opt['path'].get('resume_state')
        return (load_training_state(path) if path else None), []
    path, warnings = shared_by_first(_newest_sound_state, opt)
    if path is None:
        return None, warnings
    opt['path']['resume_state'] = path
    return load_training_state(path), warnings


def load_training_state(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Load a training state.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or something else than a training state.
    """
    state = load_safely(path)
    if not (isinstance(state, dict) and all(isinstance(state.get(key), kind) for key, kind in _STATE.items())):
        raise ValueError(f'{path} is not a training state of BasicSR; name one of the folder training_states.')
    return state


def _newest_sound_state(opt: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Return the newest state that loads together with its networks, and why newer ones do not."""
    warnings = []
    for _, path in sorted(_states(opt['path']['training_states']).items(), reverse=True):
        try:
            for network in _networks_of(opt, load_training_state(path)['iter']):
                select_weights(load_safely(network), 'params', str(network))
        except (ValueError, FileNotFoundError) as error:
            warnings.append(f'{error} Passing over {path} for the state before it.')
            continue
        return str(path), warnings
    if warnings:
        warnings.append('No state of this run can be used: the training starts anew, its files are archived.')
    return None, warnings


def _networks_of(opt: dict[str, Any], iteration: int) -> list[Path]:
    """Return the files that BasicSR loads networks from when it resumes at an iteration."""
    ignored = opt['path'].get('ignore_resume_networks') or []
    networks = [key for key in opt if key.startswith('network_') and key not in ignored]
    return [Path(opt['path']['models'], f'net_{network[8:]}_{iteration}.pth') for network in networks]


def _states(folder: str | os.PathLike[str]) -> dict[int, Path]:
    return {int(path.stem): path for path in Path(folder).glob('*.state') if path.stem.isdigit()}


def _weights(folder: str | os.PathLike[str]) -> dict[int, Path]:
    matches = ((_WEIGHTS.fullmatch(path.name), path) for path in Path(folder).glob('net_g_*.pth'))
    return {int(match[1]): path for match, path in matches if match}
