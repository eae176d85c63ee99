"""Input check and row-wise traversal shared by the metrics."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from mulsr_plugin.data.cube import CubeArray

# Metrics multiply up to four values in double precision, which reaches 1e308.
_LARGEST = 1e70


class CheckedCube(NamedTuple):
    """A cube whose form has been checked; its values are checked when :func:`read` fetches the result.

    So a metric on a GPU waits for it once, not once for each check.

    Attributes:
        values (Tensor): (H, W, L), float32 or float64. May share memory with the caller's array: never write to it.
        name (str): Name of the metric's argument, for messages.
        source (torch.dtype): What it was stored as.
        limits (Tensor): Smallest and largest value, (2,).
    """

    values: torch.Tensor
    name: str
    source: torch.dtype
    limits: torch.Tensor


class CubePair(NamedTuple):
    """A result and a reference of the same shape, floating dtype and device.

    Attributes:
        img (Tensor): Result, (H, W, L), float32 or float64. May share memory with the caller's array: never write to
            it.
        img2 (Tensor): Reference, likewise.
        checked (tuple[CheckedCube, CheckedCube]): The same with what their check needs.
    """

    img: torch.Tensor
    img2: torch.Tensor
    checked: tuple[CheckedCube, CheckedCube]

    @property
    def peak(self) -> torch.Tensor:
        """Largest magnitude in either cube, on their device."""
        return torch.stack([cube.limits for cube in self.checked]).abs().amax()

    def read(self, results: torch.Tensor) -> list[float]:
        """Fetch results from the device, see :func:`read`."""
        return read(self.checked, results)


def cube_pair(
    img: CubeArray, img2: CubeArray, crop_border: int = 0, window: int = 1, names: tuple[str, str] = ('img', 'img2')
) -> CubePair:
    """Check the form of a result and its reference, and bring them to one layout, dtype and device.

    Args:
        img (ndarray | Tensor): Result, (H, W, L), or (H, W) for one band; any real dtype.
        img2 (ndarray | Tensor): Reference, same shape. It is moved to the device of ``img``.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        window (int): Side of the metric's window, the smallest image it can measure. Default: 1.
        names (tuple[str, str]): What messages call them.

    Returns:
        CubePair: Views where possible, half-precision inputs as float32.

    Raises:
        ValueError: The shapes differ or are not cubes, or ``crop_border`` leaves less than the window. Values are
            checked by :meth:`CubePair.read`.
    """
    first, second = as_cube(img, names[0]), as_cube(img2, names[1])
    if first.shape != second.shape:
        raise ValueError(
            f'{names[0]} has shape {tuple(first.shape)} and {names[1]} has shape {tuple(second.shape)}; a metric '
            'compares a result with a reference of the same shape (H, W, L), so crop or resample one of them first.'
        )
    dtype = torch.promote_types(working_dtype(first), working_dtype(second))
    cropped = (_crop(cube, crop_border, window) for cube in (first, second))
    checked = tuple(_checked(cube, name, first.device, dtype) for cube, name in zip(cropped, names))
    return CubePair(checked[0].values, checked[1].values, (checked[0], checked[1]))


def checked_cube(cube: CubeArray, name: str, device: torch.device | None = None) -> CheckedCube:
    """Check the form of one cube (H, W, L), or (H, W) for one band, and bring it to a floating dtype.

    Args:
        cube (ndarray | Tensor): Any real dtype; half precision becomes float32.
        name (str): What messages call it.
        device (torch.device): Where to move it. Default: where it is.

    Raises:
        ValueError: It is not a cube.
    """
    tensor = as_cube(cube, name)
    return _checked(tensor, name, device or tensor.device, working_dtype(tensor))


def _checked(cube: torch.Tensor, name: str, device: torch.device, dtype: torch.dtype) -> CheckedCube:
    values = cube.to(device, dtype)
    return CheckedCube(values, name, cube.dtype, torch.stack(torch.aminmax(values)))


def read(cubes: Sequence[CheckedCube], results: torch.Tensor) -> list[float]:
    """Fetch results from the device together with the limits of the cubes, and check these.

    Args:
        cubes (Sequence[CheckedCube]): What the results were computed from.
        results (Tensor): Any number of values.

    Returns:
        list[float]: The results.

    Raises:
        ValueError: A value is NaN or infinite or too large to compute with, or an integer array is not in [0, 1].
    """
    limits = [cube.limits.double() for cube in cubes]
    numbers = torch.cat([*limits, results.flatten().double()]).tolist()  # the only wait for a GPU
    for number, cube in enumerate(cubes):
        _check_limits(cube, *numbers[2 * number : 2 * number + 2])
    return numbers[2 * len(cubes) :]


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
    rows = max(strip_budget(pair.img.device) // (width * num_bands), 8 if halo else 1)
    for top in range(0, height - halo, rows):
        window = slice(top, top + rows + halo)
        yield pair.img[window].to(dtype), pair.img2[window].to(dtype)


def strip_budget(device: torch.device) -> int:
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


def as_cube(cube: CubeArray, name: str) -> torch.Tensor:
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


def working_dtype(cube: torch.Tensor) -> torch.dtype:
    """Return the dtype a cube is measured in: its own, but float32 for half precision and float64 for integers."""
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
    check_window(height - 2 * crop_border, width - 2 * crop_border, window)
    return cube[crop_border : height - crop_border, crop_border : width - crop_border]


def check_window(height: int, width: int, window: int) -> None:
    """Refuse images that are smaller than the window of a metric.

    Raises:
        ValueError: They are.
    """
    if min(height, width) < window:
        raise ValueError(
            f'The images have {height} x {width} pixels after cropping, fewer than '
            f"the metric's {window} x {window} window; measure larger images or leave this metric out."
        )


def _check_limits(cube: CheckedCube, low: float, high: float) -> None:
    """Refuse NaN, infinities, magnitudes whose products overflow, and unscaled integers."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(
            f'{cube.name} contains NaN or infinite values; metrics need finite cubes, so look for the layer, '
            'loss or file they come from.'
        )
    if not cube.source.is_floating_point and (low < 0 or high > 1):
        raise ValueError(
            f'{cube.name} holds {str(cube.source).replace("torch.", "")} values from {low:.0f} to {high:.0f}; metrics '
            'expect values in [0, 1], so divide by the full scale first (65535 for 16 bit).'
        )
    if max(-low, high) > _LARGEST:
        raise ValueError(
            f'{cube.name} reaches {max(-low, high):.3g}, and metrics are computed up to {_LARGEST:.0e}; '
            'divide both cubes by the full scale first.'
        )
