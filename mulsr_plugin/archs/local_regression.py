"""Regression of the components of a cube on features of the guide: of the whole image, then in windows.

All regressions are of details (see ``mulsr_plugin.ops.windows.detail``): what they leave is nearly white, so that plain
least squares are nearly the generalised ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mulsr_plugin.archs.guide_features import SMALLEST_DETAIL
from mulsr_plugin.ops.blocks import by_blocks
from mulsr_plugin.ops.windows import DETAIL_POWER, detail, gaussian_mean, gaussian_radius

WIDE_WINDOW = 6.0
"""Standard deviation of the widest windows, in low-resolution pixels."""
_NARROW_WINDOWS = (1.0, 2.5)  # whose gains are averaged
_CHANNEL_RIDGE, _PRODUCT_RIDGE = 1e-5, 1e-4  # of the whole image, in units of the detail of the guide
# How much the gains of wide windows are drawn to those of the image, and those of narrow ones to those of wide ones.
WIDE_SHRINKAGE, _NARROW_SHRINKAGE = 1e-2, 3e-2
_PRODUCT_SHRINKAGE = 0.05  # of the gains of products, for which the detail does not count
BLOCK_SIDE = 192
"""Largest side of the blocks of low-resolution pixels that are computed at a time."""


@dataclass(frozen=True, eq=False)
class GlobalRegression:
    """Regression over the whole image.

    Attributes:
        gain (Tensor): (P, F) of components on features.
        detail (Tensor): (F, F) mean products of the details of the reduced features.
        misfit (Tensor): (P,) mean square of the detail of the components that is left, without their noise.
        num_channels (int): Number C of the features that are channels of the guide; they come first.
        channel_gain (Tensor): (P, C) of components on these alone.
        channel_rest (Tensor): (P, 1, 1) mean of what these leave.
    """

    gain: Tensor
    detail: Tensor
    misfit: Tensor
    num_channels: int
    channel_gain: Tensor
    channel_rest: Tensor

    @classmethod
    def of(cls, y: Tensor, z: Tensor, num_channels: int, noise: Tensor) -> GlobalRegression:
        """Regress components y (P, h, w) of noise variances (P,) on reduced features z (F, h, w)."""
        y_detail, z_detail = detail(y).flatten(1), detail(z).flatten(1)
        products, cross = z_detail @ z_detail.T / z_detail.shape[1], y_detail @ z_detail.T / z_detail.shape[1]
        channels = products[:num_channels, :num_channels]
        weights = torch.full((len(z),), _PRODUCT_RIDGE).to(z)
        weights[:num_channels] = _CHANNEL_RIDGE
        ridge = weights * (channels.diagonal().mean() + SMALLEST_DETAIL) + 1e-9
        gain = torch.linalg.solve(products + torch.diag(ridge), cross.T).T
        left = (y_detail - gain @ z_detail).square().mean(dim=1)
        misfit = (left - noise * DETAIL_POWER).clamp(min=1e-3 * left + 1e-14)
        plain = channels + SMALLEST_DETAIL * torch.eye(num_channels).to(z)
        channel_gain = torch.linalg.solve(plain, cross[:, :num_channels].T).T
        rest = y.mean(dim=(1, 2)) - channel_gain @ z[:num_channels].mean(dim=(1, 2))
        return cls(gain, products, misfit, num_channels, channel_gain, rest[:, None, None])

    def predict(self, features: Tensor) -> Tensor:
        """Turn features (F, ...) into components (P, ...), but for a constant."""
        return (self.gain @ features.flatten(1)).unflatten(1, features.shape[1:])

    def shrinkage(self) -> Tensor:
        """Return the metric (F, F) in which local gains are drawn to wider ones."""
        count = self.num_channels
        metric = torch.zeros_like(self.detail)
        metric[:count, :count] = self.detail[:count, :count]
        metric.diagonal()[count:] = _PRODUCT_SHRINKAGE * self.detail.diagonal()[:count].mean()
        return metric


def local_gains(residual: Tensor, z: Tensor, regression: GlobalRegression) -> Tensor:
    """Regress what the global regression leaves on the features in Gaussian windows, from wide to narrow ones.

    Args:
        residual (Tensor): (P, h, w) components without what the global regression predicts.
        z (Tensor): (F, h, w) reduced features.
        regression (GlobalRegression): Tells how gains are shrunk.

    Returns:
        Tensor: (P, F, h, w).
    """
    metric, floor = regression.shrinkage(), SMALLEST_DETAIL * torch.eye(len(z)).to(z)

    def gains(images: Tensor) -> Tensor:
        y_part, z_part = images.split([len(residual), len(z)])
        products, cross = detail_products(z_part, z_part), detail_products(y_part, z_part)
        wide = local_step(torch.zeros_like(cross), products, cross, WIDE_SHRINKAGE * metric + floor, WIDE_WINDOW)
        narrow = (
            local_step(wide, products, cross, _NARROW_SHRINKAGE * metric + floor, sigma) for sigma in _NARROW_WINDOWS
        )
        return sum(narrow, torch.zeros_like(wide)) / len(_NARROW_WINDOWS)

    halo = 1 + gaussian_radius(WIDE_WINDOW) + gaussian_radius(max(_NARROW_WINDOWS))
    return by_blocks(gains, torch.cat([residual, z]), BLOCK_SIDE, halo)


def detail_products(a: Tensor, b: Tensor) -> Tensor:
    """Multiply the details of (A, h, w) and (B, h, w): (A, B, h, w)."""
    return detail(a)[:, None] * detail(b)[None]


def local_step(gain: Tensor, products: Tensor, cross: Tensor, ridge: Tensor, sigma: float) -> Tensor:
    """Move gains to the best ones of a window, as far as a ridge allows.

    Args:
        gain (Tensor): (P, F, h, w).
        products (Tensor): (F, F, h, w), see :func:`detail_products`.
        cross (Tensor): (P, F, h, w), the same of components and features.
        ridge (Tensor): (F, F), or (P, F, F) where it differs between components.
        sigma (float): Standard deviation of the window in pixels.
    """
    left = cross - torch.einsum('pfhw,fkhw->pkhw', gain, products)
    normal = _symmetric_mean(products, sigma).permute(2, 3, 0, 1)
    right = gaussian_mean(left, sigma)
    if ridge.dim() == 2:
        move = torch.linalg.solve_ex(normal + ridge, right.permute(2, 3, 1, 0))[0]
        return gain + move.permute(3, 2, 0, 1)
    move = torch.linalg.solve_ex(normal + ridge[:, None, None], right.permute(0, 2, 3, 1)[..., None])[0]
    return gain + move[..., 0].permute(0, 3, 1, 2)


def _symmetric_mean(products: Tensor, sigma: float) -> Tensor:
    """Return ``gaussian_mean`` of a field of symmetric matrices (F, F, h, w)."""
    rows, columns = torch.triu_indices(len(products), len(products), device=products.device)
    mean = torch.empty_like(products)
    mean[rows, columns] = gaussian_mean(products[rows, columns], sigma)
    mean[columns, rows] = mean[rows, columns]
    return mean
