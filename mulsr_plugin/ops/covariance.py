"""Mean and covariance of large images in double precision, of which only a part is in double precision at a time."""

from __future__ import annotations

import torch
from torch import Tensor

_PART = 1 << 23  # values that are converted at a time


def mean_and_covariance(images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean (C, 1) and the covariance (C, C) of the pixels of images (C, ...), both float64.

    Args:
        images (Tensor): (C, h, w) or (C, N), floating point.

    Example:
        >>> import torch
        >>> from mulsr_plugin.ops.covariance import mean_and_covariance
        >>> mean, covariance = mean_and_covariance(torch.tensor([[0.0, 2.0], [1.0, 5.0]]))
        >>> mean.flatten().tolist(), covariance.tolist()
        ([1.0, 3.0], [[1.0, 2.0], [2.0, 4.0]])
    """
    values = images.flatten(1)
    num_pixels = values.shape[1]
    parts = values.split(max(1, _PART // len(values)), dim=1)
    mean = torch.stack([part.double().sum(dim=1, keepdim=True) for part in parts]).sum(dim=0) / num_pixels
    covariance = mean.new_zeros(len(values), len(values))
    for part in parts:
        centred = part.double() - mean
        covariance += centred @ centred.T
    return mean, covariance / num_pixels
