"""A run resumed with other options says what has changed, what has no effect, and refuses what cannot work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from mulsr_plugin.models.resume_options import check_resume_options, options_of_run
from tests.models.tiny import make_options, make_stores
from tests.reliability.runs import Run, assert_same_weights, weights_of, write_options

HOLD, KEPT, VALIDATION = 'hold from here on: ', 'Options without effect, since ', 'Validation differs from that before'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A run of 10 iterations that was stopped at 5, and its undisturbed twin."""
    folder = tmp_path_factory.mktemp('changed')
    make_stores(folder)
    for name in ('twin', 'base'):
        Run(folder, write_options(folder, name, short)).end()
    for path in ('models/net_g_10.pth', 'models/net_g_latest.pth', 'training_states/10.state'):
        (folder / 'experiments' / 'base' / path).unlink()
    return folder


def short(opt):
    opt['train'].update(total_iter=10)
    opt['val'].update(val_freq=4)
    opt['datasets']['val']['degradation'] = 'noise_free'  # with higher values than authors_fixed
    opt['logger'].update(save_checkpoint_freq=5)


def resumed(folder: Path, name: str, change, auto: bool = True, expect: int = 0) -> str:
    """Resume a copy of the stopped run with changed options; return what it says."""
    shutil.copytree(folder / 'experiments' / 'base', folder / 'experiments' / name)

    def changed(opt):
        short(opt)
        change(opt)

    log = Run(folder, write_options(folder, name, changed), *(['--auto_resume'] if auto else [])).end(expect)
    assert 'Traceback' not in log
    return log


def test_unchanged_options_are_not_mentioned(folder):
    """Nor are those without influence, and what is meant for pretrained weights does no harm."""

    def harmless(opt):
        opt['datasets']['train'].update(num_worker_per_gpu=1, pin_memory=False)
        opt['path'].update(param_key_g=None, strict_load_g=False, pretrain_network_g='absent.pth')

    log = resumed(folder, 'harmless', harmless)
    assert not any(text in log for text in (HOLD, KEPT, VALIDATION, 'has no effect'))
    assert_same_weights(weights_of(folder, 'harmless'), weights_of(folder, 'twin'))


def test_changes_are_told_once_and_best_values_counted_anew(folder):
    def change(opt):
        opt['manual_seed'] = 77
        opt['train']['pixel_opt']['type'] = 'MSELoss'
        del opt['train']['ema_decay']
        opt['train']['optim_g']['lr'] = 1e-9
        opt['train']['scheduler']['milestones'] = [7]
        opt['datasets']['val']['degradation'] = 'authors_fixed'

    lines = resumed(folder, 'several', change).splitlines()
    told = {text: [line for line in lines if text in line] for text in (HOLD, KEPT, VALIDATION, 'manual_seed 77')}
    assert [len(found) for found in told.values()] == [1, 1, 1, 1]
    assert 'train: ema_decay (was 0.9, now not set), train: pixel_opt: type (was L1Loss, now MSE' in told[HOLD][0]
    assert 'train: optim_g: lr (was 0.001, now 1e-09), train: scheduler: milestones (was [1000], n' in told[KEPT][0]
    assert 'datasets: val: degradation (was noise_free, now authors_fixed)' in told[VALIDATION][0]
    assert 'has no effect, since a resumed run keeps its own, 3.' in told['manual_seed 77'][0]
    state = torch.load(folder / 'experiments' / 'several' / 'training_states' / '10.state', weights_only=True)
    assert state['optimizers'][0]['param_groups'][0]['lr'] == 1e-3  # as the warning says
    assert state['best_metric_results']['tiny']['psnr']['iter'] == 8
    assert state['options']['train: pixel_opt: type'] == 'MSELoss'


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        (
            'optimiser',
            lambda opt: opt['train'].update(optim_g={'type': 'SGD', 'lr': 0.1, 'momentum': 0.9}),
            'error: train: optim_g: type (was Adam, now SGD) cannot change in a resumed run',
        ),
        (
            'schedule',
            lambda opt: opt['train'].update(
                scheduler={'type': 'CosineAnnealingRestartLR', 'periods': [10], 'restart_weights': [1]}
            ),
            'error: train: scheduler: type (was MultiStepLR, now CosineAnnealingRestartLR) cannot change',
        ),
        ('end', lambda opt: opt['train'].update(total_iter=4), 'is of iteration 5, but train: total_iter is 4; raise'),
        (
            'part',
            lambda opt: (opt['network_g'].update(num_feat=8), opt['path'].update(strict_load_g=False)),
            'does not fit network RRDBNet',
        ),
        (
            'mistyped',
            lambda opt: opt['path'].update(ignore_resume_networks=['net_g']),
            'each item is one of network_g',
        ),
    ],
)
def test_what_cannot_work_is_refused(folder, name, change, message):
    log = resumed(folder, name, change, expect=1)
    assert message in log
    assert not (folder / 'experiments' / name / 'models' / 'net_g_latest.pth').exists()


def test_a_state_of_another_run_is_refused(folder):
    """It would go with the weights of this run."""
    state = str(folder / 'experiments' / 'twin' / 'training_states' / '5.state')
    log = resumed(folder, 'foreign', lambda opt: opt['path'].update(resume_state=state), auto=False, expect=1)
    assert "error: The run to resume is not named 'foreign'" in log


def test_left_out_networks_are_told(folder):
    log = resumed(folder, 'left_out', lambda opt: opt['path'].update(ignore_resume_networks=['network_g']))
    assert 'ignore_resume_networks: optimiser and schedule go on, but network_g starts from random weights.' in log


def test_states_without_options_are_taken_as_they_are(tmp_path):
    options = options_of_run({**make_options(tmp_path), 'world_size': 1})
    assert options['train: optim_g: type'] == 'Adam' and 'train: total_iter' not in options
    assert check_resume_options({'iter': 4, 'schedulers': []}, options, 4) == ([], True)
    with pytest.raises(ValueError, match='is of iteration 5, but train: total_iter is 4'):
        check_resume_options({'iter': 5, 'schedulers': []}, options, 4)


def test_a_cosine_schedule_lasts_to_the_end_and_cannot_be_prolonged(folder):
    """BasicSR's finds no learning rate beyond its last period."""

    def cosine(opt):
        short(opt)
        opt['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [3, 4], 'restart_weights': [1, 1]}

    log = Run(folder, write_options(folder, 'cosine', cosine)).end(1)
    assert 'error: train: scheduler: periods end after 7 iterations, before total_iter, 10; make them as long.' in log
    state = {'iter': 5, 'schedulers': [{'cumulative_period': [4, 10]}]}
    assert check_resume_options(state, {}, 10) == ([], True)
    with pytest.raises(ValueError, match='total_iter is 11, but the schedule of the resumed run ends after 10 iter'):
        check_resume_options(state, {}, 11)


def test_a_store_that_was_moved_gives_comparable_values():
    before, after = (options_of_run({'datasets': {'val': {'dataroot_gt': place}}}) for place in ('here', 'there'))
    warnings, is_comparable = check_resume_options({'iter': 1, 'schedulers': [], 'options': before}, after, 10)
    assert is_comparable
    assert len(warnings) == 1 and 'datasets: val: dataroot_gt (was here, now there)' in warnings[0]
