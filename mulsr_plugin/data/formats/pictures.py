"""A folder of grey pictures, one a band, and single pictures for guides, with OpenCV.

The bands of a folder are its PNG files in the order that :mod:`band_names` sees in their names. Band centres may stand
in ``wavelengths.txt`` beside them, one number a line, in nm or micrometres, or in the names: ``b_397.66nm.png``.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats.band_names import order_of_bands
from mulsr_plugin.data.formats.common import (
    FormatError,
    RawImage,
    ReadOptions,
    check_declared_size,
    default_scale,
    read_numbers,
)
from mulsr_plugin.data.formats.orientation import check_upright
from mulsr_plugin.data.formats.wavelengths import NANOMETRES_OR_MICROMETRES
from mulsr_plugin.utils.files import sync

WAVELENGTHS_FILE = 'wavelengths.txt'
PNG_SIZE = struct.Struct('>II')
PNG_SIZE_AT = 16


def read_picture(path: Path, options: ReadOptions) -> RawImage:
    """Read a PNG, JPEG or BMP picture as R, G, B or grey.

    Raises:
        FormatError: The picture is damaged, cut short, or stored turned.
    """
    check_upright(path)
    image, gaps = _decode(path), None
    notes: tuple[str, ...] = ()
    if image.ndim == 3 and image.shape[2] == 4:
        alpha = image[..., 3]
        gaps = (alpha == 0)[..., None] if (alpha == 0).any() else None
        partly = int(((alpha > 0) & (alpha < np.iinfo(alpha.dtype).max)).sum())
        notes = (f'{partly} partly transparent pixels are taken in the colour that they have',) if partly else ()
    # OpenCV has B, G, R, and transparency last.
    values = image[..., None] if image.ndim == 2 else image[..., 2::-1]
    return RawImage(values, axes_are_sure=True, range_is_sure=True, gaps=gaps, notes=notes)


def read_band_folder(path: Path, options: ReadOptions) -> RawImage:
    """Read the PNG pictures of a folder as bands.

    Raises:
        FormatError: There is no picture, one is damaged or not like the others, or the names do not give an order.
    """
    files = band_files(path)
    if not files:
        raise FormatError(f'There is no PNG picture in the folder {path}, expected one for each band.')
    order = order_of_bands(path, files)
    first = _grey(order.files[0])
    check_declared_size(path, first.nbytes * len(files), sum(file.stat().st_size for file in files))
    values = np.empty((*first.shape, len(files)), first.dtype)
    for band, file in enumerate(order.files):
        image = _grey(file)
        if image.shape != first.shape or image.dtype != first.dtype:
            raise FormatError(
                f'{file} is {image.shape[1]}x{image.shape[0]} pixels of {image.dtype}, but {order.files[0].name} is '
                f'{first.shape[1]}x{first.shape[0]} of {first.dtype}; the bands of a cube must agree.'
            )
        values[..., band] = image
    waves, unit, notes = order.wavelengths, order.unit, order.notes
    if (path / WAVELENGTHS_FILE).is_file():
        waves, unit = read_numbers(path / WAVELENGTHS_FILE), NANOMETRES_OR_MICROMETRES
    return RawImage(values, axes_are_sure=True, range_is_sure=True, wavelengths=waves, unit=unit, notes=notes)


def write_band_folder(path: Path, cube: Cube) -> None:
    """Write one grey PNG for each band, ``band_001.png`` onwards: uint8 as it is, all else as 16 bits of [0, 1]."""
    path.mkdir()
    values = cube.values
    if values.dtype not in (np.uint8, np.uint16) or cube.scale != default_scale(values.dtype.name):
        values = np.round(np.clip(values * np.float64(cube.scale), 0, 1) * 65535).astype(np.uint16)
    for band in range(cube.num_bands):
        file = path / f'band_{band + 1:03d}.png'
        done, data = cv2.imencode('.png', np.ascontiguousarray(values[..., band]))
        if not done:
            raise FormatError(f'{file} cannot be encoded as PNG.')
        file.write_bytes(data.tobytes())
        sync(file)
    if cube.wavelengths is not None:
        (path / WAVELENGTHS_FILE).write_text(''.join(f'{wave!r}\n' for wave in cube.wavelengths), encoding='ascii')


def band_files(folder: Path) -> list[Path]:
    """Return the PNG files of a folder, sorted by name."""
    return sorted(file for file in folder.iterdir() if file.suffix.lower() == '.png' and not file.name.startswith('.'))


def _grey(path: Path) -> np.ndarray:
    image = _decode(path)
    if image.ndim == 3:
        if not (image[..., :3] == image[..., :1]).all():
            raise FormatError(f'{path} is a colour picture; a band is grey.')
        if image.shape[2] == 4 and (image[..., 3] < np.iinfo(image.dtype).max).any():
            raise FormatError(
                f'{path} has transparent pixels, whose values cannot be known; save it without transparency.'
            )
        image = image[..., 0]
    return image


def _decode(path: Path) -> np.ndarray:
    data = path.read_bytes()
    fault = None
    if path.suffix.lower() == '.png':
        fault = png_fault(data)
        if fault is None:
            width, height = PNG_SIZE.unpack_from(data, PNG_SIZE_AT)
            check_declared_size(path, width * height, len(data), 'pixels')
    elif path.suffix.lower() == '.bmp' and bmp_is_short(data):
        fault = 'is cut short or no BMP'
    image = None
    if fault is None:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        except cv2.error:
            image = None
    if image is None:
        raise FormatError(f'{path} {fault or "cannot be decoded"}; copy it again.')
    return image


PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'


def png_fault(data: bytes) -> str | None:
    """Say what is wrong with the bytes of a PNG file, which decoders may silently ignore.

    Args:
        data (bytes): The whole file.

    Returns:
        str | None: A predicate such as ``'is cut short'``; None when every chunk is whole and IEND is there.
    """
    if not data.startswith(PNG_SIGNATURE):
        return 'is empty' if not data else 'is not a PNG'
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from('>I', data, at)
        end = at + 12 + length
        if end > len(data):
            break
        (stored,) = struct.unpack_from('>I', data, end - 4)
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != stored:
            return 'is damaged (a chunk does not match its checksum)'
        if data[at + 4 : at + 8] == b'IEND':
            return None
        at = end
    return 'is cut short'


def bmp_is_short(data: bytes) -> bool:
    """Return whether an uncompressed BMP file ends before its last row, or is not a BMP at all."""
    if len(data) < 54 or not data.startswith(b'BM'):
        return True
    offset, _, width, height, _, bits = struct.unpack_from('<IIiiHH', data, 10)
    row = (width * bits + 31) // 32 * 4
    return len(data) < offset + row * abs(height)
