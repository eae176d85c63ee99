"""The spectral cube that every source reader yields and every store keeps."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

CubeArray = np.ndarray | torch.Tensor
"""The values of a spectral image alone, (H, W, L)."""

# Stored integers reach exactly 1 after scaling; float cubes normalised elsewhere may miss it by rounding.
RANGE_TOLERANCE = 1e-6
# Phase of scenes without a ground truth; their stores are lq.lmdb and rgb.lmdb.
NO_REFERENCE = ''


@dataclass(frozen=True)
class GeoReference:
    """Where an image lies on the ground.

    Attributes:
        transform (tuple[float]): (a, b, c, d, e, f) with x = a * column + b * row + c and y = d * column + e * row + f
            at the upper left corner of a pixel, in units of ``crs`` (the order of rasterio and affine).
        crs (str): Coordinate reference system as WKT; '' where the file names none. Default: ''.
    """

    transform: tuple[float, float, float, float, float, float]
    crs: str = ''

    def refined(self, scale: float) -> GeoReference:
        """Return the reference of the same ground with pixels ``scale`` times smaller (below 1: larger)."""
        a, b, c, d, e, f = self.transform
        return GeoReference((a / scale, b / scale, c, d / scale, e / scale, f), self.crs)

    def moved(self, top: int, left: int) -> GeoReference:
        """Return the reference of the part of the image that begins at row ``top`` and column ``left``."""
        a, b, c, d, e, f = self.transform
        return GeoReference((a, b, a * left + b * top + c, d, e, d * left + e * top + f), self.crs)


class Doubt(str):
    """A note on which the result depends and which may be wrong: logged as a warning."""


@dataclass(frozen=True)
class Cube:
    """One spectral image as its source holds it.

    Attributes:
        values (ndarray): (H, W, L), real numbers in the dtype of the source.
        scale (float): ``values * scale`` lies in [0, 1].
        wavelengths (tuple[float] | None): Band centres in nm, one per band, where known.
        rgb (ndarray | None): (H, W, 3) uint8 colour picture of the same scene, R, G, B, where there is one.
        source (str): Where the values come from, for people.
        geo (GeoReference | None): Where the image lies on the ground, where known. Default: None.
        bad_bands (tuple[int]): Bands, from 0, that the file itself marks as bad. Default: ().
        notes (tuple[str]): Sentences on what a reader has assumed or changed, such as units or scale; those that decide
            the result and may be wrong are a ``Doubt``. Default: ().
        axes_from (str): Where a reader took the order of rows, columns and bands from. Default: ''.
    """

    values: np.ndarray
    scale: float
    wavelengths: tuple[float, ...] | None = None
    rgb: np.ndarray | None = None
    source: str = ''
    geo: GeoReference | None = None
    bad_bands: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    axes_from: str = ''

    @property
    def num_bands(self) -> int:
        """Number of bands L."""
        return self.values.shape[2]

    @property
    def size_text(self) -> str:
        """Rows x columns x bands for people, and where a reader took their order from."""
        source = f', {self.axes_from}' if self.axes_from else ''
        return f'{"x".join(map(str, self.values.shape))} (rows x columns x bands{source})'

    @property
    def warnings(self) -> tuple[str, ...]:
        """The notes that decide the result and may be wrong."""
        return tuple(note for note in self.notes if isinstance(note, Doubt))

    @property
    def report(self) -> tuple[str, ...]:
        """What a command says of an image that it has read, a line each: size, notes and warnings."""
        return (self.size_text, *(f'Warning: {note}' if isinstance(note, Doubt) else note for note in self.notes))


class CubeForm(NamedTuple):
    """All that a file of a cube says besides its values.

    Attributes:
        shape (tuple[int, int, int]): (H, W, L).
        dtype (dtype): Of the values.
        scale (float): Values times scale lie in [0, 1].
        wavelengths (tuple[float] | None): See ``Cube``. Default: None.
        geo (GeoReference | None): See ``Cube``. Default: None.
        bad_bands (tuple[int]): See ``Cube``. Default: ().
    """

    shape: tuple[int, int, int]
    dtype: np.dtype
    scale: float
    wavelengths: tuple[float, ...] | None = None
    geo: GeoReference | None = None
    bad_bands: tuple[int, ...] = ()

    @classmethod
    def of(cls, cube: Cube) -> CubeForm:
        """Return the form of a cube."""
        height, width, bands = cube.values.shape
        dtype = cube.values.dtype
        return cls((height, width, bands), dtype, cube.scale, cube.wavelengths, cube.geo, cube.bad_bands)

    @property
    def nbytes(self) -> int:
        """Size of the values in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class SceneCubes:
    """The images of one scene, where a source has more than a high-resolution cube.

    Attributes:
        gt (Cube | None): (H, W, L), what a network should reach; None without a ground truth.
        lq (Cube | None): (H / scale, W / scale, L), its input; None where the data set makes it.
        rgb (Cube | None): (H, W, G), the guide with any number of channels; None where the data set makes it.
    """

    gt: Cube | None = None
    lq: Cube | None = None
    rgb: Cube | None = None


class SourceScene(NamedTuple):
    """A scene that a source can load: its key and the function that reads it.

    Attributes:
        key (str): Name of the scene in a store.
        load (Callable[[], Cube | SceneCubes]): Reads the cube, or all images of the scene, from its files.
        phase (str | None): ``'train'``, ``'test'`` or ``NO_REFERENCE`` where the source itself decides; None leaves it
            to the split of the data set. A key may come once in every phase. Default: None.
    """

    key: str
    load: Callable[[], Cube | SceneCubes]
    phase: str | None = None


def check_cube(name: str, values: np.ndarray, scale: float, wavelengths: tuple[float, ...] | None = None) -> None:
    """Refuse an array that is not a cube with ``values * scale`` in [0, 1].

    Args:
        name (str): Scene name for the message.
        values (ndarray): (H, W, L), any real dtype.
        scale (float): Factor to [0, 1].
        wavelengths (tuple[float] | None): Band centres in nm. Default: None.

    Raises:
        ValueError: Wrong dimensions or dtype, a scale that is not positive, another number of wavelengths than
            bands, or a band with NaN, infinite or out-of-range values (the message names the band, from 1).
    """
    if values.ndim != 3 or values.size == 0:
        raise ValueError(f'Scene {name} has shape {values.shape}; a cube is a non-empty (height, width, bands) array.')
    if values.dtype.kind not in 'uif' or values.dtype.itemsize > 8:
        raise ValueError(f'Scene {name} holds {values.dtype} values; a cube holds real numbers (integers or floats).')
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f'Scene {name} has scale {scale}; it must be a positive number that brings values to [0, 1].')
    if wavelengths is not None and len(wavelengths) != values.shape[2]:
        raise ValueError(f'Scene {name} has {values.shape[2]} bands but {len(wavelengths)} wavelengths.')
    # min and max carry a NaN through, and a comparison with NaN is false: one pass finds every fault.
    if in_unit_range(values, scale):
        return
    band = next(i for i in range(values.shape[2]) if not in_unit_range(values[..., i], scale))
    low, high = float(values[..., band].min()) * scale, float(values[..., band].max()) * scale
    raise ValueError(
        f'Scene {name}, band {band + 1}: values times scale {scale:.6g} run from {low:.6g} to {high:.6g}; '
        'they must be finite and within [0, 1]: give the right scale, or repair or clip the values.'
    )


def in_unit_range(values: np.ndarray, scale: float) -> bool:
    """Return whether all of ``values * scale`` are finite and within [0, 1], up to rounding.

    Args:
        values (ndarray): Real numbers, any shape.
        scale (float): Factor to [0, 1].

    Returns:
        bool: False also for NaN.
    """
    low, high = float(values.min()) * scale, float(values.max()) * scale
    return low >= -RANGE_TOLERANCE and high <= 1 + RANGE_TOLERANCE


def scaled_to_unit(values: np.ndarray, scale: float) -> np.ndarray:
    """Return ``values * scale`` as contiguous float32, which lies in [0, 1] for a checked cube.

    Args:
        values (ndarray): Real numbers, any shape.
        scale (float): Factor to [0, 1].
    """
    return np.multiply(values, np.float32(scale), dtype=np.float32, order='C', casting='unsafe')


# LMDB keys are ASCII in BasicSR, which also cuts names in meta_info.txt at the first blank or full stop; results are
# saved under the key, so it must be a file name everywhere.
KEY_PATTERN = re.compile(r'[A-Za-z0-9_+&()@=-]{1,200}')


def check_key(key: str) -> str:
    """Return ``key`` if a scene can be stored under it.

    Raises:
        ValueError: It holds other characters than ASCII letters, digits and ``_ + & ( ) @ = -``, or is too long.
    """
    if not KEY_PATTERN.fullmatch(key):
        raise ValueError(
            f'Scene name {key!r} cannot be a key: use 1 to 200 ASCII letters, digits or _+&()@=- (no blank, no full '
            'stop); rename its file or folder.'
        )
    return key
