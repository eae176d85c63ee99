"""The value of every metric on degenerate cubes; docs/metrics.md has the same table."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from skimage.metrics import structural_similarity

import mulsr_plugin
from tests.metrics.conftest import smooth_pair

REFERENCE = ('hsi_psnr', 'mpsnr', 'hsi_ssim', 'sam', 'rmse', 'ergas', 'cc', 'uiqi', 'q2n')
NO_REFERENCE = ('d_lambda', 'd_s', 'qnr', 'spectral_consistency', 'spatial_consistency')
METRICS = REFERENCE + NO_REFERENCE


@pytest.fixture(scope='module', autouse=True)
def registered():
    mulsr_plugin.register()


def low(cube):
    return cube.reshape(8, 4, 8, 4, -1).mean((1, 3), dtype=np.float64).astype(cube.dtype)


def measure(name, img, img2, num_channels=2, **options):
    """Measure 32 x 32 cubes; the guide is the first bands of the reference, the input its block means."""
    num_channels = min(num_channels, img.shape[2])
    data = {'img': img, 'img2': img2, 'lq': low(img2), 'rgb': img2[..., :num_channels]}
    data['response'] = np.eye(num_channels, img.shape[2])
    return calculate_metric(data, {'type': f'calculate_{name}', 'scale': 4, **options})


def flat(value, num_bands=3, dtype=np.float64):
    return np.full((32, 32, num_bands), value, dtype)


BLACK = dict(zip(METRICS, (math.inf, math.inf, 1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 0, 0)))


@pytest.mark.parametrize('dtype', [np.float16, np.float32, np.float64, np.uint16])
@pytest.mark.parametrize('name', METRICS)
def test_black_scene_reproduced(name, dtype):
    assert measure(name, flat(0, dtype=dtype), flat(0, dtype=dtype)) == pytest.approx(BLACK[name], abs=1e-12)


# Result 0.6, reference 0.5, bands equal. Flat windows compare their means: 2xy / (x^2 + y^2).
CONSTANT = {
    'hsi_psnr': 20,
    'mpsnr': 20,
    'hsi_ssim': (2 * 0.6 * 0.5 + 1e-4) / (0.36 + 0.25 + 1e-4),
    'sam': 0,
    'rmse': 0.1,
    'ergas': 25 * 0.2,
    'cc': 1,
    'uiqi': 0.6 / 0.61,
    'q2n': 2 * math.sqrt(4.63 * 4) / 8.63,  # shifted to 1.1 and 1, one padding band of 1
    'd_lambda': 0,
    'd_s': 1 - 0.6 / 0.61,
    'qnr': 0.6 / 0.61,
    'spectral_consistency': 0.1,
    'spatial_consistency': 0.1,
}


@pytest.mark.parametrize('name', METRICS)
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_constant_cubes(name, dtype):
    value = measure(name, flat(0.6, dtype=dtype), flat(0.5, dtype=dtype))
    assert value == pytest.approx(CONSTANT[name], abs=1e-4 if name == 'sam' else 1e-5 if dtype == np.float32 else 1e-9)


@pytest.fixture(scope='module')
def scene():
    return [cube.astype(np.float64) + 0.1 for cube in smooth_pair(32, 32, 3)]


@pytest.mark.parametrize('name', METRICS)
def test_black_result(name, scene):
    _, reference = scene
    energy = np.square(reference).mean((0, 1))
    spectral = math.sqrt(np.square(low(reference)).mean())
    expected = {
        'hsi_psnr': -10 * math.log10(energy.mean()),
        'mpsnr': np.mean(-10 * np.log10(energy)),
        'sam': 0,  # no pixel has an angle
        'rmse': math.sqrt(energy.mean()),
        'ergas': 25 * math.sqrt((energy / np.square(reference.mean((0, 1)))).mean()),
        'cc': 0,
        'uiqi': 0,
        'q2n': 0,
        'spectral_consistency': spectral,
        'spatial_consistency': math.sqrt(energy[:2].mean()),
    }
    value = measure(name, 0 * reference, reference)
    if name in expected:
        assert value == pytest.approx(expected[name], abs=1e-9)
    else:
        assert 0 <= value <= 1


@pytest.mark.parametrize('name', METRICS)
def test_black_reference(name, scene):
    result, _ = scene
    value = measure(name, result, 0 * result)
    if name == 'ergas':
        assert value == math.inf  # errors relative to a mean of zero
    else:
        assert math.isfinite(value)


# What a factor common to both cubes does, beyond the metrics in whose formula it cancels.
def scaled(name, value, factor):
    if name in ('hsi_psnr', 'mpsnr'):
        return value - 20 * math.log10(factor)
    if name in ('rmse', 'spectral_consistency', 'spatial_consistency'):
        return value * factor
    return value


@pytest.mark.parametrize('factor', [1e-30, 1e30])
@pytest.mark.parametrize('dtype', [np.float32, np.float64])
@pytest.mark.parametrize('name', METRICS)
def test_tiny_and_huge_cubes(name, dtype, factor, scene):
    cubes = [(factor * cube).astype(dtype) for cube in scene]
    value = measure(name, *cubes)
    if name != 'hsi_ssim':
        assert value == pytest.approx(scaled(name, measure(name, *scene), factor), rel=1e-5)
    elif factor < 1:
        assert value == pytest.approx(1, abs=1e-12)  # nothing differs by a visible amount
    else:
        options = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False, 'data_range': 1}
        bands = [[cube[..., band].astype(np.float64) for cube in cubes] for band in range(3)]
        maps = [structural_similarity(*band, full=True, **options)[1][5:-5, 5:-5] for band in bands]
        assert value == pytest.approx(np.mean(maps), abs=1e-6)


@pytest.mark.parametrize('name', METRICS)
def test_magnitudes_that_would_overflow_are_refused(name, scene):
    with pytest.raises(ValueError, match=r'^img reaches .*e\+80, and metrics are computed up to 1e\+70'):
        measure(name, 1e80 * scene[0], scene[1])
    with pytest.raises(ValueError, match='^img2 reaches' if name in REFERENCE else '^(lq|rgb) reaches'):
        measure(name, scene[0], -1e80 * scene[1])


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
@pytest.mark.parametrize('name', METRICS)
def test_half_precision_counts_as_its_exact_values(name, dtype, scene):
    halves = [torch.from_numpy(cube).to(dtype) for cube in scene]
    data = {'img': halves[0], 'img2': halves[1], 'lq': halves[1][:8, :8], 'rgb': halves[1][..., :2]}
    exact = {key: cube.float() for key, cube in data.items()}
    values = [
        calculate_metric({**images, 'response': np.eye(2, 3)}, {'type': f'calculate_{name}', 'scale': 4})
        for images in (data, exact)
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize('name', METRICS)
def test_overflow_of_half_precision_is_refused(name, scene):
    overflown = (1e6 * torch.from_numpy(scene[0])).half()
    with pytest.raises(ValueError, match='^img contains NaN or infinite values'):
        measure(name, overflown, scene[1])


@pytest.mark.parametrize('name', METRICS)
def test_one_band(name, scene):
    value = measure(name, *(cube[..., :1] for cube in scene))
    if name in ('sam', 'd_lambda'):  # positive numbers point the same way, and there are no pairs
        assert value == pytest.approx(0, abs=1e-6)
    elif name == 'mpsnr':
        assert value == pytest.approx(measure('hsi_psnr', *(cube[..., :1] for cube in scene)))
    elif name == 'qnr':
        assert value == pytest.approx(1 - measure('d_s', *(cube[..., :1] for cube in scene)))
    else:
        assert math.isfinite(value)


@pytest.mark.parametrize('name', METRICS)
def test_one_dead_band(name, scene):
    cubes = [cube.copy() for cube in scene]
    for cube in cubes:
        cube[..., 1] = 0
    value = measure(name, *cubes)
    assert value == math.inf if name == 'mpsnr' else math.isfinite(value)


@pytest.mark.parametrize('name', METRICS)
def test_negative_values_are_measured(name, scene):
    # Outputs of a network that nobody has clamped.
    assert math.isfinite(measure(name, scene[0] - 0.3, scene[1]))
