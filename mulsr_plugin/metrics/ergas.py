"""Relative dimensionless global error in synthesis (ERGAS)."""

from __future__ import annotations

from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import band_mean_squared_errors, band_means, cube_pair


@METRIC_REGISTRY.register()
def calculate_ergas(
    img: CubeArray, img2: CubeArray, crop_border: int = 0, scale: float | None = None, **kwargs: object
) -> float:
    """Relative dimensionless global error in synthesis.

    ``100 / scale * sqrt(mean over bands of (RMSE of the band / mean of the band in the reference)^2)``. The division
    is by ``img2``, so swapping the arguments changes the value. A scale common to both cubes cancels.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), any linear unit.
        img2 (ndarray | Tensor): Reference, same shape and unit.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        scale (float): Ratio of the two resolutions, 8 for x8. Required.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: Lower is better; 0 for identical cubes. A band whose reference mean is zero counts 0 if it is
        reproduced exactly, and makes the value inf if not.

    Raises:
        ValueError: ``scale`` is missing or not positive, shapes differ, values are not finite or unscaled integers,
            or nothing is left after cropping.

    Reference: Wald, Data Fusion: Definitions and Architectures, Presses des Mines, 2002.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.ergas import calculate_ergas
        >>> gt = np.full((8, 8, 31), 0.5)
        >>> round(calculate_ergas(gt + 0.1, gt, scale=8), 4)  # 100 / 8 * 0.1 / 0.5
        2.5
    """
    if scale is None or not scale > 0:
        raise ValueError(
            f'calculate_ergas got scale {scale}; it needs the ratio of the two resolutions (8 for x8), '
            "so add it to the metric's options."
        )
    pair = cube_pair(img, img2, crop_border)
    errors, means = band_mean_squared_errors(pair), band_means(pair)[1]
    relative = (errors / means.square()).masked_fill(errors == 0, 0)
    return 100.0 / scale * pair.read(relative.mean().sqrt())[0]
