from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from mulsr_plugin.metrics.psnr import calculate_hsi_psnr, calculate_mpsnr


def test_authors_number(golden):
    result, reference, numbers = golden
    assert calculate_hsi_psnr(result, reference) == pytest.approx(numbers['psnr'], abs=1e-5)


def test_known_decibels():
    reference = np.full((4, 5, 2), 0.5)
    assert calculate_hsi_psnr(reference + 0.1, reference) == pytest.approx(20.0)
    # Errors 0.1 and 0.01: 20 and 40 dB per band, but one mean squared error of 0.00505 over the cube.
    result = reference + [0.1, 0.01]
    assert calculate_mpsnr(result, reference) == pytest.approx(30.0)
    assert calculate_hsi_psnr(result, reference) == pytest.approx(-10 * math.log10(0.00505))


def test_equals_skimage(pair):
    result, reference = (cube.astype(np.float64) for cube in pair)
    assert calculate_hsi_psnr(*pair) == pytest.approx(
        peak_signal_noise_ratio(reference, result, data_range=1), abs=1e-9
    )
    bands = [peak_signal_noise_ratio(reference[..., b], result[..., b], data_range=1) for b in range(result.shape[-1])]
    assert calculate_mpsnr(*pair) == pytest.approx(np.mean(bands), abs=1e-9)


def test_one_perfect_band_makes_the_mean_over_bands_infinite(pair):
    result, reference = pair[0].copy(), pair[1]
    result[..., 0] = reference[..., 0]
    assert calculate_mpsnr(result, reference) == math.inf
    assert math.isfinite(calculate_hsi_psnr(result, reference))


@pytest.mark.parametrize('error', [1e-30, 1e30])
def test_extreme_single_precision_errors_are_measured(error):
    result = np.full((3, 4, 2), error, np.float32)
    expected = -20 * math.log10(error)
    assert calculate_hsi_psnr(result, np.zeros_like(result)) == pytest.approx(expected, rel=1e-6)
