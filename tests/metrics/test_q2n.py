from __future__ import annotations

import numpy as np
import pytest

from mulsr_plugin.metrics.q2n import calculate_q2n
from tests.metrics.conftest import smooth_pair


def complex_product(z, w):
    return np.array([z[0] * w[0] - z[1] * w[1], z[0] * w[1] + z[1] * w[0]])


def quaternion_product(z, w):
    """Hamilton's product, written out."""
    a, b, c, d = z
    e, f, g, h = w
    return np.array(
        [
            a * e - b * f - c * g - d * h,
            a * f + b * e + c * h - d * g,
            a * g - b * h + c * e + d * f,
            a * h + b * g - c * f + d * e,
        ]
    )


def octonion_product(z, w):
    """Pairs of quaternions: (a, b)(c, d) = (ac - d*b, da + bc*)."""
    conjugate = np.array([1, -1, -1, -1]).reshape(4, *[1] * (z.ndim - 1))
    a, b, c, d = z[:4], z[4:], w[:4], w[4:]
    first = quaternion_product(a, c) - quaternion_product(conjugate * d, b)
    return np.concatenate([first, quaternion_product(d, a) + quaternion_product(b, conjugate * c)])


PRODUCTS = {1: lambda z, w: z * w, 2: complex_product, 4: quaternion_product, 8: octonion_product}


def direct_q2n(result, reference):
    """Multiply the spectra pixel by pixel, block by block, as the definition says."""
    size = next(n for n in PRODUCTS if n >= result.shape[-1])
    values = []
    for top in range(0, result.shape[0], 32):
        for left in range(0, result.shape[1], 32):
            x, y = (cube[top : top + 32, left : left + 32].astype(np.float64) for cube in (result, reference))
            mean, deviation = y.mean((0, 1)), y.std((0, 1), ddof=1)
            z, w = np.ones((2, size, 32, 32))
            z[: x.shape[-1]] = ((y - mean) / deviation + 1).transpose(2, 0, 1)
            w[: x.shape[-1]] = ((x - mean) / deviation + 1).transpose(2, 0, 1)
            mean_z, mean_w = z.mean((1, 2)), w.mean((1, 2))
            spread = z.var((1, 2)).sum() + w.var((1, 2)).sum()
            w[1:] *= -1
            conjugate_mean = w.mean((1, 2))
            covariance = PRODUCTS[size](z, w).mean((1, 2)) - PRODUCTS[size](mean_z, conjugate_mean)
            moduli = np.linalg.norm(mean_z), np.linalg.norm(mean_w)
            bias = 2 * moduli[0] * moduli[1] / (moduli[0] ** 2 + moduli[1] ** 2)
            values.append(2 * np.linalg.norm(covariance) / spread * bias)
    return np.mean(values)


@pytest.mark.parametrize('num_bands', [1, 2, 3, 4, 5, 7, 8])
def test_equals_direct_form(num_bands):
    result, reference = smooth_pair(64, 96, num_bands)
    assert calculate_q2n(result, reference) == pytest.approx(direct_q2n(result, reference), abs=1e-10)


def test_one_band_is_the_mean_of_q_of_the_normalised_blocks():
    result, reference = smooth_pair(32, 32, 1)
    x, y = (cube.astype(np.float64).ravel() for cube in (result, reference))
    x, y = ((values - y.mean()) / y.std(ddof=1) + 1 for values in (x, y))
    covariance = np.cov(x, y)
    quality = 4 * covariance[0, 1] * x.mean() * y.mean()
    quality /= (covariance[0, 0] + covariance[1, 1]) * (x.mean() ** 2 + y.mean() ** 2)
    assert calculate_q2n(result, reference) == pytest.approx(abs(quality), abs=1e-10)


# Values of sewar 0.4.10's q2n(reference, result), an independent implementation of the authors' program.
SEWAR = {(45, 70, 7): 0.95082361, (64, 64, 31): 0.94798668, (50, 33, 12): 0.964092379, (32, 40, 1): 0.994417436}


@pytest.mark.parametrize('shape', SEWAR)
def test_equals_sewar(shape):
    assert calculate_q2n(*smooth_pair(*shape)) == pytest.approx(SEWAR[shape], abs=1e-7)


@pytest.mark.parametrize('factor', [1e-20, 1e-3, 65535.0])
def test_common_scale_cancels(pair, factor):
    result, reference = (cube.astype(np.float64) for cube in pair)
    expected = calculate_q2n(result, reference)
    assert calculate_q2n(factor * result, factor * reference) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize('num_bands', [1, 3, 31, 128])
def test_identical_cubes(num_bands):
    _, reference = smooth_pair(40, 33, num_bands)
    assert calculate_q2n(reference, reference) == pytest.approx(1, abs=1e-12)


def test_blocks_without_contrast():
    flat = np.full((32, 32, 4), 0.1, np.float32)
    assert calculate_q2n(flat, flat) == pytest.approx(1, abs=1e-12)
    assert calculate_q2n(0 * flat, 0 * flat) == pytest.approx(1, abs=1e-12)
    # Shifted only: means 1 in the reference, 1.5 in the result.
    assert calculate_q2n(flat + np.float32(0.5), flat) == pytest.approx(2 * 1.5 / (1 + 2.25), abs=1e-6)
