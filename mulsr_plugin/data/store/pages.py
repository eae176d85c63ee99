"""Checksum of everything in ``data.mdb`` but values and headers.

LMDB trusts its pages: a damaged one makes it read at a wild address, and the interpreter crashes. So they are compared
before LMDB opens the file.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Sequence
from pathlib import Path

import lmdb
import numpy as np

from mulsr_plugin.data.store.header import DATA_FILE, STRUCTURE_FILE, CubeStoreError, json_checksum


def describe_structure(path: Path) -> str:
    """Return the content of :data:`STRUCTURE_FILE` for a complete store."""
    size = os.path.getsize(path / DATA_FILE)
    # straight through LMDB: reading values must not depend on what is written here
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin(buffers=True) as transaction:
        values = [np.frombuffer(value, np.uint8) for _, value in transaction.cursor()]
        start = _address_of_file(path / DATA_FILE, values)
        ranges = sorted((value.ctypes.data - start, value.nbytes) for value in values)
        del values
    fields = {'size': size, 'values': ranges, 'checksum': _checksum_outside(path / DATA_FILE, size, ranges)}
    return json.dumps({'structure': fields, 'checksum': json_checksum(fields)})


def _address_of_file(path: Path, values: Sequence[np.ndarray]) -> int:
    """Return the address to which LMDB has mapped the first byte of the file that these values lie in."""
    first = min(values, key=lambda value: value.ctypes.data)
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        whole = np.frombuffer(content, np.uint8)
        try:
            # a map begins with a page, so the place within a page is known
            for offset in range(first.ctypes.data % mmap.PAGESIZE, len(whole), mmap.PAGESIZE):
                start = first.ctypes.data - offset
                places = ((value, value.ctypes.data - start) for value in values)
                if all(np.array_equal(whole[place : place + value.nbytes], value) for value, place in places):
                    return start
        finally:
            del whole
    raise OSError(f'{path} does not hold what LMDB has written')


def check_structure(path: Path) -> None:
    """Refuse a data file with changed bytes outside of values and headers; older stores have no such record."""
    try:
        content = json.loads((path / STRUCTURE_FILE).read_bytes())
        fields = content['structure']
        sound = content['checksum'] == json_checksum(fields)
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise CubeStoreError(
            f'{path / STRUCTURE_FILE} is damaged: copy it again, or delete it to do without the check of the pages.'
        )
    size = os.path.getsize(path / DATA_FILE)
    if size < fields['size']:
        raise CubeStoreError(
            f'{path / DATA_FILE} is cut short ({size} of {fields["size"]} bytes): copy it again or prepare the data '
            'again.'
        )
    if _checksum_outside(path / DATA_FILE, fields['size'], fields['values']) != fields['checksum']:
        raise CubeStoreError(
            f'{path / DATA_FILE} is damaged outside of its scenes, so that none can be found: copy it again or prepare '
            'the data again.'
        )


def _checksum_outside(path: Path, size: int, ranges: Sequence[Sequence[int]]) -> str:
    """Return CRC-32 of all bytes of a file but those in ``ranges`` (offset, length), which are sorted."""
    checksum, position = 0, 0
    with open(path, 'rb', buffering=0) as file:
        for offset, length in [*ranges, (size, 0)]:
            file.seek(position)
            checksum = zlib.crc32(file.read(offset - position), checksum)
            position = offset + length
    return f'crc32:{checksum:08x}'
