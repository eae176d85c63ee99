"""PRISMA products (HDF-EOS5): the VNIR and SWIR cubes as one, by wavelength; the panchromatic band as a guide.

By the layout that ASI describes (PRISMA Products Specification Document) and public readers use; none was at hand.
Cubes are uint16 (lines, bands, samples). L2B, L2C and L2D hold L2Scale...Min + DN (L2Scale...Max - L2Scale...Min) /
65535, L1 radiances DN / ScaleFactor_.... Bands come with falling wavelengths, ``List_Cw_...``, and are left out where
``List_Cw_..._Flags`` is 0.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import GeoReference
from mulsr_plugin.data.formats.common import FormatError, RawImage, ReadOptions, check_declared_size

SWATHS = 'HDFEOS/SWATHS'
DETECTORS = ('VNIR_Cube', 'SWIR_Cube')
FULL_SCALE = 65535
PIXEL, PAN_PIXEL = 30.0, 5.0  # m, of L2D
GEOCODED = 'L2D'


def is_prisma(file: Any, options: ReadOptions) -> bool:
    """Return whether a file is a PRISMA product of which the image or one of its detectors is wanted."""
    return bool(_swaths(file)) and options.key in (None, *DETECTORS)


def read_prisma(path: Path, file: Any, options: ReadOptions) -> RawImage:
    """Read the cube of a PRISMA product, or with ``is_guide`` its panchromatic band; ``key`` takes one detector.

    Values are reflectances, of L1 radiances, as float32; NaN where all bands of a geocoded pixel hold 0.

    Raises:
        FormatError: The product lacks what its specification has, or its scale cannot be known.
    """
    swaths = _swaths(file)
    wanted = 'PCO' if options.is_guide else 'HCO'
    name = next((f'PRS_{level}_{kind}' for level, kind in swaths if kind == wanted), None)
    if name is None:
        raise FormatError(f'{path} has no swath {wanted}, only {", ".join("_".join(swath) for swath in swaths)}.')
    level = name.split('_')[1]
    swath = file[f'{SWATHS}/{name}']
    if options.is_guide:
        cubes = {'Pan': swath['Data Fields/Cube']}
    else:
        cubes = {each[:4].title(): swath[f'Data Fields/{each}'] for each in DETECTORS if options.key in (None, each)}
    for cube in cubes.values():
        check_declared_size(path, 2 * cube.nbytes, max(cube.id.get_storage_size(), 1))
    notes = [f'PRISMA {level}, {"radiances" if level == "L1" else "reflectances"} by the scale of the product']
    values, waves = _stacked(path, file, level, cubes)
    flagged = sum(_flagged(swath['Data Fields'], detector) for detector in cubes)
    if flagged:
        notes.append(f'{flagged} values that the product flags as faulty are kept')
    if level == GEOCODED:
        values[_outside(cubes)] = np.nan
    geo = _georeference(file, level, swath, values.shape[:2], PAN_PIXEL if options.is_guide else PIXEL, notes)
    return RawImage(
        values,
        axes='hwb',
        axes_are_sure=True,
        wavelengths=waves,
        unit='nm' if waves else '',
        geo=geo,
        notes=tuple(notes),
    )


def _swaths(file: Any) -> list[tuple[str, str]]:
    """Return level and kind of the swaths, such as ('L2D', 'HCO')."""
    names = file.get(SWATHS, ())
    matches = (re.fullmatch(r'PRS_(L1|L2[BCD])_(\w+)', name) for name in names)
    return [(match[1], match[2]) for match in matches if match]


def _read(cube: Any) -> np.ndarray:
    return np.asarray(cube[()])


def _stacked(path: Path, file: Any, level: str, cubes: dict[str, Any]) -> tuple[np.ndarray, tuple[float, ...]]:
    """Return the good bands of all cubes, (lines, samples, bands) float32 by rising wavelength, and their centres."""
    planes: list[tuple[float, np.ndarray]] = []
    for detector, cube in cubes.items():
        factor, offset = _scale(path, file.attrs, level, detector)
        stored = _read(cube)
        if detector == 'Pan':
            return (stored * np.float32(factor) + np.float32(offset))[..., None], ()
        centres = np.ravel(file.attrs[f'List_Cw_{detector}']).astype(np.float64)
        flags = np.ravel(file.attrs.get(f'List_Cw_{detector}_Flags', centres > 0)) != 0
        if stored.ndim != 3 or not stored.shape[1] == len(centres) == len(flags):
            raise FormatError(
                f'{path}: the {detector} cube has the shape {stored.shape}, expected (lines, {len(centres)} bands, '
                'samples): it is no cube of its specification.'
            )
        for band in np.flatnonzero(flags & (centres > 0)):
            planes.append((float(centres[band]), stored[:, band] * np.float32(factor) + np.float32(offset)))
    planes.sort(key=lambda plane: plane[0])
    if not planes:
        raise FormatError(f'{path} flags none of its bands as valid.')
    return np.stack([plane for _, plane in planes], axis=-1), tuple(centre for centre, _ in planes)


def _outside(cubes: dict[str, Any]) -> np.ndarray:
    """Return which pixels hold 0 in all bands, as those outside of the swath do, (lines, samples)."""
    seen = [_read(cube) != 0 for cube in cubes.values()]
    return ~np.any([each if each.ndim == 2 else each.any(axis=1) for each in seen], axis=0)


def _scale(path: Path, attrs: Any, level: str, detector: str) -> tuple[float, float]:
    """Return factor and offset from stored to physical values."""
    if level == 'L1':
        factor, offset = (float(np.ravel(attrs[f'{name}_{detector}'])[0]) for name in ('ScaleFactor', 'Offset'))
        if offset or factor <= 0:
            # whether it is added or subtracted is told in different ways
            raise FormatError(
                f'{path} has Offset_{detector} {offset:g} and ScaleFactor {factor:g}, expected 0 and more.'
            )
        return 1 / factor, 0.0
    low, high = (float(np.ravel(attrs[f'L2Scale{detector}{end}'])[0]) for end in ('Min', 'Max'))
    return (high - low) / FULL_SCALE, low


def _flagged(fields: Any, detector: str) -> int:
    """Count the values that the error matrix of a detector flags, whatever for."""
    prefix = '' if detector == 'Pan' else f'{detector.upper()}_'
    names = (f'{prefix}PIXEL_L2_ERR_MATRIX', f'{prefix}PIXEL_SAT_ERR_MATRIX')
    matrix = next((fields[name] for name in names if name in fields), None)
    return 0 if matrix is None else int(np.count_nonzero(_read(matrix)))


def _georeference(
    file: Any, level: str, swath: Any, size: tuple[int, int], pixel: float, notes: list[str]
) -> GeoReference | None:
    """Return the georeference of a geocoded product, if its corners fit its size and its latitudes fall."""
    if level != GEOCODED:
        notes.append('in the geometry of the sensor: its ground positions are not applied')
        return None
    names = ('ULcorner_easting', 'ULcorner_northing', 'LRcorner_easting', 'LRcorner_northing')
    left, top, right, bottom = (float(np.ravel(file.attrs[f'Product_{name}'])[0]) for name in names)
    spans = ((right - left) / pixel - size[1], (top - bottom) / pixel - size[0])
    # the corners are those of the image, or centres of its outer pixels: half a pixel beside them
    margin = next((half for half, more in ((0.0, 0), (pixel / 2, 1)) if np.allclose(spans, -more, atol=0.2)), None)
    latitudes = _read(swath['Geolocation Fields/Latitude'])
    if margin is None or latitudes.shape != size or not (np.diff(latitudes[:: max(size[0] - 1, 1)], axis=0) < 0).all():
        notes.append('georeference left out: corners, latitudes and size of the image do not agree')
        return None
    code = int(np.ravel(file.attrs['Epsg_Code'])[0])
    return GeoReference((pixel, 0.0, left - margin, 0.0, -pixel, top + margin), _wkt(code))


def _wkt(code: int) -> str:
    try:
        from rasterio.crs import CRS
    except ImportError:
        return f'EPSG:{code}'
    return str(CRS.from_epsg(code).to_wkt())
