"""Enlargement of images whose pixels lie anywhere on the grid of the guide."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mulsr_plugin.data.degradation.correlation import continued

_NUM_TAPS = 5  # of cubic interpolation are four, and the phases of a block begin at two different pixels


def enlarge(images: Tensor, scale: int, centre: tuple[float, float]) -> Tensor:
    """Enlarge images by cubic convolution (a = -0.5), continued by symmetric reflection.

    Args:
        images (Tensor): (B, L, h, w), floating point.
        scale (int): Whole factor.
        centre (tuple[float, float]): Row and column of the first pixel in pixels of the result;
            ``SensorModel.centre`` undoes the displacement of a sensor, ((scale - 1) / 2, (scale - 1) / 2) is the common
            convention of half-pixel centres.

    Returns:
        Tensor: (B, L, scale * h, scale * w).

    Reference: Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions on Acoustics,
    Speech, and Signal Processing, 1981.
    """
    rows = _phases(images, 2, scale, centre[0])  # (B, L, h, w, scale)
    images = rows.transpose(3, 4).flatten(2, 3)
    return _phases(images, 3, scale, centre[1]).flatten(3, 4)


def enlargement_matrix(size: int, scale: int, centre: float) -> np.ndarray:
    """Return what :func:`enlarge` does along one dimension as a matrix, (scale * size, size).

    For images of up to about a hundred pixels a side products with it are faster than :func:`enlarge` on CPUs.

    Args:
        size (int): Pixels along the dimension.
        scale (int): Whole factor.
        centre (float): Position of the first pixel in pixels of the result.
    """
    position = (np.arange(size * scale) - centre) / scale
    taps = np.floor(position).astype(int)[:, None] + np.arange(-1, 3)
    matrix = np.zeros((size * scale, size))
    rows = np.broadcast_to(np.arange(size * scale)[:, None], taps.shape)
    np.add.at(matrix, (rows, continued(taps, size, 'symmetric')), _cubic(position[:, None] - taps))
    return matrix


def _phases(images: Tensor, dim: int, scale: int, centre: float) -> Tensor:
    """Interpolate at the ``scale`` positions that belong to each pixel along a dimension; they come last."""
    shifts = (np.arange(scale) - centre) / scale
    first = int(np.floor(shifts[0])) - 1
    taps = first + np.arange(_NUM_TAPS)
    weights = torch.from_numpy(_cubic(shifts[:, None] - taps)).to(images)
    size = images.shape[dim]
    pixels = continued(np.arange(first, first + size + _NUM_TAPS - 1), size, 'symmetric')
    extended = images.index_select(dim, torch.from_numpy(pixels).to(images.device))
    return extended.unfold(dim, _NUM_TAPS, 1) @ weights.T


def _cubic(distance: np.ndarray) -> np.ndarray:
    d = np.abs(distance)
    near = 1.5 * d**3 - 2.5 * d**2 + 1
    far = -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
    return np.where(d < 1, near, np.where(d < 2, far, 0.0))
