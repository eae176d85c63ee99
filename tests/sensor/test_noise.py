"""The noise of a cube against noise that was added."""

from __future__ import annotations

import pytest
import torch

from mulsr_plugin.sensor.noise import estimate_noise
from tests.sensor.demo_pairs import demo_pair


@pytest.mark.parametrize('sigma', [0.004, 0.012, 0.05])
def test_noise_of_every_band_is_found(sigma):
    lq = demo_pair(2).lq
    sigmas = sigma * torch.linspace(0.5, 1.5, 31)
    noise = sigmas[:, None, None] * torch.randn(lq.shape, generator=torch.Generator().manual_seed(0))
    found = estimate_noise(lq + noise) / sigmas
    assert 0.9 < found.median() < 1.2
    # the first and the last band have neighbours on one side alone, so that their texture counts more
    assert found[1:-1].min() > 0.8 and found[1:-1].max() < 1.25 and found.max() < 1.6


def test_no_noise_is_exactly_none():
    assert not estimate_noise(demo_pair(2).lq).any()


@pytest.mark.parametrize('shape', [(1, 5, 4), (3, 1, 1), (40, 3, 3)])
def test_small_cubes(shape):
    sigma = estimate_noise(torch.rand(shape, generator=torch.Generator().manual_seed(0)))
    assert sigma.shape == shape[:1] and sigma.isfinite().all()
