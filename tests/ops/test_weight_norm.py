"""Tests of networks folded for inference: same outputs, same inputs taken, original left alone."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.archs import build_network
from torch import nn
from torch.nn.utils import parametrizations, parametrize, weight_norm

from mulsr_plugin.ops.weight_norm import fold_weight_norm

EDSR = {'type': 'EDSR', 'num_feat': 8, 'num_block': 1, 'img_range': 1.0}
NETWORKS = {
    'MulSR': {'num_feat': 16, 'small_scale_head': True},
    'CoarseNet': {'num_feat': 8},
    'PZResNet': {'num_bands': 5},
    'MoGDCN': {'num_bands': 5},
    'UAL': {'num_bands': 5},
    'SSRNet': {'num_bands': 5},
    'PSRT': {'num_bands': 5},
    'BicubicUpsampler': {},
    'Unguided': {'num_bands': 5, 'network': {**EDSR, 'num_in_ch': 5, 'num_out_ch': 5, 'upscale': 8}},
    'StackedGuide': {'num_bands': 5, 'network': {**EDSR, 'num_in_ch': 8, 'num_out_ch': 5, 'upscale': 1}},
}


def build(name):
    torch.manual_seed(0)
    return build_network({'type': name, 'upscale': 8, **copy.deepcopy(NETWORKS[name])})


def inputs(name, size=(4, 6)):
    generator = torch.Generator().manual_seed(1)
    lq = torch.rand(1, 5, *size, generator=generator)
    rgb = torch.rand(1, 3, 8 * size[0], 8 * size[1], generator=generator)
    return (lq,) if name in ('BicubicUpsampler', 'Unguided') else (lq, rgb)


def has_weight_norm(net):
    old = (getattr(hook, 'name', None) for module in net.modules() for hook in module._forward_pre_hooks.values())
    return any(parametrize.is_parametrized(module) for module in net.modules()) or 'weight' in old


@pytest.mark.parametrize('name', NETWORKS)
def test_folded_network_gives_the_same_and_the_original_stays(name):
    net, data = build(name).train(), inputs(name)
    state = {key: value.clone() for key, value in net.state_dict().items()}
    folded = fold_weight_norm(net)
    assert not has_weight_norm(folded) and not folded.training
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert net.training and all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert all(parameter.requires_grad for parameter in build(name).parameters()) == all(
        parameter.requires_grad for parameter in net.parameters()
    )
    result, expected = folded(*data), net.eval()(*data).detach()
    assert (result - expected).abs().max() <= 1e-6 * expected.abs().max()


def test_folded_mulsr_takes_what_mulsr_takes():
    net = build('MulSR')
    folded, (lq, rgb) = fold_weight_norm(net), inputs('MulSR')
    with torch.no_grad():
        for memory_format in (torch.contiguous_format, torch.channels_last):
            guide = rgb.contiguous(memory_format=memory_format)
            expected = net(lq, guide, [3, 0], return_small_scale=True)
            torch.testing.assert_close(folded(lq, guide, [3, 0], True), expected, rtol=1e-5, atol=1e-6)
            features = folded.encode_guide(guide)
            shared = folded(lq, guide, torch.tensor([3, 0]), return_small_scale=True, guide=features)
            torch.testing.assert_close(shared, expected, rtol=1e-5, atol=1e-6)
    assert all(parameter.dim() < 5 for parameter in folded.parameters())


def test_folded_mulsr_saves_loads_casts_and_folds_again():
    folded, data = fold_weight_norm(build('MulSR')), inputs('MulSR')
    expected = folded(*data)
    other = fold_weight_norm(build_network({'type': 'MulSR', 'upscale': 8, **NETWORKS['MulSR']}))
    other.load_state_dict(folded.state_dict())
    assert torch.equal(other(*data), expected)
    assert torch.equal(fold_weight_norm(folded)(*data), expected)
    exact = copy.deepcopy(folded).double()(*(value.double() for value in data))
    torch.testing.assert_close(exact.float(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('normalise', [weight_norm, parametrizations.weight_norm])
def test_both_forms_of_weight_norm(normalise):
    torch.manual_seed(0)
    net = nn.Sequential(normalise(nn.Conv2d(3, 4, 3)), normalise(nn.Linear(5, 2)), nn.Linear(2, 2))
    x = torch.rand(1, 3, 4, 7)
    expected = net(x)  # the older form now holds a computed weight with a gradient
    folded = fold_weight_norm(net)
    assert torch.equal(folded(x), expected)
    assert sorted(folded.state_dict()) == ['0.bias', '0.weight', '1.bias', '1.weight', '2.bias', '2.weight']
    expected.sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert torch.equal(net(x), expected)  # still normalised
    assert has_weight_norm(net)


def test_other_parametrizations_stay():
    torch.manual_seed(0)
    net = parametrizations.spectral_norm(nn.Linear(4, 4)).eval()
    folded, x = fold_weight_norm(net), torch.rand(2, 4)
    assert parametrize.is_parametrized(folded)
    assert torch.equal(folded(x), net(x))
