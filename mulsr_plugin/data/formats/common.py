"""What all formats share: from a raw array to a checked cube, and files that appear whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import Cube, Doubt, GeoReference, check_cube
from mulsr_plugin.data.formats.axes import AXES, arrange
from mulsr_plugin.data.formats.errors import FormatError
from mulsr_plugin.data.formats.radiometry import as_default_range, clipped, default_scale, physical_values, scale_of
from mulsr_plugin.data.formats.wavelengths import NANOMETRES_OR_MICROMETRES, band_centres
from mulsr_plugin.utils.files import PathLike
from mulsr_plugin.utils.memory import free_host_memory

__all__ = [
    'AXES',
    'FormatError',
    'RawImage',
    'ReadOptions',
    'Scale',
    'as_default_range',
    'check_declared_size',
    'default_scale',
    'read_numbers',
    'size_text',
    'to_cube',
]

# A file may declare this much more than it holds (compression); below the size nothing is suspected.
LARGEST_COMPRESSION = 200
UNSUSPECTED_SIZE = 1 << 26

Scale = float | str | None


@dataclass(frozen=True)
class ReadOptions:
    """What a user may say about a file; the arguments of :func:`mulsr_plugin.data.formats.read_cube`."""

    key: str | None = None
    value_scale: Scale = None
    axes: str | None = None
    wavelengths: Sequence[float] | None = None
    fill: float | None = None
    clip: bool = False
    is_guide: bool = False
    drop_bad_bands: bool = False
    bits: int | None = None
    wavelengths_key: str | None = None


@dataclass(frozen=True)
class RawImage:
    """An image as its file holds it, before units, axes and range are looked at.

    Attributes:
        values (ndarray): Three axes in the order ``axes``; two axes are rows and columns of one band.
        axes (str): Order of the axes by the rules of the format, of the letters h, w and b.
        axes_are_sure (bool): Whether the file names its axes; else wavelengths or sizes must speak for the order.
            Default: False.
        convention (str): Where the order is a habit of all who write the format, whose: then only an order that looks
            transposed is questioned. Default: ''.
        axes_unknown (str): Why no order can be taken for the right one. Default: '', one can.
        kind (str): Name of the type that sets the range of integers, where it is not the dtype. Default: ''.
        bits (int | None): Bits of integers that are in use, where the file says so. Default: None.
        range_is_sure (bool): Whether the format says that integers fill their range, as in pictures. Default: False.
        scale (float | None): Factor to [0, 1] that the file names. Default: None.
        gains (tuple[float] | None): Factors of the bands, applied to the stored numbers. Default: None.
        offsets (tuple[float] | None): Added then, one for each band. Default: None.
        wavelengths (tuple[float]): Band centres in ``unit``. Default: none.
        unit (str): Unit of the wavelengths in the words of the file. Default: ''.
        nodata (float | tuple[float | None] | None): Stored number that marks pixels without data, of all bands or of
            each. Default: None.
        gaps (ndarray | None): Truth values in the order ``axes``, of each band or, with one band, of all: masked
            pixels. Default: None.
        bad_bands (tuple[int]): Bands, from 0, marked as bad. Default: ().
        geo (GeoReference | None): Georeference. Default: None.
        notes (tuple[str]): What the reader has left out or applied. Default: none.
        warnings (tuple[str]): What in the file may make its values wrong. Default: none.
    """

    values: np.ndarray
    axes: str = 'hwb'
    axes_are_sure: bool = False
    convention: str = ''
    axes_unknown: str = ''
    kind: str = ''
    bits: int | None = None
    range_is_sure: bool = False
    scale: float | None = None
    gains: tuple[float, ...] | None = None
    offsets: tuple[float, ...] | None = None
    wavelengths: tuple[float, ...] = ()
    unit: str = ''
    nodata: float | tuple[float | None, ...] | None = None
    gaps: np.ndarray | None = None
    bad_bands: tuple[int, ...] = ()
    geo: GeoReference | None = None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def to_cube(path: Path, raw: RawImage, options: ReadOptions) -> Cube:
    """Check and complete what a reader has found.

    Raises:
        ValueError: The array is not a cube of real numbers in [0, 1], its axes or its scale cannot be known, or bands
            are missing.
    """
    raw = replace(raw, values=_real(path, raw.values))
    values, gaps, axes_from = arrange(path, raw, options)
    notes, warnings = list(raw.notes), list(raw.warnings)
    waves, unit = raw.wavelengths, raw.unit
    if options.wavelengths is not None:
        waves, unit = tuple(options.wavelengths), NANOMETRES_OR_MICROMETRES
    wavelengths = band_centres(path, waves, unit, values.shape[2], notes)
    raw = replace(raw, values=values, gaps=gaps, wavelengths=wavelengths or ())
    if options.drop_bad_bands and raw.bad_bands:
        # Before anything else is looked at: what such bands hold is often no number at all.
        notes.append(f'{len(raw.bad_bands)} bands that the file marks as bad are left out')
        raw = _without_bad_bands(path, raw)
    values = physical_values(path, raw, options.fill, notes)
    scale = scale_of(path, values, raw, options, notes, warnings)
    if options.clip:
        values = clipped(values, scale, notes)
    wavelengths = raw.wavelengths or None
    check_cube(path.name, values, scale, wavelengths)
    notes += map(Doubt, warnings)
    return Cube(values, scale, wavelengths, None, path.name, raw.geo, raw.bad_bands, tuple(notes), axes_from)


def _without_bad_bands(path: Path, raw: RawImage) -> RawImage:
    """Leave bad bands out, with all that a file says of them; values are (H, W, L)."""
    bands = raw.values.shape[2]
    kept = [band for band in range(bands) if band not in raw.bad_bands]
    if not kept:
        raise FormatError(f'{path} marks all of its {bands} bands as bad; correct its header.')
    each: dict[str, Any] = {
        name: tuple(numbers[band] for band in kept)
        for name in ('wavelengths', 'gains', 'offsets', 'nodata')
        if isinstance(numbers := getattr(raw, name), tuple) and numbers
    }
    gaps = raw.gaps if raw.gaps is None or raw.gaps.shape[2] == 1 else raw.gaps[..., kept]
    return replace(raw, values=np.ascontiguousarray(raw.values[..., kept]), gaps=gaps, bad_bands=(), **each)


def check_declared_size(path: Path, declared: int, stored: int, what: str = 'values') -> None:
    """Refuse a file that would unpack to far more than it can hold, or to more than there is memory, before reading it.

    Args:
        path (Path): The file, for the message.
        declared (int): Bytes of the array that the file declares.
        stored (int): Bytes that the file has for it.
        what (str): What it declares. Default: 'values'.

    Raises:
        FormatError: The declared size cannot be.
    """
    if declared > UNSUSPECTED_SIZE and declared > LARGEST_COMPRESSION * stored:
        raise FormatError(
            f'{path} declares {size_text(declared)} of {what} but holds only {size_text(stored)}: it is damaged or '
            'made to exhaust the memory; get it again from its source.'
        )
    free = free_host_memory()
    if declared > free:
        raise FormatError(
            f'{path} holds {size_text(declared)} of {what}, but only {size_text(free)} of memory are free; cut it into '
            'smaller images first.'
        )


def size_text(nbytes: int) -> str:
    """Return a number of bytes for people, such as ``1.2 GB``."""
    for limit, unit in ((1e9, 'GB'), (1e6, 'MB'), (1e3, 'kB')):
        if nbytes >= limit:
            return f'{nbytes / limit:.1f} {unit}'
    return f'{nbytes} bytes'


def read_numbers(path: PathLike) -> tuple[float, ...]:
    """Read the numbers of a text file, separated by blanks, commas or lines; ``#`` begins a comment.

    Raises:
        FileNotFoundError: There is no such file.
        FormatError: It holds anything else, or nothing.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f'There is no file {path}.')
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
        numbers = tuple(float(part) for line in lines for part in re.split(r'[\s,;]+', line.partition('#')[0]) if part)
    except ValueError as error:
        raise FormatError(f'{path} is not a list of numbers ({error}); write one band centre in nm a line.') from error
    if not numbers:
        raise FormatError(f'{path} holds no number; write one band centre in nm a line.')
    return numbers


def _real(path: Path, values: np.ndarray) -> np.ndarray:
    if values.dtype.kind == 'c':
        raise FormatError(f'{path} holds complex values ({values.dtype}); a cube holds real values: save its modulus.')
    if values.dtype.kind not in 'uif' or values.dtype.itemsize > 8:
        raise FormatError(
            f'{path} holds {values.dtype} values, expected real numbers (integers or floats): save it as such an array.'
        )
    if values.dtype == np.float16:
        values = values.astype(np.float32)
    return values if values.dtype.isnative else values.astype(values.dtype.newbyteorder('='))
