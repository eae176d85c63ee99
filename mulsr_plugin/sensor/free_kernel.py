"""A blur kernel of any shape, where a pair determines more than a Gaussian."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mulsr_plugin.data.degradation.correlation import continued
from mulsr_plugin.sensor.agreement import Agreement
from mulsr_plugin.sensor.blur import StridedBlur
from mulsr_plugin.sensor.gaussian_fit import gaussian_blur

_MARGIN = 2  # pixels around the Gaussian that the kernel may spread to
_MOST_PIXELS = 2000  # with the most detail
_FOLD_BLOCK = 4  # side of the blocks of low-resolution pixels that belong to one fold
_RIDGES = tuple(10.0**power for power in range(-9, 2))
# Of the Gaussian's squared distance on held-out pixels, that a free kernel must not exceed.
_LARGEST_SHARE = 0.9


def fit_free_kernel(agreement: Agreement, theta: Tensor) -> StridedBlur:
    """Correct a Gaussian where that predicts held-out pixels better; else return the Gaussian.

    The correction is a sum of linear splines under an envelope somewhat wider than the Gaussian and leaves the sum of
    the kernel at 1. How smooth it must be is chosen by two-fold cross-validation between blocks of pixels.

    Args:
        agreement (Agreement): Of the pair.
        theta (Tensor): The Gaussian, see ``GaussianFit``.
    """
    gaussian = gaussian_blur(theta, agreement.scale)
    kernel = torch.from_numpy(np.pad(gaussian.kernel, _MARGIN))
    offset = (gaussian.offset[0] - _MARGIN, gaussian.offset[1] - _MARGIN)
    splines, roughness = _corrections(kernel.shape, theta, offset)
    chosen = agreement.strongest[:_MOST_PIXELS].sort().values
    kernels = torch.cat([splines, kernel.reshape(-1, 1)], dim=1).float()
    responses = _responses(agreement, chosen, kernels, kernel.shape, offset)
    if agreement.target is None:
        known = agreement.basis(chosen)
        responses = responses - torch.einsum('nq,gqm->gnm', known, torch.einsum('nq,gnm->gqm', known, responses))
        target = -responses[..., -1]
    else:
        target = agreement.target[:, chosen] - responses[..., -1]
    folds = [
        _Fold.of(responses[:, half, :-1], target[:, half]) for half in _halves(agreement.pixels[chosen], agreement)
    ]
    weights = _cross_validated(folds, roughness, splines.sum(dim=0))
    if weights is None:
        return gaussian
    kernel += (splines @ weights).view_as(kernel)
    return StridedBlur((kernel / kernel.sum()).numpy(), offset, agreement.scale, 'symmetric')


def _corrections(shape: torch.Size, theta: Tensor, offset: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return enveloped linear splines (kh * kw, M) and the matrix (M, M) of their roughness."""
    splines, envelopes = [], []
    for count, centre, log, first in zip(shape, theta[:2].tolist(), theta[2:4].tolist(), offset):
        sigma, middle = math.exp(log), centre - first
        step = max(1.0, round(sigma / 2))
        nodes = np.arange(math.ceil(-middle / step), math.floor((count - 1 - middle) / step) + 1)
        position = torch.arange(count, dtype=torch.float64)
        distance = (position[:, None] - torch.from_numpy(middle + step * nodes)).abs()
        splines.append((1 - distance / step).clamp(min=0))
        envelopes.append(torch.exp(-(((position - middle) / max(1.4 * sigma, 1.0)) ** 2) / 2))
    basis = torch.einsum('ya,xb,y,x->yxab', *splines, *envelopes).flatten(2).flatten(0, 1)
    eyes = [torch.eye(spline.shape[1], dtype=torch.float64) for spline in splines]
    down, right = torch.kron(eyes[0].diff(dim=0), eyes[1]), torch.kron(eyes[0], eyes[1].diff(dim=0))
    return basis, down.T @ down + right.T @ right + 0.05 * torch.kron(*eyes)


def _responses(
    agreement: Agreement, chosen: Tensor, kernels: Tensor, shape: torch.Size, offset: tuple[int, int]
) -> Tensor:
    """Return what each of the kernels (kh * kw, M) makes of the guide at the chosen pixels, (G, N, M)."""
    pixels = agreement.pixels[chosen].numpy()
    starts = (pixels // agreement.size[1] * agreement.scale, pixels % agreement.size[1] * agreement.scale)
    rows, columns = (
        torch.from_numpy(continued(start[:, None] + np.arange(first, first + count), size, 'symmetric'))
        for start, first, count, size in zip(starts, offset, shape, agreement.guide.shape[1:])
    )
    windows = (channel[rows[:, :, None], columns[:, None, :]] for channel in agreement.guide)
    return torch.stack([window.flatten(1) @ kernels for window in windows])


def _halves(pixels: Tensor, agreement: Agreement) -> tuple[Tensor, Tensor]:
    """Split pixels as the fields of a chessboard of blocks."""
    row, column = (number // _FOLD_BLOCK for number in (pixels // agreement.size[1], pixels % agreement.size[1]))
    half = ((row + column) % 2).bool()
    return half, ~half


class _Fold(NamedTuple):
    """Least squares problem of half of the pixels: rows (N, M), values (N,) and the normal equations."""

    rows: Tensor
    values: Tensor
    matrix: Tensor
    vector: Tensor

    @classmethod
    def of(cls, responses: Tensor, target: Tensor) -> _Fold:
        """Join the channels of responses (G, N, M) and a target (G, N)."""
        rows, values = responses.flatten(0, 1), target.flatten()
        return cls(rows, values, (rows.T @ rows).double(), (rows.T @ values).double())

    def error(self, weights: Tensor) -> float:
        """Return the squared error of weights (M,)."""
        return float((self.rows @ weights.float() - self.values).square().sum())


def _cross_validated(folds: list[_Fold], roughness: Tensor, sums: Tensor) -> Tensor | None:
    """Return the weights (M,) of the best ridge, or None where no weights at all predict nearly as well."""
    matrix, vector = folds[0].matrix + folds[1].matrix, folds[0].vector + folds[1].vector
    size = matrix.diagonal().mean() / 2
    fixed = 100 * size * torch.outer(sums, sums) / sums.square().sum()

    def error(ridge: float) -> float:
        first, second = (
            torch.linalg.solve(fold.matrix + ridge * size * roughness + fixed, fold.vector) for fold in folds
        )
        return folds[0].error(second) + folds[1].error(first)

    errors = [error(ridge) for ridge in _RIDGES]
    if not min(errors) < _LARGEST_SHARE * sum(fold.error(torch.zeros_like(sums)) for fold in folds):
        return None
    best = _RIDGES[int(np.argmin(errors))]
    return torch.linalg.solve(matrix + 2 * best * size * roughness + fixed, vector)
