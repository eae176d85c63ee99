"""ENVI and TIFF files, through rasterio (GDAL), which the extra ``formats`` installs.

Carried along are wavelengths with their unit, the factor to reflectance or radiance, the bad-band list, the no-data
value and the georeference. ENVI: ``wavelength``, ``wavelength units``, ``reflectance scale factor``, ``bbl``, ``data
ignore value``, ``map info``, ``coordinate system string``. TIFF: GDAL's scale, offset and no-data value, the
wavelengths that GDAL keeps beside a band, GeoTIFF's keys; bands may lie in planes, in pixels, or on one page each.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import Cube, CubeForm, GeoReference
from mulsr_plugin.data.formats.common import FormatError, RawImage, ReadOptions, check_declared_size
from mulsr_plugin.utils.files import sync

DATA_SUFFIXES = ('', '.dat', '.img', '.raw', '.bsq', '.bil', '.bip', '.bin', '.envi')
INTERLEAVES = ('bsq', 'bil', 'bip')
_CACHE = 64  # megabytes that GDAL may take for what it has read or not yet written, instead of a share of the memory


def read_envi(path: Path, options: ReadOptions) -> RawImage:
    """Read an ENVI image, named by its header or its data file.

    Raises:
        ImportError: rasterio is not installed.
        FileNotFoundError: Header or data file is missing.
        FormatError: The header is damaged or declares more than the data file holds.
    """
    header, data = envi_files(path)
    with _opened(data, 'ENVI') as image:
        fields = image.tags(ns='ENVI')
        offset = int(fields.get('header_offset', 0))
        needed = _declared(image) + offset
        if data.stat().st_size < needed:
            raise FormatError(
                f'{header} declares {image.height}x{image.width} pixels with {image.count} bands of {image.dtypes[0]}, '
                f'{needed} bytes, but {data.name} holds {data.stat().st_size}: it is cut short or compressed, or the '
                'header belongs to another file.'
            )
        check_declared_size(data, needed, data.stat().st_size)
        factor = _numbers(fields.get('reflectance_scale_factor', ''))
        good = _numbers(fields.get('bbl', ''))
        return RawImage(
            _read_bands(data, image),
            axes='bhw',
            axes_are_sure=True,
            scale=1 / factor[0] if factor and factor[0] > 0 else None,
            wavelengths=_numbers(fields.get('wavelength', '')),
            unit=fields.get('wavelength_units', ''),
            nodata=image.nodata,
            bad_bands=tuple(band for band, flag in enumerate(good) if flag == 0),
            geo=_georeference(image),
        )


def read_tiff(path: Path, options: ReadOptions) -> RawImage:
    """Read a TIFF or GeoTIFF with its bands in one image or on one page each.

    Raises:
        ImportError: rasterio is not installed.
        FormatError: The file is damaged or cut short, or its pages differ.
    """
    with _opened(path, 'GTiff') as image:
        # rasterio lists them by name, so that page 10 comes before page 2.
        pages = sorted(image.subdatasets, key=lambda name: int(name.split(':')[1])) if image.count == 1 else []
        check_declared_size(path, _declared(image) * max(len(pages), 1), path.stat().st_size)
        values = _read_pages(path, pages) if pages else _read_bands(path, image)
        values, scale = _physical(values, image) if not pages else (values, None)
        waves, unit = _band_wavelengths(image)
        return RawImage(
            values,
            axes='bhw',
            axes_are_sure=not pages,
            scale=scale,
            wavelengths=waves,
            unit=unit,
            nodata=image.nodata,
            geo=_georeference(image),
        )


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
    with _opened(path, driver, 'r+') as image:
        for band in range(values.shape[2]):
            image.write(np.ascontiguousarray(values[..., band]), band + 1, window=_rows(first, values))
    sync(path)


def read_rows(path: Path, driver: str, first: int, last: int) -> np.ndarray:
    """Read rows of an image that :func:`write_rows` has written, (last - first, W, L) as they are stored."""
    with _opened(path, driver) as image:
        return image.read(window=((first, last), (0, image.width))).transpose(1, 2, 0)


def envi_files(path: Path) -> tuple[Path, Path]:
    """Return header and data file of an ENVI image named by either.

    Raises:
        FileNotFoundError: One of them is missing.
    """
    if path.suffix.lower() == '.hdr':
        candidates = [path.with_suffix(suffix) for suffix in DATA_SUFFIXES]
        candidates += [candidate.with_suffix(candidate.suffix.upper()) for candidate in candidates[1:]]
        data = next((candidate for candidate in candidates if candidate.is_file()), None)
        if data is None:
            raise FileNotFoundError(
                f'There is no data file beside the ENVI header {path}: expected {path.stem} with no suffix or one of '
                f'{" ".join(DATA_SUFFIXES[1:])}.'
            )
        return path, data
    headers = [path.with_suffix('.hdr'), Path(f'{path}.hdr'), path.with_suffix('.HDR'), Path(f'{path}.HDR')]
    header = next((candidate for candidate in headers if candidate.is_file()), None)
    if header is None:
        raise FileNotFoundError(f'There is no ENVI header beside {path}: expected {headers[0].name}.')
    return header, path


def _rasterio(path: Path) -> Any:
    try:
        import rasterio
    except ImportError as error:
        raise ImportError(
            f"{path} is an ENVI or TIFF file, which needs rasterio: pip install 'mulsr-plugin[formats]', or save it as "
            '.mat or .npz.'
        ) from error
    return rasterio


@contextlib.contextmanager
def _opened(path: Path, driver: str, mode: str = 'r') -> Iterator[Any]:
    """Open a file with one driver, so that no content makes GDAL read other files."""
    rasterio = _rasterio(path)
    no_companions = {} if mode == 'r' else {'GDAL_PAM_ENABLED': 'NO'}
    with _quiet(rasterio), rasterio.Env(GDAL_CACHEMAX=_CACHE, **no_companions):
        try:
            image = rasterio.open(str(path.absolute()), mode, driver=driver)
        except rasterio.errors.RasterioError as error:
            raise FormatError(
                f'{path} cannot be read as {driver} ({error}): it is damaged or of another format.'
            ) from error
        with image:
            if len(set(image.dtypes)) > 1:
                raise FormatError(f'{path} has bands of different types ({", ".join(sorted(set(image.dtypes)))}).')
            if not image.count:
                raise FormatError(f'{path} declares no band; correct its header.')
            yield image


@contextlib.contextmanager
def _created(path: Path, form: CubeForm, **profile: Any) -> Iterator[Any]:
    rasterio = _rasterio(path)
    height, width, bands = form.shape
    if form.geo is not None:
        profile['transform'] = rasterio.Affine(*form.geo.transform)
        profile['crs'] = form.geo.crs or None
    profile.update(height=height, width=width, count=bands, dtype=form.dtype.name)
    with (
        _quiet(rasterio),
        rasterio.Env(GDAL_PAM_ENABLED='NO', GDAL_CACHEMAX=_CACHE),
        rasterio.open(str(path), 'w', **profile) as image,
    ):
        yield image


@contextlib.contextmanager
def _quiet(rasterio: Any) -> Iterator[None]:
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


def _read_bands(path: Path, image: Any) -> np.ndarray:
    rasterio = _rasterio(path)
    try:
        return image.read()
    except rasterio.errors.RasterioError as error:
        raise FormatError(f'{path} is cut short or damaged ({error}): copy it again.') from error


def _read_pages(path: Path, pages: list[str]) -> np.ndarray:
    """Read the pages of a TIFF as bands."""
    rasterio = _rasterio(path)
    bands: list[np.ndarray] = []
    for page in pages:
        with rasterio.open(page) as image:
            if bands and (image.shape != bands[0].shape or image.dtypes[0] != bands[0].dtype.name or image.count > 1):
                raise FormatError(
                    f'{path} has pages of different size or type ({bands[0].shape} and {image.shape}), which are no '
                    'bands of one image; save the bands as an image of their own.'
                )
            bands.append(_read_bands(path, image)[0])
    return np.stack(bands)


def _physical(values: np.ndarray, image: Any) -> tuple[np.ndarray, float | None]:
    """Return values and their factor; bands with their own factors or offsets are brought to floats."""
    scales, offsets = np.asarray(image.scales), np.asarray(image.offsets)
    if not offsets.any() and (scales == scales[0]).all():
        return values, float(scales[0]) if scales[0] not in (0, 1) else None
    return values.astype(np.float64) * scales[:, None, None] + offsets[:, None, None], None


def _band_wavelengths(image: Any) -> tuple[tuple[float, ...], str]:
    """Return the wavelengths that GDAL keeps beside the bands, and their unit."""
    bands = range(1, image.count + 1)
    own = [image.tags(band) for band in bands]
    waves = [_numbers(tags.get('wavelength', '')) for tags in own]
    if all(waves):
        return tuple(wave[0] for wave in waves), own[0].get('wavelength_units', '')
    waves = [_numbers(image.tags(band, ns='IMAGERY').get('CENTRAL_WAVELENGTH_UM', '')) for band in bands]
    return (tuple(wave[0] for wave in waves), 'micrometers') if all(waves) else ((), '')


def _georeference(image: Any) -> GeoReference | None:
    transform = tuple(float(number) for number in image.transform[:6])
    if image.crs is None and image.transform.is_identity:
        return None
    a, b, c, d, e, f = transform
    return GeoReference((a, b, c, d, e, f), '' if image.crs is None else image.crs.to_wkt())


def _numbers(text: str) -> tuple[float, ...]:
    """Read the numbers of a header field such as ``{400, 410}``; a field of anything else counts as absent."""
    try:
        return tuple(float(part) for part in text.strip('{} \n').replace(',', ' ').split())
    except ValueError:
        return ()


def _braced(numbers: Any) -> str:
    return '{' + ', '.join(f'{number:.10g}' for number in numbers) + '}'


def _rows(first: int, values: np.ndarray) -> tuple[tuple[int, int], tuple[int, int]]:
    return (first, first + values.shape[0]), (0, values.shape[1])


def _write_whole(path: Path, driver: str, cube: Cube) -> None:
    """Write all rows and read them back: GDAL may not report a write that fails at the very end."""
    write_rows(path, driver, 0, cube.values)
    with _opened(path, driver) as image:
        for band in range(cube.num_bands):
            if not np.array_equal(image.read(band + 1), cube.values[..., band]):
                raise OSError(f'the disk did not return what was written for band {band + 1}')
