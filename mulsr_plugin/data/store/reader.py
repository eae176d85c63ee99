"""LMDB store of spectral cubes, in the form that BasicSR reads.

A store is a folder ``<name>.lmdb`` with

- ``data.mdb``: under the key of a scene its values, nothing but the C-order (H, W, L) array in the dtype of the
  source, little-endian; under ``header:<key>`` its :class:`CubeHeader` as JSON;
- ``meta_info.txt``: one line ``<key>.raw (H,W,L) 0`` per scene, for people and for BasicSR's conventions (name with
  extension, shape, compression level);
- ``structure.json``: where in ``data.mdb`` values and headers lie, and the checksum of all other bytes. LMDB trusts its
  pages: a damaged one would make it read at a wild address and the interpreter crash, so they are compared first.

Values lie uncompressed and contiguous, so that a training crop reads only its own rows through the memory map.
"""

from __future__ import annotations

import difflib
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from mulsr_plugin.data.store.header import DATA_FILE, HEADER_PREFIX, META_FILE, CubeHeader, CubeStoreError, checksum_of
from mulsr_plugin.data.store.pages import check_structure
from mulsr_plugin.utils.files import PathLike


class CubeStore:
    """Read cubes and windows of cubes from an LMDB store.

    The LMDB environment is opened at the first access, shared by all stores of the process with the same file, and
    kept over a fork; a pickled store (spawned loader workers) opens its own.

    Args:
        path (str | PathLike): The ``.lmdb`` folder.
        verify (bool): Compare a cube with its checksum when this process first reads it. Default: True.

    Raises:
        FileNotFoundError: There is no store at ``path``.
    """

    def __init__(self, path: PathLike, verify: bool = True) -> None:
        self.path = Path(path)
        self.verify = verify
        self._environment: _Environment | None = None
        self._headers: dict[str, CubeHeader] = {}
        self._keys: list[str] | None = None
        if not (self.path / DATA_FILE).is_file():
            raise FileNotFoundError(
                f'There is no cube store at {self.path} (a folder with {DATA_FILE}): prepare the data with '
                '`mulsr prepare` or correct the path.'
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_environment': None}

    def __repr__(self) -> str:
        return f'CubeStore({str(self.path)!r}, verify={self.verify})'

    def keys(self) -> list[str]:
        """Return the sorted scene names.

        Raises:
            CubeStoreError: The store cannot be opened or holds no cube.
        """
        if self._keys is None:
            with self._open().transaction() as transaction:
                names = [bytes(name).decode('ascii', 'replace') for name in transaction.cursor().iternext(values=False)]
            keys = sorted(name[len(HEADER_PREFIX) :] for name in names if name.startswith(HEADER_PREFIX))
            if not keys:
                raise CubeStoreError(
                    f'{self.path} holds no cube headers: it is not a store written by `mulsr prepare`.'
                )
            self._keys = keys
        return list(self._keys)

    def header(self, key: str) -> CubeHeader:
        """Return the header of a scene.

        Raises:
            CubeStoreError: There is no such scene, or its header is damaged.
        """
        if key not in self._headers:
            with self._open().transaction() as transaction:
                record = transaction.get((HEADER_PREFIX + key).encode('utf-8', 'surrogateescape'))
                record = None if record is None else bytes(record)
            if record is None:
                raise CubeStoreError(self._no_such_scene(key))
            self._headers[key] = CubeHeader.from_bytes(key, record)
        return self._headers[key]

    def read(self, key: str) -> np.ndarray:
        """Read a whole cube.

        Returns:
            ndarray: (H, W, L), stored dtype; an own copy, which outlives the store.

        Raises:
            CubeStoreError: There is no such scene, or it is damaged.
        """
        height, width, _ = self.header(key).shape
        return self.read_window(key, 0, 0, height, width)

    def read_window(self, key: str, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Read a window of a cube, touching only its own rows.

        Args:
            key (str): Scene name.
            top (int): First row.
            left (int): First column.
            height (int): Number of rows.
            width (int): Number of columns.

        Returns:
            ndarray: (height, width, L), stored dtype; an own copy.

        Raises:
            ValueError: The window leaves the cube.
            CubeStoreError: There is no such scene, or it is damaged.
        """
        header = self.header(key)
        rows, columns, _ = header.shape
        if not (0 <= top <= top + height <= rows and 0 <= left <= left + width <= columns):
            raise ValueError(
                f'Window of {height}x{width} pixels at ({top}, {left}) leaves scene {key} of {rows}x{columns} pixels.'
            )
        environment = self._open()
        with environment.transaction() as transaction:
            value = self._checked(header, transaction.get(key.encode('ascii')), environment)
            cube = np.frombuffer(value, np.dtype(header.dtype).newbyteorder('<')).reshape(header.shape)
            # The buffer is valid only within the transaction: copy before it ends. astype copies, and restores the
            # byte order on a big-endian machine.
            return cube[top : top + height, left : left + width].astype(header.dtype)

    def check(self, key: str) -> None:
        """Compare a cube with its checksum, where this process has not done so before.

        Raises:
            CubeStoreError: There is no such scene, or it is damaged.
        """
        self.read_window(key, 0, 0, 0, 0)  # an empty window is enough to have the whole cube checked

    def close(self) -> None:
        """Let go of the LMDB environment; the next access opens it again."""
        self._environment = None

    def _open(self) -> _Environment:
        if self._environment is None:
            self._environment = _Environment.of(self.path)
        return self._environment

    def _checked(
        self, header: CubeHeader, value: bytes | memoryview | None, environment: _Environment
    ) -> bytes | memoryview:
        """Return the stored bytes of a scene once they are known to be what was written."""
        if value is None:
            raise CubeStoreError(
                f'Scene {header.key} of {self.path} has a header but no values: prepare the data again.'
            )
        if len(value) != header.nbytes:
            raise CubeStoreError(
                f'Scene {header.key} of {self.path} is damaged: {len(value)} bytes stored, {header.nbytes} expected '
                f'for {header.shape} {header.dtype}; prepare the data again.'
            )
        if self.verify and header.key not in environment.verified:
            if checksum_of(value) != header.checksum:
                raise CubeStoreError(
                    f'Scene {header.key} of {self.path} is damaged: its values do not match their checksum; prepare '
                    'the data again.'
                )
            environment.verified.add(header.key)
        return value

    def _no_such_scene(self, key: str) -> str:
        close = difflib.get_close_matches(key, self.keys(), 1, 0.6)
        hint = (
            f'did you mean {close[0]}?'
            if close
            else f'it holds {", ".join(self.keys()[:8])}{", ..." * (len(self.keys()) > 8)}.'
        )
        return f'There is no scene {key!r} among the {len(self.keys())} of {self.path}: {hint}'


def verify_store(path: PathLike) -> list[str]:
    """Read everything in a store against its checksums and its meta_info.txt.

    Args:
        path (str | PathLike): The ``.lmdb`` folder.

    Returns:
        list[str]: One sentence per problem; empty when the store is sound.
    """
    problems = []
    shapes = {}
    try:
        # A check on request must read again what this process has read before.
        store = CubeStore(path)
        environment = store._open()
        environment.verified.clear()
        keys = store.keys()
    except (OSError, CubeStoreError) as error:
        return [str(error)]
    for key in keys:
        try:
            header = store.header(key)
            shapes[key] = '({},{},{})'.format(*header.shape)
            store.check(key)
        except CubeStoreError as error:
            problems.append(str(error))
            shapes.setdefault(key, '')
    return problems + _meta_problems(store.path, shapes)


def _meta_problems(path: Path, shapes: dict[str, str]) -> list[str]:
    try:
        lines = (path / META_FILE).read_text(encoding='ascii').split('\n')
        listed = {name.rpartition('.')[0]: shape for name, shape, _ in (line.split(' ') for line in lines if line)}
    except (OSError, ValueError) as error:
        return [f'{path / META_FILE} cannot be read ({error}): prepare the data again.']
    problems = []
    for key in sorted(listed.keys() - shapes.keys()):
        problems.append(f'Scene {key} is listed in {path / META_FILE} but not in {DATA_FILE}: prepare the data again.')
    for key in sorted(shapes.keys() - listed.keys()):
        problems.append(f'Scene {key} is not listed in {path / META_FILE}: prepare the data again.')
    for key in sorted(shapes.keys() & listed.keys()):
        if shapes[key] and shapes[key] != listed[key]:
            problems.append(f'Scene {key} has shape {shapes[key]}, {path / META_FILE} says {listed[key]}.')
    return problems


class _Environment:
    """The one LMDB environment of this process for a data file, and the scenes verified through it.

    LMDB forbids opening a file twice in a process, so stores share it; the last one to let go closes it. It is opened
    read-only and without locks: then it has no reader table, only a file descriptor and a shared map, which a forked
    child may go on using.
    """

    _shared: weakref.WeakValueDictionary[tuple[int, int], _Environment] = weakref.WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, path: Path) -> None:
        self.path = path
        self.verified: set[str] = set()
        check_structure(path)
        try:
            self._lmdb = lmdb.open(str(path), readonly=True, lock=False, readahead=False, max_spare_txns=4)
        except lmdb.Error as error:
            raise CubeStoreError(_cannot_open(path, error)) from error
        size = os.path.getsize(path / DATA_FILE)
        needed = (self._lmdb.info()['last_pgno'] + 1) * self._lmdb.stat()['psize']
        if size < needed:
            # Reading behind the end of a mapped file would kill the process.
            self._lmdb.close()
            raise CubeStoreError(
                f'{path / DATA_FILE} is cut short ({size} of {needed} bytes): copy it again or prepare the data again.'
            )

    @classmethod
    def of(cls, path: Path) -> _Environment:
        """Return the environment of ``path``, opening it if no store of the process has."""
        try:
            status = os.stat(path / DATA_FILE)
        except OSError as error:
            raise FileNotFoundError(f'The cube store {path} has gone ({error.strerror}).') from error
        with cls._lock:
            environment = cls._shared.get((status.st_dev, status.st_ino))
            if environment is None:
                environment = cls._shared[status.st_dev, status.st_ino] = cls(path)
            return environment

    @contextmanager
    def transaction(self) -> Iterator[lmdb.Transaction]:
        """Hold a read transaction; its values are buffers of the map, valid until it ends."""
        try:
            with self._lmdb.begin(buffers=True) as transaction:
                yield transaction
        except lmdb.Error as error:
            raise CubeStoreError(_cannot_open(self.path, error)) from error


def _cannot_open(path: Path, error: Exception) -> str:
    if 'already open' in str(error):
        return f'{path} is open elsewhere in this process (BasicSR FileClient?), which LMDB forbids: close that first.'
    return (
        f'{path} cannot be opened as LMDB ({error}): it is damaged or no LMDB; copy it again or prepare the data again.'
    )
