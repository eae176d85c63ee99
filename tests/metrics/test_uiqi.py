from __future__ import annotations

import numpy as np
import pytest

from mulsr_plugin.metrics.uiqi import calculate_uiqi


def direct_uiqi(result, reference):
    """Take every 8 x 8 block in turn and evaluate Q with NumPy's moments."""
    values = []
    for band in range(result.shape[-1]):
        x, y = (cube[..., band].astype(np.float64) for cube in (result, reference))
        for top in range(x.shape[0] - 7):
            for left in range(x.shape[1] - 7):
                a, b = x[top : top + 8, left : left + 8].ravel(), y[top : top + 8, left : left + 8].ravel()
                covariance = np.cov(a, b)
                spread, means = covariance[0, 0] + covariance[1, 1], a.mean() ** 2 + b.mean() ** 2
                values.append(4 * covariance[0, 1] * a.mean() * b.mean() / (spread * means))
    return np.mean(values)


def test_equals_direct_form(pair):
    result, reference = pair[0][:20, :25, :3], pair[1][:20, :25, :3] + np.float32(0.1)
    assert calculate_uiqi(result, reference) == pytest.approx(direct_uiqi(result, reference), abs=1e-10)


def test_known_values():
    reference = np.random.default_rng(3).random((8, 8, 1)) + 1
    # One block; for y = 2x: 4 * 2 * 2 / ((1 + 4) (1 + 4)).
    assert calculate_uiqi(2 * reference, reference) == pytest.approx(16 / 25, abs=1e-12)
    assert calculate_uiqi(-reference, reference) == pytest.approx(1, abs=1e-12)
    # Equal means and variances, opposite signs of the deviation.
    assert calculate_uiqi(2 * reference.mean() - reference, reference) == pytest.approx(-1, abs=1e-12)


@pytest.mark.parametrize('dtype', [np.float32, np.float64])
def test_flat_blocks_compare_their_means(dtype):
    flat = np.full((9, 10, 2), 0.1, dtype)
    assert calculate_uiqi(3 * flat, flat) == pytest.approx(2 * 3 / (1 + 9), abs=1e-6)


def test_black_scene():
    black = np.zeros((10, 10, 2), np.float32)
    assert calculate_uiqi(black, black) == 1.0
    assert calculate_uiqi(black + 0.5, black) == 0.0


def test_common_scale_cancels(pair):
    result, reference = pair
    expected = calculate_uiqi(result, reference)
    assert calculate_uiqi(1e-20 * result, 1e-20 * reference) == pytest.approx(expected, abs=1e-5)
