"""Cubes and maps are stored with the errors that are stated, in a form that can be read back."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from mulsr_plugin.apps.report.storing import (
    LEVELS,
    RATIO,
    StoredCube,
    common_basis,
    forward_wavelet,
    inverse_wavelet,
    restore_cube,
    store_cube,
    store_map,
)


def smooth_cube(height: int, width: int, bands: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width] / 10
    spectra = np.cumsum(rng.normal(size=(3, bands)), axis=1)
    images = np.stack([np.sin(rows), np.cos(columns), np.sin(rows + columns)], axis=-1)
    cube = images @ spectra + rng.normal(scale=0.01, size=(height, width, bands))
    return ((cube - cube.min()) / np.ptp(cube)).astype(np.float32)


def unpacked(stored: StoredCube, basis: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Read a stored cube from its bytes."""
    planes = np.frombuffer(zlib.decompress(stored.data), np.uint8).reshape(3, len(basis), -1).astype(np.uint32)
    unsigned = planes[0] | planes[1] << 8 | planes[2] << 16
    numbers = (unsigned >> 1).astype(np.int32) ^ -(unsigned & 1).astype(np.int32)
    return restore_cube(numbers, stored.step, basis, size)


@pytest.mark.parametrize('size', [(64, 64), (41, 57), (8, 9), (7, 40), (1, 1), (3, 200)])
def test_wavelet_is_undone_at_any_size(size: tuple[int, int]) -> None:
    images = np.random.default_rng(1).normal(size=(2, *size)).astype(np.float32)
    coefficients = forward_wavelet(images)
    assert coefficients.shape == (2, size[0] * size[1])
    np.testing.assert_allclose(inverse_wavelet(coefficients, size), images, atol=1e-5)


@pytest.mark.parametrize(('size', 'bands'), [((41, 57), 31), ((16, 16), 1), ((5, 6), 224)])
@pytest.mark.parametrize('tolerance', [1e-2, 1e-3])
def test_error_of_a_stored_cube_is_that_stated(size: tuple[int, int], bands: int, tolerance: float) -> None:
    cube = smooth_cube(*size, bands)
    basis = common_basis([cube, cube[::-1]])
    stored = store_cube(cube, basis, tolerance)
    difference = unpacked(stored, basis, size) - cube
    rms = np.sqrt(np.mean(np.square(difference, dtype=np.float64)))
    assert rms == pytest.approx(stored.rms_error, rel=1e-3) and stored.rms_error <= tolerance
    assert np.abs(difference).max() == pytest.approx(stored.largest_error, rel=1e-3)


def test_smooth_cubes_take_little_room() -> None:
    cube = smooth_cube(128, 128, 31)
    assert len(store_cube(cube, common_basis([cube]), 2e-3).data) < cube.size / 8


def test_dark_cube() -> None:
    cube = np.zeros((8, 8, 4), np.float32)
    stored = store_cube(cube, common_basis([cube]), 1e-3)
    assert stored.rms_error == 0


def test_maps_are_within_three_per_cent() -> None:
    values = np.random.default_rng(2).lognormal(-6, 1.5, size=(33, 20)).astype(np.float32)
    values[3, 4], values[0, 0], values[5, 5] = np.nan, 0, values[np.isfinite(values)].max()
    stored = store_map(values, float(np.nanmax(values)))
    levels = np.frombuffer(zlib.decompress(stored.data), np.uint8).reshape(values.shape).copy()
    for row in range(levels.shape[0]):
        for column in range(levels.shape[1]):
            above = int(levels[row - 1, column]) if row else 0
            before = int(levels[row, column - 1]) if column else 0
            levels[row, column] = (int(levels[row, column]) + (above + before) // 2) % 256
    assert levels[3, 4] == LEVELS + 1 and levels[0, 0] == 0 and levels.max() == LEVELS + 1
    shown = stored.smallest * RATIO ** (levels.astype(float) - 1)
    covered = np.isfinite(values) & (values > stored.smallest)
    np.testing.assert_allclose(shown[covered], values[covered], rtol=0.03)


def test_maps_without_values() -> None:
    assert store_map(np.zeros((4, 4)), 0.0).smallest > 0
    store_map(np.full((4, 4), np.nan), 1.0)
