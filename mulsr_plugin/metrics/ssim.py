"""Structural similarity (SSIM)."""

from __future__ import annotations

import torch
from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import CubePair, cube_pair, row_strips
from mulsr_plugin.metrics._windows import GAUSSIAN_SIDE, gaussian_filter

_C1 = 0.01**2
_C2 = 0.03**2


@METRIC_REGISTRY.register()
def calculate_hsi_ssim(img: CubeArray, img2: CubeArray, crop_border: int = 0, **kwargs: object) -> float:
    """Structural similarity, mean over pixels and bands.

    Gaussian window 11 x 11 with sigma 1.5, population moments, K1 = 0.01, K2 = 0.03, data range 1, only positions
    where the window lies inside the image. Equal to scikit-image with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1`` on the part 5 pixels away from the border, band by band.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), in [0, 1]; H and W at least 11 after cropping.
        img2 (ndarray | Tensor): Reference, same shape and range.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: In [-1, 1], higher is better; 1 for identical cubes.

    Raises:
        ValueError: Shapes differ, values are not finite or unscaled integers, or the image is smaller than the window.

    Reference: Wang et al., IEEE Transactions on Image Processing, 2004.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.ssim import calculate_hsi_ssim
        >>> gt = np.full((16, 16, 31), 0.5)
        >>> round(calculate_hsi_ssim(gt, gt), 4)
        1.0
        >>> round(calculate_hsi_ssim(gt + 0.5, gt), 4)  # (2 * 1 * 0.5 + 0.01^2) / (1^2 + 0.5^2 + 0.01^2)
        0.8
    """
    pair = cube_pair(img, img2, crop_border, GAUSSIAN_SIDE)
    value, peak = pair.read(torch.stack([_mean_similarity(pair, pair.img.dtype), pair.peak.double()]))
    if peak <= 2 or pair.img.dtype == torch.float64:
        return value
    # Single precision is enough for values that are at least near the data range; squares of others may overflow.
    return float(_mean_similarity(pair, torch.float64))


def _mean_similarity(pair: CubePair, dtype: torch.dtype) -> torch.Tensor:
    total = torch.zeros((), dtype=torch.float64, device=pair.img.device)
    for strip, strip2 in row_strips(pair, dtype, halo=GAUSSIAN_SIDE - 1):
        total += _similarity(strip, strip2).sum(dtype=torch.float64)
    height, width, num_bands = pair.img.shape
    return total / ((height - GAUSSIAN_SIDE + 1) * (width - GAUSSIAN_SIDE + 1) * num_bands)


def _similarity(strip: torch.Tensor, strip2: torch.Tensor) -> torch.Tensor:
    """Return the SSIM map of a strip.

    With p = x + y and m = x - y the four moments of SSIM are halves of sums and differences of those of p and m. That
    is one filtered field less than usual, exactly 1 for x = y, and keeps the digits of a small error.
    """
    added, difference = strip + strip2 - 1.0, strip - strip2  # centred on mid-grey: less cancellation in the variance
    fields = torch.stack([added, difference, added.square(), difference.square()])
    added, difference, added_square, difference_square = gaussian_filter(gaussian_filter(fields, 1), 2)
    added_variance = added_square.sub_(added.square())
    difference_variance = difference_square.sub_(difference.square())
    added, difference = added.add_(1.0).square_(), difference.square_()
    numerator = (added - difference).add_(2 * _C1).mul_((added_variance - difference_variance).add_(2 * _C2))
    denominator = added.add_(difference).add_(2 * _C1).mul_(added_variance.add_(difference_variance).add_(2 * _C2))
    return numerator.div_(denominator)
