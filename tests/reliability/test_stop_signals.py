"""SIGTERM and SIGINT: the run saves a state, says so by its exit code, and goes on as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mulsr_plugin.training.stop_signals import EXIT_STOPPED, REPEAT_AFTER, StopRequested, StopSignals
from tests.models.tiny import make_stores
from tests.reliability.runs import (
    TOTAL_ITER,
    Run,
    assert_same_weights,
    children_of,
    states_of,
    weights_of,
    write_options,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('stopped')
    make_stores(folder)
    return folder


@pytest.fixture(scope='module')
def uninterrupted(folder):
    Run(folder, write_options(folder, 'whole')).end()
    return weights_of(folder, 'whole')


def with_workers(opt):
    opt['datasets']['train']['num_worker_per_gpu'] = 2


@pytest.mark.parametrize(
    ('number', 'workers'), [(signal.SIGTERM, False), (signal.SIGTERM, True), (signal.SIGINT, True)]
)
def test_a_stopped_run_goes_on_with_the_weights_of_an_uninterrupted_one(folder, uninterrupted, number, workers):
    """With workers, every process of the run gets the signal, as from Ctrl-C or a cluster."""
    name = f'{number.name}_{workers}'
    options = write_options(folder, name, with_workers if workers else lambda opt: None)
    run = Run(folder, options)
    run.wait_for('iter:       5')
    for pid in children_of(run.processes[0].pid) if workers else []:
        os.kill(pid, number)
    run.send(number)
    log = run.end(expect=EXIT_STOPPED)
    (iteration,) = states_of(folder, name)
    assert 5 <= iteration < TOTAL_ITER
    assert f'{number.name} ends this run at iteration {iteration}' in log
    assert 'Traceback' not in log
    assert 'Resuming from' in Run(folder, options, '--auto_resume').end()
    assert_same_weights(weights_of(folder, name), uninterrupted)


def test_all_processes_stop_at_the_iteration_where_one_was_told_to(folder):
    def half_batch(opt):
        opt['datasets']['train']['batch_size_per_gpu'] = 1

    Run(folder, write_options(folder, 'two_whole', half_batch), processes=2).end()
    options = write_options(folder, 'two', half_batch)
    run = Run(folder, options, processes=2)
    run.wait_for('iter:       5')
    run.send(signal.SIGTERM, rank=1)
    run.end(expect=EXIT_STOPPED)
    assert len(states_of(folder, 'two')) == 1
    Run(folder, options, '--auto_resume', processes=2).end()
    assert_same_weights(weights_of(folder, 'two'), weights_of(folder, 'two_whole'))


@pytest.mark.parametrize('band_update', ['joint', 'per_band'])
def test_a_signal_between_accumulated_batches_waits_for_their_step(folder, band_update):
    """A state holds no gradients and no batches kept for a step, so one saved before the step would lose them."""

    def accumulating(opt):
        opt.update(model_type='MulSRModel', network_g={'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1})
        opt['train'].update(band_update=band_update, accumulate=4, total_iter=16)
        opt['logger']['save_checkpoint_freq'] = 16

    whole = f'whole_{band_update}'
    Run(folder, write_options(folder, whole, accumulating)).end()
    name = f'accumulating_{band_update}'
    options = write_options(folder, name, accumulating)
    run = Run(folder, options)
    run.wait_for('iter:       5')  # the first of the four batches of a step
    run.send(signal.SIGTERM)
    log = run.end(expect=EXIT_STOPPED)
    (iteration,) = states_of(folder, name)
    assert iteration % 4 == 0 and 8 <= iteration <= 12
    assert f'SIGTERM ends this run at iteration {iteration}' in log
    Run(folder, options, '--auto_resume').end()
    assert_same_weights(weights_of(folder, name), weights_of(folder, whole))


def test_a_second_signal_ends_a_process_that_does_not_come_to_an_end(tmp_path):
    """Its iteration hangs: the first signal is noted, one right after it is taken for the same, a later one kills."""
    program = (
        'import os, time\n'
        'from mulsr_plugin.training.stop_signals import StopSignals\n'
        'with StopSignals():\n'
        '    open("ready", "w").close()\n'
        '    while True: time.sleep(0.01)\n'
    )
    process = subprocess.Popen(
        [sys.executable, '-c', program], cwd=tmp_path, env={**os.environ, 'PYTHONPATH': str(ROOT)}
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / 'ready').exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    for pause in (0.2, REPEAT_AFTER + 1):
        process.send_signal(signal.SIGTERM)
        time.sleep(pause)
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == -signal.SIGTERM


def test_a_signal_during_validation_drops_it_and_a_resumed_run_makes_up_for_it(tmp_path, uninterrupted):
    make_stores(tmp_path, num_test=300)
    options = write_options(tmp_path, 'validating', lambda opt: opt['val'].update(val_freq=25, pbar=True))
    run = Run(tmp_path, options)
    run.wait_for('Validating')
    run.send(signal.SIGTERM)
    log = run.end(expect=EXIT_STOPPED)
    assert 'SIGTERM ends this run at iteration 25' in log
    assert states_of(tmp_path, 'validating') == [25]
    assert 'Validation tiny' not in log
    options = write_options(tmp_path, 'validating', lambda opt: opt['val'].update(val_freq=25, max_images=2))
    log = Run(tmp_path, options, '--auto_resume').end()
    table = (tmp_path / 'experiments' / 'validating' / 'metrics_tiny.csv').read_text()
    assert [int(line.split(',')[0]) for line in table.splitlines()[2:]] == [25, 25, 50, 50, 60, 60], table
    assert_same_weights(weights_of(tmp_path, 'validating'), uninterrupted)


def test_a_signal_that_came_before_work_that_may_be_dropped_stops_it_too():
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.name == 'SIGTERM'
        with pytest.raises(StopRequested), signals.interrupting():
            raise AssertionError('not reached')
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_torchrun_passes_a_signal_on_and_the_state_is_saved(folder):
    """The real launcher; the signal goes to all its processes, as some clusters send it."""
    options = write_options(folder, 'torchrun', lambda opt: opt['train'].update(total_iter=100_000))
    torchrun = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=2']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    with open(folder / 'torchrun.txt', 'w') as log:
        launcher = subprocess.Popen(
            [*torchrun, '-m', 'mulsr_plugin.train', '-opt', options, '--launcher', 'pytorch'],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 120
    while 'iter:       5' not in (folder / 'torchrun.txt').read_text():
        assert time.monotonic() < deadline and launcher.poll() is None, (folder / 'torchrun.txt').read_text()[-3000:]
        time.sleep(0.05)
    os.killpg(launcher.pid, signal.SIGTERM)
    assert launcher.wait(60) != 0
    text = (folder / 'torchrun.txt').read_text()
    (iteration,) = states_of(folder, 'torchrun')
    assert f'ends this run at iteration {iteration}' in text
