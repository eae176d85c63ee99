"""Writers of ENVI and TIFF files, through rasterio (GDAL), which the extra ``formats`` installs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats.raster import opened, quiet, rasterio_for
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
    fields = {'description': f'{{{path.stem}}}', 'reflectance_scale_factor': repr(1 / cube.scale)}
    if cube.wavelengths is not None:
        fields['wavelength'] = _braced(cube.wavelengths)
        fields['wavelength_units'] = 'Nanometers'
    if cube.bad_bands:
        fields['bbl'] = _braced(float(band not in cube.bad_bands) for band in range(cube.num_bands))
    data, header = path.with_suffix('.dat'), path.with_suffix('.hdr')
    with _created(data, cube, driver='ENVI', INTERLEAVE=interleave.upper()) as image:
        image.update_tags(ns='ENVI', **fields)
        _write_bands(image, cube)
    # GDAL notes the temporary path as description.
    text = header.read_text(encoding='utf-8', errors='replace')
    start = text.index('description')
    end = text.index('}', start) + 1
    header.write_text(f'{text[:start]}description = {{{path.stem}}}{text[end:]}', encoding='utf-8')
    _check_written(data, 'ENVI', cube)


def write_tiff(path: Path, cube: Cube) -> None:
    """Write a GeoTIFF with its bands in planes, uncompressed; beyond 4 GB a BigTIFF.

    Raises:
        ImportError: rasterio is not installed.
        OSError: The disk is full or refuses.
    """
    # Without these GDAL takes three or four bands of bytes for red, green, blue and transparency.
    colours = {'photometric': 'MINISBLACK', 'ALPHA': 'NO'}
    with _created(path, cube, driver='GTiff', interleave='band', BIGTIFF='IF_SAFER', **colours) as image:
        _write_bands(image, cube)
        if cube.scale != 1:
            image.scales = [cube.scale] * cube.num_bands
        for band, wave in enumerate(cube.wavelengths or (), 1):
            image.set_band_description(band, f'{wave:g} nm')
            image.update_tags(band, wavelength=repr(wave), wavelength_units='Nanometers')
            image.update_tags(band, ns='IMAGERY', CENTRAL_WAVELENGTH_UM=f'{wave / 1000:.9g}')
    _check_written(path, 'GTiff', cube)


@contextlib.contextmanager
def _created(path: Path, cube: Cube, **profile: Any) -> Iterator[Any]:
    rasterio = rasterio_for(path)
    height, width, bands = cube.values.shape
    if cube.geo is not None:
        profile['transform'] = rasterio.Affine(*cube.geo.transform)
        profile['crs'] = cube.geo.crs or None
    with quiet(rasterio), rasterio.Env(GDAL_PAM_ENABLED='NO'):
        dtype = cube.values.dtype.name
        with rasterio.open(str(path), 'w', height=height, width=width, count=bands, dtype=dtype, **profile) as image:
            yield image


def _braced(numbers: Any) -> str:
    return '{' + ', '.join(f'{number:.10g}' for number in numbers) + '}'


def _write_bands(image: Any, cube: Cube) -> None:
    for band in range(cube.num_bands):
        image.write(np.ascontiguousarray(cube.values[..., band]), band + 1)


def _check_written(path: Path, driver: str, cube: Cube) -> None:
    """Read the file back: GDAL may not report a write that fails at the very end."""
    sync(path)
    with opened(path, driver) as image:
        for band in range(cube.num_bands):
            if not np.array_equal(image.read(band + 1), cube.values[..., band]):
                raise OSError(f'the disk did not return what was written for band {band + 1}')
