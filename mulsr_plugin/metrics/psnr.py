"""Peak signal-to-noise ratio: over the whole cube, and as the mean over bands."""

from __future__ import annotations

import torch
from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import band_mean_squared_errors, cube_pair


@METRIC_REGISTRY.register()
def calculate_hsi_psnr(img: CubeArray, img2: CubeArray, crop_border: int = 0, **kwargs: object) -> float:
    """Peak signal-to-noise ratio of the whole cube at peak 1, in dB.

    One mean squared error over all pixels and bands, as in the tables of the MulSR paper; a few bad bands weigh
    more here than in :func:`calculate_mpsnr`. The two differ by several dB when the error differs between bands.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), in [0, 1].
        img2 (ndarray | Tensor): Reference, same shape and range.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: dB, higher is better; inf for identical cubes.

    Raises:
        ValueError: Shapes differ, values are not finite or unscaled integers, or nothing is left after cropping.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.psnr import calculate_hsi_psnr
        >>> gt = np.full((8, 8, 31), 0.5)
        >>> round(calculate_hsi_psnr(gt + 0.1, gt), 4)  # 10 log10(1 / 0.1^2)
        20.0
    """
    pair = cube_pair(img, img2, crop_border)
    return pair.read(decibels(band_mean_squared_errors(pair).mean()))[0]


@METRIC_REGISTRY.register()
def calculate_mpsnr(img: CubeArray, img2: CubeArray, crop_border: int = 0, **kwargs: object) -> float:
    """Return the mean over bands of the peak signal-to-noise ratio at peak 1 (MPSNR), in dB.

    The peak is 1 for every band, not the band's own maximum.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), in [0, 1].
        img2 (ndarray | Tensor): Reference, same shape and range.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: dB, higher is better; inf as soon as one band is identical.

    Raises:
        ValueError: Shapes differ, values are not finite or unscaled integers, or nothing is left after cropping.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.psnr import calculate_hsi_psnr, calculate_mpsnr
        >>> gt = np.full((8, 8, 2), 0.5)
        >>> result = gt + [0.1, 0.01]  # 20 dB in one band and 40 dB in the other
        >>> round(calculate_mpsnr(result, gt), 4), round(calculate_hsi_psnr(result, gt), 2)
        (30.0, 22.97)
    """
    pair = cube_pair(img, img2, crop_border)
    return pair.read(decibels(band_mean_squared_errors(pair)).mean())[0]


def decibels(mean_squared_error: torch.Tensor) -> torch.Tensor:
    """Return the mean squared errors as PSNR at peak 1."""
    return 10.0 * torch.log10(1.0 / mean_squared_error)
