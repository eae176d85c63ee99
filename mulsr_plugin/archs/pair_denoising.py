"""Removal of the noise of a low-resolution cube with the help of the guide."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mulsr_plugin.archs.guide_features import SMALLEST_DETAIL
from mulsr_plugin.archs.local_regression import (
    BLOCK_SIDE,
    WIDE_SHRINKAGE,
    WIDE_WINDOW,
    GlobalRegression,
    detail_products,
    local_step,
)
from mulsr_plugin.ops.blocks import by_blocks
from mulsr_plugin.ops.windows import DETAIL_POWER, gaussian_mean, gaussian_radius
from mulsr_plugin.sensor.spectral_basis import SpectralBasis

_WINDOWS = (WIDE_WINDOW, 2.0)  # of the regression on the guide: standard deviations in low-resolution pixels
_PYRAMID = (0.8, 1.6, 3.2)  # standard deviations of the smoothing of its levels
_ENERGY_WINDOW = 2.5  # in which the energy of a level is measured
_CAUTION = 1.5  # times the noise is taken off the energy, as random energy is not a signal
_FEWEST_CLIPPED, _SMALLEST_SIGMA = 1e-3, 1e-3


def denoised(lq: Tensor, z: Tensor, noise_sigma: Tensor, basis: SpectralBasis, regression: GlobalRegression) -> Tensor:
    """Estimate the components of a cube without noise, and without the bias of values that were cut off at zero.

    Args:
        lq (Tensor): (L, h, w).
        z (Tensor): (F, h, w) reduced features of the guide, channels first.
        noise_sigma (Tensor): (L,) or (1,) standard deviations of the noise.
        basis (SpectralBasis): Of the cube.
        regression (GlobalRegression): Of its components on the features.

    Returns:
        Tensor: (P, h, w).
    """
    channels = z[: regression.num_channels]
    y = _denoised_components(basis.components(lq), channels, basis.noise, regression)
    if not _clips_at_zero(lq, noise_sigma):
        return y
    bias = clipping_bias(basis.spectra(y).clamp(min=0), noise_sigma.to(lq)[:, None, None])
    return _denoised_components(basis.components(lq - bias), channels, basis.noise, regression)


def clipping_bias(mean: Tensor, sigma: Tensor) -> Tensor:
    """Return by how much cutting off at zero raises the mean of a normal variable of this mean and deviation."""
    ratio = mean / sigma.clamp(min=1e-12)
    above = 0.5 * (1 + torch.erf(ratio / math.sqrt(2)))
    return sigma * torch.exp(-(ratio**2) / 2) / math.sqrt(2 * math.pi) - mean * (1 - above)


def _clips_at_zero(lq: Tensor, noise_sigma: Tensor) -> bool:
    is_noisy = noise_sigma.median().to(lq) > _SMALLEST_SIGMA * lq.max()
    return bool((lq.min() == 0) & ((lq == 0).to(lq).mean() > _FEWEST_CLIPPED) & is_noisy)


def _denoised_components(y: Tensor, channels: Tensor, noise: Tensor, regression: GlobalRegression) -> Tensor:
    """Return what the reduced guide explains of noisy components, and of the rest what stands out of the noise."""

    def compute(images: Tensor) -> Tensor:
        y_part, z_part = images.split([len(y), len(channels)])
        fit = (_gains(y_part, z_part, noise, regression) * z_part).sum(dim=1) + regression.channel_rest
        return fit + _shrunk(y_part - fit, noise)

    halo = 1 + sum(gaussian_radius(sigma) for sigma in (*_WINDOWS, _PYRAMID[-1], _PYRAMID[-1]))
    return by_blocks(compute, torch.cat([y, channels]), BLOCK_SIDE, halo)


def _gains(y: Tensor, z: Tensor, noise: Tensor, regression: GlobalRegression) -> Tensor:
    """Return local gains (P, C, h, w), drawn to wider ones the more the noise exceeds what there is to explain."""
    products, cross = detail_products(z, z), detail_products(y, z)
    count = regression.num_channels
    detail = regression.detail[:count, :count]
    gain = regression.channel_gain[:, :, None, None].expand_as(cross)
    noise, eye = noise * DETAIL_POWER, torch.eye(count).to(z)
    for sigma in _WINDOWS:
        pixels = max(1.0, 2 * math.pi * sigma**2)
        ridge = noise * detail.trace() / (pixels * regression.misfit.clamp(min=1e-3 * noise))
        ridge = (ridge + SMALLEST_DETAIL)[:, None, None] * eye + WIDE_SHRINKAGE * detail
        gain = local_step(gain, products, cross, ridge, sigma)
    return gain


def _shrunk(rest: Tensor, noise: Tensor) -> Tensor:
    """Apply an empirical Wiener filter to every level of an undecimated Gaussian pyramid.

    Args:
        rest (Tensor): (P, h, w).
        noise (Tensor): (P,) variances of its white noise.
    """
    radius = math.ceil(2.5 * sum(_PYRAMID)) + 1
    impulse = torch.zeros(1, 2 * radius + 1, 2 * radius + 1).to(rest)
    impulse[0, radius, radius] = 1
    result, current, current_response = torch.zeros_like(rest), rest, impulse
    for sigma in _PYRAMID:
        low, response = gaussian_mean(rest, sigma), gaussian_mean(impulse, sigma)
        power = (current_response - response).square().sum()
        result = result + _wiener(current - low, noise * power, _ENERGY_WINDOW, _CAUTION)
        current, current_response = low, response
    return result + _wiener(current, noise * current_response.square().sum(), _PYRAMID[-1], 1.0)


def _wiener(level: Tensor, noise: Tensor, window: float, caution: float) -> Tensor:
    """Scale a level (P, h, w) by the share of signal in its local energy."""
    noise = noise[:, None, None]
    signal = (gaussian_mean(level.square(), window) - caution * noise).clamp(min=0)
    return level * signal / (signal + noise + 1e-20)
