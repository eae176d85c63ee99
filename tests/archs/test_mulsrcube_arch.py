"""MulSRCube: begins as SensorFusion, parts as on the whole, leaves other cubes as they are, and what it costs."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network
from torch.utils.flop_counter import FlopCounterMode

from mulsr_plugin.archs.band_correction import num_in_ch, num_out_ch
from mulsr_plugin.archs.mulsrcube_arch import MulSRCube
from mulsr_plugin.archs.sensorfusion_arch import SensorFusion
from mulsr_plugin.archs.two_scale_towers import TwoScaleTowers
from mulsr_plugin.models.inference import Tile, apply_network
from mulsr_plugin.sensor.model import SensorModel
from tests.sensor.demo_pairs import degraded, demo_pair, guide_of, scene


def disturbed(upscale=8, scale=0.05):
    """Return a small network whose every output does something."""
    torch.manual_seed(0)
    net = MulSRCube(upscale, num_feat=8, num_stages=2).eval()
    with torch.no_grad():
        for parameter in net.towers.parameters():
            parameter += scale * torch.randn_like(parameter)
        net.lens.weight[0] += 0.1 * torch.eye(31)
        net.lens.weight[1] += 0.01 * torch.rand(31, 31)
        net.lens.weight[2:] += 0.01 * torch.rand(3, 31, 31)
        net.lens.strength_weight += 0.05
    return net


def images(pair):
    return pair.lq[None], pair.guide[None]


@pytest.mark.parametrize('degradation', ['noise_free', 'authors_fixed'])
@pytest.mark.parametrize('scale', [4, 8])
def test_untrained_it_is_the_start(scale, degradation):
    pair = demo_pair(scale, degradation, size=128)
    torch.testing.assert_close(MulSRCube(scale)(*images(pair)), SensorFusion(scale)(*images(pair)), rtol=0, atol=1e-6)


@pytest.mark.parametrize(('scale', 'tile'), [(4, 12), (3, 11), (8, 6)])
def test_tiles_equal_the_whole(scale, tile):
    pair = demo_pair(scale, size=180)
    net = disturbed(scale)
    with torch.no_grad():
        whole = net(*images(pair))
        assert (whole - SensorFusion(scale)(*images(pair))).abs().max() > 1e-3
    tiles = apply_network(net, *images(pair), tile=Tile(tile * scale, 0))
    torch.testing.assert_close(tiles, whole, rtol=0, atol=1e-5)


def test_blocks_within_one_run_equal_the_whole(monkeypatch):
    pair = demo_pair(8)
    net = disturbed(8)
    with torch.no_grad():
        whole = net(*images(pair))
        monkeypatch.setattr('mulsr_plugin.archs.fusion_rendering._BLOCK_SIDE', 64)
        torch.testing.assert_close(net(*images(pair)), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize(('num_bands', 'num_guide_ch'), [(1, 1), (8, 3), (31, 1), (31, 12)])
def test_cubes_and_guides_of_another_kind_are_left_as_they_start(num_bands, num_guide_ch):
    gt = scene(192)[:num_bands, :128, :128]
    guide = torch.stack([part.mean(dim=0) for part in scene(192)[:, :128, :128].tensor_split(num_guide_ch)])
    lq, net = degraded(gt, 'noise_free', 4)[None], disturbed(4)
    with torch.no_grad():
        assert torch.equal(net(lq, guide[None]), SensorFusion(4)(lq, guide[None]))
    assert net.starts(lq, guide[None]) == [None]


def test_what_is_corrected_is_not_seen_by_the_sensor():
    """But for what one back-projection leaves."""
    pair = demo_pair(8, size=128)
    sensor = SensorModel.from_degradation('noise_free', 8)
    with torch.no_grad():
        (start,) = disturbed(8).starts(*images(pair), sensor)
        change = disturbed(8).corrected([start])[0] - start.cube
        seen = sensor.blur(change[None])[0]
    assert seen.square().mean() < 0.02 * change.square().mean()


def test_every_image_of_a_batch_is_treated_alone():
    first, second = demo_pair(8, size=128), demo_pair(8, 'authors_fixed', size=128, index=7)
    net = disturbed(8)
    with torch.no_grad():
        batch = net(torch.stack([first.lq, second.lq]), torch.stack([first.guide, second.guide]))
        for pair, result in zip((first, second), batch):
            torch.testing.assert_close(net(*images(pair))[0], result, rtol=0, atol=1e-5)


def test_a_guide_that_says_nothing_leaves_interpolation():
    pair = demo_pair(8, size=128)
    guide = torch.full_like(pair.guide, 0.5)[None]
    with torch.no_grad():
        result = disturbed(8)(pair.lq[None], guide)
    torch.testing.assert_close(result, SensorFusion(8)(pair.lq[None], guide))


def test_pixels_that_saw_ground_beyond_the_guide_do_not_mislead():
    gt = scene(192)
    lq, guide = degraded(gt[:, 8:184, 8:184], 'noise_free', 8)[None], guide_of(gt[:, :176, 16:])[None]
    (start,) = MulSRCube(8).starts(lq, guide)
    misfit = start.low.misfit.abs()
    assert misfit.max() == misfit[:, 4:-4, 4:-4].max()  # nothing but the nearest covered pixels is repeated outside
    net = disturbed(8)
    with torch.no_grad():
        whole = net(lq, guide)
        torch.testing.assert_close(apply_network(net, lq, guide, tile=Tile(48, 0)), whole, rtol=0, atol=1e-5)


def test_a_given_response_is_fulfilled():
    gt = scene(192)[:, :128, :128]
    with torch.no_grad():
        net = MulSRCube(8, num_feat=8, num_stages=1, response='nikon_d700')
        net.towers.load_state_dict(MulSRCube(8, num_feat=8, num_stages=1).towers.state_dict())
        net.towers.tail.bias += 0.05
        result = net(degraded(gt, 'noise_free', 8)[None], guide_of(gt)[None])
    positive = result[0].amin(dim=0) > 0  # where nothing was cut off
    torch.testing.assert_close(guide_of(result[0])[:, positive], guide_of(gt)[:, positive], rtol=0, atol=1e-4)


def test_gradients_reach_all_weights_and_parts_equal_the_whole():
    pair = demo_pair(8, size=128)
    net = disturbed(8)
    (start,) = net.starts(*images(pair))
    whole = net.corrected([start])[0]
    torch.testing.assert_close(whole, net(*images(pair))[0], rtol=0, atol=1e-5)
    cut = start.cut(slice(2, 14), slice(3, 15))
    inner = net.corrected([cut])[0]
    assert inner.shape == (31, 96, 96)
    inner.square().mean().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in net.towers.parameters())
    assert torch.equal(cut.guide, pair.guide[:, 16:112, 24:120])
    assert torch.equal(cut.places, start.places[:, 16:112, 24:120])


def test_cost():
    """Within 8 GFLOP for a cube of 96x96 pixels and 31 bands, start included."""
    pair = demo_pair(8, size=96)
    net = MulSRCube(8)
    assert sum(parameter.numel() for parameter in net.parameters()) < 1e6
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(*images(pair), SensorModel.from_degradation('noise_free', 8))
    assert counter.get_total_flops() < 8e9


def test_reach_of_the_towers():
    towers = TwoScaleTowers(num_in_ch(31), num_out_ch(31), num_feat=4, num_stages=3)
    torch.nn.init.normal_(towers.tail.weight)
    image = torch.zeros(1, num_in_ch(31), 128, 128, requires_grad=True)
    towers(image)[0, :, 64, 64].sum().backward()
    seen = image.grad.abs().amax(dim=(0, 1, 2)).nonzero()[:, 0]
    assert max(64 - int(seen.min()), int(seen.max()) - 64) <= towers.reach


def test_weights_round_trip_and_say_their_options(tmp_path):
    net = disturbed(8)
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    state = torch.load(tmp_path / 'net.pth', weights_only=True)
    options = MulSRCube.options_of_weights(state)
    assert options == {'num_bands': 31, 'num_feat': 8, 'num_stages': 2}
    assert MulSRCube.options_of_weights({'body.weight': torch.zeros(1)}) is None
    again = build_network({'type': 'MulSRCube', 'upscale': [4, 8], **options})
    again.load_state_dict(state)
    pair = demo_pair(8, size=128)
    with torch.no_grad():
        assert torch.equal(again(*images(pair)), net(*images(pair)))


@pytest.mark.parametrize('option', ['num_bands', 'num_guide_ch', 'num_feat', 'num_stages'])
def test_illegal_options(option):
    with pytest.raises(ValueError, match=f'{option} is 0, expected a positive whole number'):
        MulSRCube(8, **{option: 0})
