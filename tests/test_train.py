"""The plugin's own launcher, run as a user runs it: training, exact resume, several processes, testing, mistakes."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mulsr_plugin.data.sources.demo_scenes import FULL_SCALE, demo_scene
from mulsr_plugin.data.store.writer import CubeStoreWriter
from mulsr_plugin.training.command_line import parse_command_line
from mulsr_plugin.training.stop_signals import EXIT_STOPPED
from tests.models.tiny import make_options, make_stores
from tests.stopping import stopped_at

ROOT = Path(__file__).parents[1]
# four batches an epoch (two scenes, four crops each, batch 2): eleven iterations end within the third epoch
TOTAL_ITER, SAVE_FREQ = 11, 3


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('door')
    make_stores(folder)
    return folder


def write_options(folder, name, change=lambda opt: None, **train):
    opt = make_options(folder, total_iter=TOTAL_ITER, ema_decay=0.9, **train)
    opt['name'] = name
    opt['val']['val_freq'] = 100
    opt['logger']['save_checkpoint_freq'] = SAVE_FREQ
    change(opt)
    (folder / f'{name}.yml').write_text(yaml.safe_dump(opt))
    return f'{name}.yml'


def run(folder, *arguments, module='mulsr_plugin.train', processes=1, expect=0):
    torchrun = ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={processes}']
    launcher = [*(torchrun if processes > 1 else []), '-m']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'TORCH_DEVICE_BACKEND_AUTOLOAD': '0'}
    extra = ['--launcher', 'pytorch'] if processes > 1 else []
    command = [sys.executable, *launcher, module, *arguments, *extra]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == expect, done.stdout[-2000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def weights(folder, name, which='latest'):
    return torch.load(folder / 'experiments' / name / 'models' / f'net_g_{which}.pth', weights_only=True)


def assert_same_weights(first, second):
    for kind in ('params', 'params_ema'):
        for key, value in first[kind].items():
            assert torch.equal(value, second[kind][key]), f'{kind} {key}'


@pytest.fixture(scope='module')
def uninterrupted(folder):
    run(folder, '-opt', write_options(folder, 'whole'))
    return weights(folder, 'whole')


@pytest.mark.parametrize('workers', [0, 2])
def test_resumed_run_ends_with_the_same_weights(folder, uninterrupted, workers):
    def with_workers(opt):
        opt['datasets']['train']['num_worker_per_gpu'] = workers

    name = f'resumed_{workers}'
    full = write_options(folder, name, with_workers)
    # interrupted after the state of iteration 6, in the middle of the second epoch
    run(folder, '-opt', full, '--force_yml', 'train:total_iter=7')
    log = run(folder, '-opt', full, '--auto_resume')
    assert 'Resuming from epoch 1, batch 2 of 4, iteration 6.' in log
    assert 'restarted from its beginning' not in log
    assert_same_weights(weights(folder, name), uninterrupted)


def test_resume_is_exact_with_the_options_for_speed(folder):
    def fast(opt):
        opt['train'].update(
            band_update='joint', precision='bf16', channels_last=True, grad_clip=0.1, accumulate=3, total_iter=12
        )
        opt['train']['optim_g']['fused'] = True
        opt['datasets']['train'].update(device_degradation=True, num_worker_per_gpu=2)

    assert 'grad_norm: ' in run(folder, '-opt', write_options(folder, 'fast', fast))
    again = write_options(folder, 'fast_again', fast)
    run(folder, '-opt', again, '--force_yml', 'train:total_iter=6')
    assert 'iteration 6.' in run(folder, '-opt', again, '--auto_resume')
    assert_same_weights(weights(folder, 'fast'), weights(folder, 'fast_again'))


def test_resume_state_of_the_option_file(folder, uninterrupted):
    run(folder, '-opt', write_options(folder, 'named'))
    state = str(folder / 'experiments' / 'named' / 'training_states' / '3.state')
    run(folder, '-opt', write_options(folder, 'named', lambda opt: opt['path'].update(resume_state=state)))
    assert_same_weights(weights(folder, 'named'), uninterrupted)


def test_resume_under_another_name_is_refused(folder, uninterrupted):
    state = str(folder / 'experiments' / 'whole' / 'training_states' / '3.state')
    name = write_options(folder, 'renamed', lambda opt: opt['path'].update(resume_state=state))
    assert "The run to resume is not named 'renamed'" in run(folder, '-opt', name, expect=1)


def test_auto_resume_passes_over_a_damaged_newest_state(folder, uninterrupted):
    full = write_options(folder, 'damaged')
    run(folder, '-opt', full, '--force_yml', 'train:total_iter=7')
    newest = folder / 'experiments' / 'damaged' / 'training_states' / '6.state'
    newest.write_bytes(newest.read_bytes()[:1000])
    log = run(folder, '-opt', full, '--auto_resume')
    assert '6.state is damaged' in log
    assert 'iteration 3.' in log
    assert_same_weights(weights(folder, 'damaged'), uninterrupted)


def test_a_state_of_the_stock_script_restarts_the_epoch_and_says_so(folder):
    full = write_options(folder, 'stock')
    run(folder, '-opt', full, '--force_yml', 'train:total_iter=7')
    path = folder / 'experiments' / 'stock' / 'training_states' / '6.state'
    state = torch.load(path, weights_only=True)
    torch.save({key: state[key] for key in ('epoch', 'iter', 'optimizers', 'schedulers')}, path)
    log = run(folder, '-opt', full, '--auto_resume')
    assert 'Epoch 1 is restarted from its beginning' in log


def test_two_processes_validate_as_one(folder, uninterrupted):
    def options(opt):
        opt['datasets'] = {'test': opt['datasets']['val']}
        opt['path']['pretrain_network_g'] = 'experiments/whole/models/net_g_latest.pth'
        opt['val'] = {'save_img': True, 'save_cube': 'npy', 'metrics': opt['val']['metrics']}
        del opt['train'], opt['logger']

    tables = []
    for processes in (1, 2):
        name = f'test_{processes}'
        run(folder, '-opt', write_options(folder, name, options), module='mulsr_plugin.test', processes=processes)
        results = folder / 'results' / name
        with open(results / 'metrics_tiny.csv', encoding='utf-8') as file:
            assert file.readline().startswith('# tiny: 3 scenes, 5 bands, x4; lq: authors_fixed x4')
            tables.append({row['image']: row for row in csv.DictReader(file)})
        pictures = sorted(path.name for path in (results / 'visualization' / 'tiny').iterdir())
        assert pictures == sorted(f'scene{i}_{name}.{form}' for i in (10, 11, 12) for form in ('npy', 'png'))
    assert list(tables[0]) == list(tables[1]) == ['scene10', 'scene11', 'scene12']
    for image, row in tables[0].items():
        for metric in ('psnr', 'sam', 'ergas'):
            assert float(tables[1][image][metric]) == pytest.approx(float(row[metric]), rel=1e-6)


def test_two_processes_train_resume_and_agree_with_one_on_the_same_batch(folder, uninterrupted):
    """Two processes with batch 1 see the samples of one process with batch 2, so gradients and weights agree."""

    def half_batch(opt):
        opt['datasets']['train']['batch_size_per_gpu'] = 1

    full = write_options(folder, 'two', half_batch)
    run(folder, '-opt', full, '--force_yml', 'train:total_iter=7', processes=2)
    run(folder, '-opt', full, '--auto_resume', processes=2)
    both = weights(folder, 'two')
    for key, value in uninterrupted['params'].items():
        torch.testing.assert_close(both['params'][key], value, rtol=2e-3, atol=2e-4)


def test_local_rank_is_accepted(folder):
    name = write_options(folder, 'local_rank')
    run(folder, '-opt', name, '--local-rank=0', '--force_yml', 'train:total_iter=1')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda opt: opt['network_g'].update(num_moduls=1), "error: Unknown option 'num_moduls' in network_g; did you"),
        (lambda opt: opt['datasets']['train'].update(dataroot_gt='absent.lmdb'), 'absent.lmdb'),
        (lambda opt: opt['datasets']['train'].update(crops_per_image=1, batch_size_per_gpu=8), 'raise crops_per_image'),
        (lambda opt: opt['datasets'].pop('train'), "error: datasets has no block 'train'"),
    ],
)
def test_mistakes_are_one_sentence(folder, change, message):
    log = run(folder, '-opt', write_options(folder, 'wrong', change), expect=1)
    assert message in log
    assert 'Traceback' not in log


def test_missing_option_file(folder):
    log = run(folder, '-opt', 'nowhere.yml', expect=1)
    assert 'error: There is no option file nowhere.yml' in log


def test_one_network_for_several_scales_validated_at_each(folder):
    def mixed(opt):
        opt['network_g']['upscale'] = [2, 4]
        opt['train']['scales'] = [2, 4]
        opt['datasets']['train']['degrade'] = False
        for scale in (2, 4):
            opt['datasets'][f'val_{scale}'] = {**opt['datasets']['val'], 'name': f'tiny_x{scale}', 'upscale': scale}
        del opt['datasets']['val']

    run(folder, '-opt', write_options(folder, 'mixed', mixed))
    for scale in (2, 4):
        table = (folder / 'experiments' / 'mixed' / f'metrics_tiny_x{scale}.csv').read_text()
        assert table.startswith(f'# tiny_x{scale}: 3 scenes, 5 bands, x{scale};')


def test_the_small_scale_image_band_by_band(folder):
    def head(opt):
        opt['network_g']['small_scale_head'] = True
        opt['train']['small_scale_opt'] = opt['train']['pixel_opt']

    log = run(folder, '-opt', write_options(folder, 'head', head))
    assert 'l_small: ' in log
    assert '# psnr_x2: ' in log


def test_broken_option_files(folder):
    (folder / 'broken.yml').write_text('name: [1\nmodel_type: x')
    log = run(folder, '-opt', 'broken.yml', expect=1)
    assert 'error: broken.yml is not a YAML file' in log
    log = run(folder, '-opt', write_options(folder, 'no_path', lambda opt: opt.update(path=None)), expect=1)
    assert 'error: the option file: path is None, expected a block of options' in log


def test_a_network_with_layers_unused_by_some_bands_in_two_processes(folder):
    """CoarseNet's first band leaves layers without gradient, which DistributedDataParallel must be told."""

    def coarsenet(opt):
        opt['network_g'] = {'type': 'CoarseNet', 'upscale': 4, 'num_feat': 8, 'num_units': 1}
        opt['find_unused_parameters'] = True
        opt['datasets']['train']['batch_size_per_gpu'] = 1

    run(folder, '-opt', write_options(folder, 'coarsenet', coarsenet), processes=2)
    assert (folder / 'experiments' / 'coarsenet' / 'models' / 'net_g_latest.pth').is_file()


@pytest.mark.parametrize(
    ('nodes', 'message'),
    [
        ('gpu01; mkdir owned', "SLURM_NODELIST is 'gpu01; mkdir owned', expected names of nodes"),
        ('$(mkdir owned)', 'expected names of nodes'),
        ('', 'expected names of nodes'),
        ('gpu[01-04,07].site', 'PyTorch sees no GPU'),
        (None, 'SLURM_NODELIST is not set: start the run with srun'),
    ],
)
def test_no_shell_command_comes_in_by_the_list_of_nodes(folder, tmp_path, monkeypatch, nodes, message):
    """CVE-2024-27763 of BasicSR."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setenv('SLURM_PROCID', '0')
    monkeypatch.setenv('SLURM_NTASKS', '1')
    monkeypatch.delenv('SLURM_NODELIST', raising=False)
    if nodes is not None:
        monkeypatch.setenv('SLURM_NODELIST', nodes)
    options = str(folder / write_options(folder, 'slurm'))
    for arguments in ['--launcher', 'slurm'], ['--laun=slurm']:  # BasicSR takes shortened names
        monkeypatch.setattr('sys.argv', ['train', '-opt', options, *arguments])
        with pytest.raises(ValueError, match=message):
            parse_command_line(str(tmp_path), is_train=True)
    assert list(tmp_path.iterdir()) == []


def test_a_launcher_without_processes(folder):
    told = run(folder, '-opt', write_options(folder, 'alone'), '--launcher=pytorch', expect=1)
    assert 'error: --launcher pytorch was given, but no process group was set up' in told


PROBE = """
import gc, sys, torch
from torch.nn.parallel import DistributedDataParallel
from mulsr_plugin.{module} import main

leave = torch.distributed.destroy_process_group

def probe():
    print('wrapped networks left:', sum(isinstance(each, DistributedDataParallel) for each in gc.get_objects()))
    leave()

torch.distributed.destroy_process_group = probe
main()
"""


@pytest.mark.parametrize('module', ['train', 'test'])
def test_no_network_holds_the_process_group_when_it_is_left(folder, uninterrupted, module):
    """PyTorch 2.5 hangs otherwise, in a quarter of the runs with two processes."""

    def options(opt):
        if module == 'test':
            opt['datasets'] = {'test': opt['datasets']['val']}
            opt['path']['pretrain_network_g'] = 'experiments/whole/models/net_g_latest.pth'
            opt['val'] = {'save_img': False, 'metrics': opt['val']['metrics']}
            del opt['train'], opt['logger']

    (folder / 'probe.py').write_text(PROBE.format(module=module))
    path = write_options(folder, f'left_{module}', options)
    torchrun = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=1', 'probe.py']
    done = subprocess.run(
        [sys.executable, *torchrun, '-opt', path, '--launcher', 'pytorch'],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert 'Network: DistributedDataParallel' in done.stderr
    assert 'wrapped networks left: 0' in done.stdout


def test_a_network_on_the_start_goes_on_where_it_was_stopped(tmp_path):
    """SIGTERM to BasicSR's loop under the launcher; the pool of starts is filled again."""
    with CubeStoreWriter(tmp_path / 'train.lmdb') as writer:
        values = demo_scene(96, 0, 0).values
        writer.add('scene', values, 1 / FULL_SCALE, tuple(np.linspace(400, 700, 31).tolist()))
    network = {'type': 'EDSR', 'num_in_ch': 31, 'num_out_ch': 31, 'num_feat': 8, 'num_block': 1, 'upscale': 1}

    def on_start(opt):
        opt.update(model_type='SensorStartModel', network_g={'type': 'SensorStart', 'upscale': 4, 'network': network})
        opt['datasets'] = {'train': opt['datasets']['train']}
        opt['datasets']['train'].update(
            gt_size=96, batch_size_per_gpu=1, crops_per_image=200, degrade=False, use_roll=False,
            spectral_response='nikon_d700',
        )  # fmt: skip
        del opt['datasets']['train']['degradation'], opt['val']
        opt['train'].update(
            degradations=[{'preset': 'noise_free'}], part_size=32, steps_per_batch=1, pool_size=2, total_iter=150
        )
        opt['logger']['save_checkpoint_freq'] = 1000

    command = [sys.executable, '-m', 'mulsr_plugin.train', '-opt', write_options(tmp_path, 'stopped', on_start)]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    assert stopped_at('iter:       3', command, cwd=tmp_path, env=environment) == EXIT_STOPPED
    (state,) = (tmp_path / 'experiments' / 'stopped' / 'training_states').glob('*.state')
    total = int(state.stem) + 2
    log = run(tmp_path, '-opt', 'stopped.yml', '--auto_resume', '--force_yml', f'train:total_iter={total}')
    assert f'iteration {state.stem}.' in log
    after = weights(tmp_path, 'stopped')['params']
    before = weights(tmp_path, 'stopped', state.stem)['params']
    assert not torch.equal(after['correction.gain'], before['correction.gain'])
