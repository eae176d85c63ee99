"""keep_states: old training states go, the last ones and the best weights stay, whatever kills the run."""

from __future__ import annotations

import multiprocessing
import os
import time

import numpy as np
import pytest
import torch

from mulsr_plugin.checkpoints.files import load_safely, save_atomically
from mulsr_plugin.checkpoints.states import complete_states, remove_old_states
from mulsr_plugin.training.stop_signals import EXIT_STOPPED
from tests.models.tiny import make_stores
from tests.reliability.runs import TOTAL_ITER, Run, assert_same_weights, states_of, weights_of, write_options

KILLS = int(os.environ.get('MULSR_KILLS', 20))


@pytest.fixture
def files(tmp_path):
    """Touch states and weights by their iterations; return what is left."""

    def touch(states, weights, others=()):
        names = [f'{number}.state' for number in states] + [f'net_g_{number}.pth' for number in weights]
        for name in [*names, *others]:
            (tmp_path / name).touch()

    return touch


def left(folder):
    states = sorted(int(path.stem) for path in folder.glob('[0-9]*.state'))
    weights = sorted(int(path.stem[6:]) for path in folder.glob('net_g_[0-9]*.pth'))
    return states, weights


@pytest.mark.parametrize(
    ('states', 'weights', 'current', 'keep', 'best', 'expected'),
    [
        ([10, 20, 30], [10, 20, 30], 30, 2, [], ([20, 30], [20, 30])),
        ([10, 20, 30], [10, 20, 30], 30, 1, [10], ([30], [10, 30])),
        ([9, 10, 100], [9, 10, 100], 100, 2, [], ([10, 100], [10, 100])),  # numbers, not names
        ([10, 20], [10, 20], 20, 5, [], ([10, 20], [10, 20])),
        ([10, 20, 30], [20, 30], 30, 2, [], ([20, 30], [20, 30])),  # a state without weights is none
        ([20, 30], [10, 20, 30], 30, 2, [], ([20, 30], [20, 30])),  # left by a kill between the two
        ([10, 20], [10], 20, 1, [], ([10, 20], [10])),  # 20 is not complete: nothing may replace 10
        ([10, 20], [10, 20, 30], 30, 1, [], ([20], [20, 30])),  # a full disk took the state of 30
        ([10, 20, 30], [10, 20, 30], 20, 1, [], ([20, 30], [20, 30])),  # 30 belongs to another branch
        ([], [10], 10, 1, [], ([], [10])),
    ],
)
def test_what_is_kept(tmp_path, files, states, weights, current, keep, best, expected):
    others = ['net_g_latest.pth', 'net_g_mine.pth', 'net_d_10.pth', 'mine.state', '.10.state.partial-1']
    files(states, weights, others)
    remove_old_states(tmp_path, tmp_path, current, keep, best)
    assert left(tmp_path) == expected
    assert all((tmp_path / name).exists() for name in others)


def save_for_ever(folder: str, number: int) -> None:
    while True:
        number += 1
        content = {'number': number, 'tensor': torch.full((20_000,), float(number))}
        save_atomically(content, f'{folder}/net_g_{number}.pth')
        save_atomically(content, f'{folder}/{number}.state')
        remove_old_states(folder, folder, number, 2, [1])


def last_of(folder):
    return max(complete_states(folder, folder), default=0)


def test_a_kill_at_any_moment_leaves_a_state_to_go_on_from(tmp_path):
    """SIGKILL at random moments of a process that does nothing but save and remove."""
    rng, last = np.random.default_rng(1), 0
    context = multiprocessing.get_context('fork')
    for _ in range(KILLS):
        process = context.Process(target=save_for_ever, args=(str(tmp_path), last))
        process.start()
        deadline, wanted = time.monotonic() + 60, last + int(rng.integers(1, 4))
        while last_of(tmp_path) < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(float(rng.uniform(0, 0.02)))
        process.kill()
        process.join()
        complete = complete_states(tmp_path, tmp_path)
        assert wanted <= max(complete)
        for number in complete:
            for name in (f'{number}.state', f'net_g_{number}.pth'):
                content = load_safely(tmp_path / name)
                assert content['number'] == number and content['tensor'].unique().tolist() == [number]
        last = max(complete)
        assert len(complete) >= min(2, last) and (tmp_path / 'net_g_1.pth').exists()
    remove_old_states(tmp_path, tmp_path, last, 2, [1])
    states, weights = left(tmp_path)
    assert states == [last - 1, last]
    assert weights in ([1, last - 1, last], [1, last - 1, last, last + 1])  # killed between weights and state


def test_a_training_keeps_its_last_states_and_its_best_weights(tmp_path):
    make_stores(tmp_path)

    def often(opt):
        opt['logger'].update(save_checkpoint_freq=10, keep_states=2)
        opt['val'].update(val_freq=20, max_images=1)
        # the learning rate spoils the network after its first validation
        opt['train'].update(scheduler={'type': 'MultiStepLR', 'milestones': [21], 'gamma': 1000.0})

    Run(tmp_path, write_options(tmp_path, 'often', often)).end()
    assert states_of(tmp_path, 'often') == [TOTAL_ITER - 10, TOTAL_ITER]
    names = {path.name for path in (tmp_path / 'experiments' / 'often' / 'models').iterdir()}
    best = load_safely(tmp_path / 'experiments' / 'often' / 'training_states' / f'{TOTAL_ITER}.state')[
        'best_metric_results'
    ]
    assert best['tiny']['psnr']['iter'] == 20
    assert names == {f'net_g_{kept}.pth' for kept in (20, TOTAL_ITER - 10, TOTAL_ITER, 'latest')}


def test_a_time_budget_ends_a_run_like_a_signal(tmp_path):
    make_stores(tmp_path)
    options = write_options(tmp_path, 'whole')
    Run(tmp_path, options).end()
    options = write_options(tmp_path, 'budget')
    log = Run(tmp_path, options, '--minutes', '0.000001').end(expect=EXIT_STOPPED)
    assert 'The time budget ends this run at iteration 1: saving' in log and 'Traceback' not in log
    assert states_of(tmp_path, 'budget') == [1]
    Run(tmp_path, options, '--auto_resume', '--minutes=60').end()
    assert_same_weights(weights_of(tmp_path, 'budget'), weights_of(tmp_path, 'whole'))


@pytest.mark.parametrize('text', ['0', '-1', 'nan', 'inf', 'ten'])
def test_a_time_budget_that_is_none(tmp_path, text):
    make_stores(tmp_path)
    log = Run(tmp_path, write_options(tmp_path, 'none'), f'--minutes={text}').end(expect=1)
    assert f'error: --minutes is {text}, expected a number above 0' in log


def test_a_time_budget_ends_a_validation(tmp_path):
    make_stores(tmp_path, num_test=300)
    options = write_options(tmp_path, 'validating', lambda opt: opt['val'].update(val_freq=1, pbar=True))
    log = Run(tmp_path, options, '--minutes', '0.0001').end(expect=EXIT_STOPPED)
    assert 'Validation tiny' not in log
    assert states_of(tmp_path, 'validating') == [1]
