from __future__ import annotations

import numpy as np
import pytest

from mulsr_plugin.metrics.rmse import calculate_rmse


def test_authors_number(golden):
    result, reference, numbers = golden
    assert calculate_rmse(result, reference) == pytest.approx(numbers['rmse'], abs=1e-7)


def test_closed_form():
    reference = np.zeros((2, 2, 1))
    result = np.array([[0.1, -0.1], [0.5, 0.7]])[..., None]
    assert calculate_rmse(result, reference) == pytest.approx(np.sqrt((0.01 + 0.01 + 0.25 + 0.49) / 4))


def test_scales_with_the_unit(pair):
    result, reference = (255 * cube.astype(np.float64) for cube in pair)
    assert calculate_rmse(result, reference) == pytest.approx(255 * calculate_rmse(*pair), rel=1e-9)
