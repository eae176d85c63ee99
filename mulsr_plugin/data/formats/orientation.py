"""Pictures that are stored turned or mirrored: the tag Orientation of TIFF, and of EXIF in JPEG and PNG.

GDAL and OpenCV hand pixels on as they are stored, while viewers turn them, so that such a picture would not lie on its
cube as the user sees it.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO

from mulsr_plugin.data.formats.errors import FormatError

ORIENTATION = 274
UPRIGHT = 1
EXIF = b'Exif\x00\x00'
# EXIF stands in the first segments of a JPEG, of 64 kB each.
LONGEST_START = 1 << 18


def check_upright(path: Path) -> None:
    """Refuse a TIFF, JPEG or PNG file that is stored turned or mirrored.

    Args:
        path (Path): The file; what is damaged in it is left to its reader.

    Raises:
        FormatError: Its Orientation is another than 1.
    """
    with open(path, 'rb') as file:
        start = file.read(16)
        if start[:4] in (b'II*\x00', b'MM\x00*', b'II+\x00', b'MM\x00+'):
            value = _orientation(file, 0)
        else:
            file.seek(0)
            at = _exif_at(file.read(LONGEST_START))
            value = UPRIGHT if at is None else _orientation(file, at)
    # other numbers mean nothing, and 0 is written for "unknown"
    if UPRIGHT < value <= 8:
        raise FormatError(
            f'{path} is stored turned or mirrored (Orientation {value}), as viewers undo but sensors do not know; save '
            'it upright, such as by mogrify -auto-orient.'
        )


def _exif_at(start: bytes) -> int | None:
    """Return where the TIFF structure of EXIF begins in the first bytes of a JPEG or PNG."""
    if start.startswith(b'\xff\xd8'):
        at = start.find(EXIF)
        return at + len(EXIF) if at >= 0 else None
    if start.startswith(b'\x89PNG'):
        at = start.find(b'eXIf')
        return at + 4 if at >= 0 else None
    return None


def _orientation(file: IO[bytes], base: int) -> int:
    """Read the tag from the first directory of a TIFF structure; 1 where there is none."""
    file.seek(base)
    head = file.read(16)
    order = '<' if head[:2] == b'II' else '>'
    large = head[2:4] in (b'+\x00', b'\x00+')
    try:
        (at,) = struct.unpack_from(f'{order}Q' if large else f'{order}I', head, 8 if large else 4)
        file.seek(base + at)
        (count,) = struct.unpack(f'{order}Q' if large else f'{order}H', file.read(8 if large else 2))
        for _ in range(min(count, 4096)):
            entry = file.read(20 if large else 12)
            tag, _ = struct.unpack_from(f'{order}HH', entry)
            if tag == ORIENTATION:
                return int(struct.unpack_from(f'{order}H', entry, 12 if large else 8)[0])
    except (struct.error, OverflowError, OSError):
        pass
    return UPRIGHT
