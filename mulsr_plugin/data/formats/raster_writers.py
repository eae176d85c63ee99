"""Writers of ENVI and TIFF files, through rasterio (GDAL), which the extra ``formats`` installs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import Cube, CubeForm
from mulsr_plugin.data.formats.raster import GDAL_CACHE, opened, quiet, rasterio_for
from mulsr_plugin.utils.files import sync


def write_envi(path: Path, cube: Cube, interleave: str = 'bil') -> None:
    """Write an ENVI image: ``path`` with the suffixes .hdr and .dat.

    Args:
        path (Path): Where to write; its suffix is replaced.
        cube (Cube): The cube.
        interleave (str): 'bsq', 'bil' or 'bip'. Default: 'bil'.

    Raises:
        ImportError: rasterio is not installed.
        OSError: The disk is full or refuses.
    """
    create_envi(path, CubeForm.of(cube), interleave)
    _write_whole(path.with_suffix('.dat'), 'ENVI', cube)


def create_envi(path: Path, form: CubeForm, interleave: str = 'bil') -> None:
    """Make an ENVI image whose values are still to be written, see :func:`write_envi` and :func:`write_rows`."""
    fields = {'description': f'{{{path.stem}}}', 'reflectance_scale_factor': repr(1 / form.scale)}
    if form.wavelengths is not None:
        fields['wavelength'] = _braced(form.wavelengths)
        fields['wavelength_units'] = 'Nanometers'
    if form.bad_bands:
        fields['bbl'] = _braced(float(band not in form.bad_bands) for band in range(form.shape[2]))
    data, header = path.with_suffix('.dat'), path.with_suffix('.hdr')
    with _created(data, form, driver='ENVI', INTERLEAVE=interleave.upper()) as image:
        image.update_tags(ns='ENVI', **fields)
    # GDAL notes the temporary path as description.
    text = header.read_text(encoding='utf-8', errors='replace')
    start = text.index('description')
    end = text.index('}', start) + 1
    header.write_text(f'{text[:start]}description = {{{path.stem}}}{text[end:]}', encoding='utf-8')


def write_tiff(path: Path, cube: Cube) -> None:
    """Write a GeoTIFF with its bands in planes, uncompressed; beyond 4 GB a BigTIFF.

    Raises:
        ImportError: rasterio is not installed.
        OSError: The disk is full or refuses.
    """
    create_tiff(path, CubeForm.of(cube))
    _write_whole(path, 'GTiff', cube)


def create_tiff(path: Path, form: CubeForm) -> None:
    """Make a GeoTIFF whose values are still to be written, see :func:`write_tiff` and :func:`write_rows`."""
    # Without these GDAL takes three or four bands of bytes for red, green, blue and transparency.
    colours = {'photometric': 'MINISBLACK', 'ALPHA': 'NO'}
    with _created(path, form, driver='GTiff', interleave='band', BIGTIFF='IF_SAFER', **colours) as image:
        if form.scale != 1:
            image.scales = [form.scale] * form.shape[2]
        for band, wave in enumerate(form.wavelengths or (), 1):
            image.set_band_description(band, f'{wave:g} nm')
            image.update_tags(band, wavelength=repr(wave), wavelength_units='Nanometers')
            image.update_tags(band, ns='IMAGERY', CENTRAL_WAVELENGTH_UM=f'{wave / 1000:.9g}')


def write_rows(path: Path, driver: str, first: int, values: np.ndarray) -> None:
    """Write rows of an image that exists, so that they are on the disk.

    The files made here are uncompressed: their values lie where they will lie, and nothing else changes.

    Args:
        path (Path): Data file of ENVI, or GeoTIFF.
        driver (str): 'ENVI' or 'GTiff'.
        first (int): First row.
        values (ndarray): (rows, W, L).

    Raises:
        OSError: The disk is full or refuses.
    """
    with opened(path, driver, mode='r+') as image:
        for band in range(values.shape[2]):
            image.write(np.ascontiguousarray(values[..., band]), band + 1, window=_rows(first, values))
    sync(path)


def read_rows(path: Path, driver: str, first: int, last: int) -> np.ndarray:
    """Read rows of an image that :func:`write_rows` has written, (last - first, W, L) as they are stored."""
    with opened(path, driver) as image:
        return image.read(window=((first, last), (0, image.width))).transpose(1, 2, 0)


@contextlib.contextmanager
def _created(path: Path, form: CubeForm, **profile: Any) -> Iterator[Any]:
    rasterio = rasterio_for(path)
    height, width, bands = form.shape
    if form.geo is not None:
        profile['transform'] = rasterio.Affine(*form.geo.transform)
        profile['crs'] = form.geo.crs or None
    profile.update(height=height, width=width, count=bands, dtype=form.dtype.name)
    with (
        quiet(rasterio),
        rasterio.Env(GDAL_PAM_ENABLED='NO', GDAL_CACHEMAX=GDAL_CACHE),
        rasterio.open(str(path), 'w', **profile) as image,
    ):
        yield image


def _braced(numbers: Any) -> str:
    return '{' + ', '.join(f'{number:.10g}' for number in numbers) + '}'


def _rows(first: int, values: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    return (first, first + values.shape[0]), (0, values.shape[1])


def _write_whole(path: Path, driver: str, cube: Cube) -> None:
    """Write all rows and read them back: GDAL may not report a write that fails at the very end."""
    write_rows(path, driver, 0, cube.values)
    with opened(path, driver) as image:
        for band in range(cube.num_bands):
            if not np.array_equal(image.read(band + 1), cube.values[..., band]):
                raise OSError(f'the disk did not return what was written for band {band + 1}')
