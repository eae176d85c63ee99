"""What all formats share: from a raw array to a checked cube, and files that appear whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mulsr_plugin.data.cube import Cube, Doubt, GeoReference, check_cube, in_unit_range
from mulsr_plugin.utils.files import PathLike
from mulsr_plugin.utils.memory import free_host_memory

AXES = ('hwb', 'whb', 'bhw', 'bwh', 'hbw', 'wbh')
# A file may declare this much more than it holds (compression); below the size nothing is suspected.
LARGEST_COMPRESSION = 200
UNSUSPECTED_SIZE = 1 << 26
# Optical band centres in micrometres lie below this number, in nanometres above it.
SMALLEST_NANOMETRE = 100.0

NANOMETRES_PER = {
    **dict.fromkeys(('nm', 'nanometer', 'nanometers', 'nanometre', 'nanometres'), 1.0),
    **dict.fromkeys(('um', 'µm', 'μm', 'micron', 'microns', 'micrometer', 'micrometers', 'micrometre'), 1000.0),
    'micrometres': 1000.0,
}

# Sides that make an order of axes doubtful: the supposed bands are as many as an image has columns.
SMALLEST_SIDE = 64
CLEARLY_MORE = 4
# Largest values of integers, of 1 for that of their type: below the first, 32 or 64 bits only hold counts of fewer;
# below the second the same is likely of any type (11 or 12 bits in 16).
HARDLY_USED = 1 / 4096
PARTLY_USED = 1 / 8
Scale = float | str | None
LONGEST_MESSAGE = 1000


class FormatError(ValueError):
    """A file is damaged, of another format, or does not hold what was asked for; one sentence for the user.

    Args:
        message (str): The sentence; names of damaged files in it may hold anything, so it is made printable and cut.
    """

    def __init__(self, message: str) -> None:
        text = ''.join(character if character.isprintable() else '?' for character in message)
        super().__init__(text if len(text) <= LONGEST_MESSAGE else f'{text[:LONGEST_MESSAGE]} ...')


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


@dataclass(frozen=True)
class RawImage:
    """An image as its file holds it, before units, axes and range are looked at.

    Attributes:
        values (ndarray): Three axes in the order ``axes``; two axes are rows and columns of one band.
        axes (str): Order of the axes by the rules of the format, of the letters h, w and b.
        axes_are_sure (bool): Whether the format names its axes; else an order that looks wrong is questioned.
        kind (str): Name of the type that sets the range of integers, where it is not the dtype. Default: ''.
        scale (float | None): Factor to [0, 1] that the file names. Default: None.
        wavelengths (tuple[float]): Band centres in ``unit``. Default: none.
        unit (str): Unit of the wavelengths in the words of the file. Default: ''.
        nodata (float | None): Value that marks pixels without data. Default: None.
        bad_bands (tuple[int]): Bands, from 0, marked as bad. Default: ().
        geo (GeoReference | None): Georeference. Default: None.
        notes (tuple[str]): What the reader has left out. Default: none.
    """

    values: np.ndarray
    axes: str = 'hwb'
    axes_are_sure: bool = False
    kind: str = ''
    scale: float | None = None
    wavelengths: tuple[float, ...] = ()
    unit: str = ''
    nodata: float | None = None
    bad_bands: tuple[int, ...] = ()
    geo: GeoReference | None = None
    notes: tuple[str, ...] = ()


def to_cube(path: Path, raw: RawImage, options: ReadOptions) -> Cube:
    """Check and complete what a reader has found.

    Raises:
        ValueError: The array is not a cube of real numbers in [0, 1], its axes look wrong, or bands are missing.
    """
    values = _arrange(path, _real(path, raw.values), raw, options)
    notes = list(raw.notes)
    wavelengths = _nanometres(path, raw, options.wavelengths, values.shape[2], notes)
    bad_bands = raw.bad_bands
    if options.drop_bad_bands and bad_bands:
        # Before anything else is looked at: what such bands hold is often no number at all.
        kept = [band for band in range(values.shape[2]) if band not in bad_bands]
        if not kept:
            raise FormatError(f'{path} marks all of its {values.shape[2]} bands as bad; correct its header.')
        values = np.ascontiguousarray(values[..., kept])
        wavelengths = None if wavelengths is None else tuple(wavelengths[band] for band in kept)
        notes.append(f'{len(bad_bands)} bands that the file marks as bad are left out')
        bad_bands = ()
    values = _without_gaps(path, values, raw.nodata, options.fill, notes)
    scale = _scale_of(path, values, raw, options, notes)
    if options.clip:
        values = _clipped(values, scale, notes)
    check_cube(path.name, values, scale, wavelengths)
    return Cube(values, scale, wavelengths, None, path.name, raw.geo, bad_bands, tuple(notes))


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


def as_default_range(cube: Cube) -> np.ndarray:
    """Return values that a reader takes to [0, 1] by their dtype alone: as they are, else as float32 in [0, 1]."""
    if np.isclose(cube.scale, default_scale(cube.values.dtype.name), rtol=1e-12, atol=0):
        return cube.values
    return np.multiply(cube.values, np.float32(cube.scale), dtype=np.float32, casting='unsafe')


def default_scale(kind: str) -> float:
    """Return the factor to [0, 1] of a type: 1 for floats, 1 / largest value for integers."""
    return 1.0 / float(np.iinfo(kind).max) if 'int' in kind else 1.0


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


def _arrange(path: Path, values: np.ndarray, raw: RawImage, options: ReadOptions) -> np.ndarray:
    """Bring the array into the order rows, columns, bands."""
    if values.size == 0:
        raise FormatError(f'{path} is empty: its array has the shape {values.shape}; save it again.')
    if values.ndim == 2 and options.is_guide:
        return values[..., None]
    if values.ndim != 3:
        raise FormatError(
            f'{path} holds an array of shape {values.shape}, expected the three axes rows, columns and bands'
            f'{"; a single band can only be a guide" if values.ndim == 2 else ""}.'
        )
    if options.axes is not None and options.axes not in AXES:
        raise ValueError(f'axes is {options.axes!r}, expected the order of h, w and b in the file, such as bhw.')
    if options.axes is None and not raw.axes_are_sure:
        _question_axes(path, values.shape, raw)
    axes = options.axes or raw.axes
    values = values.transpose([axes.index(letter) for letter in 'hwb'])
    if values.shape[2] == 1 and not options.is_guide:
        raise FormatError(f'{path} has one band, a cube has several; give it as the guide, or name another file.')
    return np.ascontiguousarray(values)


def _question_axes(path: Path, stored: tuple[int, ...], raw: RawImage) -> None:
    """Refuse an order of the axes that contradicts the wavelengths or looks transposed."""
    first, middle, last = stored
    bands = stored[raw.axes.index('b')]
    if raw.wavelengths:
        wrong = len(raw.wavelengths) != bands and len(raw.wavelengths) in stored
    elif raw.axes == 'bhw':
        wrong = last < middle and first >= SMALLEST_SIDE and (first == middle or first >= CLEARLY_MORE * last)
    else:
        # Fewer rows than columns, and as many bands as an image has columns.
        wrong = first < middle and last >= SMALLEST_SIDE and (last == middle or last >= CLEARLY_MORE * first)
    if wrong:
        raise FormatError(
            f'{path} holds an array of shape {stored}, which read as {raw.axes} (h rows, w columns, b bands) has '
            f'{bands} bands and looks transposed; give the order with axes (--axes), such as '
            f'{"hwb" if raw.axes == "bhw" else "bhw"}, or {raw.axes} if it is right.'
        )


def _without_gaps(
    path: Path, values: np.ndarray, nodata: float | None, fill: float | None, notes: list[str]
) -> np.ndarray:
    """Fill, or refuse, NaN, infinite and no-data values."""
    gaps = ~np.isfinite(values) if values.dtype.kind == 'f' else None
    if nodata is not None and np.isfinite(nodata):
        marked = values == nodata
        gaps = marked if gaps is None else gaps | marked
    if gaps is None or not gaps.any():
        return values
    count, band = int(gaps.sum()), int(np.argmax(gaps.any(axis=(0, 1))))
    what = 'NaN, infinite or no-data' + ('' if nodata is None else f' ({nodata:g})')
    if fill is None:
        raise FormatError(
            f'{path} has {count} {what} values, the first in band {band + 1}; crop them away, or say with fill '
            '(--fill 0) which value they get.'
        )
    if not _fits(fill, values.dtype):
        raise FormatError(
            f'{path} holds {values.dtype} values, which cannot be {fill:g}; give a fill (--fill) that they can.'
        )
    notes.append(f'{count} {what} values are set to {fill:g}')
    values = values.copy()
    values[gaps] = fill
    return values


def _fits(number: float, dtype: np.dtype) -> bool:
    """Return whether a type can hold a number: floats any finite one, integers the whole ones of their range."""
    if dtype.kind == 'f':
        return bool(np.isfinite(number))
    return float(number).is_integer() and np.iinfo(dtype).min <= number <= np.iinfo(dtype).max


def _clipped(values: np.ndarray, scale: float, notes: list[str]) -> np.ndarray:
    """Bring values beyond [0, 1 / scale] to its ends."""
    top = 1 / scale
    high = top if values.dtype.kind == 'f' else min(int(top * (1 + 1e-9)), np.iinfo(values.dtype).max)
    count = int(((values < 0) | (values > high)).sum())
    if not count:
        return values
    notes.append(f'{count} values below 0 or above {top:g} are clipped')
    return values.clip(0, high)


def _scale_of(path: Path, values: np.ndarray, raw: RawImage, options: ReadOptions, notes: list[str]) -> float:
    """Return the factor to [0, 1]: the one asked for, the one of the file, or that of the type."""
    asked = options.value_scale
    if asked == 'max':
        largest = float(values.max())
        if not largest > 0:
            raise FormatError(f'{path} has no value above 0, so that its largest value gives no scale.')
        notes.append(f'divided by its largest value {largest:g}')
        return 1.0 / largest
    given = raw.scale if asked is None else float(asked)
    if given is not None:
        largest = float(values.max()) * given
        doubt = f', which makes the largest value only {largest:.2g}: correct it if that is wrong'
        doubt = doubt if 0 < largest < HARDLY_USED else ''
        if asked is None or doubt:
            note = f'scale {given:g} as {"the file says" if asked is None else "given"}{doubt}'
            notes.append(Doubt(note) if doubt else note)
        return given
    kind = raw.kind or values.dtype.name
    scale = default_scale(kind)
    if 'int' not in kind and not options.clip and not in_unit_range(values, scale):
        raise FormatError(
            f'{path} holds {kind} values from {values.min():.6g} to {values.max():.6g}; give the factor that brings '
            'them to [0, 1] as value scale, such as 1/65535 for 16-bit values, or max, or clip them.'
        )
    if scale == 1:
        return scale
    largest = int(values.max())
    fewer_bits = f'1/{2 ** largest.bit_length() - 1}'
    if np.dtype(kind).itemsize > 2 and 0 < largest * scale < HARDLY_USED:
        raise FormatError(
            f'{path} holds {kind} values up to {largest}, far from the largest of that type; give the factor that '
            f'brings them to [0, 1] as value scale, such as {fewer_bits}, or max.'
        )
    note = f'scale {scale:.6g} by its type {kind}'
    doubt = f'; its largest value is {largest}: give the value scale {fewer_bits} if the sensor has fewer bits'
    notes.append(Doubt(note + doubt) if largest * scale < PARTLY_USED else note)
    return scale


def _nanometres(
    path: Path, raw: RawImage, asked: Sequence[float] | None, bands: int, notes: list[str]
) -> tuple[float, ...] | None:
    """Return the band centres in nm."""
    waves = tuple(float(wave) for wave in (raw.wavelengths if asked is None else asked))
    if not waves:
        return None
    if len(waves) != bands:
        raise FormatError(f'{path} has {bands} bands but {len(waves)} wavelengths; give one for each band.')
    if not all(np.isfinite(wave) and wave > 0 for wave in waves):
        raise FormatError(f'{path}: its wavelengths are not all positive numbers; correct them.')
    unit = raw.unit.strip().lower() if asked is None else ''
    factor = NANOMETRES_PER.get(unit)
    if factor is None:
        factor = 1000.0 if max(waves) < SMALLEST_NANOMETRE else 1.0
    if factor == 1:
        return waves
    notes.append('wavelengths converted from micrometres to nanometres')
    # 0.4 micrometres are 400 nm, not 400.00000000000006
    return tuple(round(wave * factor, 6) for wave in waves)
