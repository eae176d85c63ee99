"""Arrays inside the structs of MATLAB v5 to v7 files, by names such as ``hsi.Data`` or ``hsi.info.wavelength``.

SciPy believes what the tags of a file say and may crash on a damaged one, so the few kinds of element that matter here
are read from their description (MathWorks, "MAT-File Format") with every length checked.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mulsr_plugin.data.formats.common import LARGEST_COMPRESSION, UNSUSPECTED_SIZE
from mulsr_plugin.data.formats.errors import FormatError

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_COMPLEX = 0x0800
_DEEPEST = 8
_STRUCT_CLASS = 2
_CLASSES = {
    6: ('double', 'f8'),
    7: ('single', 'f4'),
    8: ('int8', 'i1'),
    9: ('uint8', 'u1'),
    10: ('int16', 'i2'),
    11: ('uint16', 'u2'),
    12: ('int32', 'i4'),
    13: ('uint32', 'u4'),
    14: ('int64', 'i8'),
    15: ('uint64', 'u8'),
}
_NUMBERS = {1: 'i1', 2: 'u1', 3: 'i2', 4: 'u2', 5: 'i4', 6: 'u4', 7: 'f4', 9: 'f8', 12: 'i8', 13: 'u8'}


class StructArray(NamedTuple):
    """An array of real numbers in a struct.

    Attributes:
        shape (tuple[int]): Sides.
        kind (str): MATLAB's class.
        stored (ndarray): Values as they are stored, flat, maybe in a smaller type than the class.
        dtype (str): Of the class.
    """

    shape: tuple[int, ...]
    kind: str
    stored: np.ndarray
    dtype: str

    def values(self) -> np.ndarray:
        """Return the array in MATLAB's order of the axes."""
        return self.stored.astype(self.dtype).reshape(self.shape, order='F')


def struct_arrays(path: Path) -> dict[str, StructArray]:
    """List the arrays of real numbers in the 1x1 structs of a v5 file, by struct and field; none of a v4 file.

    Raises:
        FormatError: A struct is damaged, or unpacks to far more than it can hold.
    """
    found: dict[str, StructArray] = {}
    with open(path, 'rb') as file:
        header = file.read(_HEADER)
        if 0 in header[:4]:
            return {}
        order = '<' if header.endswith(b'IM') else '>'
        while len(tag := file.read(8)) == 8:
            kind, length = struct.unpack(f'{order}II', tag)
            data = file.read(length)
            if len(data) < length:
                raise FormatError(f'{path} is cut short: copy it again.')
            try:
                if kind == _COMPRESSED:
                    kind, data = _unpacked(path, data, order)
                if kind == _MATRIX:
                    found.update(_walk(memoryview(data), order, '', _DEEPEST))
            except (struct.error, zlib.error, IndexError, ValueError) as error:
                raise FormatError(f'{path}: a struct or array in it is damaged ({error}); copy it again.') from error
    return found


def _unpacked(path: Path, data: bytes, order: str) -> tuple[int, bytes]:
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(data, max(UNSUSPECTED_SIZE, LARGEST_COMPRESSION * len(data)))
    if unpacker.unconsumed_tail:
        raise FormatError(f'{path} unpacks to far more than it holds: it is damaged or made to exhaust the memory.')
    kind, _ = struct.unpack_from(f'{order}II', content)
    return kind, content[8:]


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Go through the elements that lie one after the other: code of the type and content."""
    at = 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f'{order}II', data, at)
        small = kind >> 16  # a small element has its size there and its content in the tag
        start = at + 4 if small else at + 8
        end = start + (small or size)
        if end > len(data) or small > 4:
            raise ValueError('an element is longer than what holds it')
        yield kind & 0xFFFF, data[start:end]
        # values of a matrix in a struct are padded to eight bytes
        at += 8 if small else 8 + (size + 7) // 8 * 8


def _walk(data: memoryview, order: str, prefix: str, depth: int) -> dict[str, StructArray]:
    """Return the arrays below one matrix element; its own array only within a struct."""
    if not data or not depth:
        return {}
    elements = _elements(data, order)
    (flags,) = struct.unpack_from(f'{order}I', next(elements)[1])
    sides = next(elements)[1]
    shape = struct.unpack(f'{order}{len(sides) // 4}i', sides)
    name = bytes(next(elements)[1]).decode('latin-1')
    code = flags & 0xFF
    if code == _STRUCT_CLASS and set(shape) == {1}:
        return _fields(elements, order, prefix or name, depth)
    if not prefix or code not in _CLASSES or flags & _COMPLEX:
        return {}
    kind, values = next(elements)
    stored = np.frombuffer(values, np.dtype(f'{order}{_NUMBERS[kind]}'))
    count = 1
    for side in shape:
        count *= side
    if stored.size != count:
        raise ValueError(f'{prefix} has {stored.size} values, its sides say {count}')
    return {prefix: StructArray(shape, _CLASSES[code][0], stored, _CLASSES[code][1])}


def _fields(elements: Iterator[tuple[int, memoryview]], order: str, name: str, depth: int) -> dict[str, StructArray]:
    (longest,) = struct.unpack_from(f'{order}i', next(elements)[1])
    text = bytes(next(elements)[1])
    if longest < 1:
        raise ValueError('its fields have no names')
    names = [text[at : at + longest].split(b'\0')[0].decode('latin-1') for at in range(0, len(text), longest)]
    found: dict[str, StructArray] = {}
    for field, (kind, content) in zip(names, elements):
        if kind == _MATRIX:
            found.update(_walk(content, order, f'{name}.{field}', depth - 1))
    return found
