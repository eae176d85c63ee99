"""Local means and details of images, (..., h, w), that are continued by their edge pixels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_BINOMIAL = ((1.0, 2.0, 1.0), (2.0, 4.0, 2.0), (1.0, 2.0, 1.0))
# Gaussian windows end after so many standard deviations.
_CUT = 2.5

DETAIL_POWER = (1 - 4 / 16) ** 2 + 4 * (2 / 16) ** 2 + 4 * (1 / 16) ** 2
"""Variance of the detail of white noise of variance 1."""


def detail(images: Tensor) -> Tensor:
    """Subtract from every pixel the binomial mean of the 3 x 3 pixels around it."""
    kernel = -images.new_tensor(_BINOMIAL) / 16
    kernel[1, 1] += 1
    return _correlated(images, kernel)


def gaussian_radius(sigma: float) -> int:
    """Return how many pixels the window of :func:`gaussian_mean` reaches to either side."""
    return math.ceil(_CUT * sigma)


def gaussian_mean(images: Tensor, sigma: float) -> Tensor:
    """Average around every pixel with Gaussian weights, cut off after 2.5 standard deviations.

    Args:
        images (Tensor): (..., h, w), floating point.
        sigma (float): Standard deviation in pixels.
    """
    radius = gaussian_radius(sigma)
    taps = torch.exp(-(torch.arange(-radius, radius + 1, device=images.device).to(images) ** 2) / (2 * sigma**2))
    taps = taps / taps.sum()
    return _correlated(_correlated(images, taps[:, None]), taps[None])


def box_mean(images: Tensor, radius: int) -> Tensor:
    """Average over the (2 radius + 1)^2 pixels around every pixel."""
    padded = F.pad(images.flatten(0, -3)[None], (radius,) * 4, mode='replicate')
    return F.avg_pool2d(padded, 2 * radius + 1, stride=1)[0].view_as(images)


def _correlated(images: Tensor, kernel: Tensor) -> Tensor:
    """Correlate with a kernel of odd sides; the planes are channels of one convolution, which CPUs do fastest."""
    rows, columns = (n // 2 for n in kernel.shape)
    planes = F.pad(images.flatten(0, -3)[None], (columns, columns, rows, rows), mode='replicate')
    weight = kernel.expand(planes.shape[1], 1, -1, -1)
    return F.conv2d(planes, weight, groups=len(weight))[0].view_as(images)
