"""Bands of a GDAL raster as they are stored, with what GDAL knows of the meaning of their numbers.

Used: scale, offset and no-data value of every band, masks (internal, ``.msk``, per data set or per band), alpha bands,
colour interpretation, ``NBITS``, ``MINISWHITE``. Noted: unit, source colour space, files beside that GDAL has read too.
Statistics, histograms, overviews, band names and attribute tables do not say what a value means and are left alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mulsr_plugin.data.formats.errors import FormatError

# GDAL's names, as rasterio has them
ALPHA, PALETTE = 'alpha', 'palette'
MASK_PER_DATASET, MASK_NODATA, MASK_ALL_VALID = 'per_dataset', 'nodata', 'all_valid'


class StoredBands(NamedTuple):
    """Bands without alpha; see ``RawImage`` for the meaning."""

    values: np.ndarray
    gains: tuple[float, ...]
    offsets: tuple[float, ...]
    nodata: tuple[float | None, ...]
    gaps: np.ndarray | None
    bits: int | None
    notes: tuple[str, ...]

    @property
    def calibration(self) -> dict[str, Any]:
        """Scale, or gains and offsets, for a ``RawImage``; one factor of all bands leaves the stored numbers."""
        if not any(self.gains):  # as some programs write that there is none
            return {}
        if any(self.offsets) or len(set(self.gains)) > 1:
            return {'gains': self.gains, 'offsets': self.offsets}
        return {'scale': self.gains[0] if self.gains[0] != 1 else None}


def read_stored_bands(path: Path, image: Any) -> StoredBands:
    """Read the bands of an open raster.

    Args:
        path (Path): Its file, for messages.
        image (DatasetReader): Of rasterio.

    Raises:
        FormatError: The file is damaged, or holds no intensities: a palette, or bands that are hardly transparency
            though they are called so.
    """
    structure = image.tags(ns='IMAGE_STRUCTURE')
    white_is_zero = structure.get('MINISWHITE') == 'YES'
    kinds = [kind.name for kind in image.colorinterp]
    if PALETTE in kinds and not white_is_zero:
        raise FormatError(
            f'{path} holds numbers of a colour table, not intensities; write its colours first: '
            f'gdal_translate -expand rgb {path.name} NEW.tif.'
        )
    bands = [band for band, kind in enumerate(kinds) if kind != ALPHA]
    values = _read(path, image, bands)
    notes = [] if len(bands) == image.count else [f'band {kinds.index(ALPHA) + 1}, its transparency, is left out']
    gaps = _union(_masked(path, image, bands), _transparent(path, image, kinds, notes))
    nodata = tuple(image.nodatavals[band] for band in bands)
    gains, offsets = (tuple(float(numbers[band]) for band in bands) for numbers in (image.scales, image.offsets))
    bits = image.tags(bands[0] + 1, ns='IMAGE_STRUCTURE').get('NBITS')
    number = int(bits) if bits is not None and values.dtype.kind in 'ui' else None
    if white_is_zero:
        values, nodata = _with_black_zero(path, values, nodata, number, set(gains) != {1.0} or any(offsets))
        notes.append('white is 0 in the file: its values are inverted')
    notes += _said_of_values(image, bands, structure)
    return StoredBands(values, gains, offsets, nodata, gaps, number, tuple(notes))


def joined(path: Path, pages: list[StoredBands]) -> StoredBands:
    """Join single bands, such as the pages of a TIFF, in this order.

    Raises:
        FormatError: They differ in bits.
    """
    first = pages[0]
    if len({page.bits for page in pages}) > 1:
        raise FormatError(f'{path} has pages of different bits; save its bands as one image.')
    gaps = None
    if any(page.gaps is not None for page in pages):
        gaps = np.concatenate([np.zeros(first.values.shape, bool) if p.gaps is None else p.gaps for p in pages])
    return StoredBands(
        np.concatenate([page.values for page in pages]),
        tuple(number for page in pages for number in page.gains),
        tuple(number for page in pages for number in page.offsets),
        tuple(number for page in pages for number in page.nodata),
        gaps,
        first.bits,
        tuple(dict.fromkeys(note for page in pages for note in page.notes)),
    )


def _read(path: Path, image: Any, bands: list[int]) -> np.ndarray:
    from rasterio.errors import RasterioError

    try:
        return image.read([band + 1 for band in bands])
    except RasterioError as error:
        raise FormatError(f'{path} is cut short or damaged ({error}): copy it again.') from error


def _masked(path: Path, image: Any, bands: list[int]) -> np.ndarray | None:
    """Return the pixels that a mask leaves out; no-data values are compared elsewhere, with those of each band."""
    from rasterio.errors import RasterioError

    flags = [{flag.name for flag in image.mask_flag_enums[band]} for band in bands]
    masked = [not each & {ALPHA, MASK_ALL_VALID} and each != {MASK_NODATA} for each in flags]
    if not any(masked):
        return None
    try:
        if all(MASK_PER_DATASET in each for each in flags):
            return image.read_masks(bands[0] + 1)[None] == 0
        gaps = np.zeros((len(bands), image.height, image.width), bool)
        for at in np.flatnonzero(masked):
            gaps[at] = image.read_masks(bands[at] + 1) == 0
    except RasterioError as error:
        raise FormatError(f'The mask of {path} is cut short or damaged ({error}): copy it again.') from error
    return gaps


def _transparent(path: Path, image: Any, kinds: list[str], notes: list[str]) -> np.ndarray | None:
    """Return the pixels that an alpha band makes invisible."""
    if ALPHA not in kinds:
        return None
    band = kinds.index(ALPHA)
    alpha = _read(path, image, [band])
    partly = int(((alpha > 0) & (alpha < alpha.max())).sum())
    if 2 * partly > alpha.size:
        raise FormatError(
            f'{path} calls band {band + 1} its transparency, of which most is neither 0 nor full; if it is a band, say '
            f'so by gdal_translate -colorinterp_{band + 1} undefined {path.name} NEW.tif, else save without it.'
        )
    if partly:
        notes.append(f'{partly} partly transparent pixels are taken in the value that they have')
    return alpha == 0


def _union(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    return second if first is None else first if second is None else first | second


def _with_black_zero(
    path: Path, values: np.ndarray, nodata: tuple[float | None, ...], bits: int | None, calibrated: bool
) -> tuple[np.ndarray, tuple[float | None, ...]]:
    """Invert an image in which white is 0, together with its no-data value."""
    if values.dtype.kind != 'u' or len(values) > 1 or calibrated:
        raise FormatError(
            f'{path} says that white is 0, which has no meaning for several bands, {values.dtype} with a sign or '
            'fraction, or physical units; save it with black as 0 (photometric MINISBLACK).'
        )
    top = np.iinfo(values.dtype).max if bits is None else 2**bits - 1
    return np.asarray(top, values.dtype) - values, tuple(None if each is None else top - each for each in nodata)


def _said_of_values(image: Any, bands: list[int], structure: dict[str, str]) -> list[str]:
    units = sorted({image.units[band] for band in bands if image.units[band]})
    notes = [f'the file gives its values in {", ".join(units)}'] if units else []
    space = structure.get('SOURCE_COLOR_SPACE')
    notes += [f'red, green and blue are computed from its {space}'] if space else []
    beside = sorted(
        Path(file).name for file in image.files[1:] if Path(file).suffix.lower() in ('.msk', '.xml', '.tfw', '.wld')
    )
    return notes + ([f'{", ".join(beside)} beside it is read too'] if beside else [])
