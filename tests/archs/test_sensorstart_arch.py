"""SensorStart: begins as SensorFusion, four networks learn on it, parts as on the whole, and what it refuses."""

from __future__ import annotations

import basicsr  # noqa: F401  (loads the registries)
import pytest
import torch
from basicsr.archs import build_network

from mulsr_plugin.archs.sensorfusion_arch import SensorFusion
from mulsr_plugin.archs.sensorstart_arch import SensorStart
from mulsr_plugin.models.inference import Tile, apply_network, choose_tile, measure_tile_deviation
from mulsr_plugin.sensor.model import SensorModel
from tests.sensor.demo_pairs import demo_pair, guide_of

EDSR = {
    'type': 'EDSR',
    'num_in_ch': 31,
    'num_out_ch': 31,
    'num_feat': 8,
    'num_block': 1,
    'upscale': 1,
    'img_range': 1.0,
}
RCAN = {
    'type': 'RCAN', 'num_in_ch': 31, 'num_out_ch': 31, 'num_feat': 8, 'num_group': 1, 'num_block': 1,
    'squeeze_factor': 2, 'upscale': 1, 'img_range': 1.0,
}  # fmt: skip
SWINIR = {
    'type': 'SwinIR', 'in_chans': 34, 'img_size': 8, 'window_size': 4, 'depths': [1], 'num_heads': [2], 'embed_dim': 8,
    'upscale': 1, 'upsampler': '', 'drop_path_rate': 0.0,
}  # fmt: skip
NETWORKS = {
    'MulSR': {'network': {'type': 'MulSR', 'upscale': 8, 'num_feat': 8, 'num_guide_ch': 34, 'num_modules': 1}},
    'MoG-DCN': {'network': {'type': 'MoGDCN', 'upscale': 8, 'num_guide_ch': 34}, 'adds_input': True},
    'EDSR': {'network': EDSR},
    'EDSR, guided': {'network': {'type': 'StackedGuide', 'upscale': 1, 'network': {**EDSR, 'num_in_ch': 34}}},
    'EDSR of cube, guide and start': {
        'network': {'type': 'StackedGuide', 'upscale': 8, 'num_guide_ch': 34, 'network': {**EDSR, 'num_in_ch': 65}}
    },
    'RCAN': {'network': {'type': 'Unguided', 'upscale': 1, 'network': RCAN}},
    'SwinIR': {
        'network': {'type': 'StackedGuide', 'upscale': 1, 'size_multiple': 4, 'network': SWINIR},
        'adds_input': True,
    },
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def build(name, gain=0.0, **options):
    net = build_network({'type': 'SensorStart', **NETWORKS[name], **options}).eval()
    torch.nn.init.constant_(net.correction.gain, gain)
    return net


def images(pair):
    return pair.lq[None], pair.guide[None]


@pytest.mark.parametrize('name', NETWORKS)
def test_untrained_it_is_the_start_and_it_can_learn(name):
    pair = demo_pair(8, size=64)
    net = build(name)
    result = net(*images(pair))
    assert torch.equal(result, SensorFusion(8)(*images(pair)))
    (result - pair.gt).square().mean().backward()
    assert all(net.correction.gain.grad[:, 0, 0] != 0)
    torch.nn.init.ones_(net.correction.gain)
    (net(*images(pair)) - pair.gt).square().mean().backward()
    without = [key for key, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert not without


@pytest.mark.parametrize('name', ['MoG-DCN', 'SwinIR'])
def test_the_input_that_a_network_adds_is_taken_off(name, monkeypatch):
    """With all weights 0 the network returns its input, and so nothing is added to the start."""
    pair = demo_pair(8, size=64)
    net = build(name, gain=1.0)
    for key, parameter in net.correction.network.named_parameters():
        if not key.endswith(('step', 'weight_of_step', 'inner_weight', 'outer_weight')):
            torch.nn.init.zeros_(parameter)
    if name == 'MoG-DCN':  # its steps of length 0 change nothing
        torch.nn.init.zeros_(net.correction.network.inner_step)
        torch.nn.init.zeros_(net.correction.network.outer_step)
    with torch.no_grad():
        torch.testing.assert_close(net(*images(pair)), SensorFusion(8)(*images(pair)), rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', ['MulSR', 'EDSR', 'EDSR, guided'])
def test_the_result_depends_on_the_start(name):
    pair = demo_pair(8, size=64)
    net = build(name, gain=1.0)
    correction, lq, stacked = net.started(*images(pair))
    other = stacked.clone()
    other[:, 3:-1] *= 0.5
    with torch.no_grad():
        added, otherwise = (correction(lq, given) - given[:, 3:-1] for given in (stacked, other))
    assert (added - otherwise).abs().max() > 1e-4


@pytest.mark.parametrize('name', ['EDSR', 'EDSR, guided'])
def test_tiles_of_a_finite_network_equal_the_whole(name):
    pair = demo_pair(8)
    net = build(name, gain=1.0)
    with torch.no_grad():
        whole = net(*images(pair))
    assert (whole - SensorFusion(8)(*images(pair))).abs().max() > 1e-2
    # five convolutions of 3x3
    torch.testing.assert_close(apply_network(net, *images(pair), tile=Tile(64, 8)), whole, rtol=0, atol=1e-5)
    assert choose_tile(net, *images(pair)) is None
    assert measure_tile_deviation(net, *images(pair), Tile(64, 8)).maximum < 1e-5


def test_a_band_wise_network_computes_some_bands():
    pair = demo_pair(8, size=64)
    net = build('MulSR', gain=1.0)
    with torch.no_grad():
        whole = net(*images(pair))
    assert (whole - SensorFusion(8)(*images(pair))).abs().max() > 1e-3
    torch.testing.assert_close(net(*images(pair)).detach(), whole, rtol=0, atol=1e-5)  # all bands at once
    some = apply_network(net, *images(pair), bands=[30, 2, 7], bands_per_chunk=2)
    torch.testing.assert_close(some, whole[:, [30, 2, 7]], rtol=0, atol=1e-5)


def test_untrained_tiles_are_the_start_of_the_whole():
    pair = demo_pair(8)
    tiles = apply_network(build('MulSR'), *images(pair), tile=Tile(64, 16))
    assert torch.equal(tiles, SensorFusion(8)(*images(pair)))


def test_a_guide_that_says_nothing_leaves_what_sensor_fusion_gives():
    related, other = demo_pair(8, size=128), demo_pair(8, size=128, index=7)
    lq = torch.stack([related.lq, other.lq])
    rgb = torch.stack([related.guide, torch.full_like(other.guide, 0.5)])
    net = build('EDSR, guided', gain=1.0)
    with torch.no_grad():
        result = net(lq, rgb)
    start = SensorFusion(8)(lq, rgb)
    assert torch.equal(result[1], start[1])
    assert (result[0] - start[0]).abs().max() > 1e-2
    assert [start is None for start in net.starts(lq, rgb)] == [False, True]


def test_options_and_sensor_reach_the_start():
    pair, sensor = demo_pair(8, 'authors_fixed', size=64), SensorModel.from_degradation('authors_fixed', 8)
    assert torch.equal(build('EDSR')(*images(pair), sensor), SensorFusion(8)(*images(pair), sensor))
    options = {'degradation': 'authors_fixed', 'response': 'nikon_d700', 'upscale': [4, 8]}
    result = build('EDSR', **options)(*images(pair))
    assert torch.equal(result, SensorFusion(**options)(*images(pair)))


def test_parts_of_two_scales_are_corrected_as_the_whole():
    net = build('EDSR, guided', gain=1.0, upscale=[4, 8])
    pairs = [demo_pair(scale, size=128) for scale in (4, 8)]
    starts = [net.starts(*images(pair))[0] for pair in pairs]
    assert [start.scale for start in starts] == [4, 8]
    parts = [
        start.cut(slice(8, 24), slice(4, 20)) if start.scale == 4 else start.cut(slice(4, 12), slice(2, 10))
        for start in starts
    ]
    with torch.no_grad():
        for pair, result in zip(pairs, net.corrected(parts)):
            assert result.shape == (31, 64, 64)
            inner = net(*images(pair))[0, :, 32:96, 16:80]
            torch.testing.assert_close(result[:, 8:-8, 8:-8], inner[:, 8:-8, 8:-8], rtol=0, atol=1e-5)
    torch.testing.assert_close(guide_of(pairs[0].gt)[:, 32:96, 16:80], parts[0].stacked[:3])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'network': {**EDSR, 'upscale': 8}}, 'EDSR takes no guide, so that it could not know the start'),
        ({'network': {'type': 'MulSR', 'upscale': 8}}, 'for a guide of 3 channel.*set its num_guide_ch to 34'),
        (
            {'network': {'type': 'StackedGuide', 'upscale': 1, 'num_guide_ch': 34, 'network': EDSR}},
            'will be given 3: set its num_guide_ch to 3',
        ),
        ({'network': {'type': 'EDRS'}}, "No network named 'EDRS'"),
        ({'network': EDSR, 'num_bands': 0}, 'num_bands is 0'),
    ],
)
def test_illegal_options(options, message):
    with pytest.raises(ValueError, match=message):
        SensorStart(**options)


def test_illegal_inputs():
    net = build('EDSR')
    with pytest.raises(ValueError, match='built for 31'):
        net(torch.rand(1, 5, 8, 8), torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match='set num_guide_ch'):
        net(torch.rand(1, 31, 8, 8), torch.rand(1, 1, 64, 64))
