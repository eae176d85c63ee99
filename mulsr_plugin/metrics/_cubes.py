"""Input check and row-wise traversal shared by the full-reference metrics."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import NamedTuple, Union

import numpy as np
import torch

Cube = Union[np.ndarray, torch.Tensor]


class CubePair(NamedTuple):
    """A checked result and reference: same shape (H, W, L), same floating dtype, same device.

    Attributes:
        img (Tensor): Result, float32 or float64. May share memory with the caller's array: never write to it.
        img2 (Tensor): Reference, likewise.
        peak (float): Largest magnitude found in either.
    """

    img: torch.Tensor
    img2: torch.Tensor
    peak: float


def cube_pair(img: Cube, img2: Cube, crop_border: int = 0, window: int = 1) -> CubePair:
    """Check a result and its reference, and bring them to one layout, dtype and device.

    Args:
        img (ndarray | Tensor): Result, (H, W, L), or (H, W) for one band; any real dtype.
        img2 (ndarray | Tensor): Reference, same shape. It is moved to the device of ``img``.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        window (int): Side of the metric's window, the smallest image it can measure. Default: 1.

    Returns:
        CubePair: Views where possible, half-precision inputs as float32.

    Raises:
        ValueError: The shapes differ or are no cubes, a value is NaN or infinite, an integer array is not
            in [0, 1], or ``crop_border`` leaves less than the window.
    """
    first, second = _as_tensor(img, 'img'), _as_tensor(img2, 'img2')
    if first.shape != second.shape:
        raise ValueError(
            f'img has shape {tuple(first.shape)} and img2 has shape {tuple(second.shape)}; a metric compares a result '
            'with a reference of the same shape (H, W, L), so crop or resample one of them first.'
        )
    dtype = torch.promote_types(_working_dtype(first), _working_dtype(second))
    cropped, cropped2 = (_crop(cube.to(first.device, dtype), crop_border, window) for cube in (first, second))
    peak = max(_check_values(cropped, first.dtype, 'img'), _check_values(cropped2, second.dtype, 'img2'))
    return CubePair(cropped, cropped2, peak)


def row_strips(
    pair: CubePair, dtype: torch.dtype = torch.float64, halo: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Walk over both cubes in strips of rows, converted to ``dtype``.

    A strip stays in the cache, which makes double precision as fast as reading the cube once, and bounds the memory.

    Args:
        pair (CubePair): The cubes.
        dtype (torch.dtype): Working precision. Default: torch.float64.
        halo (int): Rows by which neighbouring strips overlap: the window's side less 1. Default: 0.

    Yields:
        tuple[Tensor, Tensor]: Rows of result and reference, (rows + halo, W, L).
    """
    height, width, num_bands = pair.img.shape
    # The smallest strip with a halo has 8 rows, else it would read mostly rows of its neighbours.
    rows = max(_strip_budget(pair.img.device) // (width * num_bands), 8 if halo else 1)
    for top in range(0, height - halo, rows):
        window = slice(top, top + rows + halo)
        yield pair.img[window].to(dtype), pair.img2[window].to(dtype)


def _strip_budget(device: torch.device) -> int:
    """Return the values in a strip: few large ones save kernel launches, on a CPU small ones stay in the cache."""
    return 2**17 if device.type == 'cpu' else 2**24


def band_mean_squared_errors(pair: CubePair) -> torch.Tensor:
    """Return the mean squared error of every band, float64, (L,)."""
    total = torch.zeros(pair.img.shape[1:], dtype=torch.float64, device=pair.img.device)
    for strip, strip2 in row_strips(pair):
        total += (strip - strip2).square_().sum(0)
    return total.sum(0) / pair.img[..., 0].numel()


def band_means(pair: CubePair) -> torch.Tensor:
    """Return the mean of every band of result and reference, float64, (2, L)."""
    total = torch.zeros(2, *pair.img.shape[1:], dtype=torch.float64, device=pair.img.device)
    for strip, strip2 in row_strips(pair):
        total[0] += strip.sum(0)
        total[1] += strip2.sum(0)
    return total.sum(1) / pair.img[..., 0].numel()


def _as_tensor(cube: Cube, name: str) -> torch.Tensor:
    """Return a cube as an (H, W, L) tensor, without a copy where possible."""
    tensor = cube.detach() if isinstance(cube, torch.Tensor) else _from_numpy(np.asarray(cube), name)
    if tensor.is_complex():
        raise ValueError(f'{name} is {tensor.dtype}; metrics compare real cubes, so take its magnitude first.')
    if tensor.ndim not in (2, 3) or tensor.numel() == 0:
        raise ValueError(
            f'{name} has shape {tuple(tensor.shape)}; expected (H, W, L), or (H, W) for one band, '
            'so measure the images of a batch one by one.'
        )
    return tensor if tensor.ndim == 3 else tensor[..., None]


def _from_numpy(array: np.ndarray, name: str) -> torch.Tensor:
    """Wrap an array, copying only what torch cannot read: other byte orders, long doubles, negative strides."""
    if array.dtype.kind not in 'fiubc':
        raise ValueError(f'{name} has dtype {array.dtype}; expected numbers in [0, 1].')
    if array.dtype.kind == 'f' and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    if not array.dtype.isnative or any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.astype(array.dtype.newbyteorder('='), order='C')
    with warnings.catch_warnings():  # memory maps are read-only, and the metrics only read
        warnings.filterwarnings('ignore', message='The given NumPy array is not writable')
        return torch.from_numpy(array)


def _working_dtype(cube: torch.Tensor) -> torch.dtype:
    if not cube.is_floating_point():
        return torch.float64
    return torch.float32 if cube.element_size() < 4 else cube.dtype


def _crop(cube: torch.Tensor, crop_border: int, window: int) -> torch.Tensor:
    height, width = cube.shape[:2]
    if crop_border < 0 or min(height, width) - 2 * crop_border < 1:
        raise ValueError(
            f'crop_border is {crop_border} for images of {height} x {width} pixels; '
            f'it must lie in 0..{(min(height, width) - 1) // 2}.'
        )
    if min(height, width) - 2 * crop_border < window:
        raise ValueError(
            f'The images have {height - 2 * crop_border} x {width - 2 * crop_border} pixels after cropping, fewer than '
            f"the metric's {window} x {window} window; measure larger images or leave this metric out."
        )
    return cube[crop_border : height - crop_border, crop_border : width - crop_border]


def _check_values(cube: torch.Tensor, source: torch.dtype, name: str) -> float:
    """Refuse NaN, infinities and unscaled integers; return the largest magnitude."""
    low, high = torch.stack(torch.aminmax(cube)).tolist()
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            f'{name} contains NaN or infinite values; metrics need finite cubes, so look for the layer, '
            'loss or file they come from.'
        )
    if not source.is_floating_point and (low < 0 or high > 1):
        raise ValueError(
            f'{name} holds {str(source).replace("torch.", "")} values from {low:.0f} to {high:.0f}; metrics expect '
            'values in [0, 1], so divide by the full scale first (65535 for 16 bit).'
        )
    return max(abs(low), abs(high))
