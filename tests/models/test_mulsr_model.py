"""MulSRModel: a step per band, the small-scale image, mixed scales."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model
from torch.nn import functional as F

from tests.models.test_hsi_sr_model import batch
from tests.models.tiny import make_options, parsed


def build(folder, tmp_path, change=lambda opt: None, **train):
    opt = make_options(folder, **train)
    change(opt)
    torch.manual_seed(0)
    return build_model(parsed(opt, tmp_path))


def test_per_band_equals_a_literal_loop_over_bands(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    torch.manual_seed(0)
    net = build_network(make_options(tiny_stores)['network_g'])
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    rgb = data['rgb'].contiguous(memory_format=torch.channels_last)  # Adam enlarges rounding: round as the model does
    losses = []
    for band in range(5):
        optimizer.zero_grad()
        loss = F.l1_loss(net(data['lq'], rgb, bands=[band]), data['gt'][:, band : band + 1])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())

    model = build(tiny_stores, tmp_path)  # per_band is the default
    model.feed_data(data)
    model.optimize_parameters(1)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(model.net_g.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert model.log_dict['l_pix'] == pytest.approx(sum(losses) / 5, rel=1e-5)


def test_joint_takes_one_step_whatever_the_chunks(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    states = []
    for chunk in (None, 2):
        model = build(tiny_stores, tmp_path, band_update='joint', bands_per_chunk=chunk)
        model.feed_data(data)
        model.optimize_parameters(1)
        assert model.optimizer_g.state_dict()['state'][0]['step'] == 1
        states.append(model.net_g.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-4, atol=1e-5)


def test_small_scale_head_learns_from_its_own_loss(tiny_stores, tmp_path):
    def head(opt):
        opt['network_g']['small_scale_head'] = True

    loss = {'type': 'L1Loss', 'loss_weight': 0.5, 'reduction': 'mean'}
    model = build(tiny_stores, tmp_path, head, small_scale_opt=loss, band_update='joint')
    data = batch(tiny_stores)
    large, small = model.net_g(data['lq'], data['rgb'], return_small_scale=True)
    expected = 0.5 * F.l1_loss(small, F.avg_pool2d(data['gt'], 2)).item()
    model.feed_data(data)
    model.optimize_parameters(1)
    assert model.log_dict['l_small'] == pytest.approx(expected, rel=1e-5)
    assert model.log_dict['l_pix'] == pytest.approx(F.l1_loss(large, data['gt']).item(), rel=1e-5)
    assert all(parameter.grad is not None for parameter in model.net_g.parameters())
    assert model.predict()['small'].shape == (2, 5, 8, 8)


def mixed(opt):
    opt['network_g']['upscale'] = [2, 4, 8]
    opt['datasets']['train']['degrade'] = False


def mixed_with_six(opt):
    mixed(opt)
    opt['network_g']['upscale'] = [2, 6]


def test_mixed_scales_draw_from_seed_and_iteration(tiny_stores, tmp_path):
    model = build(tiny_stores, tmp_path, mixed, scales=[2, 4, 8], band_update='joint')
    gt = batch(tiny_stores)['gt']
    sides = {}
    for iteration in range(1, 21):
        model.update_learning_rate(iteration)
        model.feed_data({'gt': gt, 'rgb': torch.rand(2, 3, 16, 16)})
        sides[iteration] = model.lq.shape[-1]
        first = model.lq
        model.feed_data({'gt': gt, 'rgb': torch.rand(2, 3, 16, 16)})
        assert torch.equal(first, model.lq)
    assert set(sides.values()) == {8, 4, 2}
    model.optimize_parameters(20)


def test_processes_draw_the_same_scale_but_other_noise(tiny_stores, tmp_path):
    gt = batch(tiny_stores)['gt']
    drawn = []
    for rank in (0, 1):
        model = build(tiny_stores, tmp_path, mixed, scales=[2, 4, 8])
        model.opt['rank'] = rank
        model.current_iter = 5
        model.feed_data({'gt': gt, 'rgb': torch.rand(2, 3, 16, 16)})
        drawn.append(model.lq)
    assert drawn[0].shape == drawn[1].shape
    assert not torch.equal(*drawn)


@pytest.mark.parametrize(
    ('change', 'train', 'message'),
    [
        (lambda opt: opt['network_g'].update(small_scale_head=True), {}, 'small_scale_opt belong together'),
        (lambda opt: None, {'scales': [2, 4]}, 'degrade: false belong together'),
        (lambda opt: opt['datasets']['train'].update(degrade=False), {}, 'degrade: false belong together'),
        (mixed, {'scales': [2, 6]}, 'scales has 6, which network_g does not accept'),
        (mixed_with_six, {'scales': [2, 6]}, 'gt_size 16 is not a multiple of scale 6'),
        (lambda opt: None, {'band_update': 'perband'}, 'band_update is .perband., expected one of per_band, joint'),
        (lambda opt: opt.update(network_g={'type': 'BicubicUpsampler'}), {}, 'set model_type: HSISRModel'),
    ],
)
def test_contradictions(tiny_stores, tmp_path, change, train, message):
    with pytest.raises(ValueError, match=message):
        build(tiny_stores, tmp_path, change, **train)


def test_mixed_scale_training_set_comes_without_lq(tiny_stores, tmp_path):
    opt = make_options(tiny_stores)
    mixed(opt)
    sample = build_dataset(parsed(opt, tmp_path)['datasets']['train'])[0]
    assert {'gt', 'rgb'} <= set(sample)
    assert 'lq' not in sample
