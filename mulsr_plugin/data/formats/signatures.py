"""What a file is by its first bytes, to refuse one whose name says something else."""

from __future__ import annotations

from pathlib import Path

from mulsr_plugin.data.formats.errors import FormatError

LONGEST = 16
# First bytes, what begins so, and the suffixes under which it is read; () for formats that are not.
SIGNATURES: tuple[tuple[bytes, str, tuple[str, ...]], ...] = (
    (b'II*\x00', 'a TIFF', ('.tif', '.tiff')),
    (b'MM\x00*', 'a TIFF', ('.tif', '.tiff')),
    (b'II+\x00', 'a BigTIFF', ('.tif', '.tiff')),
    (b'MM\x00+', 'a BigTIFF', ('.tif', '.tiff')),
    (b'\x89PNG', 'a PNG picture', ('.png',)),
    (b'\xff\xd8\xff', 'a JPEG picture', ('.jpg', '.jpeg')),
    (b'\x93NUMPY', 'a NumPy array', ('.npy',)),
    (b'PK\x03\x04', 'a zip archive such as .npz', ('.npz',)),
    (b'\x89HDF\r\n\x1a\n', 'an HDF5 file', ('.mat', '.h5', '.he5', '.hdf5', '.hdf', '.nc', '.nc4')),
    (b'MATLAB ', 'a MATLAB file', ('.mat',)),
    (b'EHFA_HEADER_TAG', 'an ERDAS Imagine file', ()),
    (b'CDF\x01', 'a classic NetCDF file (nccopy -k nc4 makes it HDF5)', ()),
    (b'CDF\x05', 'a classic NetCDF file (nccopy -k nc4 makes it HDF5)', ()),
    (b'CDF\x02', 'a classic NetCDF file (nccopy -k nc4 makes it HDF5)', ()),
    (b'SIMPLE  =', 'a FITS file', ()),
    (b'NITF', 'a NITF file', ()),
    (b'GIF8', 'a GIF picture', ()),
    (b'\x1f\x8b', 'a gzip archive', ()),
    (b'\x80\x02', 'a Python pickle', ()),
    (b'\x80\x04', 'a Python pickle', ()),
)


def refuse_other_content(path: Path) -> None:
    """Refuse a file that holds another format than its name says.

    Args:
        path (Path): A file; what begins like no format here passes.

    Raises:
        FormatError: It is of another format.
    """
    with open(path, 'rb') as file:
        start = file.read(LONGEST)
    for signature, what, suffixes in SIGNATURES:
        if start.startswith(signature) and path.suffix.lower() not in suffixes:
            advice = f'rename it to {path.stem}{suffixes[0]}' if suffixes else 'convert it to a format that is read'
            raise FormatError(f'{path} is not what its name says: it holds {what}; {advice}.')
