from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from mulsr_plugin.metrics.ssim import calculate_hsi_ssim
from tests.metrics.conftest import smooth_pair


def skimage_ssim(result, reference):
    values = []
    for band in range(result.shape[-1]):
        first, second = (cube[..., band].astype(np.float64) for cube in (result, reference))
        options = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False, 'data_range': 1}
        values.append(structural_similarity(first, second, full=True, **options)[1][5:-5, 5:-5].mean())
    return np.mean(values)


def test_authors_number(golden):
    result, reference, numbers = golden
    assert calculate_hsi_ssim(result, reference) == pytest.approx(numbers['ssim'], abs=1e-5)


@pytest.mark.parametrize('shape', [(11, 11, 1), (11, 30, 3), (45, 70, 7), (64, 64, 31), (40, 300, 128)])
def test_equals_skimage(shape):
    result, reference = smooth_pair(*shape)
    expected = skimage_ssim(result, reference)
    assert calculate_hsi_ssim(result, reference) == pytest.approx(expected, abs=1e-6)
    doubles = (cube.astype(np.float64) for cube in (result, reference))
    assert calculate_hsi_ssim(*doubles) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('level', [0.0, 0.02, 0.5, 1.0])
def test_single_precision_survives_flat_areas(level):
    # The variance of little noise on a bright area is the small difference of two large numbers.
    rng = np.random.default_rng(1)
    reference = level + 1e-3 * rng.standard_normal((64, 64, 5)).astype(np.float32)
    result = reference + 3e-3 * rng.standard_normal(reference.shape).astype(np.float32)
    assert calculate_hsi_ssim(result, reference) == pytest.approx(skimage_ssim(result, reference), abs=2e-6)


def test_flat_images_compare_their_means():
    reference = np.full((12, 13, 2), 0.6)
    c1 = 0.01**2
    expected = (2 * 0.6 * 0.3 + c1) / (0.6**2 + 0.3**2 + c1)
    assert calculate_hsi_ssim(reference / 2, reference) == pytest.approx(expected, abs=1e-12)


def test_symmetric(pair):
    assert calculate_hsi_ssim(*pair) == pytest.approx(calculate_hsi_ssim(*pair[::-1]), abs=1e-9)


@pytest.mark.parametrize('error', [1e3, 1e30])
def test_diverged_result_is_dissimilar_not_undefined(pair, error):
    assert calculate_hsi_ssim(pair[0] * np.float32(error), pair[1]) == pytest.approx(0, abs=0.02)
