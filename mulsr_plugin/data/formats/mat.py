"""MATLAB files: v4 to v7 with SciPy, v7.3 (HDF5) with h5py, which the extra ``formats`` installs.

Besides the cube three things are looked for: band centres in a vector named like ``wavelengths``, or ``bands`` if they
are in nm; the factor to [0, 1] in ``scale_to_unit`` (the writer's name for it); and ``nRow`` and ``nCol``, with which
a matrix (bands, pixels) is laid out column by column, as in the widespread files of unmixing scenes. Arrays in structs
are named ``struct.field``; band centres of the same struct come first. A georeference has no place in the format.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats.common import FormatError, RawImage, ReadOptions, check_declared_size
from mulsr_plugin.data.formats.mat_structs import struct_arrays
from mulsr_plugin.data.formats.mat_tags import V5_HEADER, V5_NUMBERS, V5Array, v5_arrays
from mulsr_plugin.data.formats.wavelengths import name_of_wavelengths, usable_wavelengths
from mulsr_plugin.utils.files import sync

HDF5_SIGNATURE = b'\x89HDF\r\n\x1a\n'
HDF5_OFFSET = 512  # MATLAB puts its own header of this size before the HDF5 file
CLASS_SIZES = {
    'double': 8,
    'single': 4,
    **{f'{sign}int{bits}': bits // 8 for sign in ('', 'u') for bits in (8, 16, 32, 64)},
}
SCALE_NAME = 'scale_to_unit'
LARGEST_V5_VARIABLE = 2**31 - 1  # bytes


class Variable(NamedTuple):
    """An entry of a MATLAB file: shape in MATLAB's order and MATLAB's class."""

    shape: tuple[int, ...]
    kind: str


def read_mat(path: Path, options: ReadOptions) -> RawImage:
    """Read the cube of a ``.mat`` file of any version; see the module for what is looked for besides.

    Raises:
        ImportError: The file is v7.3 and h5py is not installed.
        FormatError: The file is damaged, or the variable is missing, ambiguous, complex or not numeric.
    """
    try:
        return _read_hdf5(path, options) if _is_hdf5(path) else _read_v5(path, options)
    except (ImportError, FormatError, PermissionError):
        raise
    # Readers of foreign formats fail in any manner on a damaged file.
    except Exception as error:
        raise FormatError(
            f'{path} cannot be read as a MATLAB file ({error}): it is damaged or no .mat file.'
        ) from error


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of real numbers of a ``.mat`` file of any version, in MATLAB's order of the axes.

    Raises:
        ImportError: The file is v7.3 and h5py is not installed.
        FormatError: The file is damaged.
    """
    try:
        if not _is_hdf5(path):
            variables = _v5_variables(path)
            return _load_v5(path, variables, [name for name, v in variables.items() if v.kind in CLASS_SIZES])
        with _h5py(path).File(path, 'r') as file:
            kinds = {name: _hdf5_variable(item) for name, item in file.items() if not name.startswith('#')}
            return {name: _load_hdf5(path, file, name) for name, v in kinds.items() if v.kind in CLASS_SIZES}
    except (ImportError, FormatError, PermissionError):
        raise
    # Readers of foreign formats fail in any manner on a damaged file.
    except Exception as error:
        raise FormatError(f'{path} cannot be read as a MATLAB file ({error}); save it again.') from error


def read_companion(path: Path, name: str) -> np.ndarray | None:
    """Read one more array of a file that :func:`read_mat` can read, in MATLAB's order of the axes.

    Args:
        path (Path): ``.mat`` file of any version.
        name (str): Variable, numbers or truth values, or the field of a struct as ``struct.field``.

    Returns:
        ndarray | None: Its values; None if the file has none of this name.

    Raises:
        ImportError: The file is v7.3 and h5py is not installed.
        FormatError: The variable is damaged.
    """
    try:
        if not _is_hdf5(path):
            variables = _v5_variables(path)
            if name in variables:
                return _load_v5(path, variables, [name])[name]
            inner = struct_arrays(path) if '.' in name else {}
            return inner[name].values() if name in inner else None
        with _h5py(path).File(path, 'r') as file:
            return _load_hdf5(path, file, name) if name.replace('.', '/') in file else None
    except (ImportError, FormatError, PermissionError):
        raise
    # Readers of foreign formats fail in any manner on a damaged file.
    except Exception as error:
        raise FormatError(f'{path}: {name} cannot be read ({error}): the file is damaged; copy it again.') from error


def write_mat(path: Path, cube: Cube) -> None:
    """Write a cube as variable ``cube`` with ``scale_to_unit`` and ``wavelengths``; v5, beyond 2 GB v7.3.

    Raises:
        ImportError: The cube needs v7.3 and h5py is not installed.
    """
    variables = {'cube': cube.values, SCALE_NAME: np.float64(cube.scale)}
    if cube.wavelengths is not None:
        variables['wavelengths'] = np.asarray(cube.wavelengths)
    if cube.values.nbytes > LARGEST_V5_VARIABLE:
        _write_hdf5(path, variables)
    else:
        scipy.io.savemat(str(path), variables, appendmat=False)
    sync(path)


def _is_hdf5(path: Path) -> bool:
    with open(path, 'rb') as file:
        start = file.read(HDF5_OFFSET + len(HDF5_SIGNATURE))
    return start.startswith(HDF5_SIGNATURE) or start[HDF5_OFFSET:] == HDF5_SIGNATURE


def _read_v5(path: Path, options: ReadOptions) -> RawImage:
    variables = _v5_variables(path)
    inner = struct_arrays(path) if any(variable.kind == 'struct' for variable in variables.values()) else {}
    variables.update({name: Variable(array.shape, array.kind) for name, array in inner.items()})
    name = _choose(path, variables, options)
    wanted = _companions(path, variables, name, options)
    outer = [each for each in (name, *wanted.values()) if each not in inner]
    found = _load_v5(path, variables, outer) if outer else {}
    found.update({each: inner[each].values() for each in (name, *wanted.values()) if each in inner})
    raw = _assemble(path, name, variables[name].kind, found, wanted)
    return raw if _is_of_scipy(path) else replace(raw, convention='MATLAB')


def _is_of_scipy(path: Path) -> bool:
    """Return whether SciPy has written a v5 file, from arrays whose axes follow no convention: it names the system."""
    with open(path, 'rb') as file:
        start = file.read(V5_HEADER)
    return b'Platform: posix' in start or b'Platform: nt' in start


def _v5_variables(path: Path) -> dict[str, Variable]:
    # whosmat reads the directory only, so a file with many variables costs no more than those that are wanted.
    return {name: Variable(shape, kind) for name, shape, kind in scipy.io.whosmat(str(path), appendmat=False)}


def _load_v5(path: Path, variables: dict[str, Variable], names: list[str]) -> dict[str, np.ndarray]:
    """Read arrays of numbers; SciPy, which believes what tags say and may crash, is given checked ones only."""
    arrays = v5_arrays(path)
    for name in names:
        if variables[name].kind not in (*CLASS_SIZES, 'logical'):
            raise FormatError(f'{path}: {name} is a {variables[name].kind}, expected numbers.')
        _check_v5(path, name, _nbytes(variables[name]), arrays)
    found = scipy.io.loadmat(str(path), appendmat=False, variable_names=names)
    for name in names:
        # v4 says it in the number type itself
        if np.iscomplexobj(found[name]):
            raise FormatError(f'{path}: {name} is complex; a cube holds real values.')
    return {name: found[name] for name in names}


def _check_v5(path: Path, name: str, declared: int, arrays: dict[str, V5Array] | None) -> None:
    """Refuse an array whose tags do not agree with its shape, ``declared`` bytes, or with anything."""
    if arrays is None:
        check_declared_size(path, declared, path.stat().st_size)
        return
    array = arrays.get(name)
    if array is None or array.code not in V5_NUMBERS:
        raise FormatError(f'{path}: the tags of {name} are those of no array of numbers: it is damaged.')
    if array.is_complex:
        raise FormatError(f'{path}: {name} is complex; a cube holds real values.')
    check_declared_size(path, array.nbytes, array.stored)
    # Values may lie in a smaller type than their class, but never in a larger one.
    if not declared // 8 <= array.nbytes <= declared:
        raise FormatError(
            f'{path}: {name} has {array.nbytes} bytes of values, its shape says {declared}: it is damaged.'
        )


def _read_hdf5(path: Path, options: ReadOptions) -> RawImage:
    h5py = _h5py(path)
    with h5py.File(path, 'r') as file:
        variables = _hdf5_variables(file)
        name = _choose(path, variables, options)
        wanted = _companions(path, variables, name, options)
        found = {each: _load_hdf5(path, file, each) for each in (name, *wanted.values())}
        of_matlab = 'MATLAB_class' in file[name.replace('.', '/')].attrs
    raw = _assemble(path, name, variables[name].kind, found, wanted)
    if raw.axes_are_sure or of_matlab:
        return replace(raw, convention='MATLAB')
    return replace(raw, axes_unknown='MATLAB_class is missing and other programs reverse the axes or do not')


def _load_hdf5(path: Path, file: Any, name: str) -> np.ndarray:
    dataset = file[name.replace('.', '/')]
    check_declared_size(path, dataset.nbytes, dataset.id.get_storage_size())
    # HDF5 lists MATLAB's column-major axes in reverse.
    return np.asarray(dataset[()]).T


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"{path} is a MATLAB v7.3 file, which needs h5py: pip install 'mulsr-plugin[formats]', or save it with "
            "MATLAB's -v7."
        ) from error
    return h5py


def _hdf5_variables(file: Any) -> dict[str, Variable]:
    """List the variables, and the fields of structs, which are groups; cells lie in a group of their own."""
    variables: dict[str, Variable] = {}

    def add(name: str, item: Any) -> None:
        if not name.startswith('#'):
            variables[name.replace('/', '.')] = _hdf5_variable(item)

    file.visititems(add)
    return variables


def _hdf5_variable(item: Any) -> Variable:
    if not hasattr(item, 'dtype'):
        return Variable((1, 1), 'struct')
    dtype: np.dtype = item.dtype
    if dtype.names:
        return Variable(item.shape[::-1], 'complex')
    kind = {'float64': 'double', 'float32': 'single'}.get(dtype.name, dtype.name)
    # Logical and text arrays are stored as integers too; only MATLAB's own label distinguishes them.
    label = item.attrs.get('MATLAB_class', kind)
    return Variable(item.shape[::-1], label.decode() if isinstance(label, bytes) else str(label))


def _choose(path: Path, variables: dict[str, Variable], options: ReadOptions) -> str:
    """Return the variable to read: the named one, or the only one that can be meant."""
    held = ', '.join(f'{n} {"x".join(map(str, v.shape))} {v.kind}' for n, v in variables.items()) or 'nothing'
    dimensions = (2, 3) if options.is_guide else (3,)
    what = '2-D or 3-D array' if options.is_guide else '3-D array'
    if options.key is not None and options.key not in variables:
        raise FormatError(f'{path} has no variable {options.key}; it holds {held}.')
    candidates = [
        name
        for name, (shape, kind) in variables.items()
        if kind in CLASS_SIZES
        and '.' not in name
        and name != SCALE_NAME
        and ((len(shape) in dimensions and min(shape[:2]) != 1) or _is_matrix_of_pixels(shape, variables))
    ]
    if options.key is not None:
        shape, kind = variables[options.key]
        if options.key not in candidates and (kind not in CLASS_SIZES or len(shape) not in dimensions):
            raise FormatError(f'{path}: {options.key} is not a {what} of real numbers; the file holds {held}.')
        return options.key
    if not candidates:
        inner = next((name for name, v in variables.items() if '.' in name and len(v.shape) in dimensions), None)
        advice = '' if inner is None else f'; name one in a struct with --key, such as {inner}'
        raise FormatError(f'{path} holds no {what} of real numbers{advice}; it holds {held}.')
    if len(candidates) > 1:
        raise FormatError(f'{path} holds several {what}s, name one with --key; it holds {held}.')
    return candidates[0]


def _is_matrix_of_pixels(shape: tuple[int, ...], variables: dict[str, Variable]) -> bool:
    """Return whether a shape may be (bands, pixels): a wide matrix in a file that says how its pixels are laid out."""
    return len(shape) == 2 and min(shape) > 1 and {'nRow', 'nCol'} <= set(variables)


def _companions(path: Path, variables: dict[str, Variable], cube: str, options: ReadOptions) -> dict[str, str]:
    """Return the names of the small numeric variables that say more about the cube, by what they are."""
    vectors = [
        name
        for name, (shape, kind) in variables.items()
        if kind in CLASS_SIZES and name != cube and sum(side > 1 for side in shape) <= 1
    ]
    struct_name = cube.rpartition('.')[0]
    beside = [name for name in vectors if struct_name and name.startswith(f'{struct_name}.')]
    outside = [name for name in vectors if '.' not in name]
    centres = options.wavelengths_key or name_of_wavelengths(beside) or name_of_wavelengths(outside)
    if options.wavelengths_key is not None and options.wavelengths_key not in vectors:
        raise FormatError(
            f'{path} has no vector {options.wavelengths_key} of wavelengths; it has {", ".join(vectors) or "none"}.'
        )
    own = {name: name for name in (SCALE_NAME, 'nRow', 'nCol') if name in vectors}
    return own if centres is None else {'wavelengths': centres, **own}


def _nbytes(variable: Variable) -> int:
    # Python's integers: declared sides may have a product beyond 64 bits
    count = CLASS_SIZES.get(variable.kind, 1)
    for side in variable.shape:
        count *= int(side)
    return count


def _assemble(path: Path, name: str, kind: str, found: dict[str, np.ndarray], wanted: dict[str, str]) -> RawImage:
    values = found[name]
    is_own = SCALE_NAME in wanted  # as written here
    sure = is_own
    if values.ndim == 2 and {'nRow', 'nCol'} <= set(wanted):
        values, sure = _from_matrix(path, name, values, found), True
    notes: list[str] = []
    centres = wanted.get('wavelengths')
    scale = found.get(SCALE_NAME)
    return RawImage(
        values,
        axes_are_sure=sure,
        kind=kind,
        scale=float(scale.item()) if scale is not None and scale.size == 1 else None,
        wavelengths=() if centres is None else usable_wavelengths(centres, found[centres], values.shape, notes),
        unit='nm' if is_own else '',
        notes=tuple(notes),
    )


def _from_matrix(path: Path, name: str, matrix: np.ndarray, found: dict[str, np.ndarray]) -> np.ndarray:
    """Lay a matrix (bands, pixels) or (pixels, bands) out as (H, W, L), pixels column by column as MATLAB does."""
    height, width = (int(found[side].ravel()[0]) for side in ('nRow', 'nCol'))
    if matrix.shape[1] == height * width:
        matrix = matrix.T
    if height < 1 or matrix.shape[0] != height * width:
        raise FormatError(
            f'{path}: {name} is {matrix.shape[0]}x{matrix.shape[1]}, but nRow {height} times nCol {width} is neither '
            'of its sides; correct nRow and nCol.'
        )
    return matrix.reshape(width, height, -1).transpose(1, 0, 2)


def _write_hdf5(path: Path, variables: dict[str, Any]) -> None:
    """Write as MATLAB does: axes in reverse, its class as an attribute, its own header in front."""
    h5py = _h5py(path)
    with h5py.File(path, 'w', userblock_size=HDF5_OFFSET) as file:
        for name, values in variables.items():
            matrix = np.atleast_2d(values)
            dataset = file.create_dataset(name, data=matrix.T)
            kind = {'float64': 'double', 'float32': 'single'}.get(matrix.dtype.name, matrix.dtype.name)
            dataset.attrs['MATLAB_class'] = np.bytes_(kind)
    # Text, then version 0x0200 and the mark of little-endian order, as MATLAB's documentation of the header has it.
    with open(path, 'rb+') as file:
        file.write(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM')
