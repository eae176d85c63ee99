"""Maps of the error of a result, pixel by pixel, and the colour scale that several of them share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_HIGHEST_PERCENTILE = 99.5
_NO_ERROR = 1e-6


def error_map(result: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Compute the root mean square error over bands of every pixel.

    Args:
        result (ndarray): (H, W, L) float.
        reference (ndarray): Same shape and unit.

    Returns:
        ndarray: float32 (H, W), in the unit of the cubes.

    Raises:
        ValueError: Shapes differ.
    """
    _check_shapes(result, reference)
    return np.sqrt(np.mean(np.square(result.astype(np.float32) - reference.astype(np.float32)), axis=-1))


def _check_shapes(result: np.ndarray, reference: np.ndarray) -> None:
    if result.shape != reference.shape:
        raise ValueError(
            f'The result has shape {result.shape} and the reference {reference.shape}; they must be equal.'
        )


def highest_error_shown(errors: Sequence[np.ndarray]) -> float:
    """Return the error at the upper end of the colour scale, for one map or common to several.

    It is the median over the maps of their own 99.5 percentiles (of an even number the geometric mean of the middle
    two), so that the worst does not make the others dark; maps without an error do not count.

    Args:
        errors (Sequence[ndarray]): Maps (H, W) from :func:`error_map`; values that are not finite are left out.

    Returns:
        float: Positive, also for maps without an error.
    """
    finite = [error[np.isfinite(error)] for error in errors]
    highest = [float(np.percentile(error, _HIGHEST_PERCENTILE)) for error in finite if error.size]
    highest = [value for value in highest if value > _NO_ERROR]
    return float(np.exp(np.median(np.log(highest)))) if highest else _NO_ERROR


def angle_map(result: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Compute the spectral angle of every pixel.

    Args:
        result (ndarray): (H, W, L) float.
        reference (ndarray): Same shape.

    Returns:
        ndarray: float32 (H, W), in degrees; 0 where a spectrum is all zero.

    Raises:
        ValueError: Shapes differ.
    """
    _check_shapes(result, reference)
    cubes = [np.nan_to_num(cube.astype(np.float64)) for cube in (result, reference)]
    norms = [np.linalg.norm(cube, axis=-1, keepdims=True) for cube in cubes]
    first, second = (cube / np.where(norm > 0, norm, 1) for cube, norm in zip(cubes, norms))
    # exact for small angles, where the arc cosine is not
    half = np.arctan2(np.linalg.norm(first - second, axis=-1), np.linalg.norm(first + second, axis=-1))
    is_defined = ((norms[0] > 0) & (norms[1] > 0))[..., 0]
    return np.where(is_defined, np.degrees(2 * half), 0).astype(np.float32)


def is_clipped(errors: Sequence[np.ndarray], highest: float) -> bool:
    """Return whether any map goes beyond the upper end of its colour scale, which an arrow on the bar then says."""
    return any(bool((np.nan_to_num(error, nan=np.inf) > highest).any()) for error in errors)
