from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import spectral_angle_mapper as torchmetrics_sam

from mulsr_plugin.metrics.sam import calculate_sam


def test_authors_number(golden):
    result, reference, numbers = golden
    authors = calculate_sam(result, reference, zero_spectra='authors')
    assert authors == pytest.approx(numbers['sam_degrees'], abs=1e-3)
    assert calculate_sam(result, reference) != pytest.approx(authors, abs=1e-2)


def test_equals_torchmetrics(pair):
    result, reference = (cube.astype(np.float64) + 0.01 for cube in pair)
    tensors = [torch.from_numpy(cube).permute(2, 0, 1)[None] for cube in (result, reference)]
    assert calculate_sam(result, reference) == pytest.approx(math.degrees(float(torchmetrics_sam(*tensors))), abs=1e-9)


@pytest.mark.parametrize('degrees', [1e-3, 0.5, 30.0, 90.0, 120.0, 180.0])
def test_known_angle(degrees):
    angle = math.radians(degrees)
    result = np.broadcast_to([math.cos(angle), math.sin(angle), 0.0], (4, 3, 3))
    reference = np.broadcast_to([1.0, 0.0, 0.0], (4, 3, 3))
    assert calculate_sam(result, reference) == pytest.approx(degrees, abs=1e-6)


@pytest.mark.parametrize('factor', [1e-30, 1e-3, 1e3, 1e30])
def test_brightness_does_not_matter(pair, factor):
    result, reference = pair
    expected = calculate_sam(result, reference)
    assert calculate_sam(result * np.float32(factor), reference) == pytest.approx(expected, abs=1e-5)


def test_single_precision_resolves_small_angles():
    reference = np.tile(np.float32([1.0, 0.0]), (5, 5, 1))
    result = reference + np.float32([0.0, 1e-4])
    assert calculate_sam(result, reference) == pytest.approx(math.degrees(1e-4), rel=1e-5)


def test_zero_spectra():
    reference = np.ones((1, 4, 2))
    result = np.tile([1.0, 0.0], (1, 4, 1))
    result[0, 0] = 0
    reference[0, 1] = 0
    assert calculate_sam(result, reference) == pytest.approx(45.0)
    # With zeros as eps, and eps added to the norms: cosines 2 eps / 3 eps, eps / (sqrt(2) eps + eps), twice sqrt(1/2).
    expected = (math.degrees(math.acos(2 / 3)) + math.degrees(math.acos(math.sqrt(2) - 1)) + 2 * 45) / 4
    assert calculate_sam(result, reference, zero_spectra='authors') == pytest.approx(expected, abs=1e-9)


def test_authors_rule_scores_identical_cubes_slightly_above_zero(pair):
    assert 0 < calculate_sam(pair[1], pair[1], zero_spectra='authors') < 0.01


def test_black_scene_leaves_no_pixel():
    black = np.zeros((4, 4, 3), np.float32)
    assert calculate_sam(black, black) == 0.0
    assert calculate_sam(black + 1, black) == 0.0


def test_unknown_rule_is_refused(pair):
    with pytest.raises(ValueError, match="zero_spectra is 'drop'; expected 'exclude' or 'authors'"):
        calculate_sam(*pair, zero_spectra='drop')
