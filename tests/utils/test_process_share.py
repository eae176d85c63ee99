"""Shares of processes: by the variables of torchrun and of SLURM, each item once."""

from __future__ import annotations

import pytest

from mulsr_plugin.utils.process_share import WHOLE, ProcessShare, share_of_environment

ITEMS = list(range(23))


def torchrun(rank, count, **more):
    return {'RANK': str(rank), 'WORLD_SIZE': str(count), 'LOCAL_RANK': str(rank % 4), **more}


def array(task, first, last, step, count):
    values = {'ID': task, 'MIN': first, 'MAX': last, 'STEP': step, 'COUNT': count}
    return {f'SLURM_ARRAY_TASK_{name}': str(value) for name, value in values.items()}


ENVIRONMENTS = {
    'nothing': [{}],
    'torchrun': [torchrun(rank, 3) for rank in range(3)],
    'array from 0': [array(task, 0, 7, 1, 8) for task in range(8)],
    'array in steps': [array(task, 3, 10, 3, 3) for task in (3, 6, 9)],
    'one task again': [array(5, 5, 5, 1, 1)],
    'torchrun in an array': [
        {**torchrun(rank, 2), **array(task, 1, 3, 1, 3)} for rank in range(2) for task in (1, 2, 3)
    ],
    'more processes than items': [torchrun(rank, 40) for rank in range(40)],
}


@pytest.mark.parametrize('environments', ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_every_item_is_taken_once(environments):
    shares = [share_of_environment(environ) for environ in environments]
    assert sorted(item for share in shares for item in share.of(ITEMS)) == ITEMS
    sizes = [len(share.of(ITEMS)) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_local_rank_is_that_of_the_machine():
    assert share_of_environment({}) == WHOLE
    assert share_of_environment(torchrun(6, 8)) == ProcessShare(6, 8, 2)
    assert share_of_environment(array(0, 0, 1, 1, 2)).local is None


@pytest.mark.parametrize(
    ('environ', 'message'),
    [
        ({'RANK': '0'}, 'WORLD_SIZE is not set beside'),
        ({'WORLD_SIZE': '2'}, 'RANK is not set beside'),
        (torchrun(2, 2), 'RANK is 2 and WORLD_SIZE 2, expected a rank from 0 to 1'),
        ({'RANK': 'first', 'WORLD_SIZE': '2'}, "RANK is 'first', expected a whole number"),
        ({'SLURM_ARRAY_TASK_ID': '1'}, 'SLURM_ARRAY_TASK_MIN is not set'),
        (array(3, 1, 7, 1, 3), r'3 tasks from 1 to 7 in steps of 1, and this is 3: expected evenly spaced'),
        (array(1, 1, 7, 1, 3), 'evenly spaced'),
        (array(2, 1, 7, 3, 3), 'evenly spaced'),
        (array(1, 1, 1, 0, 1), 'evenly spaced'),
    ],
)
def test_what_would_leave_items_out_is_refused(environ, message):
    with pytest.raises(ValueError, match=message):
        share_of_environment(environ)
