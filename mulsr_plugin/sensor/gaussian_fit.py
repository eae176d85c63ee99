"""The Gaussian blur that agrees best with a pair: any centre, two widths, any angle."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mulsr_plugin.ops.windows import gaussian_mean
from mulsr_plugin.sensor.agreement import Agreement
from mulsr_plugin.sensor.blur import StridedBlur

LARGEST_SHIFT = 8
"""Pixels of the guide, beyond the scale, by which the centre may be displaced."""
_FIRST_WIDTHS = (0.15, 0.35, 0.75)  # standard deviations of the first guesses, in units of the scale
_NARROWEST, _WIDEST = 0.2, 2.0  # standard deviation: in pixels of the guide, in units of the scale
_LARGEST_CORRELATION = 0.95
_EXTENT = 3.5  # standard deviations after which a kernel ends
_FIRST_PIXELS = 800  # with the most detail, that the first guess is made from
_MOST_ITERATIONS = 25
# Of centre (pixels), logarithms of the widths, turn: steps of the numerical derivatives, and largest moves.
_STEPS = (0.05, 0.05, 0.02, 0.02, 0.02)
_MOVES = (math.inf, math.inf, 0.7, 0.7, 0.5)


class GaussianFit(NamedTuple):
    """A Gaussian and how certain it is.

    Attributes:
        theta (Tensor): (5,) float64: row and column of the centre, logarithms of the standard deviations along rows and
            columns, and the inverse hyperbolic tangent of their correlation over 0.95.
        covariance (Tensor): (5, 5) of ``theta``, from the curvature of the squared distance.
    """

    theta: Tensor
    covariance: Tensor


def gaussian_blur(theta: Tensor, scale: int) -> StridedBlur:
    """Return the blur of ``GaussianFit.theta``; the image continues by symmetric reflection."""
    row, column, *logs, turn = theta.tolist()
    sigmas, correlation = [math.exp(log) for log in logs], _LARGEST_CORRELATION * math.tanh(turn)
    halves = [math.ceil(_EXTENT * sigma) + 1 for sigma in sigmas]
    offset = (math.floor(row) - halves[0], math.floor(column) - halves[1])
    y, x = (
        (np.arange(2 * half + 2) + first - centre) / sigma
        for half, first, centre, sigma in zip(halves, offset, (row, column), sigmas)
    )
    exponent = y[:, None] ** 2 - 2 * correlation * y[:, None] * x + x**2
    kernel = np.exp((exponent.min() - exponent) / (2 * (1 - correlation**2)))
    return StridedBlur(kernel / kernel.sum(), offset, scale, 'symmetric')


def fit_gaussian(agreement: Agreement, start: Tensor | None = None) -> GaussianFit:
    """Minimise the squared distance of a pair over all Gaussians: grid search, then Levenberg-Marquardt.

    Args:
        agreement (Agreement): Of the pair.
        start (Tensor | None): ``GaussianFit.theta`` to begin with. Default: None, the best of a grid, which is for an
            agreement that is not of details.

    Reference: Marquardt, "An algorithm for least-squares estimation of nonlinear parameters", Journal of the Society
    for Industrial and Applied Mathematics 11(2), 1963.
    """
    theta, damping = _first_guess(agreement) if start is None else start, 1e-3
    residual = _residual(agreement, theta)
    slopes = _slopes(agreement, theta, residual)
    for _ in range(_MOST_ITERATIONS):
        trial = _moved(theta, slopes, residual, damping, agreement.scale)
        new = _residual(agreement, trial)
        cost, new_cost = residual.square().sum(), new.square().sum()
        if new_cost < cost:
            settled = cost - new_cost < 1e-5 * cost and (trial - theta)[:2].abs().max() < 0.01
            theta, residual, damping = trial, new, damping / 5
            if settled:
                break
            slopes = _slopes(agreement, theta, residual)
        elif damping > 1e5:
            break
        else:
            damping *= 8
    variance = residual.square().sum() / max(len(residual) - len(theta), 1)
    return GaussianFit(theta, torch.linalg.pinv(slopes @ slopes.T) * variance)


def _first_guess(agreement: Agreement) -> Tensor:
    """Return the best of round Gaussians of a few widths on a grid of centres, on the guide reduced to cells."""
    scale, cell = agreement.scale, max(1, agreement.scale // 4)
    chosen = agreement.strongest[:_FIRST_PIXELS]
    pixels = agreement.pixels[chosen]
    rows, columns = (number * scale for number in (pixels // agreement.size[1], pixels % agreement.size[1]))
    reduced = torch.nn.functional.avg_pool2d(agreement.guide, cell)
    height, width = reduced.shape[1:]
    reach = scale + LARGEST_SHIFT
    centres = [(scale - 1) // 2 + step for step in range(-reach, reach + 1, cell)]
    best, least = (0.0, 0.0, 0.0), math.inf
    for sigma in (max(share * scale, _NARROWEST) for share in _FIRST_WIDTHS):
        blurred = gaussian_mean(reduced, sigma / cell).flatten(1)
        for row in centres:
            start = ((rows + row) // cell).clamp(0, height - 1) * width
            for column in centres:
                at = start + ((columns + column) // cell).clamp(0, width - 1)
                cost = float(agreement.distance(blurred[:, at], chosen).square().sum())
                if cost < least:
                    least, best = cost, (row, column, math.log(sigma))
    return torch.tensor([*best, best[-1], 0.0], dtype=torch.float64)


def _residual(agreement: Agreement, theta: Tensor) -> Tensor:
    return agreement.distance(agreement.blurred(gaussian_blur(theta, agreement.scale))).flatten().double()


def _slopes(agreement: Agreement, theta: Tensor, residual: Tensor) -> Tensor:
    """Return the derivatives of the residual by the five numbers, (5, N)."""
    steps = torch.tensor(_STEPS, dtype=torch.float64)
    moved = [_residual(agreement, theta + step) for step in torch.diag(steps)]
    return torch.stack([(new - residual) / step for new, step in zip(moved, steps)])


def _moved(theta: Tensor, slopes: Tensor, residual: Tensor, damping: float, scale: int) -> Tensor:
    """Return the damped step from theta, within its bounds."""
    normal = slopes @ slopes.T
    damped = normal + damping * torch.diag(normal.diagonal() + 1e-12)
    limits = torch.tensor(_MOVES, dtype=torch.float64).clamp(max=scale)
    theta = theta - torch.linalg.solve(damped, slopes @ residual).clamp(-limits, limits)
    theta[2:4] = theta[2:4].clamp(math.log(_NARROWEST), math.log(_WIDEST * scale))
    theta[4] = theta[4].clamp(-2, 2)
    return theta
