"""Exact resume: where in the epoch a run stood, the state of every random generator, and what has changed since."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler

from mulsr_plugin.utils.checkpoint import load_safely
from mulsr_plugin.utils.description import plain
from mulsr_plugin.utils.distributed import shared_by_first
from mulsr_plugin.utils.weights import select_weights

_DECIDING = ('model_type', 'scale', 'world_size', 'network_g', 'datasets', 'train', 'val')
_WITHOUT_EFFECT = {
    *(
        'total_iter',
        'bands_per_chunk',
        'num_worker_per_gpu',
        'prefetch_mode',
        'num_prefetch_queue',
        'pin_memory',
        'verify',
    ),
    *('phase', 'val_freq', 'save_img', 'save_cube', 'suffix', 'pbar'),
}
# optimisers and schedulers load them from the state, but for how the optimiser computes
_KEPT = ('train: optim_g: ', 'train: scheduler: ')
_COMPUTING = ('fused', 'foreach', 'capturable')

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


def prepare_resume(opt: Mapping[str, Any]) -> None:
    """Make sure that a resumed run loads its own weights, all of them; both launchers resume ``path: resume_state``.

    Args:
        opt: BasicSR's options; ``param_key_g`` and ``strict_load_g`` are meant for pretrained weights, so they change.

    Raises:
        ValueError: The state is of another run, whose weights are in another folder.
    """
    path = opt['path']
    if path.get('resume_state') is None:
        return
    if Path(path['resume_state']).resolve().parent != Path(path['training_states']).resolve():
        raise ValueError(
            f'The run to resume is called otherwise than {opt["name"]!r}: {path["resume_state"]} is not in '
            f'{path["training_states"]}; set its name in the option file.'
        )
    if 'network_g' not in (path.get('ignore_resume_networks') or []):
        path.update(param_key_g='params', strict_load_g=True)


def options_of_run(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that decide how a training ends and is validated, by their place: ``train: optim_g: lr``.

    Args:
        opt: BasicSR's options, before a model is built from them.
    """
    flat: dict[str, Any] = {}

    def flatten(block: Mapping[str, Any], place: str) -> None:
        for key, value in block.items():
            if isinstance(value, Mapping):
                flatten(value, f'{place}{key}: ')
            elif key not in _WITHOUT_EFFECT and value is not None:
                flat[f'{place}{key}'] = value

    flatten({key: opt.get(key) for key in _DECIDING}, '')
    return plain(flat)


def check_resume_options(
    state: Mapping[str, Any], options: Mapping[str, Any], total_iter: int
) -> tuple[list[str], bool]:
    """Compare the options of a resumed run with those that it was saved with.

    Args:
        state: Training state.
        options: :func:`options_of_run` of the run now.
        total_iter: ``train: total_iter`` now.

    Returns:
        Warnings for the log, and whether values of validation can be compared with those before.

    Raises:
        ValueError: The state is of no use with these options.
    """
    _check_length(state, total_iter)
    before = state.get('options', options)  # BasicSR's own states have none
    changes = {
        place: f'{place} (was {before.get(place, "not set")}, now {options.get(place, "not set")})'
        for place in sorted({*before, *options})
        if before.get(place) != options.get(place)
    }
    for place in ('train: optim_g: type', 'train: scheduler: type'):
        if place in changes:
            raise ValueError(
                f'{changes[place]} cannot change in a resumed run; set it back, or start another run from its '
                'weights with path: pretrain_network_g.'
            )
    kept = [text for place, text in changes.items() if place.startswith(_KEPT) and not place.endswith(_COMPUTING)]
    validation = [text for place, text in changes.items() if place.startswith('val') or _is_validation_set(place)]
    others = [text for text in changes.values() if text not in (*kept, *validation)]
    sentences = {
        'Options that differ from those the run was saved with, and hold from here on: {}.': others,
        'Options without effect, since a resumed run keeps its own: {}; to change them, start another run with path: '
        'pretrain_network_g.': kept,
        'Validation differs from that before, so best values are counted anew: {}.': validation,
    }
    return [text.format(', '.join(places)) for text, places in sentences.items() if places], not validation


def _check_length(state: Mapping[str, Any], total_iter: int) -> None:
    """Refuse a state beyond the end of the run, or with a schedule that ends before it."""
    if state['iter'] > total_iter:
        raise ValueError(
            f'The state to resume is of iteration {state["iter"]}, but train: total_iter is {total_iter}; raise that, '
            'or resume an earlier state.'
        )
    for scheduler in state['schedulers']:
        end = scheduler.get('cumulative_period', [total_iter])[-1]
        if end < total_iter:
            raise ValueError(
                f'train: total_iter is {total_iter}, but the schedule of the resumed run ends after {end} iterations: '
                'lower it, or start another run from its weights with path: pretrain_network_g.'
            )


def _is_validation_set(place: str) -> bool:
    return place.startswith('datasets: ') and not place.startswith('datasets: train')


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
