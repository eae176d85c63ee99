"""What stored numbers mean: gaps, gains and offsets of bands, and the factor that brings values to [0, 1].

Gaps are found in the units in which a file stores its numbers, before gains and offsets are applied. A factor that
neither the user nor the file names is taken from the type only where the values use its range; else it is asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mulsr_plugin.data.cube import Cube, in_unit_range
from mulsr_plugin.data.formats.errors import FormatError

if TYPE_CHECKING:
    from mulsr_plugin.data.formats.common import RawImage, ReadOptions

# Largest values, of 1 for the largest of the type, below which bytes and pictures are doubted.
PARTLY_USED = 1 / 8
# and below which a factor of the user or the file is
HARDLY_USED = 1 / 4096
REFLECTANCE = 10000
LARGEST_REFLECTANCE = 2  # of clouds and glints
BITS_OF_SENSORS = (8, 10, 11, 12, 14, 16)


def default_scale(kind: str, bits: int | None = None) -> float:
    """Return the factor to [0, 1] of a type: 1 for floats, 1 / largest value for integers.

    Args:
        kind (str): Name of the type.
        bits (int | None): Bits of it that are in use; None means all. Default: None.
    """
    if 'int' not in kind:
        return 1.0
    return 1.0 / float(np.iinfo(kind).max if bits is None else 2**bits - 1)


def as_default_range(cube: Cube) -> np.ndarray:
    """Return values that a reader takes to [0, 1] by their dtype alone: as they are, else as float32 in [0, 1]."""
    by_type = default_scale(cube.values.dtype.name)
    if np.isclose(cube.scale, by_type, rtol=1e-12, atol=0) and not _is_open(cube.values, by_type):
        return cube.values
    return np.multiply(cube.values, np.float32(cube.scale), dtype=np.float32, casting='unsafe')


def physical_values(path: Path, raw: RawImage, fill: float | None, notes: list[str]) -> np.ndarray:
    """Find the gaps in stored units, apply gains and offsets of the bands, and fill.

    Args:
        path (Path): The file, for messages.
        raw (RawImage): Values (H, W, L), gaps (H, W, L) or (H, W, 1).
        fill (float | None): Replaces gaps; in stored units, or physical ones where gains or offsets are applied.
        notes (list[str]): Gets what was done.

    Returns:
        ndarray: (H, W, L); floats where gains or offsets are applied.

    Raises:
        FormatError: There are gaps and no fill, or the type cannot hold the fill.
    """
    gaps = _gaps(raw)
    values = _calibrated(raw, notes)
    if gaps is None or not gaps.any():
        return values
    gaps = np.broadcast_to(gaps, values.shape)
    count, band = int(gaps.sum()), int(np.argmax(gaps.any(axis=(0, 1))))
    what = f'NaN, infinite or no-data{_no_data_text(raw)}'
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
    if values is raw.values:
        values = values.copy()
    values[gaps] = fill
    return values


def scale_of(
    path: Path, values: np.ndarray, raw: RawImage, options: ReadOptions, notes: list[str], warnings: list[str]
) -> float:
    """Return the factor to [0, 1]: the one asked for, the one of the file, or that of the type.

    Raises:
        FormatError: None is given, and the values do not show which one holds.
    """
    if options.value_scale == 'max':
        largest = float(values.max())
        if not largest > 0:
            raise FormatError(f'{path} has no value above 0, so that its largest value gives no scale.')
        notes.append(f'divided by its largest value {largest:g}')
        return 1.0 / largest
    given = raw.scale if options.value_scale is None else float(options.value_scale)
    if given is None:
        return _scale_of_type(path, values, raw, options, notes, warnings)
    source = 'the file says' if options.value_scale is None else 'given'
    largest = float(values.max()) * given
    if 0 < largest < HARDLY_USED:
        warnings.append(
            f'scale {given:g} as {source} makes the largest value only {largest:.2g}: correct it if that is wrong'
        )
    elif options.value_scale is None:
        notes.append(f'scale {given:g} as {source}')
    return given


def clipped(values: np.ndarray, scale: float, notes: list[str]) -> np.ndarray:
    """Bring values beyond [0, 1 / scale] to its ends."""
    top = 1 / scale
    high = top if values.dtype.kind == 'f' else min(int(top * (1 + 1e-9)), np.iinfo(values.dtype).max)
    count = int(((values < 0) | (values > high)).sum())
    if not count:
        return values
    notes.append(f'{count} values below 0 or above {top:g} are clipped')
    return values.clip(0, high)


def _gaps(raw: RawImage) -> np.ndarray | None:
    """Return where values are NaN, infinite, no-data of their band, or masked."""
    gaps = ~np.isfinite(raw.values) if raw.values.dtype.kind == 'f' else None
    if raw.gaps is not None:
        gaps = raw.gaps if gaps is None else gaps | raw.gaps
    for band, nodata in enumerate(_each_band(raw.nodata, raw.values.shape[2])):
        if nodata is None or not np.isfinite(nodata):
            continue
        marked = raw.values[..., band] == nodata
        if not marked.any():
            continue
        if gaps is None:
            gaps = np.zeros(raw.values.shape, bool)
        elif gaps.shape != raw.values.shape:
            gaps = np.repeat(gaps, raw.values.shape[2], axis=2)
        gaps[..., band] |= marked
    return gaps


def _each_band(number: float | tuple[float | None, ...] | None, bands: int) -> tuple[float | None, ...]:
    return number if isinstance(number, tuple) else (number,) * bands


def _no_data_text(raw: RawImage) -> str:
    marks = sorted({f'{each:g}' for each in _each_band(raw.nodata, 1) if each is not None}, key=float)
    marks += ['masked'] if raw.gaps is not None else []
    return f' ({", ".join(marks)})' if marks else ''


def _calibrated(raw: RawImage, notes: list[str]) -> np.ndarray:
    """Apply gains and offsets, in double precision, kept as floats of the width that the type needs."""
    if raw.gains is None and raw.offsets is None:
        return raw.values
    bands = raw.values.shape[2]
    gains, offsets = raw.gains or (1.0,) * bands, raw.offsets or (0.0,) * bands
    values = np.empty(raw.values.shape, np.result_type(raw.values.dtype, np.float32))
    for band in range(bands):
        values[..., band] = raw.values[..., band].astype(np.float64) * gains[band] + offsets[band]
    notes.append(f'gains {_span(gains)} and offsets {_span(offsets)} of the bands are applied as the file says')
    return values


def _span(numbers: tuple[float, ...]) -> str:
    low, high = min(numbers), max(numbers)
    return f'{low:g}' if low == high else f'{low:g} to {high:g}'


def _fits(number: float, dtype: np.dtype) -> bool:
    """Return whether a type can hold a number: floats any finite one, integers the whole ones of their range."""
    if dtype.kind == 'f':
        return bool(np.isfinite(number))
    return float(number).is_integer() and np.iinfo(dtype).min <= number <= np.iinfo(dtype).max


def _scale_of_type(
    path: Path, values: np.ndarray, raw: RawImage, options: ReadOptions, notes: list[str], warnings: list[str]
) -> float:
    kind = raw.kind or values.dtype.name
    if 'int' not in kind or values.dtype.kind == 'f':
        if not options.clip and not in_unit_range(values, 1.0):
            raise FormatError(
                f'{path} holds {kind} values from {values.min():.6g} to {values.max():.6g}; give the factor that '
                f'brings them to [0, 1] as value scale, such as {_likely(float(values.max()), "")}, or max, or clip '
                'them.'
            )
        return 1.0
    largest = int(values.max())
    if options.bits is not None and values.dtype.itemsize > 1 and largest < 2**options.bits:
        notes.append(f'scale 1/{2**options.bits - 1}, the {options.bits} bits of the sensor')
        return default_scale(kind, options.bits)
    scale = default_scale(kind, raw.bits)
    if raw.bits is None and not raw.range_is_sure and _is_open(values, scale):
        raise FormatError(
            f'{path} holds {kind} values up to {largest} and does not say what they mean; give the factor that brings '
            f'them to [0, 1] as value scale (--value-scale), such as {_likely(largest, kind)}, or max.'
        )
    source = f'its type {kind}' if raw.bits is None else f'its {raw.bits} bits'
    notes.append(f'scale {scale:.6g} by {source}')
    if 0 < largest * scale < PARTLY_USED:
        warnings.append(
            f'scale {scale:.6g} by {source} although the largest value is {largest}: give a value scale '
            f'(--value-scale) if that is wrong, such as {_likely(largest, kind)}'
        )
    return scale


def _is_open(values: np.ndarray, scale: float) -> bool:
    """Return whether integers of more than 8 bits use only half of their range, so that it need not be theirs."""
    return values.dtype.kind in 'ui' and values.dtype.itemsize > 1 and 0 < float(values.max()) * scale <= 0.5


def _likely(largest: float, kind: str) -> str:
    """Return the factors that instruments and programs use for values up to ``largest``, in words."""
    if not kind and largest <= LARGEST_REFLECTANCE:
        return f'1/{LARGEST_REFLECTANCE} for values up to {LARGEST_REFLECTANCE}'
    likely = []
    if not kind and largest <= 100:
        likely.append('1/100 for per cent')
    if 100 < largest <= LARGEST_REFLECTANCE * REFLECTANCE:
        likely.append(f'1/{REFLECTANCE} for reflectance x {REFLECTANCE}')
    whole = max(1, int(np.ceil(largest)))
    bits = next((each for each in BITS_OF_SENSORS if whole < 2**each), whole.bit_length())
    likely.append(f'1/{2**bits - 1} for {bits} bits')
    if kind and default_scale(kind) != 1 / (2**bits - 1):
        likely.append(f'1/{np.iinfo(kind).max} for the whole range of {kind}')
    return ', '.join(likely)
