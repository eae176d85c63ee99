"""Band centres as files write them: under which names, in which units, and what cannot be known from the numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from mulsr_plugin.data.formats.errors import FormatError

# Variables of .mat, .npz, HDF5 and NetCDF files, in lower case; of several the first is taken.
NAMES = (
    'wavelengths',
    'wavelength',
    'wavelength_nm',
    'wavelengths_nm',
    'wl',
    'lambda',
    'lambdas',
    'band_centers',
    'band_centres',
    'bandcenters',
    'centers',
    'wave',
)
# In NTIRE's, ICVL's and ARAD's files these are band centres in nm, elsewhere a number or a list of band numbers.
BANDS_NAME = 'bands'

# Of users and of files written here, as their documentation has it.
NANOMETRES_OR_MICROMETRES = 'nanometres or micrometres'
INDEX = 'index'
_UNKNOWN = ('', 'unknown', 'none', 'n/a')
_LENGTHS = {  # nm of one, and other ways to write it
    'nanometres': (1.0, 'nm nanometer nanometers nanometre'),
    'micrometres': (1e3, 'um µm μm mu micron microns micrometer micrometers micrometre'),
    'angstroms': (0.1, 'å angstrom ångström ångströms'),
    'millimetres': (1e6, 'mm millimeter millimeters millimetre'),
    'centimetres': (1e7, 'cm centimeter centimeters centimetre'),
    'metres': (1e9, 'm meter meters metre'),
}
_SPEED_OF_LIGHT = 299792458.0  # m/s, which makes nm of 1/GHz too
_RECIPROCALS = {  # what the number divides to give nm
    'wavenumbers (1/cm)': (1e7, 'wavenumber wavenumbers cm-1 cm^-1 1/cm cm**-1'),
    'GHz': (_SPEED_OF_LIGHT, 'ghz gigahertz'),
    'MHz': (_SPEED_OF_LIGHT * 1e3, 'mhz megahertz'),
}
_SPELLINGS = {
    spelling: (name, factor, table is _RECIPROCALS)
    for table in (_LENGTHS, _RECIPROCALS)
    for name, (factor, others) in table.items()
    for spelling in (name, *others.split())
}

# What an optical instrument can see, in nm.
SHORTEST, LONGEST = 100.0, 1e6
# Numbers without a unit: below the first they may be mm or m, from the second on nm, from the third on also
# angstroms, wavenumbers or GHz.
_FEWEST_MICROMETRES, _FEWEST_NANOMETRES, _DOUBTFUL = 0.1, 100.0, 3000.0


def band_centres(
    path: Path, numbers: Sequence[float], unit: str, num_bands: int, notes: list[str]
) -> tuple[float, ...] | None:
    """Bring the band centres of a file to nm.

    Args:
        path (Path): The file, for messages.
        numbers (Sequence[float]): As the file has them, in any order.
        unit (str): In the words of the file; ENVI's are Micrometers, Nanometers, Angstroms, Millimeters, Centimeters,
            Meters, Wavenumber, GHz, MHz, Index and Unknown. '' where it names none; then micrometres are recognised
            below 100 and nanometres from 100 to 3000.
        num_bands (int): Bands of the cube.
        notes (list[str]): What was assumed or converted is added.

    Returns:
        tuple[float] | None: One for each band, in the order of the file; None without numbers, and where they only
        count the bands.

    Raises:
        FormatError: Their number is not that of the bands, the unit is not one of these, no optical instrument has
            such bands, or the unit is missing and the numbers do not show it.

    Example:
        >>> from pathlib import Path
        >>> from mulsr_plugin.data.formats.wavelengths import band_centres
        >>> notes = []
        >>> band_centres(Path('a.hdr'), (25000, 20000), 'Wavenumber', 2, notes)
        (400.0, 500.0)
        >>> notes
        ['wavelengths converted from wavenumbers (1/cm) to nanometres']
    """
    waves = np.asarray(numbers, dtype=np.float64).ravel()
    word = ' '.join(unit.split()).lower().rstrip('.')
    if waves.size == 0:
        return None
    if word == INDEX or (word in _UNKNOWN and counts_bands(waves)):
        notes.append('its wavelengths only number the bands and are taken as unknown')
        return None
    if word == NANOMETRES_OR_MICROMETRES and counts_bands(waves):
        raise FormatError(f'{path}: the wavelengths given only number the bands; {ADVICE}, or leave them out.')
    if waves.size != num_bands:
        raise FormatError(f'{path} has {num_bands} bands but {waves.size} wavelengths; give one for each band.')
    if not (np.isfinite(waves).all() and (waves > 0).all()):
        raise FormatError(f'{path}: its wavelengths are not all positive numbers; correct them.')
    name, factor, is_reciprocal = _unit_of(path, waves, word)
    if name != 'nanometres':
        notes.append(f'wavelengths converted from {name} to nanometres')
        # 0.4 micrometres are 400 nm, not 400.00000000000006
        waves = np.round(factor / waves if is_reciprocal else waves * factor, 6)
    if waves.min() < SHORTEST or waves.max() > LONGEST:
        raise FormatError(
            f'{path}: its wavelengths in {name} are {waves.min():.6g} to {waves.max():.6g} nm, which no optical '
            f'instrument has: the unit is wrong; {ADVICE}.'
        )
    return tuple(float(wave) for wave in waves)


ADVICE = 'give them in nm or micrometres with wavelengths (--wavelengths FILE)'


def counts_bands(numbers: np.ndarray) -> bool:
    """Return whether numbers are 0, 1, 2, ... or 1, 2, 3, ..., in either direction, and so no wavelengths."""
    ordered = np.sort(numbers)
    return len(ordered) > 1 and ordered[0] in (0, 1) and bool((np.diff(ordered) == 1).all())


def name_of_wavelengths(names: Iterable[str]) -> str | None:
    """Return which of the variables of a file is named as band centres are, whatever its case; ``bands`` comes last.

    Of a path such as ``sensor/wavelengths`` or ``hsi.wavelength`` the last part counts.
    """
    lower = {re.split('[./]', name)[-1].lower(): name for name in reversed(list(names))}
    return next((lower[name] for name in (*NAMES, BANDS_NAME) if name in lower), None)


def usable_wavelengths(name: str, numbers: np.ndarray, sides: Sequence[int], notes: list[str]) -> tuple[float, ...]:
    """Return the numbers of a variable, or none if it is called ``bands`` and does not hold band centres in nm.

    Args:
        name (str): Of the variable.
        numbers (ndarray): Its values, any shape.
        sides (Sequence[int]): Those of the array, in any order.
        notes (list[str]): Why they are not used is added.
    """
    found = np.asarray(numbers, dtype=np.float64).ravel()
    if re.split('[./]', name)[-1].lower() != BANDS_NAME:
        return tuple(found.tolist())
    if found.size in sides and found.min() >= SHORTEST and found.max() <= _DOUBTFUL:
        notes.append(f'wavelengths are those of {name}, in nanometres')
        return tuple(found.tolist())
    if found.size > 1:
        notes.append(f'{name} does not hold a wavelength in nanometres for each band, and is not used')
    return ()


def _unit_of(path: Path, waves: np.ndarray, word: str) -> tuple[str, float, bool]:
    """Return name and factor of a unit, and whether the factor is to be divided by the numbers."""
    if word in _SPELLINGS:
        return _SPELLINGS[word]
    if word != NANOMETRES_OR_MICROMETRES and word not in _UNKNOWN:
        known = ', '.join((*_LENGTHS, *_RECIPROCALS))
        raise FormatError(f'{path}: the unit of its wavelengths is {word!r}, expected one of {known}; {ADVICE}.')
    if waves.min() >= _FEWEST_MICROMETRES and waves.max() < _FEWEST_NANOMETRES:
        return _SPELLINGS['micrometres']
    # Users say what their numbers are; of foreign files those that are all large may be in other units.
    if waves.min() >= _FEWEST_NANOMETRES and (word not in _UNKNOWN or waves.min() < _DOUBTFUL):
        return _SPELLINGS['nanometres']
    raise FormatError(
        f'{path}: its wavelengths are {waves.min():.6g} to {waves.max():.6g}, in a unit that '
        f'{"is not named and " if word in _UNKNOWN else ""}cannot be seen from them; {ADVICE}.'
    )
