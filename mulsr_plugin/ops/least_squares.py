"""Least squares for matrices of any rank, on any device."""

from __future__ import annotations

import torch
from torch import Tensor


def least_squares(a: Tensor, b: Tensor) -> Tensor:
    """Return the X of smallest norm among those that minimise ||A X - B||.

    Args:
        a (Tensor): (N, K), N rows of any number; float64 where columns are alike.
        b (Tensor): (N, M).

    Returns:
        Tensor: (K, M); zeros where A is zero.
    """
    orthogonal, triangular = torch.linalg.qr(a)
    return torch.linalg.pinv(triangular) @ (orthogonal.T @ b)
