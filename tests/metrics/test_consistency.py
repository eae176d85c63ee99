from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mulsr_plugin.metrics.consistency import calculate_spatial_consistency, calculate_spectral_consistency
from tests.metrics.conftest import smooth_pair

RESPONSE = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])


@pytest.fixture(scope='module')
def result():
    return smooth_pair(24, 36, 3)[0].astype(np.float64)


@pytest.fixture(scope='module')
def lq(result):
    return result.reshape(8, 3, 12, 3, 3).mean((1, 3))


def test_block_means_by_default(result, lq):
    assert calculate_spectral_consistency(result, lq) == pytest.approx(0, abs=1e-16)
    assert calculate_spectral_consistency(result, lq + [0.3, -0.4, 0]) == pytest.approx(math.sqrt(0.25 / 3))
    assert calculate_spectral_consistency(255 * result, 255 * (lq + 0.1)) == pytest.approx(25.5)


def test_angle_in_degrees():
    degrees = 20
    result = np.broadcast_to([1.0, 0.0], (6, 8, 2))
    lq = np.broadcast_to([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], (3, 4, 2))
    assert calculate_spectral_consistency(result, lq, measure='sam') == pytest.approx(degrees)
    assert calculate_spectral_consistency(result, 0 * lq, measure='sam') == 0  # no direction, left out


def test_a_degradation_takes_bands_first(result):
    seen = []

    def corners(cube):
        seen.append(tuple(cube.shape))
        return cube[:, ::3, ::3]

    assert calculate_spectral_consistency(result, result[::3, ::3], degradation=corners) == 0
    assert seen == [(3, 24, 36)]
    as_array = calculate_spectral_consistency(result, result[::3, ::3] + 0.1, lambda cube: cube.numpy()[:, ::3, ::3])
    assert as_array == pytest.approx(0.1)


def test_border_of_the_low_resolution(result, lq):
    framed = lq.copy()
    framed[0] = framed[:, -1] = 1
    assert calculate_spectral_consistency(result, framed) > 0.1
    assert calculate_spectral_consistency(result, framed, crop_border=1) == pytest.approx(0, abs=1e-16)


def test_guide_of_the_result(result):
    guide = np.stack([result[..., :2].mean(-1), 0.25 * result[..., 1] + 0.75 * result[..., 2]], axis=-1)
    assert calculate_spatial_consistency(result, guide, RESPONSE) == pytest.approx(0, abs=1e-16)
    assert calculate_spatial_consistency(result, guide + [0.3, -0.4], RESPONSE) == pytest.approx(math.sqrt(0.25 / 2))
    assert calculate_spatial_consistency(result, guide - 0.1, RESPONSE, measure='psnr') == pytest.approx(20)
    guide[0] = 1
    assert calculate_spatial_consistency(result, guide, RESPONSE, crop_border=1) == pytest.approx(0, abs=1e-16)
    pan = result[..., 0]
    assert calculate_spatial_consistency(result, pan, np.array([[1, 0, 0]])) == 0


def test_rows_of_a_large_image_join(result, monkeypatch):
    expected = calculate_spatial_consistency(result, result[..., :2], RESPONSE)
    monkeypatch.setattr('mulsr_plugin.metrics.consistency.strip_budget', lambda device: 1)
    assert calculate_spatial_consistency(result, result[..., :2], RESPONSE) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_as_its_exact_values(result, lq, dtype):
    half, low = (torch.from_numpy(cube).to(dtype) for cube in (result, lq))
    assert calculate_spectral_consistency(half, low) == calculate_spectral_consistency(half.float(), low.float())
    guide = half[..., :2]
    values = [calculate_spatial_consistency(cube, guide, RESPONSE) for cube in (half, half.float())]
    assert values[0] == values[1] > 0


def test_wrong_use_is_refused(result, lq):
    with pytest.raises(ValueError, match="measure is 'psnr'; expected 'rmse' or 'sam'"):
        calculate_spectral_consistency(result, lq, measure='psnr')
    with pytest.raises(ValueError, match="measure is 'sam'; expected 'rmse' or 'psnr'"):
        calculate_spatial_consistency(result, result[..., :2], RESPONSE, measure='sam')
    with pytest.raises(ValueError, match=r'lq has shape \(7, 12, 3\)'):
        calculate_spectral_consistency(result, lq[1:])
    with pytest.raises(ValueError, match=r'made \(3, 12, 18\) of \(3, 24, 36\); expected \(3, 8, 12\)'):
        calculate_spectral_consistency(result, lq, degradation=lambda cube: cube[:, ::2, ::2])
    with pytest.raises(ValueError, match=r'response has shape \(2, 3\); expected \(3, 3\)'):
        calculate_spatial_consistency(result, result, RESPONSE)
    with pytest.raises(ValueError, match='rgb has 24 x 35 pixels'):
        calculate_spatial_consistency(result, result[:, 1:, :2], RESPONSE)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_bad_values_are_named(result, lq, value):
    spoiled = result.copy()
    spoiled[1, 2, 0] = value
    with pytest.raises(ValueError, match='^img contains NaN'):
        calculate_spectral_consistency(spoiled, lq)
    with pytest.raises(ValueError, match='^img contains NaN'):
        calculate_spatial_consistency(spoiled, result[..., :2], RESPONSE)
    low = lq.copy()
    low[1, 2, 0] = value
    with pytest.raises(ValueError, match='^lq contains NaN'):
        calculate_spectral_consistency(result, low)
    with pytest.raises(ValueError, match='^rgb contains NaN'):
        calculate_spatial_consistency(result, spoiled[..., :2], RESPONSE)
