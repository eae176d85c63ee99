"""White noise of the bands of a cube, estimated from the cube alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mulsr_plugin.ops.windows import DETAIL_POWER, box_mean, detail

_NUM_NEIGHBOURS = 8  # bands on either side that explain a band
_WINDOW_RADIUS = 2
_QUANTILE = 0.1
# What that quantile of the mean of 25 correlated squares is, for noise whose mean square is 1.
_QUANTILE_OF_NOISE = 0.62
_LARGEST_CLIPPED_SHARE = 0.02
_FEWEST_WINDOWS = 50
# Of the largest value of a cube; removing less noise than that costs more than it brings.
_NEGLIGIBLE = 1e-3


def estimate_noise(lq: Tensor) -> Tensor:
    """Estimate the standard deviation of the white noise of every band.

    A band is regressed on its neighbours, which takes away what bands share; the detail of the rest leaves out what is
    smooth, and a low quantile of its local energies what is textured. Windows with values cut off at zero do not count.

    Args:
        lq (Tensor): (L, h, w), floating point.

    Returns:
        Tensor: (L,), of the type and on the device of ``lq``; zeros where the median is below 1/1000 of the largest
        value of the cube.
    """
    energies = box_mean(detail(_unexplained(lq.double())).square(), _WINDOW_RADIUS).to(lq)
    clipped = box_mean((lq <= 0).to(lq), _WINDOW_RADIUS) > _LARGEST_CLIPPED_SHARE
    sigma = torch.stack([_noise_of(band, ~outside) for band, outside in zip(energies, clipped)])
    return torch.zeros_like(sigma) if sigma.median() < _NEGLIGIBLE * lq.abs().max() else sigma


def _noise_of(energies: Tensor, usable: Tensor) -> Tensor:
    values = energies[usable] if usable.sum() > _FEWEST_WINDOWS else energies.flatten()
    rank = max(1, math.ceil(_QUANTILE * len(values)))  # torch.quantile refuses large images
    return (values.kthvalue(rank).values / (DETAIL_POWER * _QUANTILE_OF_NOISE)).sqrt()


def _unexplained(lq: Tensor) -> Tensor:
    """Return what the neighbouring bands do not explain of each band by linear regression, (L, h, w)."""
    values = lq.flatten(1) - lq.flatten(1).mean(dim=1, keepdim=True)
    num_bands, num_pixels = values.shape
    covariance = values @ values.T / num_pixels
    covariance.diagonal().add_(1e-9 * covariance.diagonal().mean() + torch.finfo(lq.dtype).tiny)
    weights = torch.eye(num_bands).to(lq)
    freedom = torch.ones(num_bands, 1).to(lq)
    for band in range(num_bands):
        near = [n for n in range(max(0, band - _NUM_NEIGHBOURS), band + _NUM_NEIGHBOURS + 1) if n < num_bands]
        near.remove(band)
        if near:
            weights[band, near] = -torch.linalg.solve(covariance[near][:, near], covariance[near, band])
        freedom[band] = max(num_pixels - len(near), num_pixels / 4) / num_pixels
    return (weights @ values / freedom.sqrt()).view_as(lq)
