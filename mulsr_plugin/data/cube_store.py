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
import json
import mmap
import os
import re
import secrets
import shutil
import threading
import weakref
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Union

import lmdb
import numpy as np

from mulsr_plugin.data.cube import check_cube
from mulsr_plugin.data.output_lock import OutputLock
from mulsr_plugin.data.write_errors import write_error
from mulsr_plugin.utils.files import is_alive, replace_text, sync_folder

HEADER_VERSION = 1
HEADER_PREFIX = 'header:'
DATA_FILE = 'data.mdb'
META_FILE = 'meta_info.txt'
STRUCTURE_FILE = 'structure.json'
# in a store that is being written, and until those that belong to it are published: what is being prepared
DESCRIPTION_FILE = 'preparation.txt'
# LMDB keys are ASCII in BasicSR, which also cuts names in meta_info.txt at the first blank or full stop; results are
# saved under the key, so it must be a file name everywhere.
KEY_PATTERN = re.compile(r'[A-Za-z0-9_+&()@=-]{1,200}')
INITIAL_MAP_SIZE = 1 << 26
FULL_DISK = 100_000_000  # bytes free below which a failed write is put down to lack of room

PathLike = Union[str, 'os.PathLike[str]']


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
        return json.dumps({'version': HEADER_VERSION, 'header': fields, 'checksum': _json_checksum(fields)}).encode()

    @classmethod
    def from_bytes(cls, key: str, record: bytes) -> CubeHeader:
        """Parse a record of :meth:`to_bytes`.

        Raises:
            CubeStoreError: The record is damaged or of a later version.
        """
        try:
            content = json.loads(bytes(record).decode())
            version, fields = content['version'], content['header']
            sound = content['checksum'] == _json_checksum(fields)
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
    """CRC-32 of contiguous bytes in the form of :attr:`CubeHeader.checksum` (about 1 GB/s)."""
    return f'crc32:{zlib.crc32(data):08x}'


def check_key(key: str) -> str:
    """Return ``key`` if a scene can be stored under it.

    Raises:
        ValueError: It holds other characters than ASCII letters, digits and ``_ + & ( ) @ = -``, or is too long.
    """
    if not KEY_PATTERN.fullmatch(key):
        raise ValueError(
            f'Scene name {key!r} cannot be a key: use 1 to 200 ASCII letters, digits or _+&()@=- (no blank, no full '
            'stop); rename its file or folder.'
        )
    return key


def refuse_existing(path: PathLike, resume: str | None = None) -> None:
    """Refuse an output that exists.

    Args:
        path (str | PathLike): The output.
        resume (str | None): Description of a preparation whose own store may be there: one that it published just
            before it was killed, and will take up again. Default: None.

    Raises:
        FileExistsError: There is anything else at ``path``, be it a broken link.
    """
    if os.path.lexists(path) and (resume is None or description_in(Path(path)) != resume):
        raise FileExistsError(f'{path} exists already and is left as it is: remove it or choose another output.')


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
                'scripts/prepare_dataset.py or correct the path.'
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
                    f'{self.path} holds no cube headers: it is not a store written by scripts/prepare_dataset.py.'
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


class CubeStoreWriter:
    """Write an LMDB store that appears under its name only when it is complete and verified.

    Used as a context manager it publishes on success, and removes its temporary folder on any failure. Several stores
    that belong together call :meth:`finish` on each before the first :meth:`publish`.

    With ``resume`` a store outlives whatever may not happen again when the same is tried once more: a kill, an
    interruption, a full disk, but no ValueError. Its scenes then lie, each safe on the disk, in the folder
    ``.<name>.partial`` beside the output, where the next writer with the same ``resume`` takes them up.

    One process at a time writes an output. The lock of a process that was killed goes with it.

    Args:
        path (str | PathLike): The new ``.lmdb`` folder; its parents are made where needed.
        resume (str | None): Description of everything that the content of the store follows from. A partial store with
            another description is thrown away. Default: None, nothing is kept or taken up.

    Attributes:
        headers (dict[str, CubeHeader]): Scenes in the store so far.
        finished (frozenset[str]): Those of them that an interrupted writer had stored, compared with their checksums.

    Raises:
        ValueError: The name does not end with ``.lmdb`` (BasicSR's rule).
        FileExistsError: Something is there already; it is left untouched.
    """

    def __init__(self, path: PathLike, resume: str | None = None) -> None:
        self.path = Path(os.path.abspath(path))
        if self.path.suffix != '.lmdb':
            raise ValueError(f'A cube store must be named *.lmdb, as BasicSR expects; got {self.path.name}.')
        refuse_existing(self.path, resume)
        self.headers: dict[str, CubeHeader] = {}
        self.finished: frozenset[str] = frozenset()
        self._resume = resume
        self._temporary = self.path.with_name(f'.{self.path.name}.partial-{os.getpid()}-{secrets.token_hex(4)}')
        self._new_parents = [folder for folder in self.path.parents if not folder.exists()]
        self._environment: lmdb.Environment | None = None
        self._lock: OutputLock | None = None
        self._begun = self._published = self._kept = False

    def __enter__(self) -> CubeStoreWriter:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = OutputLock(self.path)
            if self._resume is not None and self._lock.is_held:
                # a name of its own, without which a lock is needed
                self._temporary = partial_store(self.path)
                self._take_up(self._resume)
            if self._lock.is_held:  # else another machine may be at work
                self._remove_abandoned()
            self._temporary.mkdir(exist_ok=True)
            if self._resume is not None:
                replace_text(self._temporary / DESCRIPTION_FILE, self._resume)
            is_durable = self._resume is not None
            self._environment = lmdb.open(
                str(self._temporary), map_size=INITIAL_MAP_SIZE, lock=False, sync=is_durable, metasync=is_durable
            )
        except (lmdb.Error, OSError) as error:
            self._kept = bool(self.finished) or isinstance(error, BlockingIOError)
            self.discard()
            raise error if isinstance(error, BlockingIOError) else self._explained(error) from error
        self._begun = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.publish()
                (self.path / DESCRIPTION_FILE).unlink(missing_ok=True)
        except BaseException as failure:
            error = failure
            raise
        finally:
            # interrupted while it begins, it does not know yet what there is
            may_hold_scenes = bool(self.headers) or not self._begun
            self._kept = self._is_resumable and may_hold_scenes and not isinstance(error, ValueError)
            self.discard()

    def add(
        self,
        key: str,
        cube: np.ndarray,
        scale: float,
        wavelengths: tuple[float, ...] | None = None,
        source: str = '',
    ) -> CubeHeader:
        """Store one scene.

        Args:
            key (str): Scene name, see :func:`check_key`.
            cube (ndarray): (H, W, L), integers or floats; the dtype is kept.
            scale (float): ``cube * scale`` lies in [0, 1].
            wavelengths (tuple[float] | None): Band centres in nm. Default: None.
            source (str): Where the values come from, for people. Default: ''.

        Returns:
            CubeHeader: What was stored beside the values.

        Raises:
            ValueError: The key cannot be used or is taken, the array is no cube in range, or the scene is among the
                finished ones and was another one then.
            OSError: The disk is full or refuses.
        """
        check_key(key)
        if key in self.headers and key not in self.finished:
            raise ValueError(f'Scene {key} comes twice; each scene of a store needs its own name.')
        check_cube(key, cube, scale, wavelengths)
        values = np.ascontiguousarray(cube, dtype=cube.dtype.newbyteorder('<'))
        waves = None if wavelengths is None else tuple(float(wave) for wave in wavelengths)
        header = CubeHeader(
            key=key,
            shape=(values.shape[0], values.shape[1], values.shape[2]),
            dtype=cube.dtype.name,
            scale=float(scale),
            wavelengths=waves,
            checksum=checksum_of(values.data),
            source=source,
        )
        if key in self.finished:
            if header != self.headers[key]:
                raise CubeStoreError(
                    f'Scene {key} has changed since the interrupted preparation of {self.path}, whose scenes are '
                    'thrown away now: run it again.'
                )
            return header
        try:
            self._put({key: values.data, HEADER_PREFIX + key: header.to_bytes()}, values.nbytes)
        except (lmdb.Error, OSError) as error:
            raise self._explained(error) from error
        self.headers[key] = header
        return header

    def finish(self) -> None:
        """Complete the temporary store: write meta_info.txt, flush everything to the disk and read it back.

        Raises:
            ValueError: No scene was added.
            OSError: The disk is full or refuses, or does not return what was written.
        """
        if self._environment is None:
            return
        if not self.headers:
            raise ValueError(f'There is no scene to write into {self.path}.')
        try:
            self._environment.sync(True)
            self._environment.close()
            self._environment = None
            lines = ('{}.raw ({},{},{}) 0\n'.format(key, *header.shape) for key, header in self.headers.items())
            replace_text(self._temporary / META_FILE, ''.join(sorted(lines)))
            replace_text(self._temporary / STRUCTURE_FILE, _describe_structure(self._temporary))
            sync_folder(self._temporary)
        except (lmdb.Error, OSError) as error:
            raise self._explained(error) from error
        problems = verify_store(self._temporary)
        if problems:
            raise OSError(f'The disk did not return what was written for {self.path}: {problems[0]}')

    def publish(self) -> None:
        """Rename the complete store into place (finishing it first where needed).

        Raises:
            FileExistsError: Something has appeared under the name meanwhile; it is left untouched.
        """
        if self._published:
            return
        self.finish()
        refuse_existing(self.path)
        os.rename(self._temporary, self.path)
        self._published = True
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove whatever is neither published nor kept, and let others write; harmless after :meth:`publish`."""
        if self._environment is not None:
            with suppress(lmdb.Error):
                self._environment.close()
            self._environment = None
        if not (self._published or self._kept):
            shutil.rmtree(self._temporary, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
        for folder in self._new_parents:
            with suppress(OSError):  # there is something in it
                folder.rmdir()

    def withdraw(self) -> None:
        """Take a published store back, because one that belongs to it could not be published."""
        if self._published:
            os.rename(self.path, self._temporary)
            self._published = False

    @property
    def _is_resumable(self) -> bool:
        return self._temporary == partial_store(self.path)

    def _take_up(self, description: str) -> None:
        """Go on with what an interrupted writer has left, unless it was of something else or is damaged."""
        if os.path.lexists(self.path):
            # published, but its writer was killed before those that belong to it were: see refuse_existing
            shutil.rmtree(self._temporary, ignore_errors=True)
            os.rename(self.path, self._temporary)
        if description_in(self._temporary) == description:
            try:
                store = CubeStore(self._temporary)
                for key in store.keys():  # noqa: SIM118 (a store is no mapping)
                    store.check(key)
                    self.headers[key] = store.header(key)
                store.close()
            except (CubeStoreError, FileNotFoundError):
                self.headers.clear()
        self.finished = frozenset(self.headers)
        if not self.finished:
            shutil.rmtree(self._temporary, ignore_errors=True)
        # they are of the finished store; LMDB is opened for more
        for name in (META_FILE, STRUCTURE_FILE):
            (self._temporary / name).unlink(missing_ok=True)
        sync_folder(self._temporary)

    def _remove_abandoned(self) -> None:
        """Remove what writers that were killed, and keep nothing, have left."""
        for folder in self.path.parent.glob(f'.{self.path.name}.partial-*-*'):
            pid = folder.name.split('-')[-2]
            if pid.isdigit() and not is_alive(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)

    def _put(self, records: dict[str, bytes | memoryview], nbytes: int) -> None:
        assert self._environment is not None, 'the writer is used outside its with block'
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for name, value in records.items():
                        transaction.put(name.encode('ascii'), value, overwrite=False)
                return
            except lmdb.MapFullError:
                # Twice what is there keeps the number of retries logarithmic; the file itself grows only as written.
                size = self._environment.info()['map_size']
                self._environment.set_mapsize(max(2 * size, size + 2 * nbytes))

    def _explained(self, error: Exception) -> OSError:
        kept = 'nothing was kept'
        if self._is_resumable and self.headers:
            kept = f'its {len(self.headers)} finished scenes are kept in {self._temporary.name}'
        # LMDB tells a full disk as an input/output error
        return write_error(self.path, error, kept, FULL_DISK)


def description_in(store: PathLike) -> str | None:
    """Return what a writer with ``resume`` is or was preparing in a folder; None for a finished store or no store."""
    try:
        return Path(store, DESCRIPTION_FILE).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError):
        return None


def partial_store(path: PathLike) -> Path:
    """Return the folder in which an interrupted :class:`CubeStoreWriter` with ``resume`` keeps its scenes."""
    path = Path(os.path.abspath(path))
    return path.with_name(f'.{path.name}.partial')


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
        _check_structure(path)
        try:
            self._lmdb = lmdb.open(str(path), readonly=True, lock=False, readahead=False, max_spare_txns=4)
        except lmdb.Error as error:
            raise CubeStoreError(_cannot_open(path, error)) from error
        size, needed = self._sizes()
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

    def _sizes(self) -> tuple[int, int]:
        needed = (self._lmdb.info()['last_pgno'] + 1) * self._lmdb.stat()['psize']
        return os.path.getsize(self.path / DATA_FILE), needed


def _cannot_open(path: Path, error: Exception) -> str:
    if 'already open' in str(error):
        return f'{path} is open elsewhere in this process (BasicSR FileClient?), which LMDB forbids: close that first.'
    return (
        f'{path} cannot be opened as LMDB ({error}): it is damaged or no LMDB; copy it again or prepare the data again.'
    )


def _json_checksum(fields: dict[str, Any]) -> str:
    return checksum_of(json.dumps(fields, sort_keys=True).encode())


def _describe_structure(path: Path) -> str:
    """Return the content of :data:`STRUCTURE_FILE` for a complete store."""
    size = os.path.getsize(path / DATA_FILE)
    # straight through LMDB: reading values must not depend on what is written here
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin(buffers=True) as transaction:
        values = [np.frombuffer(value, np.uint8) for _, value in transaction.cursor()]
        start = _address_of_file(path / DATA_FILE, values)
        ranges = sorted((value.ctypes.data - start, value.nbytes) for value in values)
        del values
    fields = {'size': size, 'values': ranges, 'checksum': _checksum_outside(path / DATA_FILE, size, ranges)}
    return json.dumps({'structure': fields, 'checksum': _json_checksum(fields)})


def _address_of_file(path: Path, values: Sequence[np.ndarray]) -> int:
    """Return the address to which LMDB has mapped the first byte of the file that these values lie in."""
    first = min(values, key=lambda value: value.ctypes.data)
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        whole = np.frombuffer(content, np.uint8)
        try:
            # a map begins with a page, so the place within a page is known
            for offset in range(first.ctypes.data % mmap.PAGESIZE, len(whole), mmap.PAGESIZE):
                start = first.ctypes.data - offset
                if all(_lies_at(whole, value.ctypes.data - start, value) for value in values):
                    return start
        finally:
            del whole
    raise OSError(f'{path} does not hold what LMDB has written')


def _lies_at(whole: np.ndarray, offset: int, value: np.ndarray) -> bool:
    return bool(np.array_equal(whole[offset : offset + value.nbytes], value))


def _check_structure(path: Path) -> None:
    """Refuse a data file whose bytes outside of values and headers are not those written; older stores tell nothing."""
    try:
        content = json.loads((path / STRUCTURE_FILE).read_bytes())
        fields = content['structure']
        sound = content['checksum'] == _json_checksum(fields)
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
    """CRC-32 of all bytes of a file but those in ``ranges`` (offset, length), which are sorted."""
    checksum, position = 0, 0
    with open(path, 'rb', buffering=0) as file:
        for offset, length in [*ranges, (size, 0)]:
            file.seek(position)
            checksum = zlib.crc32(file.read(offset - position), checksum)
            position = offset + length
    return f'crc32:{checksum:08x}'
