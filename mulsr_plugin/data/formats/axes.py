"""The order of rows, columns and bands: as given, as the file says, by the wavelengths, by the sizes, or asked for.

An order that the file does not name is taken only where the sizes speak for it; else the reader refuses and names the
two likely ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mulsr_plugin.data.formats.errors import FormatError

if TYPE_CHECKING:
    from mulsr_plugin.data.formats.common import RawImage, ReadOptions

AXES = ('hwb', 'whb', 'bhw', 'bwh', 'hbw', 'wbh')
# Sides that make an order of axes doubtful: the supposed bands are as many as an image has columns.
SMALLEST_SIDE = 64
CLEARLY_MORE = 4


def arrange(path: Path, raw: RawImage, options: ReadOptions) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Bring an image into the order rows, columns, bands.

    Args:
        path (Path): Its file, for the messages.
        raw (RawImage): The image as the file holds it.
        options (ReadOptions): What the user says about it.

    Returns:
        tuple[ndarray, ndarray | None, str]: Values (H, W, L), gaps (H, W, L) or (H, W, 1) where there are some, and
        where the order comes from.

    Raises:
        FormatError: There are not three axes, the cube has one band, or the order cannot be known.
        ValueError: The order asked for is none.
    """
    shape = raw.values.shape
    if raw.values.size == 0:
        raise FormatError(f'{path} is empty: its array has the shape {shape}; save it again.')
    if options.axes is not None and options.axes not in AXES:
        raise ValueError(f'axes is {options.axes!r}, expected the order of h, w and b in the file, such as bhw.')
    flat = raw.values.ndim == 2 and options.is_guide
    if raw.values.ndim != 3 and not flat:
        raise FormatError(
            f'{path} holds an array of shape {shape}, expected the three axes rows, columns and bands'
            f'{"; a single band can only be a guide" if raw.values.ndim == 2 else ""}.'
        )
    axes, source = _flat_order(path, raw, options) if flat else _order(path, raw, options)
    values = _moved(raw.values, axes)
    if values.shape[2] == 1 and not options.is_guide:
        raise FormatError(f'{path} has one band, a cube has several; give it as the guide, or name another file.')
    return values, None if raw.gaps is None else _moved(raw.gaps, axes), source


def _moved(array: np.ndarray, axes: str) -> np.ndarray:
    if array.ndim == 2:
        array = array[..., None]
        axes += 'b'
    return np.ascontiguousarray(array.transpose([axes.index(letter) for letter in 'hwb']))


def _flat_order(path: Path, raw: RawImage, options: ReadOptions) -> tuple[str, str]:
    """Return the order of a single band, which has rows and columns alone."""
    if options.axes is not None:
        return options.axes.replace('b', ''), 'as given'
    if raw.axes_unknown:
        raise FormatError(
            f'{path} holds an image of shape {raw.values.shape} whose rows and columns may be exchanged, because '
            f'{raw.axes_unknown}; give the order with axes (--axes), hwb for {raw.values.shape[0]} rows or whb for '
            f'{raw.values.shape[1]}.'
        )
    return 'hw', 'rows, then columns'


def _order(path: Path, raw: RawImage, options: ReadOptions) -> tuple[str, str]:
    """Return the order of three axes and where it comes from, or ask for it."""
    if options.axes is not None:
        return options.axes, 'as given'
    if raw.axes_are_sure:
        return raw.axes, 'as the format has them'
    shape, bands = raw.values.shape, raw.values.shape[raw.axes.index('b')]
    waves = len(raw.wavelengths if options.wavelengths is None else options.wavelengths)
    if waves in shape and waves != bands:
        raise _question(path, shape, raw, f'contradicts the {waves} wavelengths')
    if raw.axes_unknown:
        raise _question(path, shape, raw, f'cannot be known, because {raw.axes_unknown}')
    if waves == bands and shape.count(bands) == 1:
        return raw.axes, 'by the number of wavelengths'
    if _looks_otherwise(shape, raw):
        raise _question(path, shape, raw, 'cannot be known from their sizes')
    return raw.axes, f'by the convention of {raw.convention}' if raw.convention else 'by their sizes'


def _looks_otherwise(shape: Sequence[int], raw: RawImage) -> bool:
    """Return whether sizes leave the order open, or contradict the convention of the format where there is one."""
    first, middle, last = shape
    if raw.axes == 'bhw':
        if raw.convention:
            # Each page would be a row of the image: few columns, and as many pages as an image has rows.
            return last < middle and first >= SMALLEST_SIDE and (first == middle or first >= CLEARLY_MORE * last)
        return not (first < min(middle, last) or middle == last != first)
    if raw.convention:
        # Fewer rows than columns and as many bands as an image has columns, or square bands that come first.
        return middle == last or (first < middle and last >= SMALLEST_SIDE and last >= CLEARLY_MORE * first)
    if first == middle:
        return last == first
    # The bands are fewest, and not so many that the first side could be the bands of images of such a width.
    return last >= min(first, middle) or (last >= SMALLEST_SIDE and first < CLEARLY_MORE * last)


def _question(path: Path, shape: Sequence[int], raw: RawImage, why: str) -> FormatError:
    # h5py's users have the reverse of what MATLAB shows.
    first, second = ('bwh', 'hwb') if raw.axes_unknown else ('bhw', 'hwb')
    choices = ' or '.join(
        f'{axes} for {shape[axes.index("h")]}x{shape[axes.index("w")]} pixels with {shape[axes.index("b")]} bands'
        for axes in (first, second)
    )
    return FormatError(
        f'{path} holds an array of shape {tuple(shape)}, whose order of rows (h), columns (w) and bands (b), read as '
        f'{raw.axes}, {why}; give it with axes (--axes), such as {choices}.'
    )
