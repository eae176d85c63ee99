"""What all methods without training have in common, on pairs of every shape."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.archs import build_network

from mulsr_plugin.models.inference import apply_network, is_bandwise, is_guided
from mulsr_plugin.sensor.model import SensorModel
from tests.archs.fusion_pairs import make_pair, psnr

METHODS = {
    'GSA': {},
    'MTFGLP': {},
    'MTFGLP additive': {'injection': 'additive'},
    'CNMF': {'num_endmembers': 5, 'num_updates': 60},
    'HySure': {'num_iterations': 60, 'num_components': 4},
    'SensorFusion': {},
    'HySure svd': {'num_iterations': 60, 'num_components': 4, 'basis': 'svd'},
}


def build(name, **options):
    return build_network({'type': name.split()[0], **copy.deepcopy(METHODS[name]), **options})


@pytest.mark.parametrize('num_guide_ch', [1, 3, 4, 7])
@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('name', METHODS)
def test_any_scale_size_and_guide(name, scale, num_guide_ch):
    pair = make_pair(scale, (7, 9), num_guide_ch=num_guide_ch, dtype=torch.float32)
    result = build(name, upscale=scale)(pair.lq, pair.rgb)
    assert result.shape == pair.gt.shape and result.dtype == torch.float32 and result.isfinite().all()
    # even one channel says more than interpolation
    interpolated = psnr(pair.sensor.enlarge(pair.lq), pair.gt)
    assert psnr(result, pair.gt) > interpolated + 1


@pytest.mark.parametrize('num_bands', [1, 2, 60])
@pytest.mark.parametrize('name', METHODS)
def test_any_number_of_bands(name, num_bands):
    pair = make_pair(3, (5, 4), num_bands=num_bands, num_guide_ch=2, dtype=torch.float32)
    result = build(name, upscale=3)(pair.lq, pair.rgb)
    assert result.shape == pair.gt.shape and result.isfinite().all()


@pytest.mark.parametrize('name', METHODS)
@pytest.mark.parametrize(('cube', 'guide'), [(0.0, 0.0), (0.0, 0.5), (0.5, 0.0), (0.3, 0.7)])
def test_flat_images_give_flat_results(name, cube, guide):
    lq, rgb = torch.full((1, 5, 6, 7), cube), torch.full((1, 3, 24, 28), guide)
    result = build(name, upscale=4)(lq, rgb)
    assert result.isfinite().all()
    if guide or not name.startswith('HySure'):  # a black guide says nothing, and the cube alone takes many steps
        assert result.std(dim=(2, 3)).max() < 1e-3
    # GSA and the pyramid take the level from the cube alone; the others believe both images
    if name.startswith(('GSA', 'MTFGLP')):
        torch.testing.assert_close(result, torch.full_like(result, cube), rtol=0, atol=1e-5)


@pytest.mark.parametrize('name', METHODS)
def test_half_flat_images_are_finite(name):
    pair = make_pair(4, (6, 7), dtype=torch.float32)
    lq, rgb = pair.lq.clone(), pair.rgb.clone()
    lq[..., 3:], rgb[..., 12:] = 0, 0
    lq[:, 2] = 0
    assert build(name, upscale=4)(lq, rgb).isfinite().all()


@pytest.mark.parametrize('name', METHODS)
def test_results_are_deterministic_and_of_each_image_alone(name):
    pairs = [make_pair(4, (6, 7), dtype=torch.float32, seed=seed) for seed in (0, 1)]
    lq, rgb = (torch.cat([getattr(pair, key) for pair in pairs]) for key in ('lq', 'rgb'))
    net = build(name, upscale=4)
    together = net(lq, rgb)
    torch.manual_seed(123)
    assert torch.equal(together, build(name, upscale=4)(lq, rgb))
    for number, pair in enumerate(pairs):
        assert torch.equal(net(pair.lq, pair.rgb)[0], together[number])


@pytest.mark.parametrize('name', METHODS)
def test_inputs_are_left_alone_and_several_scales_served(name):
    net = build(name, upscale=[2, 4])
    for scale in (2, 4):
        pair = make_pair(scale, (6, 7), dtype=torch.float32)
        lq, rgb = pair.lq.clone(), pair.rgb.clone()
        assert net(lq, rgb).shape == pair.gt.shape
        assert torch.equal(lq, pair.lq) and torch.equal(rgb, pair.rgb)


@pytest.mark.parametrize('name', METHODS)
def test_the_sensor_of_the_options_of_a_file_and_of_the_call_agree(name, tmp_path):
    block = {'preset': 'gaussian', 'sigma': 1.7}
    pair = make_pair(4, degradation=block, dtype=torch.float32)
    by_call = build(name, upscale=4)(pair.lq, pair.rgb, pair.sensor)
    pair.sensor.save(tmp_path / 'sensor.npz')
    by_file = build(name, upscale=4, degradation=str(tmp_path / 'sensor.npz'))(pair.lq, pair.rgb)
    assert torch.equal(by_call, by_file)
    by_options = build(name, upscale=4, degradation=block)(pair.lq, pair.rgb)
    if name.startswith(('GSA', 'MTFGLP')):  # which have no use for the response
        assert torch.equal(by_options, by_call)
    else:  # the response is fitted to the pair
        assert psnr(by_options, pair.gt) > min(psnr(by_call, pair.gt), 100) - 1
    wrong = build(name, upscale=4, degradation={'preset': 'strided'})(pair.lq, pair.rgb)
    assert not torch.equal(wrong, by_options)


@pytest.mark.parametrize('name', METHODS)
def test_knowing_the_displacement_helps(name):
    shifted = SensorModel.from_gaussian(4, 1.5, shift=(2.3, -1.6))
    pair = make_pair(4, (12, 12), dtype=torch.float32)
    lq = shifted.blur(pair.gt)
    net, aligned = build(name, upscale=4), SensorModel.from_gaussian(4, 1.5)
    assert psnr(net(lq, pair.rgb, shifted), pair.gt) > psnr(net(lq, pair.rgb, aligned), pair.gt) + 0.5


@pytest.mark.parametrize('name', METHODS)
def test_runs_in_the_plugins_inference(name):
    pair = make_pair(4, (6, 7), dtype=torch.float32)
    net = build(name, upscale=4)
    assert is_guided(net) and not is_bandwise(net) and not list(net.parameters()) and not net.state_dict()
    assert torch.equal(apply_network(net, pair.lq, pair.rgb, bands=[4, 1]), net(pair.lq, pair.rgb)[:, [4, 1]])


def test_refusals(tmp_path):
    pair = make_pair(4, (6, 7), dtype=torch.float32)
    with pytest.raises(ValueError, match='does not fit a cube of 6x7 at x8'):
        build('GSA', upscale=8)(pair.lq, pair.rgb)
    with pytest.raises(ValueError, match='sensor model is for x2, expected x4'):
        build('GSA', upscale=4)(pair.lq, pair.rgb, SensorModel.from_gaussian(2, 1))
    with pytest.raises(ValueError, match="preset is 'noise_fre'"):
        build('GSA', upscale=4, degradation='noise_fre')
    with pytest.raises(FileNotFoundError, match=r'absent\.npz'):
        build('GSA', upscale=4, degradation=str(tmp_path / 'absent.npz'))
    SensorModel.from_gaussian(2, 1).save(tmp_path / 'x2.npz')
    with pytest.raises(ValueError, match=r'x2\.npz is for x2, expected x4'):
        build('GSA', upscale=4, degradation=str(tmp_path / 'x2.npz'))
    for options, message in (
        ({'type': 'MTFGLP', 'injection': 'substitution'}, 'expected one of modulation, additive'),
        ({'type': 'CNMF', 'num_endmembers': 0}, 'num_endmembers is 0'),
        ({'type': 'CNMF', 'num_updates': 0}, 'num_updates is 0'),
        ({'type': 'CNMF', 'num_alternations': 0}, 'num_alternations is 0'),
        ({'type': 'HySure', 'num_components': 0}, 'num_components is 0'),
        ({'type': 'HySure', 'basis': 'pca'}, 'expected one of vca, svd'),
        ({'type': 'HySure', 'lambda_m': 0.0}, 'lambda_m is 0.0'),
        ({'type': 'HySure', 'num_iterations': 0}, 'num_iterations is 0'),
    ):
        with pytest.raises(ValueError, match=message):
            build_network(options)
