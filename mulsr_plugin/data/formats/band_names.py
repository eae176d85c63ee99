"""The order of the bands of a folder, from the names of its pictures as people write them.

The names must differ in their numbers alone. A number is read with its decimals (``397.66``); of several, such as in
``band_3_of_12`` or ``B3_20230101``, the one that differs from picture to picture orders them.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mulsr_plugin.data.formats.errors import FormatError

NUMBER = re.compile(r'\d+(?:\.\d+)?')
UNIT = re.compile(r'[ _-]?(nm|um|µm)(?![a-z])', re.IGNORECASE)
OTHER_PICTURES = ('.tif', '.tiff', '.jpg', '.jpeg', '.bmp')


class BandOrder(NamedTuple):
    """The pictures of a folder in the order of their bands.

    Attributes:
        files (list[Path]): One for each band.
        wavelengths (tuple[float]): Band centres that stand in the names with their unit; else none.
        unit (str): That unit.
        notes (tuple[str]): What looks strange.
    """

    files: list[Path]
    wavelengths: tuple[float, ...]
    unit: str
    notes: tuple[str, ...]


def order_of_bands(folder: Path, files: list[Path]) -> BandOrder:
    """Order the pictures of a folder by the number that differs between their names.

    Args:
        folder (Path): The folder, for messages, and for pictures of other formats in it.
        files (list[Path]): Its PNG files, at least one.

    Raises:
        FormatError: A picture is named otherwise than the others, bands lie there in another format, or no number, or
            several that disagree, would order them.

    Example:
        >>> from pathlib import Path
        >>> from mulsr_plugin.data.formats.band_names import order_of_bands
        >>> names = ['s_410nm_of_2.png', 's_397.66nm_of_2.png']
        >>> order = order_of_bands(Path('.'), [Path(name) for name in names])
        >>> [file.name for file in order.files], order.wavelengths, order.unit
        (['s_397.66nm_of_2.png', 's_410nm_of_2.png'], (397.66, 410.0), 'nm')
    """
    pattern = _common_pattern(folder, files)
    notes = _other_pictures(folder, pattern)
    numbers = np.array([[float(text) for text in NUMBER.findall(file.stem)] for file in files], np.float64)
    column = _ordering_column(folder, files, numbers)
    order = np.argsort(numbers[:, column]) if column is not None else np.arange(len(files))
    ordered = [files[index] for index in order]
    if column is None:
        return BandOrder(ordered, (), '', notes)
    sought = numbers[order, column]
    unit = _unit_after(files[0], column)
    if unit:
        return BandOrder(ordered, tuple(sought.tolist()), unit, (*notes, 'wavelengths are those in the names'))
    return BandOrder(ordered, (), '', (*notes, *_gaps(ordered, sought)))


def _pattern(file: Path) -> str:
    return NUMBER.sub('#', file.stem).lower()


def _common_pattern(folder: Path, files: list[Path]) -> str:
    """Return what all names have in common, or refuse those that are named otherwise than most."""
    patterns = Counter(_pattern(file) for file in files)
    common = patterns.most_common(1)[0][0]
    foreign = [file.name for file in files if _pattern(file) != common]
    if foreign:
        example = next(file.name for file in files if _pattern(file) == common)
        raise FormatError(
            f'{folder} holds {_listed(foreign)} beside pictures named like {example}: move away what is not a band, '
            'and name all bands alike, with a number.'
        )
    return common


def _other_pictures(folder: Path, pattern: str) -> tuple[str, ...]:
    """Refuse bands in other formats; name the pictures that are not taken."""
    others = sorted(file for file in folder.iterdir() if file.suffix.lower() in OTHER_PICTURES)
    others = [file for file in others if not file.name.startswith('.')]
    bands = [file.name for file in others if _pattern(file) == pattern]
    if bands:
        raise FormatError(f'{folder} holds {_listed(bands)}, named like its PNG bands: save all bands as PNG.')
    return (f'{_listed([file.name for file in others])} left out: bands are PNG files',) if others else ()


def _ordering_column(folder: Path, files: list[Path], numbers: np.ndarray) -> int | None:
    """Return which of the numbers in the names orders the files; None for a single file."""
    if len(files) == 1:
        return None
    unique = [column for column in range(numbers.shape[1]) if len(set(numbers[:, column])) == len(files)]
    orders = {tuple(np.argsort(numbers[:, column])) for column in unique}
    if len(orders) == 1:
        return next((column for column in unique if _unit_after(files[0], column)), unique[0])
    fault = 'by several numbers in different orders' if orders else 'by no number that differs from picture to picture'
    raise FormatError(
        f'{folder}: the names {_listed([file.name for file in files])} order the bands {fault}; rename them with one '
        'number each, such as band_001.png.'
    )


def _unit_after(file: Path, column: int) -> str:
    """Return the unit of wavelengths that follows a number of a name, or ''."""
    unit = UNIT.match(NUMBER.split(file.stem)[column + 1])
    return unit[1].lower() if unit else ''


def _gaps(files: list[Path], numbers: np.ndarray) -> tuple[str, ...]:
    """Note where whole numbers that rise by one step jump."""
    steps = np.diff(numbers)
    usual = float(np.median(steps)) if steps.size else 0.0
    jumps = np.flatnonzero(steps > 1.5 * usual)
    if len(steps) < 2 or not (numbers == np.round(numbers)).all() or not 0 < len(jumps) <= len(steps) // 3:
        return ()
    return (f'no picture between {files[jumps[0]].name} and {files[jumps[0] + 1].name}: is a band missing?',)


def _listed(names: list[str]) -> str:
    return ', '.join(names[:3]) + (f' and {len(names) - 3} more' if len(names) > 3 else '')
