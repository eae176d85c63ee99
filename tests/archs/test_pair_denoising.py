"""Denoising: the bias of clipping against SciPy, and less noise than before."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats

from mulsr_plugin.archs.local_regression import GlobalRegression
from mulsr_plugin.archs.pair_denoising import clipping_bias, denoised
from mulsr_plugin.sensor.spectral_basis import spectral_basis
from tests.sensor.demo_pairs import demo_pair


def test_clipping_bias_is_the_mean_of_a_rectified_normal():
    mean, sigma = np.array([-0.5, 0.0, 0.3, 2.0]), 0.4
    expected = [stats.norm(m, sigma).expect(lambda v: v, lb=0) - m for m in mean]
    bias = clipping_bias(torch.from_numpy(mean), torch.tensor(sigma, dtype=torch.float64))
    np.testing.assert_allclose(bias, expected, rtol=0, atol=1e-7)


def test_most_of_the_noise_is_removed_with_clipping_undone():
    pair = demo_pair(4)
    sigma = torch.full((31,), 0.03)
    noise = 0.03 * torch.randn(pair.lq.shape, generator=torch.Generator().manual_seed(0))
    dark = pair.lq - 0.05  # many values near zero
    lq = (dark + noise).clamp(min=0)
    basis = spectral_basis(lq, sigma, 16)
    z = torch.nn.functional.avg_pool2d(pair.guide, 4)
    regression = GlobalRegression.of(basis.components(lq), z, 3, basis.noise)
    result = basis.spectra(denoised(lq, z, sigma, basis, regression))
    true = dark.clamp(min=0)
    assert (result.clamp(min=0) - true).square().mean() < 0.1 * (lq - true).square().mean()
