"""Saved training states of a run with the weights that belong to them: which there are, and removing old ones."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

_WEIGHTS = re.compile(r'net_g_(\d+)\.pth')


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


def _states(folder: str | os.PathLike[str]) -> dict[int, Path]:
    return {int(path.stem): path for path in Path(folder).glob('*.state') if path.stem.isdigit()}


def _weights(folder: str | os.PathLike[str]) -> dict[int, Path]:
    matches = ((_WEIGHTS.fullmatch(path.name), path) for path in Path(folder).glob('net_g_*.pth'))
    return {int(match[1]): path for match, path in matches if match}
