"""Blur and resampling as strided correlations.

Blur and resampling are linear, so they run as one strided correlation with the blur kernel composed with the resampling
taps. Where reflection continues the blur and the resampling stays inside the image the two forms are identical, borders
included; bicubic resampling at scale 2 does leave the image, and there the two steps run one after the other.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F


class DegradationDraw(NamedTuple):
    """One concrete degradation: all that is random in it but the field of white noise.

    Attributes:
        kernel: Blur kernel, (k, k) float64, sums to 1; applied by correlation.
        resampling: 'bicubic', 'bilinear' or 'strided'.
        offset: Row and column of the kernel's first entry relative to the pixel that it is evaluated at.
        noise_sigma: Standard deviation of the additive Gaussian noise.
        kind: What the kernel is: 'anisotropic', 'isotropic', 'user' or 'resize'.
        poisson_peak: Mean count of a pixel of value 1 whose Poisson noise is added before the Gaussian; 0 for none.
    """

    kernel: np.ndarray
    resampling: str
    offset: int
    noise_sigma: float
    kind: str
    poisson_peak: float = 0.0


class Correlation(NamedTuple):
    """Correlation of every ``stride``-th pixel with a kernel whose first entry lies ``offset`` pixels away.

    Attributes:
        kernel: (k, k) float64.
        offset: Of its first entry, along rows and columns.
        stride: Step from pixel to pixel.
        boundary: What continues the image: 'edge' pixel or 'symmetric' reflection.
    """

    kernel: np.ndarray
    offset: int
    stride: int
    boundary: str


def blur_and_downsample(cube: np.ndarray, draw: DegradationDraw, scale: int) -> np.ndarray:
    """Blur a cube and reduce it by ``scale``, without noise and without clipping.

    'bicubic' and 'bilinear' continue the image by symmetric reflection (the edge pixel is repeated), blur, and
    interpolate at block centres without antialiasing (bicubic with a = -0.75, as in PyTorch). 'strided' continues it by
    its edge pixels and keeps every ``scale``-th value.

    Args:
        cube: (L, H, W); H and W are multiples of the scale.
        draw: What to apply.
        scale: Integer downsampling factor.

    Returns:
        (L, H / scale, W / scale) float32.

    Raises:
        ValueError: H or W is not a multiple of the scale.
    """
    cube = np.asarray(cube, dtype=np.float32)
    if cube.ndim != 3 or cube.shape[1] % scale or cube.shape[2] % scale or 0 in cube.shape:
        raise ValueError(
            f'Cannot reduce a cube of shape {cube.shape} by {scale}; expected (bands, rows, columns) with rows and '
            f'columns that are multiples of {scale}; crop it first.'
        )
    for step in correlations(draw, scale):
        cube = _strided_correlation(cube, step)
    return cube


def correlations(draw: DegradationDraw, scale: int) -> list[Correlation]:
    """Return blur and resampling of a draw as one correlation, or as two where the resampling leaves the image.

    Args:
        draw: What to apply.
        scale: Integer downsampling factor.
    """
    if draw.resampling == 'strided':
        return [Correlation(draw.kernel, draw.offset, scale, 'edge')]
    taps, first = _resampling_taps(draw.resampling, scale)
    if first >= 0 and first + len(taps) <= scale:
        return [Correlation(_compose(draw.kernel, taps), draw.offset + first, scale, 'symmetric')]
    resampling = Correlation(np.outer(taps, taps), first, scale, 'edge')
    return [Correlation(draw.kernel, draw.offset, 1, 'symmetric'), resampling]


def _resampling_taps(resampling: str, scale: int) -> tuple[np.ndarray, int]:
    """Return the weights with which a block centre is interpolated, and the position of the first within the block."""
    if scale % 2:
        return np.ones(1), scale // 2
    if resampling == 'bilinear':
        return np.full(2, 0.5), scale // 2 - 1
    return np.array([-0.09375, 0.59375, 0.59375, -0.09375]), scale // 2 - 2


def _compose(kernel: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Return the kernel that correlates like ``kernel`` followed by ``taps`` along rows and columns."""
    for _ in range(2):
        kernel = np.stack([np.convolve(row, taps) for row in kernel]).T
    return kernel


def _strided_correlation(cube: np.ndarray, step: Correlation) -> np.ndarray:
    """Correlate a cube (L, H, W)."""
    num_bands, height, width = cube.shape
    kernel, offset, stride, boundary = step
    side = len(kernel)
    rows, columns = (continued(np.arange(offset, offset + n - stride + side), n, boundary) for n in (height, width))
    pixels = (rows[:, None] * width + columns).ravel()  # one flat index is twice as fast as two
    padded = torch.from_numpy(cube.reshape(num_bands, -1).take(pixels, axis=1)).view(1, -1, len(rows), len(columns))
    weight = torch.from_numpy(kernel.astype(np.float32)).expand(num_bands, 1, side, side)
    return F.conv2d(padded, weight, stride=stride, groups=num_bands)[0].numpy()


def continued(positions: np.ndarray, size: int, boundary: str) -> np.ndarray:
    """Return the pixel that continues an image of ``size`` pixels at each position.

    Args:
        positions: Whole numbers, negative or beyond the image too.
        size: Pixels along the axis.
        boundary: 'edge' pixel, 'symmetric' reflection that repeats the edge pixel, or 'circular' repetition.
    """
    if boundary == 'edge':
        return positions.clip(0, size - 1)
    if boundary == 'circular':
        return positions % size
    positions = positions % (2 * size)
    return np.minimum(positions, 2 * size - 1 - positions)
