"""Spectral responses: matrices that turn a hyperspectral cube into the guide image."""

from __future__ import annotations

import difflib
from pathlib import Path

import numpy as np
import scipy.io

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

_LARGEST_ROW_SUM = 1.001


def load_spectral_response(name_or_path: str, num_bands: int) -> np.ndarray:
    """Load a spectral response by name or from a file of the user's.

    A file holds a plain matrix without wavelengths or headings, (G, num_bands) or (num_bands, G), which is used as it
    stands: the guide stays in [0, 1] when every channel's weights sum to at most 1. A square matrix is read as
    (G, num_bands).

    Args:
        name_or_path: 'nikon_d700', or a .npy, .csv (comma-separated) or .mat file. If several variables of a .mat
            file fit, ``FILE.mat:NAME`` names one.
        num_bands: Bands of the cube.

    Returns:
        (G, num_bands) float32.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Unknown name or suffix, or no fitting, finite and properly scaled matrix inside.
    """
    if name_or_path in SPECTRAL_RESPONSES:
        response = SPECTRAL_RESPONSES[name_or_path]
        if response.shape[1] != num_bands:
            raise ValueError(
                f'Spectral response {name_or_path!r} has {response.shape[1]} bands but the cube has {num_bands}; '
                f'give a .mat, .csv or .npy file with a (channels, {num_bands}) matrix as spectral_response.'
            )
        return response.astype(np.float32)
    matrix = _read_matrix(name_or_path, num_bands)
    response = matrix if matrix.shape[1] == num_bands else matrix.T
    _check_weights(response, name_or_path)
    return np.ascontiguousarray(response, dtype=np.float32)


def apply_spectral_response(response: np.ndarray, cube: np.ndarray) -> np.ndarray:
    """Make the guide image: at every pixel the product of response and spectrum, neither clipped nor quantised.

    Args:
        response: (G, L).
        cube: (L, H, W).

    Returns:
        (G, H, W).
    """
    num_bands, height, width = cube.shape
    return (response @ cube.reshape(num_bands, -1)).reshape(-1, height, width)


def _read_matrix(name_or_path: str, num_bands: int) -> np.ndarray:
    """Read the one matrix of a file that fits ``num_bands``."""
    name, colon, variable = name_or_path.rpartition('.mat:')
    path = Path(f'{name}.mat' if colon else name_or_path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in ('.mat', '.csv', '.npy'):
        close = difflib.get_close_matches(name_or_path, SPECTRAL_RESPONSES, n=1)
        hint = f'did you mean {close[0]!r}?' if close else f'known names are {", ".join(SPECTRAL_RESPONSES)}.'
        raise ValueError(f'Spectral response {name_or_path!r} is neither a name nor a .mat, .csv or .npy file; {hint}')
    if not path.is_file():
        raise FileNotFoundError(f'Spectral response file {str(path)!r} does not exist; correct spectral_response.')
    if suffix == '.mat':
        return _matrix_of_mat(path, variable if colon else None, num_bands)
    try:
        matrix = np.load(path, allow_pickle=False) if suffix == '.npy' else np.loadtxt(path, delimiter=',', ndmin=2)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(
            f'{path} is not a plain matrix of numbers ({error}); remove headings and index columns.'
        ) from error
    if not _fits(matrix, num_bands):
        raise ValueError(
            f'{path} holds {_shape(matrix)} but a spectral response needs one side of {num_bands}, the number of '
            'bands; give a plain matrix (channels, bands) or its transpose, without wavelengths.'
        )
    return matrix


def _matrix_of_mat(path: Path, variable: str | None, num_bands: int) -> np.ndarray:
    arrays = _read_mat_arrays(path)
    fitting = [key for key, array in arrays.items() if variable in (None, key) and _fits(array, num_bands)]
    if len(fitting) != 1:
        found = ', '.join(f'{key} ({_shape(array)})' for key, array in arrays.items()) or 'no arrays'
        wanted = f'{variable!r} is not one of them or does not fit' if variable else f'{len(fitting)} of them fit'
        raise ValueError(
            f'{path} holds {found}; {wanted} {num_bands} bands: name one that does as spectral_response: {path}:NAME.'
        )
    return arrays[fitting[0]]


def _read_mat_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        content = scipy.io.loadmat(str(path))
    except NotImplementedError:  # how SciPy declines v7.3, which is HDF5
        return _read_hdf5_arrays(path)
    # SciPy fails in any manner on a damaged file.
    except Exception as error:
        raise ValueError(f'{path} cannot be read as a MATLAB file ({error}); save it again.') from error
    return {key: value for key, value in content.items() if not key.startswith('__')}


def _read_hdf5_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path} is MATLAB v7.3, which needs h5py: pip install 'mulsr-plugin[formats]'.") from error
    try:
        with h5py.File(path, 'r') as file:
            # HDF5 lists MATLAB's column-major axes in reverse.
            return {key: item[()].T for key, item in file.items() if isinstance(item, h5py.Dataset)}
    except OSError as error:
        raise ValueError(f'{path} cannot be read as a MATLAB v7.3 file ({error}); save it again.') from error


def _fits(array: np.ndarray, num_bands: int) -> bool:
    return array.ndim == 2 and num_bands in array.shape and array.dtype.kind in 'fiu'


def _shape(array: np.ndarray) -> str:
    return 'x'.join(map(str, array.shape)) or 'a single number'


def _check_weights(response: np.ndarray, name: str) -> None:
    sums = response.sum(axis=1)
    bad = [channel for channel, total in enumerate(sums) if not 0 < total <= _LARGEST_ROW_SUM]
    if bad:
        raise ValueError(
            f'In spectral response {name!r} the weights of channel {bad[0] + 1} sum to {sums[bad[0]]:.4g}, expected '
            'above 0 and at most 1 so that the guide stays in [0, 1]; divide each channel by its sum, and leave out '
            'wavelengths.'
        )
