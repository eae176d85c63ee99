"""BasicSR's own train.py and test.py, unmodified, through the link: what the README tells users to run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from mulsr_plugin.training.stop_signals import EXIT_STOPPED
from tests.models.tiny import make_options, make_stores
from tests.stopping import stopped_at

LINK_SCRIPT = Path(__file__).parents[1] / 'scripts' / 'link_basicsr.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('stock')
    make_stores(folder)
    subprocess.run([sys.executable, str(LINK_SCRIPT), '--root', str(folder)], check=True)
    return folder


def run(folder, script, opt, *arguments):
    (folder / 'options.yml').write_text(yaml.safe_dump(opt))
    command = [sys.executable, f'basicsr/{script}', '-opt', 'options.yml', *arguments]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def test_train_validate_and_test(folder):
    opt = make_options(folder)
    opt['logger']['use_tb_logger'] = True
    opt['datasets']['train'].update(num_worker_per_gpu=1, prefetch_mode='cpu', num_prefetch_queue=2)
    log = run(folder, 'train.py', opt)
    assert 'Model [MulSRModel] is created.' in log
    experiment = folder / 'experiments' / 'tiny'
    assert (experiment / 'models' / 'net_g_latest.pth').is_file()
    assert (experiment / 'training_states' / '4.state').is_file()
    # the script counts on and validates once more at the end; three images, once
    rows = (experiment / 'metrics_tiny.csv').read_text().splitlines()[2:]
    assert [row.split(',')[0] for row in rows] == ['4'] * 3
    assert 'eta: -1 day' not in log and '@ 4 iter' in log
    assert list((folder / 'tb_logger' / 'tiny').iterdir())

    opt['datasets'] = {'test': opt['datasets']['val']}
    opt['path'] = {'pretrain_network_g': str(experiment / 'models' / 'net_g_4.pth')}
    opt['val'] = {'save_img': True, 'metrics': opt['val']['metrics']}
    del opt['train'], opt['logger']
    log = run(folder, 'test.py', opt)
    results = folder / 'results' / 'tiny'
    assert len(list((results / 'visualization' / 'tiny').glob('scene1?_tiny.png'))) == 3
    # the same weights and images give the values of the last validation
    tested, validated = ((place / 'metrics_tiny.csv').read_text().splitlines() for place in (results, experiment))
    for row, other in zip(tested[2:], validated[-3:]):
        assert row.split(',')[3:] == other.split(',')[3:]


def test_debug_run_without_validation(folder):
    opt = make_options(folder)
    del opt['val'], opt['datasets']['val']
    run(folder, 'train.py', opt, '--debug')
    assert (folder / 'experiments' / 'debug_tiny' / 'models' / 'net_g_latest.pth').is_file()


def test_what_cannot_be_done_is_refused_before_anything_is_made(folder):
    opt = make_options(folder) | {'name': 'refused'}
    opt['datasets']['train']['batch_size_per_gpu'] = 9
    (folder / 'refused.yml').write_text(yaml.safe_dump(opt))
    command = [sys.executable, 'basicsr/train.py', '-opt', 'refused.yml']
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.strip().endswith('raise crops_per_image or lower the batch size.')
    assert 'Traceback' not in done.stderr and not (folder / 'experiments' / 'refused').exists()


@pytest.mark.skipif(sys.platform == 'win32', reason='signals are those of POSIX')
def test_a_run_that_is_asked_to_stop_saves_a_state(folder):
    opt = make_options(folder, total_iter=100_000) | {'name': 'stopped'}
    opt['logger']['save_checkpoint_freq'] = 100_000
    opt['val']['val_freq'] = 100_000
    (folder / 'stopped.yml').write_text(yaml.safe_dump(opt))
    command = [sys.executable, 'basicsr/train.py', '-opt', 'stopped.yml']
    assert stopped_at('iter:       2', command, cwd=folder) == EXIT_STOPPED
    (state,) = (folder / 'experiments' / 'stopped' / 'training_states').glob('*.state')
    iteration = int(state.stem)
    assert torch.load(state, weights_only=True)['epoch'] == (iteration - 1) // 4
    assert (folder / 'experiments' / 'stopped' / 'models' / f'net_g_{iteration}.pth').is_file()
