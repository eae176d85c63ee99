"""What holds for every metric: kinds of input, invariants, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY

import mulsr_plugin

PERFECT = {
    'calculate_hsi_psnr': math.inf,
    'calculate_mpsnr': math.inf,
    'calculate_hsi_ssim': 1.0,
    'calculate_sam': 0.0,
    'calculate_ergas': 0.0,
    'calculate_rmse': 0.0,
    'calculate_cc': 1.0,
    'calculate_uiqi': 1.0,
    'calculate_q2n': pytest.approx(1.0, abs=1e-12),
}
WINDOWS = {'calculate_hsi_ssim': 11, 'calculate_uiqi': 8, 'calculate_q2n': 32}
METRICS = list(PERFECT)


@pytest.fixture(scope='module', autouse=True)
def registered():
    mulsr_plugin.register()


def measure(name, img, img2, **options):
    # BasicSR's own call, with keys that only some metrics know.
    return calculate_metric({'img': img, 'img2': img2}, {'type': name, 'scale': 8, 'better': 'lower', **options})


def test_every_metric_is_registered_under_its_name():
    for name in METRICS:
        assert METRIC_REGISTRY.get(name).__name__ == name


@pytest.mark.parametrize('name', METRICS)
def test_identical_cubes(name, pair):
    for cube in pair:
        assert measure(name, cube, cube.copy()) == PERFECT[name]


@pytest.mark.parametrize('name', METRICS)
def test_identical_black_cubes(name):
    black = np.zeros((32, 33, 3), np.float32)
    assert measure(name, black, black) == PERFECT[name]


@pytest.mark.parametrize('name', METRICS)
def test_returns_the_same_plain_float_every_time(name, pair):
    value = measure(name, *pair)
    assert type(value) is float
    assert measure(name, *pair) == value != PERFECT[name]


@pytest.mark.parametrize('name', METRICS)
def test_arguments_are_not_changed(name, pair):
    img, img2 = (cube.copy() for cube in pair)
    img[:3, :3] = img2[1:2] = 0
    before = img.copy(), img2.copy()
    options = {'zero_spectra': 'authors'} if name == 'calculate_sam' else {}
    measure(name, img, img2, **options)
    tensors = torch.from_numpy(img), torch.from_numpy(img2)
    measure(name, *tensors, **options)
    np.testing.assert_array_equal(img, before[0])
    np.testing.assert_array_equal(img2, before[1])


@pytest.mark.parametrize('name', METRICS)
def test_memory_layout_and_container_do_not_matter(name, pair):
    img, img2 = pair
    expected = pytest.approx(measure(name, img, img2), rel=1e-6)
    read_only = img.copy()
    read_only.flags.writeable = False
    bands_first = np.ascontiguousarray(img.transpose(2, 0, 1)).transpose(1, 2, 0)
    every_second = np.repeat(img, 2, axis=1)[:, ::2]
    reversed_twice = np.ascontiguousarray(img[::-1])[::-1]
    big_endian = img.astype('>f4')
    for view in (read_only, bands_first, every_second, reversed_twice, big_endian, img.astype(np.longdouble)):
        assert measure(name, view, img2) == expected
    assert measure(name, torch.from_numpy(img).requires_grad_(), img2) == expected
    assert measure(name, torch.from_numpy(bands_first), torch.from_numpy(img2)) == expected


@pytest.mark.parametrize('name', METRICS)
@pytest.mark.filterwarnings('error')
def test_reading_a_read_only_array_warns_nobody(name, pair):
    img = pair[0].copy()
    img.flags.writeable = False
    measure(name, img, pair[1])


@pytest.mark.parametrize('name', METRICS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_as_its_exact_values(name, dtype, pair):
    img = torch.from_numpy(pair[0]).to(dtype)
    assert measure(name, img, pair[1]) == measure(name, img.float(), pair[1])


@pytest.mark.parametrize('name', METRICS)
def test_a_matrix_is_one_band(name, pair):
    img, img2 = (cube[..., 3] for cube in pair)
    expected = measure(name, img[..., None], img2[..., None])
    assert measure(name, img, img2) == pytest.approx(expected)
    if name == 'calculate_sam':
        assert expected == pytest.approx(0, abs=1e-9)  # two positive numbers point the same way


@pytest.mark.parametrize('name', [name for name in METRICS if name != 'calculate_q2n'])
def test_order_of_bands_does_not_matter(name, pair):
    order = [3, 0, 6, 5, 1, 2, 4]
    expected = measure(name, *pair)
    assert measure(name, *(cube[..., order] for cube in pair)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize('name', METRICS)
def test_crop_border_drops_pixels_on_each_side(name, pair):
    inner = [cube[5:-5, 5:-5] for cube in pair]
    assert measure(name, *pair, crop_border=5) == pytest.approx(measure(name, *inner), rel=1e-12)


@pytest.mark.parametrize('name', METRICS)
def test_strips_of_a_large_image_join_without_seams(name, monkeypatch):
    rng = np.random.default_rng(4)
    img2 = rng.random((70, 40, 3))
    img = img2 + 0.1 * rng.random(img2.shape)
    expected = measure(name, img, img2)
    # This image is a single strip; a budget of one value cuts it into the smallest strips, as a very wide one is.
    monkeypatch.setattr('mulsr_plugin.metrics._cubes.strip_budget', lambda device: 1)
    assert measure(name, img, img2) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize('name', METRICS)
def test_worse_result_scores_worse(name, pair):
    img, img2 = (cube.astype(np.float64) + 0.1 for cube in pair)
    better, worse = measure(name, img, img2), measure(name, img2 + 2 * (img - img2), img2)
    if name in ('calculate_sam', 'calculate_ergas', 'calculate_rmse'):
        assert better < worse
    else:
        assert better > worse


@pytest.mark.parametrize('name', METRICS)
def test_different_shapes_are_both_named(name, pair):
    with pytest.raises(ValueError, match=r'img has shape \(45, 69, 7\) and img2 has shape \(45, 70, 7\)'):
        measure(name, pair[0][:, :-1], pair[1])


@pytest.mark.parametrize('name', METRICS)
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_non_finite_values_are_refused(name, value, pair):
    for position, argument in enumerate(('img', 'img2')):
        cubes = [cube.copy() for cube in pair]
        cubes[position][7, 20, 2] = value
        with pytest.raises(ValueError, match=f'^{argument} contains NaN or infinite values'):
            measure(name, *cubes)


@pytest.mark.parametrize('name', METRICS)
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int32])
def test_unscaled_integers_are_refused(name, dtype, pair):
    stored = (pair[1] * 200).astype(dtype)
    with pytest.raises(ValueError, match=rf'img2 holds {np.dtype(dtype)} values .* divide by the full scale'):
        measure(name, pair[0], stored)


def test_integers_in_range_are_accepted(pair):
    mask = (pair[1] > 0.5).astype(np.uint16)
    expected = measure('calculate_rmse', pair[0], mask.astype(np.float32))
    assert measure('calculate_rmse', pair[0], mask) == pytest.approx(expected)
    assert measure('calculate_rmse', pair[0], mask.astype(bool)) == pytest.approx(expected)


@pytest.mark.parametrize('name', METRICS)
def test_the_smallest_image(name):
    side = WINDOWS.get(name, 2)
    rng = np.random.default_rng(5)
    img, img2 = rng.random((2, side, side + 1, 3))
    assert math.isfinite(measure(name, img, img2))
    if name in WINDOWS:
        with pytest.raises(ValueError, match=rf"{side - 1} x {side + 1} pixels .* metric's {side} x {side} window"):
            measure(name, img[1:], img2[1:])


@pytest.mark.parametrize('crop_border', [-1, 23, 1000])
def test_impossible_crop_border_is_refused(crop_border, pair):
    with pytest.raises(ValueError, match=rf'crop_border is {crop_border} .* must lie in 0\.\.22'):
        measure('calculate_rmse', *pair, crop_border=crop_border)


@pytest.mark.parametrize('shape', [(5,), (1, 4, 4, 3), (0, 4, 3)])
def test_what_is_no_cube_is_refused(shape):
    with pytest.raises(ValueError, match=r'expected \(H, W, L\)'):
        measure('calculate_rmse', np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize('dtype', [np.complex64, object, 'U1'])
def test_other_than_real_numbers_are_refused(dtype):
    with pytest.raises(ValueError, match='^img (is|has dtype)'):
        measure('calculate_rmse', np.zeros((4, 4, 2)).astype(dtype), np.zeros((4, 4, 2)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')
@pytest.mark.parametrize('name', METRICS)
def test_cuda_equals_cpu(name, pair):
    img, img2 = (torch.from_numpy(cube).cuda() for cube in pair)
    assert measure(name, img, img2) == pytest.approx(measure(name, *pair), rel=1e-6)
    assert measure(name, img, img2.cpu()) == pytest.approx(measure(name, *pair), rel=1e-6)
