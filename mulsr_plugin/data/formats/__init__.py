"""Readers and writers of spectral images: one function each, the format follows from the name.

| Name | Format | Needs |
|---|---|---|
| ``.mat`` | MATLAB v4 to v7, v7.3 | v7.3: h5py |
| ``.npy``, ``.npz`` | NumPy | |
| ``.h5``, ``.hdf5``, ``.he5``, ``.nc`` | HDF5 and NetCDF-4, PRISMA, EMIT; only read | h5py |
| ``.hdr``, or its data file | ENVI, all interleaves | rasterio |
| ``.tif``, ``.tiff`` | TIFF and GeoTIFF, EnMAP | rasterio |
| a folder | one PNG picture for each band | |
| ``.png``, ``.jpg``, ``.bmp`` | a picture, as guide; only read | |

``pip install 'mulsr-plugin[formats]'`` installs h5py and rasterio.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from mulsr_plugin.data.cube import Cube, check_cube, check_key
from mulsr_plugin.data.formats.by_rows import EnviRows, NpyRows, RowFile, TiffRows
from mulsr_plugin.data.formats.common import AXES, FormatError, RawImage, ReadOptions, Scale, read_numbers, to_cube
from mulsr_plugin.data.formats.enmap import is_enmap, read_enmap
from mulsr_plugin.data.formats.envi_header import data_candidates, envi_files
from mulsr_plugin.data.formats.hdf5 import read_hdf5
from mulsr_plugin.data.formats.mat import read_mat, write_mat
from mulsr_plugin.data.formats.numpy_files import read_npy, read_npz, write_npy, write_npz
from mulsr_plugin.data.formats.pictures import band_files, read_band_folder, read_picture, write_band_folder
from mulsr_plugin.data.formats.raster import read_envi, read_tiff
from mulsr_plugin.data.formats.raster_writers import write_envi, write_tiff
from mulsr_plugin.data.formats.signatures import refuse_other_content
from mulsr_plugin.utils.files import PathLike, whole_files

__all__ = [
    'AXES',
    'FormatError',
    'cube_files',
    'files_read',
    'files_written',
    'read_cube',
    'read_numbers',
    'refuse_shadowed',
    'scene_key',
    'write_cube',
]

Reader = Callable[[Path, ReadOptions], RawImage]
ENVI_SUFFIXES = ('.hdr', '.dat', '.img', '.raw', '.bsq', '.bil', '.bip', '.envi')
ENVI_WRITTEN = ('.dat', '.hdr')
HDF5_SUFFIXES = ('.h5', '.hdf5', '.he5', '.nc')
PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp')
READERS: dict[str, Reader] = {
    '.mat': read_mat,
    '.npy': read_npy,
    '.npz': read_npz,
    **dict.fromkeys(HDF5_SUFFIXES, read_hdf5),
    **dict.fromkeys(ENVI_SUFFIXES, read_envi),
    **dict.fromkeys(('.tif', '.tiff'), read_tiff),
    **dict.fromkeys(PICTURE_SUFFIXES, read_picture),
}
WRITERS: dict[str, Callable[[Path, Cube], None]] = {
    '.mat': write_mat,
    '.npy': write_npy,
    '.npz': write_npz,
    **dict.fromkeys(('.hdr', '.dat', '.img', '.envi'), write_envi),
    **dict.fromkeys(('.tif', '.tiff'), write_tiff),
    '': write_band_folder,
}
# Elements of GDAL's .aux.xml that change what is read
GDAL_TAGS = ('NoDataValue', 'Scale', 'Offset', 'GeoTransform', 'SRS', 'ColorInterp', 'ColorTable')
ROW_FILES: dict[str, type[RowFile]] = {
    '.npy': NpyRows,
    **dict.fromkeys(('.hdr', '.dat', '.img', '.envi'), EnviRows),
    **dict.fromkeys(('.tif', '.tiff'), TiffRows),
}
"""Of these formats files can be written some rows at a time."""
# A folder of cubes may hold pictures of them too, which are not cubes.
CUBE_SUFFIXES = ('.mat', '.npy', '.npz', *HDF5_SUFFIXES, '.hdr', '.tif', '.tiff')


def read_cube(
    path: PathLike,
    key: str | None = None,
    value_scale: Scale = None,
    axes: str | None = None,
    wavelengths: Sequence[float] | None = None,
    fill: float | None = None,
    clip: bool = False,
    is_guide: bool = False,
    drop_bad_bands: bool = False,
    bits: int | None = None,
    wavelengths_key: str | None = None,
) -> Cube:
    """Read a spectral image of any format that the package knows.

    Args:
        path (str | PathLike): File, or folder of band PNGs.
        key (str | None): Variable of a .mat, .npz, HDF5 or NetCDF file, such as 'hsi.Data' of a MATLAB struct or
            'group/cube'; refused for others. None takes the only one that can be meant. Default: None.
        value_scale (float | 'max' | None): Factor that brings the values to [0, 1]; 'max' is 1 / largest value of the
            image. None takes the factor that the file names, else 1 for floats, which must be in [0, 1], and
            1 / (largest value of the type) for bytes, pictures, and integers that use more than half of their type;
            others are refused. Default: None.
        axes (str | None): Order of the axes of an array, such as 'bhw' for (bands, rows, columns). None takes the
            order of the format ('hwb' for .mat, .npy and .npz) where file, wavelengths or sizes speak for it, else
            refuses. Default: None.
        wavelengths (Sequence[float] | None): Band centres in nm or micrometres, instead of those of the file.
            Default: None.
        fill (float | None): Replaces NaN, infinite, no-data and masked values, in units of the values that are kept:
            those of the file, or physical ones where the file has gains or offsets of bands; None refuses them.
            Default: None.
        clip (bool): Bring values beyond [0, 1] to its ends, such as slightly negative reflectances, instead of
            refusing them. Default: False.
        is_guide (bool): Whether it is a guide, which may have one channel and two axes. Default: False.
        drop_bad_bands (bool): Leave out the bands that the file marks as bad. Default: False.
        bits (int | None): Bits of the sensor, where they are known: the range of integers that need no more of them,
            unless a factor is given or named by the file. Default: None.
        wavelengths_key (str | None): Variable of the same file that holds the band centres; None takes the one with a
            usual name. Default: None.

    Returns:
        Cube: Values (H, W, L) in the dtype of the file, or floats where gains or offsets of bands were applied, with
        wavelengths in nm, georeference and bad bands where the file has them, where the order of axes comes from, and
        notes and warnings on what was assumed or converted.

    Raises:
        FileNotFoundError: There is no such file.
        PermissionError: It may not be read.
        ImportError: The library for the format is not installed.
        FormatError: The file is damaged, its content is not a cube, or it does not fit the arguments (a ValueError).

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from mulsr_plugin import read_cube
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / 'scene.npy'
        ...     np.save(path, np.full((4, 6, 31), 2047, dtype=np.uint16))  # counts of 12 bits
        ...     cube = read_cube(path, value_scale=1 / 4095, wavelengths=np.linspace(400, 700, 31))
        >>> cube.values.shape, str(cube.values.dtype), cube.num_bands
        ((4, 6, 31), 'uint16', 31)
        >>> round(float(cube.values[0, 0, 0]) * cube.scale, 3), cube.wavelengths[:2]
        (0.5, (400.0, 410.0))
    """
    path = Path(path).expanduser()
    options = ReadOptions(
        key, value_scale, axes, wavelengths, fill, clip, is_guide, drop_bad_bands, bits, wavelengths_key
    )
    reader = _reader_of(path)
    for name, variable in (('key (--key)', key), ('wavelengths_key (--wavelengths-key)', wavelengths_key)):
        if variable is not None and reader not in (read_mat, read_npz, read_hdf5):
            raise FormatError(f'{path} has no variables that {name} {variable} could choose from; leave it out.')
    try:
        if path.is_file():
            open(path, 'rb').close()  # libraries report a lack of permission in their own words
            if reader is not read_envi:  # whose data may begin with any bytes
                refuse_other_content(path)
        raw = reader(path, options)
        return to_cube(path, raw, options)
    except PermissionError as error:
        raise PermissionError(f'{path} may not be read ({error.strerror}): change its permissions.') from error
    except MemoryError as error:
        raise FormatError(f'{path} does not fit into the memory; cut it into smaller images first.') from error


def write_cube(path: PathLike, cube: Cube, overwrite: bool = False) -> None:
    """Write a spectral image in the format of the name; a name without a suffix is a folder of band PNGs.

    The file appears whole or not at all; of the two of ENVI the header comes last, and if they replace others the old
    header goes first, so that a header never stands beside the data of another one. Values, dtype and scale are kept,
    except that .npy holds float32 in [0, 1] and PNG 16 bits where the dtype does not imply the scale. Wavelengths are
    kept by all but .npy; georeferences by TIFF, ENVI and .npz; bad bands by ENVI and .npz.

    Args:
        path (str | PathLike): New file or folder; of ENVI either name, .hdr and .dat are written.
        cube (Cube): (H, W, L).
        overwrite (bool): Replace an existing file when the new one is complete; folders are never replaced.
            Default: False.

    Raises:
        FileExistsError: It exists and ``overwrite`` is false, or see :func:`refuse_shadowed`.
        ImportError: The library for the format is not installed.
        ValueError: The format is unknown, or the cube is none.
        OSError: The disk is full or refuses.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from mulsr_plugin import read_cube, write_cube
        >>> from mulsr_plugin.data.cube import Cube
        >>> cube = Cube(np.full((4, 6, 3), 0.5, dtype=np.float32), scale=1.0, wavelengths=(450.0, 550.0, 650.0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_cube(Path(folder) / 'scene.npz', cube)
        ...     again = read_cube(Path(folder) / 'scene.npz')
        >>> bool((again.values == cube.values).all()), again.wavelengths
        (True, (450.0, 550.0, 650.0))
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if suffix not in WRITERS:
        names = ' '.join(name for name in WRITERS if name)
        raise ValueError(
            f'{path}: no writer for {suffix or "this name"}; choose one of {names}, or no suffix for PNGs.'
        )
    check_cube(path.name, cube.values, cube.scale, cube.wavelengths)
    refuse_shadowed(path)
    writer = WRITERS[suffix]
    with whole_files(path, overwrite, ENVI_WRITTEN if writer is write_envi else ()) as temporary:
        writer(temporary, cube)


def files_read(path: PathLike) -> tuple[Path, ...]:
    """Return the files that :func:`read_cube` reads by this name: of ENVI header and data, else one."""
    path = Path(path).expanduser()
    if path.is_dir():
        return (path,)
    try:
        return envi_files(path) if READERS.get(path.suffix.lower(), read_envi) is read_envi else (path,)
    except FileNotFoundError:
        return (path,)


def files_written(path: PathLike) -> tuple[Path, ...]:
    """Return the files or the folder that :func:`write_cube` makes of this name: of ENVI data and header, else one."""
    path = Path(path).expanduser()
    if WRITERS.get(path.suffix.lower()) is not write_envi:
        return (path,)
    return tuple(path.with_suffix(suffix) for suffix in ENVI_WRITTEN)


def refuse_shadowed(path: PathLike) -> None:
    """Refuse a name beside files of another image that would be read as part of the new one.

    Raises:
        FileExistsError: There is another data file for the header of an ENVI image, or a mask or description that GDAL
            would apply to the new data.
    """
    path = Path(path).expanduser()
    writer = WRITERS.get(path.suffix.lower())
    if writer is write_envi:
        header = path.with_suffix('.hdr')
        for other in data_candidates(header):
            if other.suffix.lower() != '.dat':
                raise FileExistsError(
                    f'{other} would be read as the data of {header.name}: choose another name, or move it away.'
                )
    if writer in (write_envi, write_tiff):
        data = files_written(path)[0]
        for beside in (Path(f'{data}.msk'), Path(f'{data}.aux.xml')):
            if beside.is_file() and _says_of_values(beside):
                raise FileExistsError(
                    f'{beside} of an earlier image would be applied to the new {data.name}: choose another name, or '
                    'move it away.'
                )


def _says_of_values(path: Path) -> bool:
    """Return whether a file of GDAL says more than statistics, which viewers write beside what they open."""
    if path.suffix.lower() == '.msk':
        return True
    return any(f'<{tag}' in path.read_text(errors='replace') for tag in GDAL_TAGS)


def cube_files(folder: PathLike, suffix: str | None = None, pictures: bool = False) -> list[Path]:
    """Return the cubes of a folder, sorted by name: files of a known format, and sub-folders of band PNGs.

    Args:
        folder (str | PathLike): Where to look; only sub-folders of band PNGs are entered.
        suffix (str | None): Return only files with this suffix, such as '.mat'. Default: None.
        pictures (bool): Single pictures count too, as they do for guides. Default: False.

    Raises:
        FileNotFoundError: No such folder, or no cube in it.
        FormatError: It is a file.
        PermissionError: It may not be listed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mulsr_plugin.data.formats import cube_files
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ('b.mat', 'a.npy', 'picture.png'):
        ...         (Path(folder) / name).touch()
        ...     [path.name for path in cube_files(folder)]
        ['a.npy', 'b.mat']
    """
    folder = Path(folder).expanduser()
    if folder.exists() and not folder.is_dir():
        raise FormatError(f'{folder} is a file, expected a folder with one file for each cube; name its folder.')
    if not folder.exists():
        raise FileNotFoundError(f'There is no folder {folder} to read cubes from.')
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith('.'))
        known = (*CUBE_SUFFIXES, *PICTURE_SUFFIXES) if pictures else CUBE_SUFFIXES
        suffixes = known if suffix is None else (suffix,)
        cubes = [entry for entry in entries if entry.suffix.lower() in suffixes and entry.is_file()]
        if suffix is None:
            cubes += [entry for entry in entries if entry.is_dir() and len(band_files(entry)) > 1]
    except PermissionError as error:
        raise PermissionError(f'{folder} may not be listed ({error.strerror}): change its permissions.') from error
    if not cubes:
        folders = '' if suffix else ' or sub-folders of band PNGs'
        what = 'guide' if pictures else 'cube'
        raise FileNotFoundError(f'There is no {what} in {folder}: expected files {" ".join(suffixes)}{folders}.')
    return sorted(cubes)


def scene_key(path: PathLike) -> str:
    """Return the name of a scene in a store: that of its file, with blanks and full stops as underscores.

    Raises:
        ValueError: The name holds other characters that a key cannot have.

    Example:
        >>> from mulsr_plugin.data.formats import scene_key
        >>> scene_key('scenes/Old town.v2.mat')
        'Old_town_v2'
    """
    return check_key(re.sub(r'[\s.]', '_', Path(path).stem))


def _reader_of(path: Path) -> Reader:
    if path.is_dir():
        return read_band_folder
    if not path.is_file():
        raise FileNotFoundError(f'There is no file {path}.')
    if is_enmap(path):
        return read_enmap
    suffix = path.suffix.lower()
    if suffix in READERS:
        return READERS[suffix]
    try:
        envi_files(path)
    except FileNotFoundError:
        raise FormatError(
            f'{path} is of no known format; expected {" ".join(READERS)}, or a data file beside its ENVI header .hdr.'
        ) from None
    return read_envi
