"""ENVI and TIFF files, through rasterio (GDAL), which the extra ``formats`` installs.

Carried along are wavelengths with their unit, the factor to reflectance or radiance, the bad-band list, the no-data
value and the georeference. ENVI: ``wavelength``, ``wavelength units``, ``reflectance scale factor``, ``bbl``, ``data
ignore value``, ``map info``, ``coordinate system string``. TIFF: GDAL's scale, offset and no-data value, the
wavelengths that GDAL keeps beside a band, GeoTIFF's keys; bands may lie in planes, in pixels, or on one page each.
"""

from __future__ import annotations

import contextlib
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import GeoReference
from mulsr_plugin.data.formats.common import AXES, FormatError, RawImage, ReadOptions, check_declared_size
from mulsr_plugin.data.formats.envi_header import (
    bad_bands,
    envi_calibration,
    envi_files,
    for_gdal,
    numbers_of,
    read_header,
)
from mulsr_plugin.data.formats.orientation import check_upright
from mulsr_plugin.data.formats.stored_bands import StoredBands, joined, read_stored_bands

DESCRIPTION = 'TIFFTAG_IMAGEDESCRIPTION'
GDAL_CACHE = (
    64  # megabytes that GDAL may take for what it has read or not yet written, instead of a share of the memory
)


def read_envi(path: Path, options: ReadOptions) -> RawImage:
    """Read an ENVI image, named by its header or its data file.

    Raises:
        ImportError: rasterio is not installed.
        FileNotFoundError: Header or data file is missing.
        FormatError: The header is damaged or declares more than the data file holds.
    """
    header, data = envi_files(path)
    text, fields = read_header(header)
    with for_gdal(header, data, text) as name, opened(name, 'ENVI', header) as image:
        needed = _declared(image) + int(fields.get('header_offset', 0))
        stored = data.stat().st_size
        if stored < needed:
            raise FormatError(
                f'{header} declares {image.height}x{image.width} pixels with {image.count} bands of {image.dtypes[0]}, '
                f'{needed} bytes, but {data.name} holds {stored}: it is cut short or compressed, or the header belongs '
                'to another file.'
            )
        check_declared_size(data, needed, stored)
        bands = read_stored_bands(data, image)
        ignored = numbers_of(fields.get('data_ignore_value', ''))
        longer = f'{data.name} is {stored - needed} bytes longer than {header.name} declares: is it its header?'
        return RawImage(
            bands.values,
            axes='bhw',
            axes_are_sure=True,
            **envi_calibration(header, fields, image.count),
            wavelengths=numbers_of(fields.get('wavelength', '')),
            unit=fields.get('wavelength_units', ''),
            nodata=ignored[0] if ignored else bands.nodata,
            gaps=bands.gaps,
            bad_bands=bad_bands(header, fields, image.count),
            geo=_georeference(image),
            notes=bands.notes,
            warnings=(longer,) if stored > needed else (),
        )


def read_tiff(path: Path, options: ReadOptions) -> RawImage:
    """Read a TIFF or GeoTIFF with its bands in one image or on one page each.

    Raises:
        ImportError: rasterio is not installed.
        FormatError: The file is damaged or cut short, or its pages differ.
    """
    check_upright(path)
    with opened(path, 'GTiff') as image:
        # rasterio lists them by name, so that page 10 comes before page 2.
        pages = sorted(image.subdatasets, key=lambda name: int(name.split(':')[1]))
        _check_pages(path, image, pages)
        check_declared_size(path, _declared(image) * max(len(pages), 1), path.stat().st_size)
        bands = _read_pages(path, pages) if pages else read_stored_bands(path, image)
        waves, unit = _band_wavelengths(image)
        return RawImage(
            bands.values,
            **(_order_of_pages(image.tags().get(DESCRIPTION, '')) if pages else {'axes': 'bhw', 'axes_are_sure': True}),
            **bands.calibration,
            bits=bands.bits,
            wavelengths=waves[: len(bands.values)],
            unit=unit,
            nodata=bands.nodata,
            gaps=bands.gaps,
            geo=_georeference(image),
            notes=bands.notes,
        )


def rasterio_for(path: Path) -> Any:
    """Return rasterio, or say for which file it is missing."""
    try:
        import rasterio
    except ImportError as error:
        raise ImportError(
            f"{path} is an ENVI or TIFF file, which needs rasterio: pip install 'mulsr-plugin[formats]', or save it as "
            '.mat or .npz.'
        ) from error
    return rasterio


@contextlib.contextmanager
def opened(path: Path, driver: str, named: Path | None = None, mode: str = 'r') -> Iterator[Any]:
    """Open a file with one driver, so that no content makes GDAL read other files.

    Args:
        path (Path): The file.
        driver (str): GDAL's name of its format.
        named (Path | None): What messages call it. Default: None, by its own name.
        mode (str): 'r', or 'r+' to write into it, which leaves files beside it alone. Default: 'r'.
    """
    rasterio = rasterio_for(path)
    named = named or path
    no_companions = {} if mode == 'r' else {'GDAL_PAM_ENABLED': 'NO'}
    with quiet(rasterio), rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE, **no_companions):
        try:
            with rasterio.open(str(path.absolute()), mode, driver=driver) as image:
                if len(set(image.dtypes)) > 1:
                    raise FormatError(f'{named} has bands of different types ({", ".join(sorted(set(image.dtypes)))}).')
                if not image.count:
                    raise FormatError(f'{named} declares no band; correct its header.')
                yield image
        except Exception as error:
            # GDAL's own errors have a class of no public name, and may come from any attribute of a damaged file
            if mode != 'r' or not type(error).__module__.startswith('rasterio'):
                raise
            raise FormatError(
                f'{named} cannot be read as {driver} ({error}): it is damaged or of another format.'
            ) from error


@contextlib.contextmanager
def quiet(rasterio: Any) -> Iterator[None]:
    """Keep warnings of missing georeferences, which most cubes lack, and GDAL's own log from the user."""
    logger = logging.getLogger('rasterio')
    disabled = logger.disabled
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', rasterio.errors.NotGeoreferencedWarning)
        logger.disabled = True
        try:
            yield
        finally:
            logger.disabled = disabled


def _declared(image: Any) -> int:
    return int(image.height) * int(image.width) * int(image.count) * np.dtype(image.dtypes[0]).itemsize


def _check_pages(path: Path, image: Any, pages: list[str]) -> None:
    """Refuse a file of which only a part would be read: several images, or one page of a series."""
    if pages and image.count > 1:
        raise FormatError(
            f'{path} has {len(pages)} pages of several bands, which are no bands of one image; save the page that is '
            f'meant, such as by gdal_translate GTIFF_DIR:1:{path.name} NEW.tif.'
        )
    if '"truncated": true' in image.tags().get(DESCRIPTION, ''):
        raise FormatError(
            f'{path} names one of its pages only (tifffile, truncate=True), so that the others cannot be found; save '
            'it without truncate.'
        )


def _read_pages(path: Path, pages: list[str]) -> StoredBands:
    """Read the pages of a TIFF as bands."""
    rasterio = rasterio_for(path)
    bands: list[StoredBands] = []
    for page in pages:
        with rasterio.open(page) as image:
            shape = (image.count, *image.shape)
            first = bands[0].values if bands else None
            if first is not None and (shape != first.shape or image.dtypes[0] != first.dtype.name):
                raise FormatError(
                    f'{path} has pages of different size or type ({first.shape[1:]} and {image.shape}), which are no '
                    'bands of one image; save the bands as an image of their own.'
                )
            bands.append(read_stored_bands(path, image))
    return joined(path, bands)


def _order_of_pages(description: str) -> dict[str, Any]:
    """Return what the first page says of the order: ImageJ and OME name planes, tifffile the shape of an array."""
    if description.startswith('ImageJ=') or '<OME' in description:
        return {'axes': 'bhw', 'axes_are_sure': True}
    try:
        array = json.loads(description)
        shape, names = array['shape'], array.get('axes', '')
    except (ValueError, TypeError, KeyError):
        shape, names = (), ''
    axes = ''.join({'Y': 'h', 'X': 'w'}.get(letter, 'b') for letter in str(names))
    if axes in AXES:
        return {'axes': axes, 'axes_are_sure': True}
    return {'axes': 'bhw', 'convention': '' if len(shape) == 3 else 'one page a band'}


def _band_wavelengths(image: Any) -> tuple[tuple[float, ...], str]:
    """Return the wavelengths that GDAL keeps beside the bands, and their unit."""
    bands = range(1, image.count + 1)
    own = [image.tags(band) for band in bands]
    waves = [numbers_of(tags.get('wavelength', '')) for tags in own]
    if all(waves):
        units = sorted({tags.get('wavelength_units', '') for tags in own})
        if len(units) > 1:
            raise FormatError(
                f'{image.name} has wavelengths in several units ({", ".join(units)}); give them in nm or micrometres '
                'with wavelengths (--wavelengths FILE).'
            )
        return tuple(wave[0] for wave in waves), own[0].get('wavelength_units', '')
    waves = [numbers_of(image.tags(band, ns='IMAGERY').get('CENTRAL_WAVELENGTH_UM', '')) for band in bands]
    return (tuple(wave[0] for wave in waves), 'micrometers') if all(waves) else ((), '')


def _georeference(image: Any) -> GeoReference | None:
    transform = tuple(float(number) for number in image.transform[:6])
    if image.crs is None and image.transform.is_identity:
        return None
    a, b, c, d, e, f = transform
    return GeoReference((a, b, c, d, e, f), '' if image.crs is None else image.crs.to_wkt())
