"""Moving averages over the windows of the metrics, valid region."""

from __future__ import annotations

import torch

GAUSSIAN_SIDE = 11
_SIGMA = 1.5


def gaussian_filter(fields: torch.Tensor, dim: int) -> torch.Tensor:
    """Correlate along one dimension with 11 Gaussian weights of sigma 1.5, valid region.

    Adding shifted copies handles all bands at once in any memory layout.
    """
    offsets = torch.arange(GAUSSIAN_SIDE, dtype=torch.float64) - GAUSSIAN_SIDE // 2
    weights = torch.exp(-offsets.square() / (2 * _SIGMA**2))
    first, *others = (weights / weights.sum()).tolist()
    length = fields.shape[dim] - GAUSSIAN_SIDE + 1
    filtered = fields.narrow(dim, 0, length) * first
    for shift, weight in enumerate(others, start=1):
        filtered.add_(fields.narrow(dim, shift, length), alpha=weight)
    return filtered


def box_filter(fields: torch.Tensor, dim: int, side: int) -> torch.Tensor:
    """Average over ``side`` values, a power of two, along one dimension, valid region.

    The sums are doubled step by step, so a block of equal values has exactly that mean and no variance.
    """
    shift = 1
    while shift < side:
        length = fields.shape[dim] - shift
        fields = fields.narrow(dim, 0, length) + fields.narrow(dim, shift, length)
        shift *= 2
    return fields / side
