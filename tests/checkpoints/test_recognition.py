"""Networks and their options are detected by the names and shapes of their weights."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.checkpoints.networks import network_from_weights, read_weights
from mulsr_plugin.checkpoints.recognition import network_options, recognise_network

NETWORKS = [
    {'type': 'MulSR', 'num_feat': 16, 'num_modules': 1, 'num_guide_ch': 3},
    {'type': 'MulSR', 'num_feat': 8, 'num_modules': 3, 'num_guide_ch': 1, 'small_scale_head': True},
    {'type': 'MulSR', 'num_feat': 8, 'num_modules': 2, 'num_guide_ch': 4, 'use_mii': False},
    {'type': 'MulSR', 'num_feat': 8, 'num_modules': 1, 'use_dsca': False},
    {'type': 'MulSR', 'num_feat': 8, 'num_modules': 1, 'use_lfcc': False},
    {'type': 'MulSR', 'num_feat': 8, 'num_modules': 2, 'multi_scale': False},
    {'type': 'CoarseNet', 'num_feat': 8, 'num_units': 3, 'num_guide_ch': 2},
    {'type': 'PZResNet', 'num_bands': 13, 'num_guide_ch': 4},
    {'type': 'MoGDCN', 'num_bands': 5, 'num_guide_ch': 2},
    {'type': 'UAL', 'num_bands': 6, 'num_guide_ch': 1},
    {'type': 'SSRNet', 'num_bands': 7, 'num_guide_ch': 4},
    {'type': 'PSRT', 'num_bands': 5, 'num_guide_ch': 2},
]


@pytest.mark.parametrize('options', NETWORKS, ids=lambda options: '-'.join(map(str, options.values())))
def test_every_network_is_detected_by_its_weights(options, tmp_path):
    torch.manual_seed(0)
    net = build_network({**options, 'upscale': 4}).eval()
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    loaded, found = network_from_weights(read_weights(tmp_path / 'net.pth'), 4)
    assert {**found, **options, 'upscale': 4} == found
    assert type(loaded) is type(net)
    assert not loaded.training
    bands = options.get('num_bands', 3)
    inputs = torch.rand(1, bands, 4, 4), torch.rand(1, options.get('num_guide_ch', 3), 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(loaded(*inputs), net(*inputs))


def test_a_network_of_somebody_else_says_how_it_is_detected(monkeypatch):
    class Sharpener(nn.Module):
        @staticmethod
        def options_of_weights(state):
            return {'num_feat': len(state['sharpen.bias'])} if 'sharpen.bias' in state else None

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'Sharpener', Sharpener)
    options = {'type': 'Sharpener', 'num_feat': 6}
    assert recognise_network({'sharpen.bias': torch.ones(6)}) == options
    assert network_options({'sharpen.bias': torch.ones(6)}, 4) == {**options, 'upscale': 4}
    assert recognise_network({'bias': torch.ones(6)}) is None


def test_incomplete_weights_say_what_they_lack():
    state = build_network({'type': 'UAL', 'upscale': 4, 'num_bands': 4}).state_dict()
    with pytest.raises(ValueError, match="looks like weights of UAL but lacks some .*'heads.2.0.weight'"):
        network_options({name: state[name] for name in state if not name.startswith('heads')}, 4)


def test_mulsr_at_an_odd_scale():
    state = build_network({'type': 'MulSR', 'num_feat': 8, 'num_modules': 1}).state_dict()
    with pytest.raises(ValueError, match='works at even scales only, but the images are given at x3'):
        network_options(state, 3)
