"""SensorFusion: what it reaches, in parts as on the whole, at borders, and with guides that say nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mulsr_plugin.archs.bicubic_arch import BicubicUpsampler
from mulsr_plugin.archs.gsa_arch import GSA
from mulsr_plugin.archs.sensorfusion_arch import SensorFusion
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.models.inference import Tile, apply_network, choose_tile
from mulsr_plugin.sensor.estimation import estimate_sensor
from mulsr_plugin.sensor.model import SensorModel
from mulsr_plugin.utils.memory import peak_of_tensors
from tests.archs.fusion_pairs import psnr
from tests.sensor.demo_pairs import degraded, demo_pair, guide_of, scene


def fuse(pair, scale=8, **options):
    return SensorFusion(scale, **options)(pair.lq[None], pair.guide[None])[0]


# PSNR of scenes demo_07 and demo_08 of 192 pixels on the processor they were made on, less 0.3 dB
@pytest.mark.parametrize(
    ('degradation', 'index', 'least'),
    [('noise_free', 6, 39.7), ('noise_free', 7, 37.6), ('authors_fixed', 6, 39.2), ('authors_fixed', 7, 37.3)],
)
def test_reaches_its_figures_and_beats_the_others(degradation, index, least):
    pair = demo_pair(8, degradation, index=index)
    reached = psnr(fuse(pair), pair.gt)
    assert reached > least
    images = pair.lq[None], pair.guide[None]
    assert reached > psnr(GSA(8, degradation)(*images)[0], pair.gt) + 5
    assert reached > psnr(BicubicUpsampler(8)(images[0])[0], pair.gt) + 12


@pytest.mark.parametrize(('scale', 'size'), [(2, 128), (3, 141), (5, 190), (16, 192), (32, 192)])
def test_any_scale(scale, size):
    pair = demo_pair(scale, size=size)
    sensor = SensorModel.from_degradation('noise_free', scale)
    assert psnr(fuse(pair, scale), pair.gt) > psnr(sensor.enlarge(pair.lq[None])[0], pair.gt) + 5


@pytest.mark.parametrize('num_guide_ch', [1, 2, 8, 12])
def test_any_number_of_guide_channels(num_guide_ch):
    pair = demo_pair(4)
    guide = torch.stack([part.mean(dim=0) for part in pair.gt.tensor_split(num_guide_ch)])
    sensor = SensorModel.from_degradation('noise_free', 4)
    reached = psnr(fuse(pair._replace(guide=guide), 4), pair.gt)
    assert reached > psnr(sensor.enlarge(pair.lq[None])[0], pair.gt) + 4 + min(num_guide_ch, 8)


@pytest.mark.parametrize('first', [5, 10, 20])
@pytest.mark.parametrize('num_bands', [1, 2])
def test_few_bands_and_a_panchromatic_guide(num_bands, first):
    gt, pan = scene(192)[first : first + num_bands], scene(192).mean(dim=0, keepdim=True)
    lq = degraded(gt, 'noise_free', 4)
    interpolated = SensorModel.from_degradation('noise_free', 4).enlarge(lq[None])[0]
    assert psnr(SensorFusion(4)(lq[None], pan[None])[0], gt) > psnr(interpolated, gt) + 2


@pytest.mark.parametrize('scale', [3, 8])
@pytest.mark.parametrize('degradation', ['noise_free', 'authors_fixed'])
def test_tiles_equal_the_whole(degradation, scale):
    pair = demo_pair(scale, degradation)
    net = SensorFusion(scale)
    lq, rgb = pair.lq[None], pair.guide[None]
    whole = apply_network(net, lq, rgb)
    torch.testing.assert_close(whole[0], fuse(pair, scale), rtol=0, atol=0)
    tiles = apply_network(net, lq, rgb, tile=Tile(6 * scale, 0))
    torch.testing.assert_close(tiles, whole, rtol=0, atol=1e-5)
    assert choose_tile(net, lq, rgb) is None


def test_tiles_equal_the_whole_where_the_guide_is_displaced():
    gt = scene(192)
    lq, guide = degraded(gt[:, 8:184, 8:184], 'noise_free', 8)[None], guide_of(gt[:, :176, 16:])[None]
    net = SensorFusion(8)
    whole = net(lq, guide)
    torch.testing.assert_close(apply_network(net, lq, guide, tile=Tile(16, 0)), whole, rtol=0, atol=1e-5)


def test_blocks_inside_change_nothing_and_bound_the_memory(monkeypatch):
    from mulsr_plugin.archs import fusion_rendering

    pair = demo_pair(4)
    net, coefficients = SensorFusion(4).prepared(pair.lq[None], pair.guide[None])
    whole = net(coefficients, pair.guide[None])
    peak = peak_of_tensors(lambda: net(coefficients, pair.guide[None]))
    monkeypatch.setattr(fusion_rendering, '_BLOCK_SIDE', 48)
    torch.testing.assert_close(net(coefficients, pair.guide[None]), whole, rtol=0, atol=1e-5)
    result = whole.numel() * whole.element_size()
    # beyond the result itself, and stacking it
    assert peak_of_tensors(lambda: net(coefficients, pair.guide[None])) - 2 * result < (peak - 2 * result) / 2


@pytest.mark.parametrize('shift', [(1, 0), (0, -2), (3, 3), (5, -6), (-8, 0), (8, 8)])
def test_a_displaced_guide_costs_little_where_both_images_see(shift):
    """Cube and guide are cut from a larger scene, so that nothing at their borders is made up."""
    gt = scene(192)
    lq = degraded(gt[:, 8:184, 8:184], 'noise_free', 8)[None]

    def error(down, right):
        """Squared error where both images of both displacements see ground."""
        moved = gt[:, 8 + down : 184 + down, 8 + right : 184 + right]
        left = SensorFusion(8)(lq, guide_of(moved)[None])[0] - moved
        rows, columns = (slice(8 + max(0, s) - m, 184 + min(0, s) - m - 8) for s, m in zip(shift, (down, right)))
        return left[:, rows, columns].square().mean()

    loss = 10 * torch.log10(error(*shift) / error(0, 0))
    assert loss < 0.5


@pytest.mark.parametrize('kind', ['noise', 'another scene', 'constant'])
def test_a_guide_that_tells_nothing_leaves_interpolation(kind):
    pair = demo_pair(4)
    guide = {
        'noise': torch.rand(3, 192, 192, generator=torch.Generator().manual_seed(0)),
        'another scene': guide_of(scene(192, 7)),
        'constant': torch.full((3, 192, 192), 0.4),
    }[kind]
    expected = SensorModel.from_gaussian(4, 1.0).enlarge(pair.lq[None])[0]
    torch.testing.assert_close(fuse(pair._replace(guide=guide), 4), expected, rtol=0, atol=1e-5)


def test_each_image_of_a_batch_has_its_own_sensors():
    pairs = [demo_pair(4), demo_pair(4, 'authors_fixed'), demo_pair(4)]
    pairs[2] = pairs[2]._replace(guide=torch.zeros(3, 192, 192))
    lq, rgb = torch.stack([pair.lq for pair in pairs]), torch.stack([pair.guide for pair in pairs])
    together = SensorFusion(4)(lq, rgb)
    for number, pair in enumerate(pairs):
        torch.testing.assert_close(together[number], fuse(pair, 4), rtol=0, atol=0)


def test_a_told_sensor_and_response_are_used():
    pair = demo_pair(8, 'authors_fixed')
    told = fuse(pair, degradation='authors_fixed', response='nikon_d700')
    torch.testing.assert_close(guide_of(told), pair.guide, rtol=0, atol=0.02)  # exactly, but for values below zero
    assert psnr(told, pair.gt) > psnr(fuse(pair), pair.gt) - 0.1
    assert psnr(fuse(pair, degradation='noise_free'), pair.gt) < psnr(told, pair.gt) - 3


def test_a_fitted_response_is_not_fulfilled_exactly():
    """Under noise its weights are off, which would be carried into every band."""
    pair = demo_pair(8, {'preset': 'noise_free', 'noise_sigma': 0.04})
    sensor = estimate_sensor(pair.lq, pair.guide).sensor
    assert sensor.response_fitted
    given = replace(sensor, response_fitted=False)
    fused, forced = (SensorFusion(8)(pair.lq[None], pair.guide[None], model)[0] for model in (sensor, given))
    torch.testing.assert_close(fused, fuse(pair), rtol=0, atol=0)
    assert not torch.equal(fused, forced)


def test_values_are_not_below_zero_where_the_cube_is_not():
    pair = demo_pair(8, 'authors_fixed')
    assert fuse(pair).min() >= 0
    below = pair._replace(lq=pair.lq - 0.5, guide=pair.guide - 0.5)
    assert fuse(below).min() < -0.3


def test_float64_and_float32_agree():
    pair = demo_pair(4)
    sensor = SensorModel.from_degradation('noise_free', 4)
    lq, rgb = pair.lq[None], pair.guide[None]
    exact = SensorFusion(4)(lq.double(), rgb.double(), sensor)
    assert exact.dtype == torch.float64
    torch.testing.assert_close(SensorFusion(4)(lq, rgb, sensor).double(), exact, rtol=0, atol=1e-3)


def test_a_response_that_does_not_fit_is_refused():
    pair = demo_pair(4)
    with pytest.raises(ValueError, match=r'response has shape \(3, 31\), expected \(1, 31\)'):
        fuse(pair._replace(guide=pair.guide[:1]), 4, response='nikon_d700')


# Whole scenes; the figures of docs/fusion.md less some tenths
@pytest.mark.parametrize(
    ('name', 'degradation', 'least'),
    [('balloons', 'noise_free', 52.4), ('balloons', 'authors_fixed', 47.5), ('cloth', 'noise_free', 42.4)],
)
def test_real_scenes(real_data, name, degradation, least):
    (found,) = (s for s in cave_scenes(real_data / 'CAVE' / 'complete_ms_data', with_rgb=False) if s.key == name)
    gt = torch.from_numpy(np.asarray(found.load().values, dtype=np.float32) / 65535).permute(2, 0, 1).contiguous()
    lq = degraded(gt, degradation, 8)
    assert psnr(SensorFusion(8)(lq[None], guide_of(gt)[None])[0].clamp(0, 1), gt) > least
