"""The form in which cubes and maps are stored in a report, small enough to be sent and with an error that is known.

The cubes of a scene share one orthonormal spectral basis. Each component is transformed with the biorthogonal 9/7
wavelet (Cohen, Daubechies, Feauveau, 1992; the lifting steps of JPEG 2000), rounded to multiples of one step per cube
and deflated, which browsers can undo themselves. ``web/decoding.js`` is the other half of this module.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

_LIFTING = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
_LIFTING_GAIN = 1.149604398860241
_LARGEST_LEVELS = 5
_SMALLEST_SIDE = 8
_ROUNDED_UP_FROM = 0.6  # of a step; more than a half, as most coefficients are small: fewer bits for the same error
_SAMPLED_SPECTRA = 50_000
_PLANES = 3  # bytes of a coefficient
_TRIALS = 4
_GOOD_ENOUGH = 0.93  # of the error that is allowed

RATIO = 1.06
"""Of neighbouring levels of a map."""
LEVELS = 160
"""Of a map, the largest included; level 0 is zero or less than the smallest, one above LEVELS has no value."""


class StoredCube(NamedTuple):
    """A cube as a report holds it.

    Attributes:
        data: Deflated coefficients.
        step: What they are multiples of.
        rms_error: Root mean square difference of the stored cube from the cube, same unit.
        largest_error: Largest difference of a value.
    """

    data: bytes
    step: float
    rms_error: float
    largest_error: float


class StoredMap(NamedTuple):
    """A map of errors or angles as a report holds it: level n > 0 stands for ``smallest * RATIO ** (n - 1)``."""

    data: bytes
    smallest: float


def common_basis(cubes: Sequence[np.ndarray]) -> np.ndarray:
    """Return the principal spectra of several cubes together.

    Args:
        cubes: (H, W, L) float32 each.

    Returns:
        (L, L) float32, orthonormal rows in the order of their energy.
    """
    per_cube = max(1, _SAMPLED_SPECTRA // len(cubes))
    gram = np.zeros((cubes[0].shape[2],) * 2)
    for cube in cubes:
        spectra = cube.reshape(-1, cube.shape[2])
        spectra = spectra[:: max(1, len(spectra) // per_cube)].astype(np.float64)
        gram += spectra.T @ spectra
    return np.ascontiguousarray(np.linalg.eigh(gram)[1][:, ::-1].T, dtype=np.float32)


def store_cube(cube: np.ndarray, basis: np.ndarray, tolerance: float) -> StoredCube:
    """Store a cube with a root mean square error of at most ``tolerance``.

    Args:
        cube: (H, W, L) float32.
        basis: Orthonormal rows, (L, L).
        tolerance: Above 0, in the unit of the cube.
    """
    height, width, bands = cube.shape
    components = (basis @ cube.reshape(-1, bands).T).reshape(-1, height, width)
    coefficients = forward_wavelet(components)
    step, best, trials = 3 * tolerance, None, 0
    while best is None or trials < _TRIALS:
        numbers = _rounded(coefficients, step)
        difference = restore_cube(numbers, step, basis, (height, width)) - cube
        error = float(np.sqrt(np.mean(np.square(difference, dtype=np.float64))))
        if error <= tolerance:
            best = numbers, step, error, float(np.abs(difference).max())
            if error >= _GOOD_ENOUGH * tolerance:
                break
        step *= min(4.0, 0.97 * tolerance / max(error, 1e-30))
        trials += 1
    numbers, step, error, largest = best
    return StoredCube(_deflated(numbers), float(step), error, largest)


def restore_cube(numbers: np.ndarray, step: float, basis: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the cube (H, W, L) that whole multiples of a step, (L, H * W), stand for."""
    components = inverse_wavelet(numbers * np.float32(step), size)
    return (basis.T @ components.reshape(len(basis), -1)).T.reshape(*size, -1)


def store_map(values: np.ndarray, largest: float) -> StoredMap:
    """Store a map in logarithmic levels, each within 3 % of the values that it stands for.

    Args:
        values: (H, W), at least 0; NaN where there is no value.
        largest: At least the largest of them; the same for maps on one scale.
    """
    smallest = (largest if largest > 0 else 1.0) / RATIO ** (LEVELS - 1)
    with np.errstate(divide='ignore', invalid='ignore'):
        exponents = np.log(values / smallest) / np.log(RATIO)
    levels = np.clip(np.rint(np.nan_to_num(exponents, neginf=-1.0)) + 1, 0, LEVELS)
    levels = np.where(np.isnan(values), LEVELS + 1, levels).astype(np.uint8)
    above = np.vstack([np.zeros_like(levels[:1]), levels[:-1]]).astype(np.uint16)
    before = np.hstack([np.zeros_like(levels[:, :1]), levels[:, :-1]]).astype(np.uint16)
    return StoredMap(zlib.compress((levels - (above + before) // 2).astype(np.uint8).tobytes(), 9), smallest)


def forward_wavelet(images: np.ndarray) -> np.ndarray:
    """Transform images.

    Args:
        images: (N, H, W) float32.

    Returns:
        Coefficients, (N, H * W): the coarsest image, then rows, columns and both in detail for each level upwards.
    """
    parts: list[np.ndarray] = []
    for _ in sizes_of_levels(images.shape[1], images.shape[2]):
        low, high = _split(images, 2)
        images, low_high = _split(low, 1)
        parts = [low_high, *_split(high, 1), *parts]
    return np.concatenate([part.reshape(len(part), -1) for part in (images, *parts)], axis=1)


def inverse_wavelet(coefficients: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Undo :func:`forward_wavelet`; return (N, H, W)."""
    sizes = sizes_of_levels(*size)
    height, width = (-(-side // 2) for side in sizes[-1]) if sizes else size
    image, start = coefficients[:, : height * width].reshape(-1, height, width), height * width
    for rows, columns in reversed(sizes):
        details = []
        for shape in ((rows // 2, -(-columns // 2)), (-(-rows // 2), columns // 2), (rows // 2, columns // 2)):
            count = shape[0] * shape[1]
            details.append(coefficients[:, start : start + count].reshape(-1, *shape))
            start += count
        low_high, high_low, high_high = details
        image = _join(_join(image, low_high, 1), _join(high_low, high_high, 1), 2)
    return image


def sizes_of_levels(height: int, width: int) -> list[tuple[int, int]]:
    """Return the sizes that are halved one after the other."""
    sizes: list[tuple[int, int]] = []
    while len(sizes) < _LARGEST_LEVELS and min(height, width) >= _SMALLEST_SIDE:
        sizes.append((height, width))
        height, width = -(-height // 2), -(-width // 2)
    return sizes


def _split(images: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.moveaxis(images, axis, -1)
    low, high = images[..., 0::2].copy(), images[..., 1::2].copy()
    for number, factor in enumerate(_LIFTING):
        _lift(low, high, number, np.float32(factor))
    return np.moveaxis(low * np.float32(_LIFTING_GAIN), -1, axis), np.moveaxis(
        high * np.float32(1 / _LIFTING_GAIN), -1, axis
    )


def _join(low: np.ndarray, high: np.ndarray, axis: int) -> np.ndarray:
    low = np.moveaxis(low, axis, -1) * np.float32(1 / _LIFTING_GAIN)
    high = np.moveaxis(high, axis, -1) * np.float32(_LIFTING_GAIN)
    for number, factor in reversed(list(enumerate(_LIFTING))):
        _lift(low, high, number, np.float32(-factor))
    images = np.empty((*low.shape[:-1], low.shape[-1] + high.shape[-1]), np.float32)
    images[..., 0::2], images[..., 1::2] = low, high
    return np.moveaxis(images, -1, axis)


def _lift(low: np.ndarray, high: np.ndarray, number: int, factor: np.float32) -> None:
    """Add to one half what its neighbours in the other say; at the ends the same neighbour counts twice."""
    count = high.shape[-1]
    if number % 2 == 0:
        following = np.concatenate([low[..., 1:], low[..., -1:]], axis=-1)[..., :count]
        high += factor * (low[..., :count] + following)
        return
    here = high if count == low.shape[-1] else np.concatenate([high, high[..., -1:]], axis=-1)
    before = np.concatenate([high[..., :1], high], axis=-1)[..., : low.shape[-1]]
    low += factor * (here + before)


def _rounded(coefficients: np.ndarray, step: float) -> np.ndarray:
    whole = np.floor(np.abs(coefficients) / np.float32(step) + np.float32(1 - _ROUNDED_UP_FROM)).astype(np.int32)
    return np.where(coefficients < 0, -whole, whole)


def _deflated(numbers: np.ndarray) -> bytes:
    """Deflate whole numbers, signs in the lowest bit, byte by byte of all."""
    unsigned = ((numbers << 1) ^ (numbers >> 31)).astype(np.uint32)
    planes = [(unsigned >> 8 * plane & 255).astype(np.uint8).tobytes() for plane in range(_PLANES)]
    return zlib.compress(b''.join(planes), 9)
