"""Several processes are one: same weights, every image once; and where one of them fails, none of the others waits."""

from __future__ import annotations

import csv

import pytest
import torch

from mulsr_plugin.data.store.writer import CubeStoreWriter
from tests.models.tiny import make_cube, make_stores
from tests.reliability.runs import Run, weights_of, write_options

MULSR = {'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1}
# the most that float32 sums of another order may move a weight in 12 steps of SGD
TOLERANCE = 1e-5


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('distributed')
    make_stores(folder)
    return folder


def write(folder, name, batch, change=lambda opt: None):
    def with_batch(opt):
        opt['datasets']['train']['batch_size_per_gpu'] = batch
        opt['train'].update(total_iter=12, optim_g={'type': 'SGD', 'lr': 0.05, 'momentum': 0.5})
        change(opt)

    return write_options(folder, name, with_batch)


def joint_mulsr(opt):
    opt.update(model_type='MulSRModel', network_g=dict(MULSR))
    opt['train'].update(band_update='joint', bands_per_chunk=2, grad_clip=1.0, total_iter=4)


def any_network(opt):
    pass


@pytest.mark.parametrize(('processes', 'change'), [(2, joint_mulsr), (4, any_network)])
def test_processes_train_as_one_and_validate_every_image_once(folder, processes, change):
    """One process sees batches of four; N processes see the same samples, 4 / N each."""
    weights, tables = [], []
    for count in (1, processes):
        name = f'{change.__name__}_{count}'
        log = Run(folder, write(folder, name, 4 // count, change), processes=count).end()
        assert log.count('psnr') > 0
        weights.append(weights_of(folder, name))
        with open(folder / 'experiments' / name / 'metrics_tiny.csv', encoding='utf-8') as file:
            assert file.readline().startswith('# tiny: 3 scenes')
            tables.append([(row['image'], float(row['psnr'])) for row in csv.DictReader(file)])
    for kind in ('params', 'params_ema'):
        for key, value in weights[0][kind].items():
            torch.testing.assert_close(weights[1][kind][key], value, rtol=0, atol=TOLERANCE, msg=f'{kind} {key}')
    assert [image for image, _ in tables[1]] == ['scene10', 'scene11', 'scene12']
    for (_, expected), (_, value) in zip(*tables):
        assert value == pytest.approx(expected, abs=1e-3)


def damaged_scene(folder):
    """Twelve scenes, one with a flipped byte, so that one process alone meets it first."""
    with CubeStoreWriter(folder / 'damaged.lmdb') as writer:
        for seed in range(12):
            writer.add(f'scene{seed:02d}', make_cube(seed), 1 / 65535)
    file = folder / 'damaged.lmdb' / 'data.mdb'
    data = bytearray(file.read_bytes())
    data[data.index(make_cube(5).tobytes()) + 100] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize('workers', [0, 1])
def test_a_process_that_fails_ends_the_others(folder, workers):
    if not (folder / 'damaged.lmdb').exists():
        damaged_scene(folder)

    def options(opt):
        opt['datasets']['train'].update(
            dataroot_gt=str(folder / 'damaged.lmdb'), crops_per_image=1, num_worker_per_gpu=workers
        )

    run = Run(folder, write(folder, f'failing_{workers}', 1, options), processes=2)
    run.end(expect=1, seconds=60)
    logs = [log.read_text() for log in run.logs]
    assert sum('scene05' in log for log in logs) == 1, 'one process has met the damaged scene'
    assert any('Connection closed by peer' in log or 'Connection reset' in log for log in logs), logs


def test_processes_undo_steps_together_and_end_together(folder):
    def diverging(opt):
        opt['train']['optim_g'] = {'type': 'SGD', 'lr': 1e30}

    run = Run(folder, write(folder, 'diverging', 1, diverging), processes=2)
    run.end(expect=1, seconds=60)
    for log in run.logs:
        assert 'error: Loss or weights became NaN or infinite in 10 steps in a row' in log.read_text()
