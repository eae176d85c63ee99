"""NumPy files: ``.npy`` with the values alone, ``.npz`` with everything that a cube knows.

Both are read without unpickling anything. A ``.npz`` is written with the arrays ``cube``, ``scale_to_unit``,
``wavelengths``, ``bad_bands``, ``geo_transform`` and ``geo_crs``; of a foreign one the only 3-D array is the cube, and
band centres may have another of their usual names.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from mulsr_plugin.data.cube import Cube, GeoReference
from mulsr_plugin.data.formats.common import FormatError, RawImage, ReadOptions, as_default_range, check_declared_size
from mulsr_plugin.data.formats.wavelengths import name_of_wavelengths, usable_wavelengths
from mulsr_plugin.utils.files import sync

COMPANIONS = ('scale_to_unit', 'bad_bands', 'geo_transform', 'geo_crs')


def read_npy(path: Path, options: ReadOptions) -> RawImage:
    """Read the array of a ``.npy`` file.

    Raises:
        FormatError: The file is damaged or shorter than its header says, or holds pickled objects.
    """
    with open(path, 'rb') as file:
        values = _read_array(path, file, path.stat().st_size)
        left = path.stat().st_size - file.tell()
    # np.save may write several arrays into one open file
    longer = f'{path.name} is {left} bytes longer than its header declares: only its first array is read'
    return RawImage(values, warnings=(longer,) if left else ())


def write_npy(path: Path, cube: Cube) -> None:
    """Write the values alone; float32 in [0, 1] where the dtype does not imply the scale."""
    with open(path, 'wb') as file:
        np.save(file, as_default_range(cube), allow_pickle=False)
    sync(path)


def read_npz(path: Path, options: ReadOptions) -> RawImage:
    """Read the cube of a ``.npz`` file.

    Raises:
        FormatError: The file is damaged, or the array is missing, ambiguous or pickled.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {
                info.filename.removesuffix('.npy'): info
                for info in archive.infolist()
                if info.filename.endswith('.npy')
            }
            name = _choose(path, archive, members, options)
            found = {each: _read_member(path, archive, members[each]) for each in COMPANIONS if each in members}
            values = _read_member(path, archive, members[name])
            centres = options.wavelengths_key or name_of_wavelengths(each for each in members if each != name)
            if centres is not None and centres not in members:
                others = [each for each in members if each not in (name, *COMPANIONS)]
                raise FormatError(
                    f'{path} has no vector {centres} of wavelengths; it has {", ".join(others) or "none"}.'
                )
            waves = np.empty(0) if centres is None else _read_member(path, archive, members[centres])
    except (FormatError, PermissionError):
        raise
    # Readers of foreign formats fail in any manner on a damaged file.
    except Exception as error:
        raise FormatError(f'{path} is not a complete .npz file ({error}): copy it again.') from error
    left_out = sorted(set(members) - set(found) - {name, centres})
    notes = [f'read {name}, not {", ".join(left_out)}'] if left_out else []
    return _assemble(values, found, centres or '', waves, notes)


def write_npz(path: Path, cube: Cube) -> None:
    """Write the cube and everything that is known of it, uncompressed."""
    arrays: dict[str, Any] = {'cube': cube.values, 'scale_to_unit': np.float64(cube.scale)}
    if cube.wavelengths is not None:
        arrays['wavelengths'] = np.asarray(cube.wavelengths)
    if cube.bad_bands:
        arrays['bad_bands'] = np.asarray(cube.bad_bands)
    if cube.geo is not None:
        arrays['geo_transform'] = np.asarray(cube.geo.transform, np.float64)
        arrays['geo_crs'] = np.asarray(cube.geo.crs)
    with open(path, 'wb') as file:
        np.savez(file, **arrays)
    sync(path)


def _choose(path: Path, archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], options: ReadOptions) -> str:
    shapes = {}
    for name, info in members.items():
        with archive.open(info) as file:
            shapes[name] = _read_header(path, file)[0]
    held = ', '.join(f'{name} {"x".join(map(str, shape))}' for name, shape in shapes.items()) or 'no array'
    if options.key is not None:
        if options.key not in members:
            raise FormatError(f'{path} has no array {options.key}; it holds {held}.')
        return options.key
    dimensions = (2, 3) if options.is_guide else (3,)
    candidates = [name for name, shape in shapes.items() if len(shape) in dimensions and name not in COMPANIONS]
    if len(candidates) != 1:
        fault = 'several arrays that could be meant, name one with --key' if candidates else 'no 3-D array'
        raise FormatError(f'{path} holds {fault}; it holds {held}.')
    return candidates[0]


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    check_declared_size(path, info.file_size, info.compress_size)
    with archive.open(info) as file:
        return _read_array(path, file, info.file_size)


def _read_header(path: Path, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read shape, Fortran order and dtype, and refuse pickled objects."""
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            header = np.lib.format.read_array_header_1_0(file)
        else:
            header = np.lib.format.read_array_header_2_0(file)
    # NumPy parses the header as Python, which fails in many ways
    except Exception as error:
        raise FormatError(f'{path} is not a complete NumPy file ({error}): copy or save it again.') from error
    if header[2].hasobject:
        raise FormatError(
            f'{path} holds Python objects, which are never unpickled because that can run any code; save the array as '
            'numbers.'
        )
    return header


def _read_array(path: Path, file: IO[bytes], size: int) -> np.ndarray:
    """Read one array of ``size`` bytes, header included."""
    shape, fortran, dtype = _read_header(path, file)
    count = 1
    for side in shape:
        count *= int(side)
    if count * dtype.itemsize > size:
        raise FormatError(
            f'{path} declares {count * dtype.itemsize} bytes of values for the shape {shape}, but its data have '
            f'{size}: it is cut short or damaged; copy it again.'
        )
    check_declared_size(path, count * dtype.itemsize, size)
    data = file.read(count * dtype.itemsize)
    if len(data) != count * dtype.itemsize:
        raise FormatError(f'{path} is cut short: {len(data)} of {count * dtype.itemsize} bytes; copy it again.')
    return np.frombuffer(data, dtype).reshape(shape, order='F' if fortran else 'C')


def _assemble(
    values: np.ndarray, found: dict[str, np.ndarray], centres: str, waves: np.ndarray, notes: list[str]
) -> RawImage:
    transform = found.get('geo_transform')
    geo = None
    if transform is not None and transform.shape == (6,):
        a, b, c, d, e, f = map(float, transform)
        geo = GeoReference((a, b, c, d, e, f), str(found.get('geo_crs', '')))
    scale = found.get('scale_to_unit')
    return RawImage(
        values,
        axes_are_sure=scale is not None,  # as written here
        scale=float(scale.item()) if scale is not None and scale.size == 1 else None,
        wavelengths=usable_wavelengths(centres, waves, values.shape, notes),
        unit='' if scale is None else 'nm',  # as written here
        bad_bands=tuple(int(band) for band in found.get('bad_bands', np.empty(0)).ravel()),
        geo=geo,
        notes=tuple(notes),
    )
