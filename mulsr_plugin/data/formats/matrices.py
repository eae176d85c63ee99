"""Plain matrices of numbers from .npy, .csv and .mat files: spectral responses and blur kernels of users."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mulsr_plugin.data.formats.common import FormatError, ReadOptions
from mulsr_plugin.data.formats.mat import read_arrays, read_companion
from mulsr_plugin.data.formats.numpy_files import read_npy
from mulsr_plugin.utils.files import read_lines

SUFFIXES = ('.mat', '.csv', '.npy')


def is_matrix_file(name: str) -> bool:
    """Return whether a text of an option file names a matrix file: by its suffix, or as ``FILE.mat:NAME``."""
    return _split(name)[0].suffix.lower() in SUFFIXES


def read_matrices(name: str, option: str) -> dict[str, np.ndarray]:
    """Read the two-dimensional arrays of real numbers of a file.

    A .csv file holds numbers separated by commas, semicolons or blanks; lines that begin with ``#`` and one heading are
    skipped.

    Args:
        name: A .npy, .csv or .mat file (v4 to v7.3); ``FILE.mat:NAME`` takes one variable of it, or
            ``FILE.mat:struct.field`` one in a struct.
        option: What the file is given for in the option file, for the messages.

    Returns:
        By variable; the only matrix of a .npy or .csv file has the file's name.

    Raises:
        FileNotFoundError: No such file.
        ImportError: The file is .mat v7.3 and h5py is not installed.
        ValueError: The file is damaged, holds no matrix, or lacks the variable.
    """
    path, variable = _split(name)
    if not path.is_file():
        raise FileNotFoundError(f'File {str(path)!r} does not exist; correct {option}.')
    suffix = path.suffix.lower()
    if suffix == '.mat':
        return _of_mat(path, variable, option)
    if suffix == '.npy':
        matrix = read_npy(path, ReadOptions()).values
    else:
        try:
            matrix = _read_csv(path)
        except ValueError as error:
            raise ValueError(f'{path} is not a plain matrix of numbers ({error}); correct the file.') from error
    if not _is_matrix(matrix):
        raise ValueError(f'{path} holds {shape_text(matrix)} of {matrix.dtype}, expected a matrix of real numbers.')
    return {path.name: matrix}


def shape_text(array: np.ndarray) -> str:
    """Return the sides of an array for a message, such as ``3x31``."""
    return 'x'.join(map(str, array.shape)) or 'a single number'


def _split(name: str) -> tuple[Path, str | None]:
    file, colon, variable = name.rpartition('.mat:')
    return Path(f'{file}.mat' if colon else name).expanduser(), variable if colon else None


def _read_csv(path: Path) -> np.ndarray:
    lines = [line.partition('#')[0].strip() for line in read_lines(path)]
    lines = [line for line in lines if line]
    separator = next((mark for mark in (',', ';') if any(mark in line for line in lines)), None)
    rows = [[cell.strip() for cell in line.split(separator)] for line in lines]
    if rows and not any(_is_number(cell) for cell in rows[0]):
        rows = rows[1:]
    if not rows or len({len(row) for row in rows}) > 1:
        raise ValueError('its lines do not have the same number of cells' if rows else 'it is empty')
    return np.array(rows, dtype=np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _of_mat(path: Path, variable: str | None, option: str) -> dict[str, np.ndarray]:
    arrays = read_arrays(path)
    field = read_companion(path, variable) if variable is not None and '.' in variable else None
    if variable is not None and field is not None:
        arrays[variable] = field
    held = ', '.join(f'{key} ({shape_text(array)})' for key, array in arrays.items()) or 'no arrays'
    if variable is not None and variable not in arrays:
        raise FormatError(f'{path} holds {held}; {variable!r} is not one of them: correct {option}.')
    matrices = {key: array for key, array in arrays.items() if variable in (None, key) and _is_matrix(array)}
    if not matrices:
        raise FormatError(f'{path} holds {held}; expected a matrix of real numbers for {option}.')
    return matrices


def _is_matrix(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.size > 0 and array.dtype.kind in 'fiu'
