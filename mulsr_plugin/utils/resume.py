"""Exact resume: where in the epoch a run stood, and the state of every random generator."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler

from mulsr_plugin.utils.checkpoint import load_safely
from mulsr_plugin.utils.distributed import shared_by_first
from mulsr_plugin.utils.weights import select_weights

# what every state holds, BasicSR's own ones too
_STATE = {'epoch': int, 'iter': int, 'optimizers': list, 'schedulers': list}


class ResumableSampler(EnlargedSampler):
    """BasicSR's EnlargedSampler that can leave out the samples an interrupted epoch has already used.

    Attributes:
        start: Number of samples to leave out at the beginning of the next pass; the caller resets it.
    """

    start = 0

    def __iter__(self) -> Iterator[int]:
        return iter(list(super().__iter__())[self.start :])

    def __len__(self) -> int:
        return self.num_samples - self.start


def find_resume_state(opt: dict[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """Load the training state that ``--auto_resume`` or ``path: resume_state`` means, for all processes the same.

    With ``--auto_resume`` a state that is damaged, or whose networks are, is passed over for the one before it.

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
        return (load_state(path) if path else None), []
    path, warnings = shared_by_first(_newest_sound_state, opt)
    if path is None:
        return None, warnings
    opt['path']['resume_state'] = path
    return load_state(path), warnings


def load_state(path: str | Path) -> dict[str, Any]:
    """Load a training state.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or something else than a training state.
    """
    state = load_safely(path)
    if not (isinstance(state, dict) and all(isinstance(state.get(key), kind) for key, kind in _STATE.items())):
        raise ValueError(f'{path} is no training state of BasicSR; name one of the folder training_states.')
    return state


def _newest_sound_state(opt: dict[str, Any]) -> tuple[str | None, list[str]]:
    """Return the newest state that loads together with its networks, and why newer ones do not."""
    warnings = []
    states = [path for path in Path(opt['path']['training_states']).glob('*.state') if path.stem.isdigit()]
    for path in sorted(states, key=lambda state: int(state.stem), reverse=True):
        try:
            for network in _networks_of(opt, load_state(path)['iter']):
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


def generator_states() -> dict[str, Any]:
    """State of every random generator of this process, as tensors and plain values."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        'numpy': (name, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        'python': random.getstate(),
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Put back what :func:`generator_states` returned."""
    torch.set_rng_state(states['torch'])
    if torch.cuda.is_available() and len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states['cuda'])
    name, keys, position, has_gauss, gauss = states['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, next_gauss = states['python']
    random.setstate((version, tuple(internal), next_gauss))
