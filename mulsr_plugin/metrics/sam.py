"""Spectral angle (SAM)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import CubePair, cube_pair, row_strips

_AUTHORS_EPS = 2.2204e-16


@METRIC_REGISTRY.register()
def calculate_sam(
    img: CubeArray, img2: CubeArray, crop_border: int = 0, zero_spectra: str = 'exclude', **kwargs: object
) -> float:
    """Return the mean spectral angle between two cubes, in degrees.

    Computed in double precision: the arc cosine of single-precision cosines gives identical cubes about 0.01 degrees.
    The angle does not depend on the brightness of either cube.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), any linear unit.
        img2 (ndarray | Tensor): Reference, same shape.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        zero_spectra (str): What an all-zero spectrum, which has no direction, does. ``exclude`` leaves its pixel out.
            ``authors`` repeats the MulSR authors' rule, for comparison with their tables: every zero entry of both
            cubes counts as 2.2204e-16, the same number is added to the product of the norms, and an angle that is
            still undefined counts as 0; identical cubes then score slightly above 0. Default: exclude.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: Degrees, lower is better; 0 for identical cubes, and when every pixel is left out.

    Raises:
        ValueError: ``zero_spectra`` is unknown, shapes differ, values are not finite or unscaled integers, or
            nothing is left after cropping.

    Reference: Yuhas et al., JPL Airborne Geoscience Workshop, 1992.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.sam import calculate_sam
        >>> gt = np.zeros((2, 2, 2)) + [1.0, 0.0]
        >>> round(calculate_sam(np.zeros((2, 2, 2)) + [0.0, 0.5], gt), 4)  # orthogonal spectra
        90.0
        >>> round(calculate_sam(np.zeros((2, 2, 2)) + [0.5, 0.5], gt), 4)
        45.0
    """
    if zero_spectra not in ('exclude', 'authors'):
        raise ValueError(f"zero_spectra is '{zero_spectra}'; expected 'exclude' or 'authors'.")
    pair = cube_pair(img, img2, crop_border)
    return pair.read(mean_angle(pair, _authors_angles if zero_spectra == 'authors' else _angles))[0]


def mean_angle(pair: CubePair, angles: Callable[..., torch.Tensor] | None = None) -> torch.Tensor:
    """Return the mean spectral angle in degrees, 0 when no pixel has one."""
    total = torch.zeros(2, dtype=torch.float64, device=pair.img.device)
    for strip, strip2 in row_strips(pair):
        total += (angles or _angles)(strip, strip2)
    angle, count = total
    return angle / count.clamp(min=1.0)


def _angles(strip: torch.Tensor, strip2: torch.Tensor) -> torch.Tensor:
    """Return the sum of the angles and the number of pixels where both spectra are non-zero."""
    energy, energy2 = strip.square().sum(-1), strip2.square().sum(-1)
    # One root of the product, not two roots: equal spectra then have a cosine of exactly 1.
    norms = (energy * energy2).sqrt_()
    defined = norms > 0
    cosines = ((strip * strip2).sum(-1) / norms).clamp_(-1.0, 1.0)
    angles = cosines.acos_().rad2deg_().masked_fill_(~defined, 0.0)
    return torch.stack([angles.sum(), defined.sum()])


def _authors_angles(strip: torch.Tensor, strip2: torch.Tensor) -> torch.Tensor:
    """Return the sum of the angles and the number of pixels after the authors' rule."""
    strip, strip2 = (values.masked_fill(values == 0, _AUTHORS_EPS) for values in (strip, strip2))
    norms = strip.square().sum(-1).sqrt() * strip2.square().sum(-1).sqrt()
    cosines = (strip * strip2).sum(-1) / (norms + _AUTHORS_EPS)
    angles = cosines.acos().rad2deg().nan_to_num(nan=0.0)
    return torch.stack([angles.sum(), torch.ones_like(angles).sum()])
