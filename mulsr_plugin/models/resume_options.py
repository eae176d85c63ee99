"""Options of a resumed run: what they must be, and what has changed since its state was saved."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mulsr_plugin.checkpoints.description import plain

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
            f'The run to resume is not named {opt["name"]!r}: {path["resume_state"]} is not in '
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
    """Return whether an option changes what a data set for validation gives; a store that was moved is the same."""
    return place.startswith('datasets: ') and not place.startswith('datasets: train') and 'dataroot' not in place
