"""Source reader: a folder of MATLAB files, one spectral cube each.

Both formats of ``.mat`` are read: v4 to v7 with SciPy, v7.3 (HDF5) with h5py, which the extra ``formats`` installs.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

from mulsr_plugin.data.cube import Cube, SourceScene, check_cube, in_unit_range
from mulsr_plugin.data.cube_store import PathLike, check_key

HDF5_SIGNATURE = b'\x89HDF\r\n\x1a\n'
HDF5_OFFSET = 512  # MATLAB puts its own header of this size before the HDF5 file
NUMERIC_CLASSES = {'double', 'single', *(f'{sign}int{bits}' for sign in ('', 'u') for bits in (8, 16, 32, 64))}


def mat_scenes(folder: PathLike, key: str | None = None, scale: float | None = None) -> list[SourceScene]:
    """List the ``.mat`` files of a folder as scenes, sorted by name.

    A scene is named after its file, with blanks and full stops replaced by underscores.

    Args:
        folder (str | PathLike): Folder with ``*.mat`` files; sub-folders are not searched.
        key (str | None): Variable that holds the cube; None takes the only 3-D numeric array. Default: None.
        scale (float | None): See :func:`read_mat_cube`. Default: None.

    Raises:
        FileNotFoundError: No such folder, or no ``.mat`` file in it.
        ValueError: Two files would have the same scene name, or a name cannot be a key.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'There is no folder {folder} to read .mat files from.')
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == '.mat' and not path.name.startswith('.'))
    if not files:
        raise FileNotFoundError(f'There is no .mat file in {folder}.')
    names: dict[str, Path] = {}
    for path in files:
        name = check_key(re.sub(r'[\s.]', '_', path.stem))
        if name in names:
            raise ValueError(
                f'Files {names[name].name} and {path.name} of {folder} give the same scene {name}: rename one.'
            )
        names[name] = path
    return [SourceScene(name, partial(read_mat_cube, path, key, scale)) for name, path in names.items()]


def read_mat_cube(path: PathLike, key: str | None = None, scale: float | None = None) -> Cube:
    """Read one cube from a ``.mat`` file of any version.

    Args:
        path (str | PathLike): The file.
        key (str | None): Variable that holds the cube; None takes the only 3-D numeric array. Default: None.
        scale (float | None): Factor that brings the values to [0, 1]; None means 1 for MATLAB's doubles and singles,
            which must be in [0, 1] already, and 1 / (largest value of the type) for its integers. Default: None.

    Returns:
        Cube: Values (H, W, L) in MATLAB's axis order, dtype as stored.

    Raises:
        FileNotFoundError: There is no such file.
        ImportError: The file is v7.3 and h5py is not installed.
        ValueError: The file is damaged, the variable is missing, ambiguous, complex, not numeric or not 3-D, or its
            values leave [0, 1].
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'There is no file {path}.')
    try:
        values, kind = _read_hdf5(path, key) if _is_hdf5(path) else _read_mat5(path, key)
    except (ImportError, _MatContentError):
        raise
    # Readers of foreign formats fail in any manner on a damaged file.
    except Exception as error:
        raise ValueError(f'{path} cannot be read as a MATLAB file ({error}): it is damaged or no .mat file.') from error
    if scale is None:
        # By MATLAB's class, not the dtype: doubles with integer values come as the smallest integers that fit.
        scale = 1.0 / float(np.iinfo(kind).max) if 'int' in kind else 1.0
        if 'int' not in kind and not in_unit_range(values, scale) and np.isfinite(values).all():
            raise ValueError(
                f'{path} holds {kind} values from {values.min():.6g} to {values.max():.6g}; give the factor that '
                'brings them to [0, 1], such as --scale 1/65535 for 16-bit values, or clip them at their source.'
            )
    check_cube(path.name, values, scale)
    return Cube(values=values, scale=scale, source=path.name)


class _MatContentError(ValueError):
    """The file is sound but does not hold what was asked for."""


def _is_hdf5(path: Path) -> bool:
    with open(path, 'rb') as file:
        start = file.read(HDF5_OFFSET + len(HDF5_SIGNATURE))
    return start.startswith(HDF5_SIGNATURE) or start[HDF5_OFFSET:] == HDF5_SIGNATURE


def _read_mat5(path: Path, key: str | None) -> tuple[np.ndarray, str]:
    # whosmat reads the directory only, so a file with many variables costs no more than its cube.
    kinds = {name: (shape, kind) for name, shape, kind in scipy.io.whosmat(str(path))}
    name = _choose(path, kinds, key)
    values = scipy.io.loadmat(str(path), variable_names=[name])[name]
    if np.iscomplexobj(values):
        raise _MatContentError(f'{path}: {name} is complex; a cube holds real values.')
    return values, kinds[name][1]


def _read_hdf5(path: Path, key: str | None) -> tuple[np.ndarray, str]:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"{path} is a MATLAB v7.3 file, which needs h5py: pip install 'mulsr-plugin[formats]', or save it with "
            "MATLAB's -v7."
        ) from error
    with h5py.File(path, 'r') as file:
        kinds = {name: _hdf5_kind(item) for name, item in file.items() if not name.startswith('#')}
        name = _choose(path, kinds, key)
        # HDF5 lists MATLAB's column-major axes in reverse.
        return np.ascontiguousarray(file[name][()].transpose(2, 1, 0)), kinds[name][1]


def _hdf5_kind(item: Any) -> tuple[tuple[int, ...], str]:
    """Shape in MATLAB's order, and MATLAB's class name, of an entry of a v7.3 file."""
    import h5py

    if not isinstance(item, h5py.Dataset):
        return (1, 1), 'struct'
    dtype: np.dtype = item.dtype
    if dtype.names:
        return item.shape[::-1], 'complex'
    kind = {'float64': 'double', 'float32': 'single'}.get(dtype.name, dtype.name)
    # Logical and text arrays are stored as integers too; only MATLAB's own label tells.
    label = item.attrs.get('MATLAB_class', kind)
    return item.shape[::-1], label.decode() if isinstance(label, bytes) else str(label)


def _choose(path: Path, kinds: dict[str, tuple[tuple[int, ...], str]], key: str | None) -> str:
    """Return the variable to read: the named one, or the only 3-D numeric one."""
    descriptions = (f'{name} {"x".join(map(str, shape))} {kind}' for name, (shape, kind) in kinds.items())
    held = ', '.join(descriptions) or 'nothing'
    if key is not None and key not in kinds:
        raise _MatContentError(f'{path} has no variable {key}; it holds {held}.')
    candidates = [name for name, (shape, kind) in kinds.items() if len(shape) == 3 and kind in NUMERIC_CLASSES]
    if key is not None:
        if key not in candidates:
            raise _MatContentError(f'{path}: {key} is no 3-D array of real numbers; the file holds {held}.')
        return key
    if not candidates:
        raise _MatContentError(f'{path} holds no 3-D array of real numbers; it holds {held}.')
    if len(candidates) > 1:
        raise _MatContentError(f'{path} holds several 3-D arrays, name the cube with --key; it holds {held}.')
    return candidates[0]
