"""Wald's protocol."""

from __future__ import annotations

import numpy as np
import pytest

from mulsr_plugin.data.cube import Cube, GeoReference
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.sources.wald import reduced_resolution

RNG = np.random.default_rng(0)
MS = Cube(RNG.integers(0, 2048, (14, 13, 5)).astype(np.uint16), 1 / 2047, geo=GeoReference((2, 0, 10, 0, -2, 50)))
PAN = Cube(RNG.integers(0, 2048, (56, 52, 1)).astype(np.uint16), 1 / 2047, geo=GeoReference((0.5, 0, 10, 0, -0.5, 50)))


def test_original_is_the_reference_and_everything_fits():
    lq, guide, gt = reduced_resolution(MS, PAN, 4)
    np.testing.assert_array_equal(gt.values, MS.values[:12, :12])
    assert (gt.scale, gt.values.dtype) == (1 / 2047, np.uint16)
    assert (lq.values.shape, guide.values.shape) == ((3, 3, 5), (12, 12, 1))
    assert (lq.values.dtype, lq.scale, guide.values.dtype, guide.scale) == (np.float32, 1, np.float32, 1)
    assert gt.geo == MS.geo
    assert lq.geo.transform == (8, 0, 10, 0, -8, 50)
    # the reduced guide lies on the grid of the reference
    assert guide.geo.transform == gt.geo.transform


def test_both_are_reduced_over_their_own_blocks():
    """noise_free covers each block with a Gaussian of std scale / 4: here by hand."""
    lq, guide, gt = reduced_resolution(MS, PAN, 4)
    window = np.exp(-((np.arange(4) - 1.5) ** 2) / 2)
    window /= window.sum()
    for image, reduced in ((gt, lq), (PAN, guide)):
        rows, columns, _ = reduced.values.shape
        blocks = (image.values[: 4 * rows, : 4 * columns] / 2047).reshape(rows, 4, columns, 4, -1)
        np.testing.assert_allclose(reduced.values, np.einsum('iajbc,a,b->ijc', blocks, window, window), atol=1e-6)


def test_guide_stays_registered_whatever_the_degradation():
    plain = reduced_resolution(MS, PAN, 4)
    noisy = reduced_resolution(MS, PAN, 4, {'preset': 'authors_fixed', 'seed': 3})
    np.testing.assert_array_equal(noisy[1].values, plain[1].values)
    assert np.abs(noisy[0].values - plain[0].values).max() > 0.01
    again = reduced_resolution(MS, PAN, 4, build_degradation({'preset': 'authors_fixed', 'seed': 3}, 4))
    np.testing.assert_array_equal(again[0].values, noisy[0].values)


def test_constant_images_stay_constant_at_an_odd_scale():
    ms, pan = Cube(np.full((9, 6, 3), 0.25), 1.0), Cube(np.full((27, 18, 1), 0.5), 1.0)
    lq, guide, _ = reduced_resolution(ms, pan, 3)
    np.testing.assert_allclose(lq.values, 0.25, atol=1e-6)
    np.testing.assert_allclose(guide.values, 0.5, atol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match='guide has 56x52 pixels, expected 28x26, 2 times the cube'):
        reduced_resolution(MS, PAN, 2)
    with pytest.raises(ValueError, match='smaller than one reduced pixel, 4x4'):
        reduced_resolution(Cube(MS.values[:3], 1 / 2047), Cube(PAN.values[:12], 1 / 2047), 4)
