"""The files of a cube store, and the record that is kept beside each cube."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

HEADER_VERSION = 1
HEADER_PREFIX = 'header:'
DATA_FILE = 'data.mdb'
META_FILE = 'meta_info.txt'
STRUCTURE_FILE = 'structure.json'
# in a store that is being written, and until those that belong to it are published: what is being prepared
DESCRIPTION_FILE = 'preparation.txt'


class CubeStoreError(ValueError):
    """A store or one of its scenes is missing, damaged or cannot be used; one sentence for the user."""


@dataclass(frozen=True)
class CubeHeader:
    """What is known of a stored cube without reading its values.

    Attributes:
        key (str): Scene name.
        shape (tuple[int, int, int]): (H, W, L).
        dtype (str): NumPy name of the stored dtype, such as ``'uint16'``.
        scale (float): Stored value times scale lies in [0, 1].
        wavelengths (tuple[float] | None): Band centres in nm.
        checksum (str): CRC-32 of the stored bytes, ``'crc32:'`` and eight hex digits.
        source (str): Where the values came from, for people.
    """

    key: str
    shape: tuple[int, int, int]
    dtype: str
    scale: float
    wavelengths: tuple[float, ...] | None
    checksum: str
    source: str = ''

    @property
    def nbytes(self) -> int:
        """Size of the stored values in bytes."""
        return int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize

    def to_bytes(self) -> bytes:
        """Return the JSON record: version, fields and the CRC-32 of the fields."""
        fields = asdict(self)
        del fields['key']
        return json.dumps({'version': HEADER_VERSION, 'header': fields, 'checksum': json_checksum(fields)}).encode()

    @classmethod
    def from_bytes(cls, key: str, record: bytes) -> CubeHeader:
        """Parse a record of :meth:`to_bytes`.

        Raises:
            CubeStoreError: The record is damaged or of a later version.
        """
        try:
            content = json.loads(bytes(record).decode())
            version, fields = content['version'], content['header']
            sound = content['checksum'] == json_checksum(fields)
        except (ValueError, KeyError, TypeError):
            version, sound = HEADER_VERSION, False
        if version != HEADER_VERSION:
            raise CubeStoreError(
                f'The header of scene {key} has version {version}, this release reads version {HEADER_VERSION}: '
                'update mulsr-plugin or prepare the data again.'
            )
        if not sound:
            raise CubeStoreError(f'The header of scene {key} is damaged: prepare the data again.')
        waves = fields['wavelengths']
        fields = {**fields, 'shape': tuple(fields['shape']), 'wavelengths': None if waves is None else tuple(waves)}
        return cls(key=key, **fields)


def checksum_of(data: bytes | memoryview) -> str:
    """Return CRC-32 of contiguous bytes in the form of :attr:`CubeHeader.checksum` (about 1 GB/s)."""
    return f'crc32:{zlib.crc32(data):08x}'


def json_checksum(fields: dict[str, Any]) -> str:
    return checksum_of(json.dumps(fields, sort_keys=True).encode())
