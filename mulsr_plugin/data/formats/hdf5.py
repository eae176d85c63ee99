"""HDF5 and NetCDF-4 files through h5py, which the extra ``formats`` installs; see :mod:`prisma` for PRISMA's.

The cube is the only 3-D array of numbers, or the one named. What the conventions of NetCDF say of it is applied:
``_FillValue``, ``missing_value``, ``valid_min``, ``valid_max``, ``valid_range`` (all in stored values), then
``scale_factor`` and ``add_offset``. The order of the axes is that of their names; band centres are a vector with a
usual name, in the unit of its attribute ``units``; bands are bad where a vector ``good_wavelengths`` beside it is 0. So
EMIT's ``reflectance`` and ``radiance`` are read, in the geometry of the sensor. Georeferences are read of PRISMA L2D
alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.formats.common import FormatError, RawImage, ReadOptions, check_declared_size
from mulsr_plugin.data.formats.prisma import is_prisma, read_prisma
from mulsr_plugin.data.formats.wavelengths import name_of_wavelengths, usable_wavelengths

AXIS_WORDS = {
    'h': ('y', 'row', 'rows', 'line', 'lines', 'lat', 'latitude', 'northing', 'downtrack', 'along_track', 'height'),
    'w': ('x', 'col', 'cols', 'column', 'columns', 'sample', 'samples', 'lon', 'longitude', 'easting', 'crosstrack')
    + ('across_track', 'width'),
    'b': ('band', 'bands', 'wavelength', 'wavelengths', 'wl', 'channel', 'channels', 'spectral', 'lambda'),
}
GOOD_BANDS = 'good_wavelengths'
NAME_ONLY = 'This is a netCDF dimension but not a netCDF variable'  # in NAME, of what has no values


def read_hdf5(path: Path, options: ReadOptions) -> RawImage:
    """Read the cube of an HDF5 or NetCDF-4 file.

    Raises:
        ImportError: h5py is not installed.
        FormatError: The file is damaged; the array is missing or ambiguous, its axes have no
            known names, or its values lie in other files.
    """
    h5py = _h5py(path)
    try:
        with h5py.File(path, 'r') as file:
            if is_prisma(file, options):
                return read_prisma(path, file, options)
            datasets = _datasets(file)
            name = _choose(path, datasets, options)
            return _assemble(path, file, datasets, name, options)
    except (FormatError, PermissionError, MemoryError):
        raise
    # Readers of foreign formats fail in any manner on a damaged file.
    except Exception as error:
        raise FormatError(f'{path} cannot be read as HDF5 ({error}): it is damaged or of another format.') from error


def _h5py(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise ImportError(
            f"{path} is an HDF5 or NetCDF file, which needs h5py: pip install 'mulsr-plugin[formats]', or save it as "
            '.npz or .mat.'
        ) from error
    return h5py


def _datasets(file: Any) -> dict[str, Any]:
    """List the arrays of numbers by their path; links to other places or files are not followed."""
    found: dict[str, Any] = {}

    def add(name: str, item: Any) -> None:
        is_array = hasattr(item, 'dtype') and item.dtype.kind in 'iuf' and item.shape is not None
        if is_array and not _text(item.attrs.get('NAME', '')).startswith(NAME_ONLY):
            found[name] = item

    file.visititems(add)
    return found


def _choose(path: Path, datasets: dict[str, Any], options: ReadOptions) -> str:
    large = {name: item for name, item in datasets.items() if item.ndim in ((2, 3) if options.is_guide else (3,))}
    held = ', '.join(f'{name} {"x".join(map(str, item.shape))}' for name, item in large.items()) or 'none'
    what = 'array of two or three axes' if options.is_guide else '3-D array'
    if options.key is None and len(large) == 1:
        return next(iter(large))
    if options.key is None:
        fault = f'several {what}s, name one with --key' if large else f'no {what} of real numbers'
        raise FormatError(f'{path} holds {fault}; it holds {held}.')
    return _named(path, large, options.key, what)


def _named(path: Path, datasets: dict[str, Any], key: str, what: str) -> str:
    """Return the path of an array, which may be named by its last part where that is unique."""
    key = key.strip('/')
    matches = [name for name in datasets if key in (name, name.rpartition('/')[2])]
    if key in datasets or len(matches) == 1:
        return key if key in datasets else matches[0]
    held = ', '.join(f'{name} {"x".join(map(str, item.shape))}' for name, item in datasets.items()) or 'none'
    raise FormatError(f'{path} has {len(matches) or "no"} {what} {key}, expected one path; it holds {held}.')


def _assemble(path: Path, file: Any, datasets: dict[str, Any], name: str, options: ReadOptions) -> RawImage:
    dataset = datasets[name]
    if dataset.external or dataset.is_virtual:
        raise FormatError(f'{path}: the values of {name} lie in other files; save them in one.')
    check_declared_size(path, dataset.nbytes, dataset.id.get_storage_size())
    axes = _axes(path, dataset, name, options)
    notes = [] if options.axes or dataset.ndim == 2 else [f'axes {axes} by the names of the dimensions of {name}']
    waves, unit, good = _bands(path, datasets, dataset, options, notes)
    values, scale, nodata = _physical(dataset)
    if 'location/glt_x' in datasets:
        notes.append('in the geometry of the sensor: its table of ground positions is not applied')
    return RawImage(
        values,
        axes=axes,
        axes_are_sure=True,
        scale=scale,
        nodata=nodata,
        wavelengths=waves,
        unit=unit,
        bad_bands=tuple(np.flatnonzero(good == 0).tolist()),
        notes=tuple(notes),
    )


def _axes(path: Path, dataset: Any, name: str, options: ReadOptions) -> str:
    """Return the order of the axes by the names of the dimensions; it is never guessed from the sides."""
    if options.axes is not None or dataset.ndim == 2:
        return options.axes or 'hwb'
    words = [dim.label or (dim[0].name.rpartition('/')[2] if len(dim) else '') for dim in dataset.dims]
    letters = ''.join(
        next((letter for letter, known in AXIS_WORDS.items() if word.lower() in known), '?') for word in words
    )
    if sorted(letters) == sorted('hwb'):
        return letters
    shape = 'x'.join(map(str, dataset.shape))
    called = f'called {", ".join(words)}' if any(words) else 'without names'
    raise FormatError(
        f'{path}: {name} is {shape} with axes {called}, of which rows, columns and bands cannot be known; give the '
        'order with axes (--axes), such as hwb or bhw.'
    )


def _bands(
    path: Path, datasets: dict[str, Any], dataset: Any, options: ReadOptions, notes: list[str]
) -> tuple[tuple[float, ...], str, np.ndarray]:
    """Return band centres, their unit, and which bands are good (empty where unknown)."""
    vectors = {name: item for name, item in datasets.items() if item.ndim == 1}
    own = {name: value for name, value in dataset.attrs.items() if np.ndim(value) == 1}
    good = own.get(GOOD_BANDS, np.empty(0))
    if options.wavelengths_key is not None:
        chosen = _named(path, vectors, options.wavelengths_key, 'vector of wavelengths')
    else:
        named = name_of_wavelengths(own)
        if named is not None:
            return usable_wavelengths(named, own[named], dataset.shape, notes), '', np.asarray(good)
        fitting = [name for name, item in vectors.items() if item.size in dataset.shape]
        chosen = name_of_wavelengths(fitting) or ''
        _refuse_several(path, vectors, fitting, chosen)
    if not chosen:
        return (), '', np.asarray(good)
    beside = f'{chosen.rpartition("/")[0]}/{GOOD_BANDS}'.lstrip('/')
    if beside in vectors and vectors[beside].size == vectors[chosen].size:
        good = vectors[beside][()]
    waves = usable_wavelengths(chosen, vectors[chosen][()], dataset.shape, notes)
    return waves, _text(vectors[chosen].attrs.get('units', '')), np.asarray(good)


def _refuse_several(path: Path, vectors: dict[str, Any], fitting: list[str], chosen: str) -> None:
    """Refuse to choose between vectors of one name that differ, such as those of two instruments."""
    last = chosen.rpartition('/')[2].lower()
    same = [name for name in fitting if name.rpartition('/')[2].lower() == last]
    if any(not np.array_equal(vectors[name][()], vectors[chosen][()]) for name in same):
        raise FormatError(f'{path} has several wavelengths, {", ".join(same)}; name one with --wavelengths-key.')


def _physical(dataset: Any) -> tuple[np.ndarray, float | None, float | None]:
    """Return values, their factor and their no-data value; gaps are found before anything is scaled."""
    attrs = dataset.attrs
    values = dataset[()]
    if _text(attrs.get('_Unsigned', '')).lower() == 'true':
        values = values.view(values.dtype.str.replace('i', 'u'))
    factor, offset = _number(attrs, 'scale_factor', 1.0), _number(attrs, 'add_offset', 0.0)
    fill, missing = _number(attrs, '_FillValue', None), _number(attrs, 'missing_value', None)
    low, high = attrs.get('valid_range', (None, None))
    low, high = _number(attrs, 'valid_min', low), _number(attrs, 'valid_max', high)
    has_limits = low is not None or high is not None or (missing is not None and missing != fill)
    if not offset and not has_limits and factor > 0:
        return values, None if factor == 1 else factor, fill
    gaps = np.zeros(values.shape, bool)
    for marker in (fill, missing):
        gaps |= False if marker is None else values == marker
    gaps |= False if low is None else values < low
    gaps |= False if high is None else values > high
    # counts beyond 24 bits would be rounded
    wide = np.float64 if values.dtype.itemsize > 2 and values.dtype.kind != 'f' else np.float32
    physical = (values * np.asarray(factor, wide) + np.asarray(offset, wide)).astype(wide, copy=False)
    physical[gaps] = np.nan
    return physical, None, None


def _number(attrs: Any, name: str, default: Any) -> Any:
    value = attrs.get(name)
    return default if value is None else float(np.ravel(value)[0])


def _text(value: Any) -> str:
    value = np.ravel(value)[0] if np.size(value) else ''
    return value.decode('utf-8', 'replace') if isinstance(value, bytes) else str(value)
