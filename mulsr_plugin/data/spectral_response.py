"""Spectral responses: matrices that turn a hyperspectral cube into the guide image.

A response is a table over the cube's bands, a table over wavelengths (of a camera or sensor, as measured), or a set of
Gaussians. The last two are sampled at the band centres of the cube, so they serve any cube whose wavelengths are known.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from basicsr.utils import get_root_logger

from mulsr_plugin.data.formats.matrices import is_matrix_file, read_matrices, shape_text

# Nikon D700, 400 to 700 nm in steps of 10 nm: sensitivities as integers, one row each for red, green and blue.
_NIKON_D700_COUNTS = (
    '2 1 1 1 1 1 0 0 0 0 0 0 0 0 0 0 2 6 11 17 21 22 21 20 20 19 19 18 18 17 17',
    '1 1 1 1 1 1 2 4 6 8 11 16 19 21 20 18 16 14 11 7 5 3 2 2 1 1 2 2 2 2 2',
    '7 10 15 19 25 29 30 29 27 22 16 9 2 0 0 0 0 0 0 0 1 1 1 1 1 1 1 1 1 1 1',
)


def _nikon_d700() -> np.ndarray:
    counts = np.array([row.split() for row in _NIKON_D700_COUNTS], dtype=np.float64)
    response = counts / counts.sum(axis=1, keepdims=True)
    response.flags.writeable = False
    return response


NIKON_D700 = _nikon_d700()
"""(3, 31) float64; rows red, green, blue; columns 400, 410, ..., 700 nm; every row sums to 1. The response that MulSR,
UAL, MoG-DCN, SFPN and CMHF-net use."""

SPECTRAL_RESPONSES = {'nikon_d700': NIKON_D700}


class GaussianBands(NamedTuple):
    """Bands of a sensor, each taken for a Gaussian.

    Attributes:
        centres (tuple[float]): Centre wavelengths in nm.
        widths (tuple[float]): Full widths at half maximum in nm.
    """

    centres: tuple[float, ...]
    widths: tuple[float, ...]


# Band centres and nominal band widths as the operators publish them.
_WORLDVIEW2 = GaussianBands((427, 478, 546, 608, 659, 724, 833, 949), (50, 60, 70, 40, 60, 40, 125, 180))
_LANDSAT8 = GaussianBands((443, 482, 561, 655, 865), (16, 60, 57, 37, 28))


def _of_rows(bands: GaussianBands, *rows: int) -> GaussianBands:
    return GaussianBands(tuple(bands.centres[i] for i in rows), tuple(bands.widths[i] for i in rows))


SENSORS = {
    'worldview2': _WORLDVIEW2,
    'worldview2_rgb': _of_rows(_WORLDVIEW2, 4, 2, 1),
    'landsat8': _LANDSAT8,
    'landsat8_rgb': _of_rows(_LANDSAT8, 3, 2, 1),
}
"""Gaussians for the multispectral bands of WorldView-2 (coastal, blue, green, yellow, red, red edge, NIR1, NIR2) and of
Landsat 8 up to the near infrared (coastal, blue, green, red, NIR), and for their red, green and blue bands alone."""

GAUSSIAN_PREFIX = 'gaussian:'
GAUSSIAN_CUT = 3  # standard deviations; a tail at the edge of the cube would else be scaled up to a whole channel
# Shares of a channel's response within the cube: below the first it is outside, below the second a warning is due.
SMALLEST_SHARE = 0.01
SMALLEST_SHARE_UNTOLD = 0.5
_LARGEST_ROW_SUM = 1.001
_TABLE_CENTRES = np.arange(400, 701, 10)  # nm, of the named tables
# Centres at most so many nm apart count as the same bands, as the literature does with CAVE's and Harvard's.
LARGEST_SHIFT = 20.0
_MICROMETRES = (0.2, 20.0)  # in which the wavelengths of a table may lie
SMALLEST_WAVELENGTH = 100  # nm; smaller numbers are micrometres, or no wavelengths at all


def load_spectral_response(name_or_path: str, num_bands: int, wavelengths: Sequence[float] | None = None) -> np.ndarray:
    """Load a spectral response for a cube.

    - ``nikon_d700``: for a cube of 31 bands in steps of 10 nm from 400 or 420 nm, or of unknown wavelengths, its table
      in order, as the literature applies it to CAVE and Harvard alike; for any other cube sampled at the wavelengths,
      also for 31 bands that descend or lie elsewhere.
    - a name of ``SENSORS``, or ``gaussian:CENTRE/WIDTH,...`` in nm, such as ``gaussian:659/60,546/70,478/60``:
      Gaussians of these centres and full widths at half maximum, zero from three standard deviations on.
    - a .npy, .csv or .mat file with a table over wavelengths: the first column (or row) holds nanometres, or
      micrometres between 0.2 and 20, that rise or fall throughout, every other one a channel. Values are interpolated
      linearly and are zero outside the table.
    - such a file with a plain matrix, (G, num_bands) or (num_bands, G), which is used as it stands: the guide stays in
      [0, 1] when every channel's weights sum to at most 1. A square matrix is read as (G, num_bands). If several
      variables of a .mat file fit, ``FILE.mat:NAME`` names one.

    What is sampled at wavelengths is normalised to sums of 1. A warning names a channel less than half of whose
    response (its integral over wavelengths) lies within the cube, with that share; a channel with less than 1 % does
    not overlap and is zero throughout, which a warning reports too.

    Args:
        name_or_path: See above.
        num_bands: Bands of the cube.
        wavelengths: Band centres of the cube in nm; None where they are unknown. Default: None.

    Returns:
        (G, num_bands) float32.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Unknown name or suffix, no fitting, finite and properly scaled matrix inside, wavelengths that are
            needed and unknown or not in nm, or no channel that overlaps with the cube.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.data.spectral_response import load_spectral_response
        >>> response = load_spectral_response('nikon_d700', 31)
        >>> response.shape, bool(np.allclose(response.sum(axis=1), 1))
        ((3, 31), True)
        >>> wavelengths = np.linspace(420, 1000, 59)
        >>> response = load_spectral_response('gaussian:659/60,546/70,478/60', 59, wavelengths)
        >>> wavelengths[response.argmax(axis=1)].tolist()
        [660.0, 550.0, 480.0]
    """
    if name_or_path in SPECTRAL_RESPONSES and _is_in_order(num_bands, wavelengths):
        return SPECTRAL_RESPONSES[name_or_path].astype(np.float32)
    if name_or_path in SPECTRAL_RESPONSES:
        if wavelengths is None:
            raise ValueError(
                f'Spectral response {name_or_path!r} has {NIKON_D700.shape[1]} bands but the cube has {num_bands}, of '
                f'unknown wavelengths; give a file with a (channels, {num_bands}) matrix as spectral_response.'
            )
        table = np.vstack([_TABLE_CENTRES, SPECTRAL_RESPONSES[name_or_path]])
        return _sampled_table(name_or_path, table, _checked_wavelengths(name_or_path, num_bands, wavelengths))
    if name_or_path in SENSORS or name_or_path.startswith(GAUSSIAN_PREFIX):
        bands = SENSORS.get(name_or_path) or _parse_gaussians(name_or_path)
        centres = _checked_wavelengths(name_or_path, num_bands, wavelengths)
        return _sampled(name_or_path, partial(_gaussians, bands), _support(bands), centres)
    if not is_matrix_file(name_or_path):
        raise ValueError(_unknown_name(name_or_path))
    return _load_file(name_or_path, num_bands, wavelengths)


def apply_spectral_response(response: np.ndarray, cube: np.ndarray) -> np.ndarray:
    """Make the guide image: at every pixel the product of response and spectrum, neither clipped nor quantised.

    Args:
        response: (G, L).
        cube: (L, H, W).

    Returns:
        (G, H, W).

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.data.spectral_response import apply_spectral_response
        >>> cube = np.stack([np.full((2, 2), 0.2), np.full((2, 2), 0.6)])  # (L, H, W)
        >>> guide = apply_spectral_response(np.array([[0.5, 0.5]]), cube)
        >>> guide.shape, round(float(guide[0, 0, 0]), 4)
        ((1, 2, 2), 0.4)
    """
    num_bands, height, width = cube.shape
    return (response @ cube.reshape(num_bands, -1)).reshape(-1, height, width)


def _is_in_order(num_bands: int, wavelengths: Sequence[float] | None) -> bool:
    """Return whether the bands of a cube are those of the named tables, by their wavelengths where they are known."""
    if num_bands != len(_TABLE_CENTRES) or wavelengths is None:
        return num_bands == len(_TABLE_CENTRES)
    centres = np.asarray(wavelengths, dtype=np.float64)
    return centres.shape == (num_bands,) and bool((np.abs(centres - _TABLE_CENTRES) <= LARGEST_SHIFT).all())


def _load_file(name: str, num_bands: int, wavelengths: Sequence[float] | None) -> np.ndarray:
    """Read the one table over wavelengths, or the one plain matrix, that a file holds."""
    matrices = read_matrices(name, 'spectral_response')
    tables = {key: table for key, matrix in matrices.items() if (table := _as_table(matrix)) is not None}
    plain = [key for key, matrix in matrices.items() if key not in tables and num_bands in matrix.shape]
    if len(tables) + len(plain) != 1:
        found = ', '.join(f'{key} ({shape_text(matrix)})' for key, matrix in matrices.items())
        raise ValueError(
            f'{name} holds {found}; {len(tables) + len(plain)} of them fit {num_bands} bands: give a matrix (channels, '
            f'{num_bands}) or a table whose first column is nanometres or micrometres that rise or fall '
            'throughout, and FILE.mat:NAME where several fit.'
        )
    for table in tables.values():
        return _sampled_table(name, table, _checked_wavelengths(name, num_bands, wavelengths))
    matrix = matrices[plain[0]]
    response = matrix if matrix.shape[1] == num_bands else matrix.T
    _check_weights(response, name)
    return np.ascontiguousarray(response, dtype=np.float32)


def _as_table(matrix: np.ndarray) -> np.ndarray | None:
    """Return (1 + G, N), rising wavelengths in nm first, if the matrix has them in its first column or row."""
    for table in (matrix.T, matrix):
        waves = np.asarray(table[0], dtype=np.float64)
        if min(table.shape) < 2 or not np.isfinite(waves).all():
            continue
        steps = np.diff(waves)
        # no weight reaches a hundred
        are_nanometres = waves.min() >= SMALLEST_WAVELENGTH
        if ((steps > 0).all() or (steps < 0).all()) and (are_nanometres or _are_micrometres(waves)):
            rising = np.asarray(table if steps[0] > 0 else table[:, ::-1], dtype=np.float64)
            return np.vstack([rising[:1] * (1.0 if are_nanometres else 1000.0), rising[1:]])
    return None


def _are_micrometres(numbers: np.ndarray) -> bool:
    """Return whether numbers may be micrometres and cannot be weights, whose sum is at most 1."""
    low, high = _MICROMETRES
    return len(numbers) > 2 and low <= numbers.min() <= numbers.max() <= high and numbers.sum() > _LARGEST_ROW_SUM


def _interpolated(table: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.stack([np.interp(centres, table[0], channel, left=0, right=0) for channel in table[1:]])


def _gaussians(bands: GaussianBands, centres: np.ndarray) -> np.ndarray:
    sigmas = np.array(bands.widths)[:, None] / np.sqrt(8 * np.log(2))
    distances = (centres - np.array(bands.centres)[:, None]) / sigmas
    return np.where(np.abs(distances) < GAUSSIAN_CUT, np.exp(-(distances**2) / 2), 0)


def _parse_gaussians(name: str) -> GaussianBands:
    try:
        pairs = [tuple(map(float, item.split('/'))) for item in name[len(GAUSSIAN_PREFIX) :].split(',')]
        bands = GaussianBands(tuple(centre for centre, _ in pairs), tuple(width for _, width in pairs))
    except ValueError:
        bands = GaussianBands((), ())
    if not bands.centres or min(bands.centres) < SMALLEST_WAVELENGTH or min(bands.widths) <= 0:
        raise ValueError(
            f'Spectral response {name!r} is not of the form {GAUSSIAN_PREFIX}CENTRE/WIDTH,... in nm, '
            f'such as {GAUSSIAN_PREFIX}659/60,546/70,478/60; correct spectral_response.'
        )
    return bands


def _checked_wavelengths(name: str, num_bands: int, wavelengths: Sequence[float] | None) -> np.ndarray:
    """Return the band centres of the cube, or say why a response over wavelengths cannot be applied to it."""
    if wavelengths is None:
        raise ValueError(
            f'Spectral response {name!r} needs the wavelengths of the {num_bands} bands of the cube, which are not '
            f'stored with it; prepare the data with wavelengths, or give a file with a matrix (channels, {num_bands}).'
        )
    centres = np.asarray(wavelengths, dtype=np.float64)
    if centres.shape != (num_bands,) or not np.isfinite(centres).all():
        raise ValueError(
            f'The cube has {num_bands} bands but {centres.size} wavelengths, or some that are not finite; '
            'prepare the data with one wavelength per band.'
        )
    if centres.min() < SMALLEST_WAVELENGTH:
        raise ValueError(
            f'The wavelengths of the cube run from {centres.min():g} to {centres.max():g}, expected nanometres; '
            'prepare the data with micrometres multiplied by 1000.'
        )
    return centres


def _support(bands: GaussianBands) -> tuple[float, float]:
    """Return the wavelengths between which the Gaussians are not zero."""
    reach = GAUSSIAN_CUT / np.sqrt(8 * np.log(2)) * np.array(bands.widths)
    return float((bands.centres - reach).min()), float((bands.centres + reach).max())


def _sampled_table(name: str, table: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return _sampled(name, partial(_interpolated, table), (table[0, 0], table[0, -1]), centres)


def _sampled(
    name: str,
    response: Callable[[np.ndarray], np.ndarray],
    support: tuple[float, float],
    centres: np.ndarray,
) -> np.ndarray:
    """Sample channels and normalise them to sums of 1; those without overlap become zero, with a warning.

    Args:
        name: Of the response, for messages.
        response: Function of wavelengths (N,) in nm that returns (G, N).
        support: Wavelengths between which it is not zero.
        centres: Band centres of the cube in nm.
    """
    weights = response(centres)
    if not np.isfinite(weights).all():
        raise ValueError(f'Spectral response {name!r} holds NaN or infinite values; correct the file.')
    shares = _shares_within(response, support, centres)
    sums = np.where(shares < SMALLEST_SHARE, 0, weights.sum(axis=1))[:, None]
    empty = [channel + 1 for channel, total in enumerate(sums[:, 0]) if total <= 0]
    if len(empty) == len(weights):
        raise ValueError(
            f'No channel of spectral response {name!r}, of {support[0]:g} to {support[1]:g} nm, overlaps with the '
            f'wavelengths of the cube, {centres.min():g} to {centres.max():g} nm; choose another one.'
        )
    if empty:
        get_root_logger().warning(
            f'Spectral response {name!r}: channel {", ".join(map(str, empty))} of {len(weights)} does not overlap with '
            'the wavelengths of the cube and is zero everywhere.'
        )
    for channel, share in enumerate(shares, 1):
        if share < SMALLEST_SHARE_UNTOLD and channel not in empty:
            get_root_logger().warning(
                f'Spectral response {name!r}: only {100 * share:.0f} % of channel {channel} of {len(weights)} lie '
                f'within the wavelengths of the cube, {centres.min():g} to {centres.max():g} nm, and stand for it all.'
            )
    return (weights / np.where(sums > 0, sums, 1) * (sums > 0)).astype(np.float32)


def _shares_within(
    response: Callable[[np.ndarray], np.ndarray], support: tuple[float, float], centres: np.ndarray
) -> np.ndarray:
    """Return the share of each channel's integral that lies within the cube, (G,).

    The cube reaches as far beyond its outer band centres as half the way to the bands next to them. How far a single
    band reaches is unknown: it counts as the whole.
    """
    ordered = np.unique(centres)
    steps = np.diff(ordered) / 2 if len(ordered) > 1 else np.array([np.inf])
    grid = np.linspace(*support, 10001)
    values = np.nan_to_num(response(grid))
    inside = (grid >= ordered[0] - steps[0]) & (grid <= ordered[-1] + steps[-1])
    sums = values.sum(axis=1)
    return values[:, inside].sum(axis=1) / np.where(sums > 0, sums, 1)


def _unknown_name(name: str) -> str:
    names = [*SPECTRAL_RESPONSES, *SENSORS]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f'did you mean {close[0]!r}?' if close else f'known names are {", ".join(names)}.'
    return (
        f'Spectral response {name!r} is neither a name, nor {GAUSSIAN_PREFIX}CENTRE/WIDTH,..., nor a .mat, .csv or '
        f'.npy file; {hint}'
    )


def _check_weights(response: np.ndarray, name: str) -> None:
    sums = response.sum(axis=1)
    bad = [channel for channel, total in enumerate(sums) if not 0 < total <= _LARGEST_ROW_SUM]
    if bad:
        raise ValueError(
            f'In spectral response {name!r} the weights of channel {bad[0] + 1} sum to {sums[bad[0]]:.4g}, expected '
            'above 0 and at most 1 so that the guide stays in [0, 1]; divide each channel by its sum, and '
            'give wavelengths in nanometres, rising or falling throughout, as the first column.'
        )
