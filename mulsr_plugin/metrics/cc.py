"""Cross correlation (CC)."""

from __future__ import annotations

import torch
from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import CubePair, band_means, cube_pair, row_strips


@METRIC_REGISTRY.register()
def calculate_cc(img: CubeArray, img2: CubeArray, crop_border: int = 0, **kwargs: object) -> float:
    """Cross correlation: mean over bands of Pearson's correlation coefficient.

    Brightness and contrast of a band do not matter, so this says nothing about radiometric errors.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), any linear unit.
        img2 (ndarray | Tensor): Reference, same shape.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: In [-1, 1], higher is better; 1 for identical cubes. A band without contrast in either cube has no
        correlation: it counts 1 if both are constant, else 0.

    Raises:
        ValueError: Shapes differ, values are not finite or unscaled integers, or nothing is left after cropping.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.cc import calculate_cc
        >>> ramp = np.linspace(0, 1, 64).reshape(8, 8, 1)
        >>> round(calculate_cc(0.5 * ramp + 0.2, ramp), 4), round(calculate_cc(1 - ramp, ramp), 4)
        (1.0, -1.0)
    """
    pair = cube_pair(img, img2, crop_border)
    variance, variance2, covariance = _band_moments(pair)
    constant, constant2 = _is_constant(pair.img), _is_constant(pair.img2)
    correlation = (covariance / (variance * variance2).sqrt()).clamp(-1.0, 1.0)
    correlation = torch.where(constant | constant2, (constant & constant2).double(), correlation)
    return pair.read(correlation.mean())[0]


def _band_moments(pair: CubePair) -> torch.Tensor:
    """Return sums over pixels of (x - mean)^2, (y - mean)^2 and their product, float64, (3, L)."""
    mean, mean2 = band_means(pair)
    total = torch.zeros(3, *pair.img.shape[1:], dtype=torch.float64, device=pair.img.device)
    for strip, strip2 in row_strips(pair):
        strip, strip2 = strip - mean, strip2 - mean2
        total += torch.stack([strip.square().sum(0), strip2.square().sum(0), (strip * strip2).sum(0)])
    return total.sum(1)


def _is_constant(cube: torch.Tensor) -> torch.Tensor:
    # Compared value by value: rounding of the mean would give a constant band a tiny variance.
    return (cube == cube[0, 0]).flatten(0, 1).all(0)
