"""Scenes that the metric tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

GOLDEN = Path(__file__).parents[1] / 'golden' / 'metrics.npz'


def smooth_pair(height, width, num_bands, noise=0.03, seed=0):
    """Return a noisy result and a smooth reference in [0, 1], float32 (H, W, L)."""
    rng = np.random.default_rng(seed)
    scene = ndimage.gaussian_filter(rng.random((height, width, num_bands)), (3, 3, 1))
    scene = (scene - scene.min()) / np.ptp(scene)
    levels = noise * np.linspace(0.5, 1.5, num_bands)
    result = np.clip(scene + levels * rng.standard_normal(scene.shape), 0, 1)
    return result.astype(np.float32), scene.astype(np.float32)


@pytest.fixture(scope='session')
def pair():
    """Result and reference of 45 x 70 pixels and 7 bands."""
    return smooth_pair(45, 70, 7)


@pytest.fixture(scope='session')
def golden():
    """Result, reference and the MulSR authors' numbers for them."""
    with np.load(GOLDEN) as stored:
        numbers = {name: float(stored[name]) for name in ('psnr', 'ssim', 'sam_degrees', 'rmse', 'ergas_x8')}
        return stored['pred'].transpose(1, 2, 0), stored['gt'].transpose(1, 2, 0), numbers
