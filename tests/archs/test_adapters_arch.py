"""Networks for photographs on cubes: what goes in, what is cut, and that BasicSR's own ones learn."""

from __future__ import annotations

import basicsr  # noqa: F401  (loads the registries)
import pytest
import torch
from basicsr.archs import build_network
from torch import nn
from torch.nn import functional as F

from mulsr_plugin.archs.adapters_arch import StackedGuide, Unguided, run_padded

EDSR = {'type': 'EDSR', 'num_feat': 8, 'num_block': 1, 'img_range': 1.0}
RCAN = {'type': 'RCAN', 'num_feat': 16, 'num_group': 1, 'num_block': 1, 'squeeze_factor': 2, 'img_range': 1.0}
SWINIR = {'type': 'SwinIR', 'img_size': 8, 'window_size': 4, 'depths': [2], 'num_heads': [2], 'embed_dim': 8}
RRDBNET = {'type': 'RRDBNet', 'num_out_ch': 5, 'num_feat': 8, 'num_block': 1, 'num_grow_ch': 4}
UNGUIDED = {
    'EDSR': {'network': {**EDSR, 'num_in_ch': 5, 'num_out_ch': 5, 'upscale': 8}},
    'RCAN': {'network': {**RCAN, 'num_in_ch': 5, 'num_out_ch': 5, 'upscale': 8}},
    'SwinIR': {
        'network': {**SWINIR, 'in_chans': 5, 'upscale': 8, 'upsampler': 'pixelshuffledirect'},
        'size_multiple': 4,
    },
    'RRDBNet': {'network': {**RRDBNET, 'num_in_ch': 5, 'scale': 4}, 'network_scale': 4},
}
STACKED = {
    'EDSR': {'network': {**EDSR, 'num_in_ch': 8, 'num_out_ch': 5, 'upscale': 1}},
    'RCAN': {'network': {**RCAN, 'num_in_ch': 8, 'num_out_ch': 5, 'upscale': 1}},
    'SwinIR': {'network': {**SWINIR, 'in_chans': 8, 'upscale': 1, 'upsampler': ''}, 'size_multiple': 4},
    'RRDBNet': {'network': {**RRDBNET, 'num_in_ch': 8, 'scale': 1}, 'size_multiple': 4},
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def inputs(height=3, width=5, bands=5):
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, bands, height, width, generator=generator), torch.rand(2, 3, 8 * height, 8 * width)


@pytest.mark.parametrize('name', UNGUIDED)
def test_basicsr_networks_without_guide_learn(name):
    net = build_network({'type': 'Unguided', 'upscale': 8, 'num_bands': 5, **UNGUIDED[name]})
    result = net(inputs()[0])
    assert result.shape == (2, 5, 24, 40)
    result.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())


@pytest.mark.parametrize('name', STACKED)
def test_basicsr_networks_with_stacked_guide_learn(name):
    net = build_network({'type': 'StackedGuide', 'upscale': 8, 'num_bands': 5, **STACKED[name]})
    lq, rgb = inputs()
    rgb.requires_grad_()
    result = net(lq, rgb)
    assert result.shape == (2, 5, 24, 40)
    result.square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in net.parameters())
    assert rgb.grad.any()  # the guide is seen


@pytest.mark.parametrize('name', ['EDSR', 'RCAN'])
def test_no_mean_of_photographs_is_added(name):
    """With a last layer of zeros the network returns its mean colour, which is zero for cubes."""
    net = build_network({'type': 'Unguided', 'upscale': 8, 'num_bands': 5, **UNGUIDED[name]})
    nn.init.zeros_(net.network.conv_last.weight)
    nn.init.zeros_(net.network.conv_last.bias)
    assert not net(inputs()[0]).any()


def test_stack_is_enlarged_cube_then_guide():
    net = StackedGuide(STACKED['EDSR']['network'], num_bands=5)
    seen = []
    net.network = nn.Identity()
    net.network.register_forward_hook(lambda module, args, output: seen.append(output))
    lq, rgb = inputs()
    bicubic = F.interpolate(lq, scale_factor=8, mode='bicubic', align_corners=False)
    torch.testing.assert_close(net(lq, rgb), bicubic)
    torch.testing.assert_close(seen[0], torch.cat([bicubic, rgb], 1))


def test_what_the_network_does_not_enlarge_is_done_first():
    net = Unguided(UNGUIDED['RRDBNet']['network'], num_bands=5, network_scale=4)
    net.network = nn.Upsample(scale_factor=4, mode='nearest')
    lq, _ = inputs()
    twofold = F.interpolate(lq, scale_factor=2, mode='bicubic', align_corners=False)
    torch.testing.assert_close(net(lq), F.interpolate(twofold, scale_factor=4, mode='nearest'))


@pytest.mark.parametrize('size', [(8, 8), (5, 7), (1, 2), (9, 3)])
def test_padding_is_cut_off_again(size):
    x = torch.rand(1, 2, *size)
    seen = []
    network = nn.Upsample(scale_factor=2, mode='nearest')
    network.register_forward_hook(lambda module, args, output: seen.append(args[0].shape[2:]))
    torch.testing.assert_close(run_padded(network, x, 2, 4), network(x))
    assert all(n % 4 == 0 for n in seen[0])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'network': {'type': 'EDRS'}}, "No network named 'EDRS'"),
        (
            {'network': {**UNGUIDED['EDSR']['network'], 'num_block_typo': 1}},
            "'num_block_typo'.*did you mean 'num_block'",
        ),
        ({'network': {'type': 'EDSR', 'num_in_ch': 5}}, "'num_out_ch', which is needed"),
        ({'network_scale': 3}, 'upscale is 8, expected a positive multiple of 3'),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Unguided(**{**UNGUIDED['EDSR'], 'num_bands': 5, **change})


def test_other_band_count_is_refused():
    with pytest.raises(ValueError, match='4 band'):
        Unguided(**UNGUIDED['EDSR'], num_bands=5)(inputs(bands=4)[0])
    with pytest.raises(ValueError, match='4 band'):
        StackedGuide(**STACKED['EDSR'], num_bands=5)(*inputs(bands=4))
