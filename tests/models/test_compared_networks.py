"""The networks of the comparison train through HSISRModel and MulSRModel, each with the loss of its authors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.models import build_model

from tests.archs.test_adapters_arch import STACKED, UNGUIDED
from tests.models.tiny import make_options, parsed


def build(folder, tmp_path, network, model_type='HSISRModel', **train):
    opt = make_options(folder, **train)
    opt.update(model_type=model_type, network_g=network, scale=network['upscale'])
    torch.manual_seed(0)
    model = build_model(parsed(opt, tmp_path))
    dataset = build_dataset({**opt['datasets']['train'], 'gt_size': 32})
    dataset.set_epoch(0, 1)
    model.feed_data(torch.utils.data.default_collate([dataset[0]]))
    return model


NETWORKS = {
    'MoGDCN': {'type': 'MoGDCN', 'upscale': 4, 'num_bands': 5},
    'UAL': {'type': 'UAL', 'upscale': 4, 'num_bands': 5},
    'SSRNet': {'type': 'SSRNet', 'upscale': 4, 'num_bands': 5},
    'PSRT': {'type': 'PSRT', 'upscale': 4, 'num_bands': 5},
    'CoarseNet': {'type': 'CoarseNet', 'upscale': 4, 'num_feat': 8},
    **{f'{name} unguided': {'type': 'Unguided', 'upscale': 8, 'num_bands': 5, **UNGUIDED[name]} for name in UNGUIDED},
    **{f'{name} stacked': {'type': 'StackedGuide', 'upscale': 8, 'num_bands': 5, **STACKED[name]} for name in STACKED},
}


@pytest.mark.parametrize('name', NETWORKS)
def test_a_step_lowers_the_loss_of_its_batch(tiny_stores, tmp_path, name):
    model = build(tiny_stores, tmp_path, NETWORKS[name])
    for group in model.optimizers[0].param_groups:
        group['lr'] = 1e-4
    losses = []
    for iteration in range(4):
        model.optimize_parameters(iteration)
        losses.append(model.log_dict['l_pix'])
    assert losses[-1] < losses[0]
    model.test()
    assert model.output.shape == (1, 5, 32, 32)


def test_pzresnet_is_trained_on_its_coarse_cube_too(tiny_stores, tmp_path):
    network = {'type': 'PZResNet', 'upscale': 4, 'num_bands': 5}
    model = build(tiny_stores, tmp_path, network)
    reference = build_network(dict(network))
    reference.load_state_dict(model.net_g.state_dict())
    refined, coarse = reference(model.lq, model.rgb, return_coarse=True)
    expected = (refined - model.gt).abs().mean() + (coarse - model.gt).abs().mean()
    expected.backward()
    model.optimizers[0].param_groups[0]['lr'] = 0
    model.optimize_parameters(1)
    assert model.log_dict['l_pix'] == pytest.approx(expected.item(), rel=1e-6)
    for own, other in zip(model.net_g.parameters(), reference.parameters()):
        torch.testing.assert_close(own.grad, other.grad)


def test_ssrnet_is_trained_on_spatial_and_spectral_edges_too(tiny_stores, tmp_path):
    model = build(tiny_stores, tmp_path, {'type': 'SSRNet', 'upscale': 4, 'num_bands': 5})
    result, spatial = (cube.detach().numpy() for cube in model.net_g(model.lq, model.rgb, return_spatial=True))
    gt = model.gt.numpy()
    expected = abs(result - gt).mean() + abs(np.diff(result, axis=1) - np.diff(gt, axis=1)).mean()
    for axis in (2, 3):
        expected += 0.5 * abs(np.diff(spatial, axis=axis) - np.diff(gt, axis=axis)).mean()
    model.optimize_parameters(1)
    assert model.log_dict['l_pix'] == pytest.approx(expected, rel=1e-5)


def test_coarsenet_takes_one_step_per_band(tiny_stores, tmp_path):
    network = {'type': 'CoarseNet', 'upscale': 4, 'num_feat': 8}
    model = build(tiny_stores, tmp_path, network, 'MulSRModel', band_update='per_band')
    model.optimize_parameters(1)
    steps = {int(state['step']) for state in model.optimizers[0].state.values()}
    assert max(steps) == 5
