"""Universal image quality index (UIQI, Q)."""

from __future__ import annotations

import torch
from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import cube_pair, row_strips
from mulsr_plugin.metrics._windows import box_filter

_BLOCK = 8


@METRIC_REGISTRY.register()
def calculate_uiqi(img: CubeArray, img2: CubeArray, crop_border: int = 0, **kwargs: object) -> float:
    """Universal image quality index, mean over pixels and bands.

    ``Q = 4 cov(x, y) mean(x) mean(y) / ((var(x) + var(y)) (mean(x)^2 + mean(y)^2))`` over uniform 8 x 8 blocks that
    slide by one pixel and lie inside the image, as in the authors' program; implementations with a Gaussian window
    give other values. In a block without contrast in both cubes only the means are compared, and a block whose means
    are both zero counts 1 (also as in that program). A scale common to both cubes cancels.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), any linear unit; H and W at least 8 after cropping.
        img2 (ndarray | Tensor): Reference, same shape and unit.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: In [-1, 1], higher is better; 1 for identical cubes.

    Raises:
        ValueError: Shapes differ, values are not finite or unscaled integers, or the image is smaller than the window.

    Reference: Wang and Bovik, IEEE Signal Processing Letters, 2002.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.uiqi import calculate_uiqi
        >>> gt = np.random.default_rng(0).uniform(0.1, 0.5, (16, 16, 31))
        >>> round(calculate_uiqi(2 * gt, gt), 4)  # 4 * 2 * 2 / ((4 + 1) * (4 + 1))
        0.64
    """
    pair = cube_pair(img, img2, crop_border, _BLOCK)
    total = torch.zeros((), dtype=torch.float64, device=pair.img.device)
    for strip, strip2 in row_strips(pair, halo=_BLOCK - 1):
        total += _quality(strip, strip2).sum()
    height, width, num_bands = pair.img.shape
    return pair.read(total / ((height - _BLOCK + 1) * (width - _BLOCK + 1) * num_bands))[0]


def _quality(strip: torch.Tensor, strip2: torch.Tensor) -> torch.Tensor:
    """Return the map of Q, from the moments of p = x + y and m = x - y, which are exact for x = y."""
    added, difference = strip + strip2, strip - strip2
    fields = torch.stack([added, difference, added.square(), difference.square()])
    added, difference, added_square, difference_square = box_filter(box_filter(fields, 1, _BLOCK), 2, _BLOCK)
    added, difference = added.square_(), difference.square_()
    added_variance = added_square.sub_(added).clamp_(min=0.0)
    difference_variance = difference_square.sub_(difference).clamp_(min=0.0)
    means = added + difference
    luminance = (added - difference) / means
    contrast = (added_variance - difference_variance) / (added_variance + difference_variance)
    return torch.where(means == 0, 1.0, luminance * contrast.nan_to_num_(nan=1.0))
