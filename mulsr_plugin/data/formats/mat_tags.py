"""What the tags of a MATLAB v5 file say of its arrays, before SciPy, which believes them, reads any."""

from __future__ import annotations

import struct
import zlib
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

V5_HEADER = 128
V5_COMPRESSED = 15
V5_TAGS = 1024  # bytes at the beginning of an array that hold its tags, with room for the longest name
V5_NUMBERS = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}  # bytes of a number by its type's code
V5_COMPLEX = 0x0800  # flag


class V5Array(NamedTuple):
    """What the tags of an array in a v5 file say: bytes unpacked and as stored, code of the type, whether complex."""

    nbytes: int
    stored: int
    code: int
    is_complex: bool


def v5_arrays(path: Path) -> dict[str, V5Array] | None:
    """Return what the tags of a v5 file say of its arrays (MathWorks, "MAT-File Format"); None for v4."""
    arrays = {}
    with open(path, 'rb') as file:
        header = file.read(V5_HEADER)
        if 0 in header[:4]:  # v4, which compresses nothing and knows no cubes
            return None
        order = '<' if header.endswith(b'IM') else '>'
        while len(tag := file.read(8)) == 8:
            kind, length = struct.unpack(f'{order}II', tag)
            following = file.tell() + length
            start = file.read(min(length, V5_TAGS))
            start = zlib.decompressobj().decompress(start, V5_TAGS) if kind == V5_COMPRESSED else tag + start
            with suppress(struct.error):  # other objects have no values where an array has them
                name, array = _v5_array(start, order, length)
                arrays[name] = array
            file.seek(following)
    return arrays


def _v5_array(start: bytes, order: str, stored: int) -> tuple[str, V5Array]:
    """Read the beginning of an array's element: its tag, then flags, sides, name and the tag of the values."""
    at, parts, code, size = 8, [], 0, 0
    for _ in range(4):
        kind, size = struct.unpack_from(f'{order}II', start, at)
        small = kind >> 16  # a small element has its size there and its content in the tag
        code, size = kind & 0xFFFF, small or size
        parts.append(start[at + 4 : at + 4 + size] if small else start[at + 8 : at + 8 + size])
        at += 8 if small else 8 + (size + 7) // 8 * 8
    (flags,) = struct.unpack_from(f'{order}I', parts[0])
    return parts[2].decode('latin-1'), V5Array(size, stored, code, bool(flags & V5_COMPLEX))
