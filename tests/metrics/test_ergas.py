from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import error_relative_global_dimensionless_synthesis as torchmetrics_ergas

from mulsr_plugin.metrics.ergas import calculate_ergas


def test_authors_number(golden):
    result, reference, numbers = golden
    assert calculate_ergas(result, reference, scale=8) == pytest.approx(numbers['ergas_x8'], abs=1e-5)


@pytest.mark.parametrize('scale', [4, 8, 16])
def test_equals_torchmetrics(pair, scale):
    result, reference = (torch.from_numpy(cube).double().permute(2, 0, 1)[None] for cube in pair)
    expected = float(torchmetrics_ergas(result, reference, ratio=scale))
    assert calculate_ergas(*pair, scale=scale) == pytest.approx(expected, rel=1e-9)


def test_closed_form_divides_by_the_mean_of_the_reference():
    reference = np.full((3, 4, 2), [0.5, 0.2])
    result = reference + [0.1, -0.1]
    # Relative errors 0.1 / 0.5 and 0.1 / 0.2; swapped, the means are 0.6 and 0.1.
    assert calculate_ergas(result, reference, scale=4) == pytest.approx(25 * np.sqrt((0.04 + 0.25) / 2))
    assert calculate_ergas(reference, result, scale=4) == pytest.approx(25 * np.sqrt((1 / 36 + 1) / 2))


def test_common_scale_cancels(pair):
    result, reference = pair
    expected = calculate_ergas(result, reference, scale=8)
    assert calculate_ergas(1e-20 * result, 1e-20 * reference, scale=8) == pytest.approx(expected, rel=1e-5)


def test_band_with_zero_mean(pair):
    result, reference = pair[0].copy(), pair[1].copy()
    reference[..., 2] = 0
    assert calculate_ergas(result, reference, scale=8) == np.inf
    result[..., 2] = 0
    others = [0, 1, 3, 4, 5, 6]
    expected = calculate_ergas(result[..., others], reference[..., others], scale=8) * np.sqrt(6 / 7)
    assert calculate_ergas(result, reference, scale=8) == pytest.approx(expected)


@pytest.mark.parametrize('options', [{}, {'scale': 0}, {'scale': -8}, {'scale': float('nan')}])
def test_scale_is_needed(pair, options):
    with pytest.raises(ValueError, match='ratio of the two resolutions'):
        calculate_ergas(*pair, **options)
