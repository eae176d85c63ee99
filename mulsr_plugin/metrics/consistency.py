"""Consistency of a result with the two images it was made from: the only figures that real data without ground truth
allow for any sensor."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import (
    CubePair,
    as_cube,
    band_mean_squared_errors,
    checked_cube,
    cube_pair,
    read,
    strip_budget,
)
from mulsr_plugin.metrics._low_resolution import Degrade, check_guide_size, check_resolutions, degrade
from mulsr_plugin.metrics.psnr import decibels
from mulsr_plugin.metrics.sam import mean_angle


@METRIC_REGISTRY.register()
def calculate_spectral_consistency(
    img: CubeArray,
    lq: CubeArray,
    degradation: Degrade | None = None,
    measure: str = 'rmse',
    crop_border: int = 0,
    **kwargs: object,
) -> float:
    """Difference between the degraded result and the low-resolution cube it was made from.

    A result that keeps the measured spectra scores near 0, or near the noise of ``lq``. A small value is necessary for
    a good result, not sufficient: it says nothing about detail that the low resolution cannot show.

    Args:
        img (ndarray | Tensor): Result, (H, W, L), in the unit of ``lq``.
        lq (ndarray | Tensor): Low-resolution cube that it was made from, (h, w, L).
        degradation (callable): Blur and downsampling of the sensor, without noise: takes a tensor (L, H, W) on the
            device of ``img`` and returns (L, h, w), tensor or array. Default: mean of each block of H/h x W/w pixels,
            for sensors whose blur is unknown; a different true blur then adds to the value.
        measure (str): ``rmse``, in the unit of the cubes; ``sam``, mean angle between spectra in degrees.
            Default: rmse.
        crop_border (int): Low-resolution pixels dropped on each side before comparing, for crops whose blur reached
            beyond them. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: Lower is better; 0 when the degraded result equals ``lq``.

    Raises:
        ValueError: ``measure`` is unknown, the sizes do not fit one another or the degradation, values are not finite
            or unscaled integers, or nothing is left after cropping.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.consistency import calculate_spectral_consistency
        >>> img, lq = np.full((32, 32, 31), 0.6), np.full((4, 4, 31), 0.5)
        >>> round(calculate_spectral_consistency(img, lq), 4)
        0.1
        >>> round(calculate_spectral_consistency(np.ones((8, 8, 2)), np.zeros((2, 2, 2)) + [1, 0], measure='sam'), 4)
        45.0
    """
    measures = {'rmse': _root_mean_squared_error, 'sam': mean_angle}
    _check_measure(measure, measures)
    result = checked_cube(img, 'img')
    check_resolutions(result.values, as_cube(lq, 'lq'))
    low = degrade(result.values, as_cube(lq, 'lq').shape[:2], degradation)
    pair = cube_pair(low, lq, crop_border, names=('degraded img', 'lq'))
    return read([result, *pair.checked], measures[measure](pair))[0]


@METRIC_REGISTRY.register()
def calculate_spatial_consistency(
    img: CubeArray, rgb: CubeArray, response: CubeArray, measure: str = 'rmse', crop_border: int = 0, **kwargs: object
) -> float:
    """Difference between the guide image and the one that the spectral response makes of the result.

    A result that keeps the detail of the guide scores near 0, as far as the response is that of the camera. A small
    value is necessary for a good result, not sufficient: it says nothing about spectra that look alike to the camera.

    Args:
        img (ndarray | Tensor): Result, (H, W, L), in the unit of ``rgb``.
        rgb (ndarray | Tensor): Guide image, (H, W, G), or (H, W) for one channel.
        response (ndarray | Tensor): Spectral response, (G, L), as ``load_spectral_response`` returns it.
        measure (str): ``rmse``, in the unit of the guide; ``psnr``, in dB at peak 1. Default: rmse.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: RMSE, lower is better and 0 perfect; PSNR, higher is better and inf perfect.

    Raises:
        ValueError: ``measure`` is unknown, the sizes or the response do not fit one another, values are not finite or
            unscaled integers, or nothing is left after cropping.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.consistency import calculate_spatial_consistency
        >>> img, rgb = np.zeros((8, 8, 2)) + [0.2, 0.6], np.full((8, 8, 1), 0.5)
        >>> response = np.array([[0.5, 0.5]])  # one channel, the mean of both bands, which is 0.4
        >>> round(calculate_spatial_consistency(img, rgb, response), 4)
        0.1
        >>> round(calculate_spatial_consistency(img, rgb, response, measure='psnr'), 4)
        20.0
    """
    measures = {'rmse': _root_mean_squared_error, 'psnr': lambda pair: decibels(band_mean_squared_errors(pair).mean())}
    _check_measure(measure, measures)
    result = checked_cube(img, 'img')
    guide = as_cube(rgb, 'rgb')
    check_guide_size(result.values, guide)
    synthesised = _apply_response(_checked_response(response, result.values, guide), result.values)
    pair = cube_pair(synthesised, rgb, crop_border, names=('response of img', 'rgb'))
    return read([result, *pair.checked], measures[measure](pair))[0]


def _root_mean_squared_error(pair: CubePair) -> torch.Tensor:
    return band_mean_squared_errors(pair).mean().sqrt()


def _checked_response(response: CubeArray, img: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
    matrix = response if isinstance(response, torch.Tensor) else torch.from_numpy(np.asarray(response, np.float64))
    if tuple(matrix.shape) != (rgb.shape[2], img.shape[2]):
        raise ValueError(
            f'response has shape {tuple(matrix.shape)}; expected {(rgb.shape[2], img.shape[2])}, the channels of rgb '
            'and the bands of img.'
        )
    return matrix.to(img.device, torch.float64)


def _apply_response(response: torch.Tensor, cube: torch.Tensor) -> torch.Tensor:
    """Return the guide (H, W, G) of a cube (H, W, L), rows in double precision one strip after the other."""
    rows = max(strip_budget(cube.device) // cube[0].numel(), 1)
    return torch.cat([strip.double() @ response.T for strip in cube.split(rows)])


def _check_measure(measure: str, measures: Collection[str]) -> None:
    if measure not in measures:
        raise ValueError(f'measure is {measure!r}; expected {" or ".join(map(repr, measures))}.')
