from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from torchmetrics.functional.image import (
    quality_with_no_reference,
    spatial_distortion_index,
    spectral_distortion_index,
)

from mulsr_plugin.metrics.qnr import calculate_d_lambda, calculate_d_s, calculate_qnr
from tests.metrics.conftest import smooth_pair


def block_means(cube, scale):
    height, width, num_bands = cube.shape
    return cube.reshape(height // scale, scale, width // scale, scale, num_bands).mean((1, 3))


def make_images(height, width, num_bands, num_channels=1, scale=4):
    """Result, low-resolution cube and guide, float64; brighter than 0, as torchmetrics has no rule for black."""
    result, scene = (cube.astype(np.float64) + 0.05 for cube in smooth_pair(height, width, num_bands))
    noise = 0.01 * np.random.default_rng(1).standard_normal((height, width, num_channels))
    return result, block_means(scene, scale), scene[..., ::-1][..., :num_channels] + noise


@pytest.fixture(scope='module')
def images():
    return make_images(64, 80, 7)


def batch(cube):
    """As torchmetrics wants it: (1, L, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(cube.transpose(2, 0, 1)))[None]


def guides(guide, scale, num_bands):
    """Guide and low-resolution guide as torchmetrics wants them: once for every band."""
    return [batch(np.repeat(cube, num_bands, axis=2)) for cube in (guide, block_means(guide, scale))]


@pytest.mark.parametrize('exponent', [1, 2, 3])
def test_equals_torchmetrics_with_its_window(images, exponent):
    result, lq, guide = images
    # it keeps the values of Q in single precision
    expected = float(spectral_distortion_index(batch(result), batch(lq), p=exponent))
    assert calculate_d_lambda(result, lq, p=exponent, window='gaussian') == pytest.approx(expected, rel=1e-5)
    expected = float(spatial_distortion_index(batch(result), batch(lq), *guides(guide, 4, 7), norm_order=exponent))
    assert calculate_d_s(result, lq, guide, q=exponent, window='gaussian') == pytest.approx(expected, rel=1e-5)
    expected = float(
        quality_with_no_reference(batch(result), batch(lq), *guides(guide, 4, 7), norm_order=exponent, alpha=2, beta=3)
    )
    value = calculate_qnr(result, lq, guide, p=exponent, q=exponent, alpha=2, beta=3, window='gaussian')
    assert value == pytest.approx(expected, rel=1e-5)


def test_equals_torchmetrics_on_a_real_pair(real_data):
    scene = loadmat(real_data / 'WorldView2' / 'imgWV2.mat')
    lq = scene['I_MS'][100:124, 100:132].astype(np.float64)
    guide = scene['I_PAN'][400:496, 400:528, None].astype(np.float64)
    result = lq.repeat(4, axis=0).repeat(4, axis=1) * guide / block_means(guide, 4).repeat(4, axis=0).repeat(4, axis=1)
    expected = float(quality_with_no_reference(batch(result), batch(lq), *guides(guide, 4, 8)))
    value = calculate_qnr(result, lq, guide, window='gaussian')
    assert value == pytest.approx(expected, rel=1e-5)
    assert 0.5 < value < 1


def direct_q(x, y, side):
    """Take every block in turn and evaluate Q with NumPy's moments."""
    values = []
    for top, left in itertools.product(range(x.shape[0] - side + 1), range(x.shape[1] - side + 1)):
        a, b = (band[top : top + side, left : left + side].ravel() for band in (x, y))
        covariance = np.cov(a, b)
        spread, means = covariance[0, 0] + covariance[1, 1], a.mean() ** 2 + b.mean() ** 2
        values.append(4 * covariance[0, 1] * a.mean() * b.mean() / (spread * means))
    return np.mean(values)


@pytest.mark.parametrize(('side', 'exponent'), [(8, 1), (4, 2.5)])
def test_equals_direct_form(side, exponent):
    result, lq, guide = make_images(24, 20, 3, num_channels=2, scale=2)
    low_guide = block_means(guide, 2)
    changes = [
        abs(direct_q(result[..., i], result[..., j], side) - direct_q(lq[..., i], lq[..., j], side)) ** exponent
        for i, j in itertools.permutations(range(3), 2)
    ]
    d_lambda = np.mean(changes) ** (1 / exponent)
    assert calculate_d_lambda(result, lq, p=exponent, window=side) == pytest.approx(d_lambda, rel=1e-9)
    changes = [
        abs(direct_q(result[..., i], guide[..., g], side) - direct_q(lq[..., i], low_guide[..., g], side)) ** exponent
        for i, g in itertools.product(range(3), range(2))
    ]
    d_s = np.mean(changes) ** (1 / exponent)
    assert calculate_d_s(result, lq, guide, q=exponent, window=side) == pytest.approx(d_s, rel=1e-9)
    expected = (1 - d_lambda) ** 2 * (1 - d_s) ** 0.5
    options = {'p': exponent, 'q': exponent, 'alpha': 2, 'beta': 0.5, 'window': side}
    assert calculate_qnr(result, lq, guide, **options) == pytest.approx(expected, rel=1e-9)


def test_copies_of_bands_add_pairs_that_do_not_change():
    # 224 bands: of their pairs, those of two copies of one band have Q = 1 at both resolutions.
    result, lq, _ = make_images(32, 32, 7, scale=2)
    expected = calculate_d_lambda(result, lq) * 32**2 * (7 * 6) / (224 * 223)
    assert calculate_d_lambda(np.tile(result, 32), np.tile(lq, 32)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize('window', [8, 'gaussian'])
def test_strips_and_chunks_join_without_seams(images, monkeypatch, window):
    expected = calculate_qnr(*images, window=window)
    monkeypatch.setattr('mulsr_plugin.metrics._band_pairs.strip_budget', lambda device: 100)
    assert calculate_qnr(*images, window=window) == pytest.approx(expected, rel=1e-12)


def test_a_degradation_of_the_guide(images):
    result, lq, guide = images
    pan, low_pan = (batch(np.repeat(cube, 7, axis=2)) for cube in (guide, guide[::4, ::4]))
    expected = pytest.approx(float(spatial_distortion_index(batch(result), batch(lq), pan, low_pan)), rel=1e-5)
    assert calculate_d_s(*images, lambda cube: cube[:, ::4, ::4], window='gaussian') == expected
    assert calculate_d_s(*images, lambda cube: cube.numpy()[:, ::4, ::4], window='gaussian') == expected


def test_scales_cancel(images):
    result, lq, guide = images
    expected = calculate_d_lambda(result, lq)
    assert calculate_d_lambda(1e-20 * result, 1e4 * lq) == pytest.approx(expected, rel=1e-9)
    expected = calculate_qnr(result, lq, guide)
    assert calculate_qnr(*(65535 * image for image in images)) == pytest.approx(expected, rel=1e-9)
    assert calculate_qnr(*(np.float32(1e-30) * image.astype(np.float32) for image in images)) == pytest.approx(
        expected, rel=1e-5
    )


def test_kinds_of_input(images):
    result, lq, guide = images
    expected = calculate_qnr(result, lq, guide)
    tensors = [torch.from_numpy(image).permute(2, 0, 1).contiguous().permute(1, 2, 0) for image in images]
    assert calculate_qnr(*tensors) == pytest.approx(expected, rel=1e-12)
    assert calculate_qnr(result, lq, guide[..., 0]) == expected
    halves = [tensor.half() for tensor in tensors]
    assert calculate_qnr(*halves) == calculate_qnr(*(half.float() for half in halves))


def test_one_band_has_no_spectral_distortion(images):
    result, lq, guide = images
    assert calculate_d_lambda(result[..., 0], lq[..., 0]) == 0
    d_s = calculate_d_s(result[..., 0], lq[..., 0], guide)
    assert calculate_qnr(result[..., 0], lq[..., 0], guide) == pytest.approx(1 - d_s)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'window': 7}, 'window is 7; expected .* a power of two'),
        ({'window': 'box'}, "window is 'box'"),
        ({'window': 32}, '16 x 20 pixels .* 32 x 32 window'),
        ({'p': 0}, 'p is 0; expected a positive number'),
        ({'q': float('nan')}, 'q is nan'),
        ({'beta': -1}, 'beta is -1; expected a number that is not negative'),
        ({'degradation': lambda cube: cube}, r'made \(1, 64, 80\) of \(1, 64, 80\); expected \(1, 16, 20\)'),
    ],
)
def test_wrong_options_are_refused(images, options, message):
    with pytest.raises(ValueError, match=message):
        calculate_qnr(*images, **options)


def test_images_that_do_not_fit_are_refused(images):
    result, lq, guide = images
    with pytest.raises(ValueError, match=r'img has shape \(64, 80, 7\) and lq has shape \(16, 19, 7\)'):
        calculate_d_lambda(result, lq[:, 1:])
    with pytest.raises(ValueError, match='the same bands'):
        calculate_d_lambda(result, lq[..., 1:])
    with pytest.raises(ValueError, match='a whole scale'):
        calculate_d_lambda(lq, result)
    with pytest.raises(ValueError, match='rgb has 63 x 80 pixels and img has 64 x 80'):
        calculate_d_s(result, lq, guide[1:])


@pytest.mark.parametrize('position', range(3))
def test_bad_values_are_named(images, position):
    spoiled = [image.copy() for image in images]
    spoiled[position][3, 3, 0] = np.nan
    with pytest.raises(ValueError, match=f'^{("img", "lq", "rgb")[position]} contains NaN'):
        calculate_qnr(*spoiled)
    spoiled = list(images)
    spoiled[position] = (200 * images[position]).astype(np.uint8)
    with pytest.raises(ValueError, match=f'^{("img", "lq", "rgb")[position]} holds uint8 values'):
        calculate_qnr(*spoiled)
