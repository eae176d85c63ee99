"""Local means and details against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from mulsr_plugin.ops.windows import DETAIL_POWER, box_mean, detail, gaussian_mean

IMAGES = torch.rand(2, 3, 13, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize('sigma', [0.8, 2.0, 6.0])
def test_gaussian_mean_equals_scipy(sigma):
    expected = ndimage.gaussian_filter(
        IMAGES.numpy(), sigma, axes=(2, 3), mode='nearest', truncate=np.ceil(2.5 * sigma) / sigma
    )
    np.testing.assert_allclose(gaussian_mean(IMAGES, sigma), expected, rtol=1e-12)


def test_box_mean_equals_scipy():
    expected = ndimage.uniform_filter(IMAGES[0].numpy(), (0, 5, 5), mode='nearest')
    np.testing.assert_allclose(box_mean(IMAGES[0], 2), expected, rtol=1e-12)


def test_detail_is_the_rest_of_the_binomial_mean():
    taps = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = IMAGES - ndimage.correlate(IMAGES.numpy(), taps[None, None], mode='nearest')
    np.testing.assert_allclose(detail(IMAGES), expected, rtol=0, atol=1e-13)
    impulse = torch.zeros(1, 7, 7, dtype=torch.float64)
    impulse[0, 3, 3] = 1
    np.testing.assert_allclose(detail(impulse).square().sum(), DETAIL_POWER, rtol=1e-13)
