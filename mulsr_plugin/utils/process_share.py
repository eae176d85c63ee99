"""The share of a list that one of several independent processes takes, by what its launcher has set."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar('Item')


@dataclass(frozen=True)
class ProcessShare:
    """Which of how many processes this is.

    Attributes:
        index (int): From 0. Default: 0.
        count (int): How many there are. Default: 1.
        local (int | None): Number of the process on its machine, which picks its GPU. Default: None, it is alone there.
    """

    index: int = 0
    count: int = 1
    local: int | None = None

    def of(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return every ``count``-th item, beginning with that of the index."""
        return items[self.index :: self.count]


WHOLE = ProcessShare()
"""Of a process that is alone."""


def share_of_environment(environ: Mapping[str, str] = os.environ) -> ProcessShare:
    """Return the share of this process under torchrun, in a job array of SLURM, or both.

    torchrun sets RANK, WORLD_SIZE and LOCAL_RANK; an array sets SLURM_ARRAY_TASK_ID with _MIN, _MAX, _STEP and _COUNT.

    Args:
        environ (Mapping): Environment variables. Default: those of the process.

    Returns:
        ProcessShare: The share; all of one process where nothing is set.

    Raises:
        ValueError: Variables are missing or no numbers, or the tasks of the array are not evenly spaced.

    Example:
        >>> from mulsr_plugin.utils.process_share import share_of_environment
        >>> share = share_of_environment({'RANK': '1', 'WORLD_SIZE': '2', 'LOCAL_RANK': '1'})
        >>> share.of(['a', 'b', 'c', 'd', 'e'])
        ['b', 'd']
    """
    rank, ranks, local = 0, 1, None
    if 'RANK' in environ or 'WORLD_SIZE' in environ:
        rank, ranks = _number(environ, 'RANK'), _number(environ, 'WORLD_SIZE')
        local = _number(environ, 'LOCAL_RANK') if 'LOCAL_RANK' in environ else None
        if not 0 <= rank < ranks:
            raise ValueError(f'RANK is {rank} and WORLD_SIZE {ranks}, expected a rank from 0 to {ranks - 1}.')
    task, tasks = _array_task(environ) if 'SLURM_ARRAY_TASK_ID' in environ else (0, 1)
    return ProcessShare(task * ranks + rank, tasks * ranks, local)


def _array_task(environ: Mapping[str, str]) -> tuple[int, int]:
    """Return the number from 0 of a task of an array, and how many there are."""
    task, first, last, step, count = (
        _number(environ, f'SLURM_ARRAY_TASK_{name}') for name in ('ID', 'MIN', 'MAX', 'STEP', 'COUNT')
    )
    index, rest = divmod(task - first, step) if step > 0 else (-1, 0)
    # a list such as 1,3,7 has gaps that no step describes: shares by it would leave pairs out
    if rest or not 0 <= index < count or not 0 <= last - first - (count - 1) * step < step:
        raise ValueError(
            f'The job array has {count} tasks from {first} to {last} in steps of {step}, and this is {task}: expected '
            'evenly spaced ones, such as those of --array=0-7.'
        )
    return index, count


def _number(environ: Mapping[str, str], name: str) -> int:
    try:
        return int(environ[name])
    except KeyError:
        raise ValueError(
            f'{name} is not set beside the other variables of a launcher: set or unset them together.'
        ) from None
    except ValueError:
        raise ValueError(f'{name} is {environ[name]!r}, expected a whole number: correct or unset it.') from None
