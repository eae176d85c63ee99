"""Root mean squared error."""

from __future__ import annotations

from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import band_mean_squared_errors, cube_pair


@METRIC_REGISTRY.register()
def calculate_rmse(img: CubeArray, img2: CubeArray, crop_border: int = 0, **kwargs: object) -> float:
    """Root mean squared error of the whole cube, in the unit of the cubes.

    On cubes in [0, 1] as used here; papers that report RMSE on 8-bit numbers are 255 times higher.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), in [0, 1].
        img2 (ndarray | Tensor): Reference, same shape and range.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: Lower is better; 0 for identical cubes.

    Raises:
        ValueError: Shapes differ, values are not finite or unscaled integers, or nothing is left after cropping.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.rmse import calculate_rmse
        >>> gt = np.zeros((8, 8, 2))
        >>> round(calculate_rmse(gt + [0.1, 0.7], gt), 4)  # root of (0.01 + 0.49) / 2
        0.5
    """
    pair = cube_pair(img, img2, crop_border)
    return pair.read(band_mean_squared_errors(pair).mean().sqrt())[0]
