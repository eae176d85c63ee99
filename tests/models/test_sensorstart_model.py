"""SensorStartModel: starts are pooled, the towers learn, steps are reproducible, wrong options are refused."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model

from mulsr_plugin.checkpoints.description import describe_weights
from mulsr_plugin.data.sources.demo_scenes import FULL_SCALE, demo_scene
from mulsr_plugin.data.store.writer import CubeStoreWriter
from tests.models.tiny import make_options, parsed


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
    """Two demonstration scenes of 192 pixels to train on, and one to test."""
    folder = tmp_path_factory.mktemp('cube')
    for name, indices in (('train', (0, 1)), ('test', (6,))):
        with CubeStoreWriter(folder / f'{name}.lmdb') as writer:
            for index in indices:
                values = demo_scene(192, 0, index).values
                writer.add(f'scene{index}', values, 1 / FULL_SCALE, tuple(np.linspace(400, 700, 31).tolist()))
    return folder


def options(folder, **train):
    opt = make_options(folder)
    opt.update(model_type='SensorStartModel', network_g={'type': 'MulSRCube', 'upscale': [4, 8], 'num_feat': 8})
    opt['network_g']['num_stages'] = 1
    for data in opt['datasets'].values():
        data.update(spectral_response='nikon_d700')
    opt['datasets']['train'].update(gt_size=192, degrade=False, batch_size_per_gpu=1, use_roll=False)
    del opt['datasets']['train']['degradation']
    opt['train'].update(
        degradations=[{'preset': 'noise_free', 'scale': 4}, {'preset': 'authors_fixed', 'scale': 8}],
        part_size=32,
        steps_per_batch=4,
        pixel_opt={'type': 'LogErrorLoss', 'reduction': 'mean'},
        optim_g={'type': 'AdamW', 'lr': 2e-3},
        ema_decay=0.5,
        **train,
    )
    return opt


MULSR = {'type': 'MulSR', 'upscale': 8, 'num_feat': 8, 'num_modules': 1, 'num_guide_ch': 34}
EDSR = {'type': 'EDSR', 'num_in_ch': 31, 'num_out_ch': 31, 'num_feat': 8, 'num_block': 1, 'upscale': 1}


def start_options(folder, network, loss='L1Loss', **train):
    """Options of a training of ``network`` in SensorStart; MulSR's scale is 8."""
    opt = options(folder, **train)
    scales = 8 if network is MULSR else [4, 8]
    opt['network_g'] = {'type': 'SensorStart', 'upscale': scales, 'network': dict(network)}
    opt['scale'] = 8
    opt['train']['pixel_opt'] = {'type': loss, 'reduction': 'mean'}
    if network is MULSR:
        opt['train']['degradations'] = [{'preset': 'noise_free', 'scale': 8}]
    return opt


def build(folder, tmp_path, **train):
    torch.manual_seed(0)
    return build_model(parsed(options(folder, **train), tmp_path))


def test_it_learns_from_a_pool_of_both_scales(stores, tmp_path):
    model = build(stores, tmp_path, pool_size=3)
    dataset = build_dataset(deepcopy(model.opt['datasets']['train']))
    dataset.set_epoch(0, 1)
    losses, scales = [], set()
    for iteration in range(1, 13):
        model.update_learning_rate(iteration)
        model.feed_data(torch.utils.data.default_collate([dataset[iteration % 2]]))
        model.optimize_parameters(iteration)
        losses.append(model.log_dict['l_pix'])
        scales |= {known.start.scale for known in model.pool}
        assert len(model.pool) == min(iteration, 3)
    assert scales == {4, 8}
    assert all(np.isfinite(losses))
    changed = [p.abs().max() for p in model.net_g_ema.towers.tail.parameters()]
    assert min(changed) > 0
    # the averaged weights bring the equations of all starts with them, so that a training can go on from them
    assert model.net_g.lens.normal.abs().max() > 0
    assert torch.equal(model.net_g_ema.lens.normal, model.net_g.lens.normal)
    assert torch.equal(model.net_g_ema.lens.cross, model.net_g.lens.cross)
    known = model.pool[0]
    assert known.error == pytest.approx(float((known.start.cube - known.gt).square().mean()))


@pytest.mark.parametrize(
    ('network', 'loss', 'train'),
    [(EDSR, 'LogErrorLoss', {}), (EDSR, 'L1Loss', {}), (MULSR, 'L1Loss', {'bands_per_step': 3}), (MULSR, 'L1Loss', {})],
    ids=['EDSR, log error', 'EDSR, L1', 'MulSR, some bands', 'MulSR'],
)
def test_a_network_learns_on_the_start(stores, tmp_path, network, loss, train):
    torch.manual_seed(0)
    model = build_model(parsed(start_options(stores, network, loss, **train), tmp_path))
    dataset = build_dataset(deepcopy(model.opt['datasets']['train']))
    dataset.set_epoch(0, 1)
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    for iteration in (1, 2):
        model.update_learning_rate(iteration)
        model.feed_data(torch.utils.data.default_collate([dataset[iteration % 2]]))
        model.optimize_parameters(iteration)
    known = model.pool[0]
    assert known.error == pytest.approx(float((known.start.cube - known.gt).square().mean()))
    assert np.isfinite(model.log_dict['l_pix'])
    unchanged = [key for key, value in model.net_g.named_parameters() if torch.equal(before[key], value)]
    assert not unchanged


def test_the_correction_lowers_the_error_of_scenes_that_it_learned(stores, tmp_path):
    torch.manual_seed(0)
    opt = start_options(stores, EDSR)
    opt['train']['steps_per_batch'] = 60
    opt['train']['degradations'] = [{'preset': 'noise_free', 'scale': 8}]
    model = build_model(parsed(opt, tmp_path))
    dataset = build_dataset(deepcopy(model.opt['datasets']['train']))
    dataset.set_epoch(0, 1)
    model.update_learning_rate(1)
    model.feed_data(torch.utils.data.default_collate([dataset[0]]))
    model.optimize_parameters(1)
    with torch.no_grad():
        result = model.evaluation_network()(model.lq, model.rgb)
    assert (
        float((result - model.gt).square().mean()) < 0.995 * model.pool[0].error
    )  # 0.989 after 60 steps of so small a network


def test_steps_are_the_same_again(stores, tmp_path):
    weights = []
    for _ in range(2):
        model = build(stores, tmp_path)
        dataset = build_dataset(deepcopy(model.opt['datasets']['train']))
        dataset.set_epoch(0, 1)
        model.update_learning_rate(1)
        model.feed_data(torch.utils.data.default_collate([dataset[0]]))
        model.optimize_parameters(1)
        weights.append(torch.cat([p.detach().flatten() for p in model.net_g.parameters()]))
    assert torch.equal(*weights)


def test_weights_describe_their_scales_and_degradations(stores):
    opt = options(stores)
    description = describe_weights({**opt, 'is_train': True})
    assert description['scales'] == [4, 8]
    assert [block['preset'] for block in description['degradation']] == ['noise_free', 'authors_fixed']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda o: o['train'].pop('degradations'), 'degradations'),
        (lambda o: o['datasets']['train'].update(degrade=True), 'set datasets: train: degrade: false'),
        (lambda o: o['datasets']['train'].update(gt_size=100), 'gt_size is 100, not a multiple of scale 8'),
        (lambda o: o['train'].update(part_size=20), 'part_size is 20, not a multiple of scale 8'),
        (lambda o: o['network_g'].update(upscale=8), 'has scale 4, which network_g does not accept'),
        (lambda o: o['train'].update(pool_size=0), 'pool_size'),
        (
            lambda o: o.update(network_g={'type': 'MulSR', 'upscale': [4, 8], 'num_feat': 8, 'num_modules': 1}),
            'trains SensorStart and MulSRCube, not MulSR',
        ),
        (lambda o: o['train'].update(bands_per_step=4), 'bands_per_step is for a band-wise network'),
        (
            lambda o: o.update(
                start_options(Path('/'), MULSR, 'LogErrorLoss', bands_per_step=4), datasets=o['datasets']
            ),
            'bands_per_step computes some bands at a time, but the loss compares whole spectra',
        ),
    ],
)
def test_wrong_options(stores, tmp_path, change, message):
    opt = options(stores)
    change(opt)
    with pytest.raises(ValueError, match=message):
        build_model(parsed(opt, tmp_path))


def test_several_processes_are_refused(stores, tmp_path):
    with pytest.raises(ValueError, match='trains in one process'):
        build_model({**parsed(options(stores), tmp_path), 'dist': True})
