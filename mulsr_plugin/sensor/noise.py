"""White noise of the bands of a cube, estimated from the cube alone."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mulsr_plugin.ops.blocks import by_blocks
from mulsr_plugin.ops.covariance import mean_and_covariance
from mulsr_plugin.ops.windows import DETAIL_POWER, box_mean, detail

_BLOCK_SIDE = 256  # of the pixels that are computed at a time
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
    mean, weights = _explaining_neighbours(lq)

    def energies_of(part: Tensor) -> Tensor:
        left = (weights @ (part.flatten(1).double() - mean)).view_as(part)
        return box_mean(detail(left).square(), _WINDOW_RADIUS).to(lq)

    energies = by_blocks(energies_of, lq, _BLOCK_SIDE, 1 + _WINDOW_RADIUS)
    clipped = by_blocks(
        lambda part: box_mean((part <= 0).to(lq), _WINDOW_RADIUS) > _LARGEST_CLIPPED_SHARE,
        lq,
        _BLOCK_SIDE,
        _WINDOW_RADIUS,
    )
    sigma = torch.stack([_noise_of(band, ~outside) for band, outside in zip(energies, clipped)])
    return torch.zeros_like(sigma) if sigma.median() < _NEGLIGIBLE * lq.abs().max() else sigma


def _noise_of(energies: Tensor, usable: Tensor) -> Tensor:
    values = energies[usable] if usable.sum() > _FEWEST_WINDOWS else energies.flatten()
    rank = max(1, math.ceil(_QUANTILE * len(values)))  # torch.quantile refuses large images
    return (values.kthvalue(rank).values / (DETAIL_POWER * _QUANTILE_OF_NOISE)).sqrt()


def _explaining_neighbours(lq: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean spectrum (L, 1), and (L, L) what turns spectra into what the neighbours leave of each band."""
    mean, covariance = mean_and_covariance(lq)
    num_bands, num_pixels = len(mean), lq[0].numel()
    covariance.diagonal().add_(1e-9 * covariance.diagonal().mean() + torch.finfo(covariance.dtype).tiny)
    weights = torch.eye(num_bands).to(mean)
    freedom = torch.ones(num_bands, 1).to(mean)
    for band in range(num_bands):
        near = [n for n in range(max(0, band - _NUM_NEIGHBOURS), band + _NUM_NEIGHBOURS + 1) if n < num_bands]
        near.remove(band)
        if near:
            weights[band, near] = -torch.linalg.solve(covariance[near][:, near], covariance[near, band])
        freedom[band] = max(num_pixels - len(near), num_pixels / 4) / num_pixels
    return mean, weights / freedom.sqrt()
