"""Write a cube store that appears under its name only when it is complete and verified."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import lmdb
import numpy as np

from mulsr_plugin.data.cube import check_cube, check_key
from mulsr_plugin.data.store.header import (
    DESCRIPTION_FILE,
    HEADER_PREFIX,
    META_FILE,
    STRUCTURE_FILE,
    CubeHeader,
    CubeStoreError,
    checksum_of,
)
from mulsr_plugin.data.store.pages import describe_structure
from mulsr_plugin.data.store.reader import CubeStore, verify_store
from mulsr_plugin.utils.files import PathLike, is_alive, refuse_existing, replace_text, sync_folder, write_error
from mulsr_plugin.utils.locks import OutputLock

INITIAL_MAP_SIZE = 1 << 26
FULL_DISK = 100_000_000  # bytes free below which a failed write is put down to lack of room


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
        refuse_unrelated(self.path, resume)
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
            ValueError: The key cannot be used or is taken, the array is not a cube in range, or the scene is among the
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
            replace_text(self._temporary / STRUCTURE_FILE, describe_structure(self._temporary))
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
        if preparation_of(self._temporary) == description:
            try:
                store = CubeStore(self._temporary)
                for key in store.keys():  # noqa: SIM118 (a store is not a mapping)
                    store.check(key)
                    self.headers[key] = store.header(key)
                store.close()
            except (CubeStoreError, FileNotFoundError):
                self.headers.clear()
        self.finished = frozenset(self.headers)
        if not self.finished:
            shutil.rmtree(self._temporary, ignore_errors=True)
        # they are of the finished store, or half written; LMDB is opened for more
        for path in [
            self._temporary / META_FILE,
            self._temporary / STRUCTURE_FILE,
            *self._temporary.glob('.*.partial-*'),
        ]:
            path.unlink(missing_ok=True)
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
        # LMDB reports a full disk as an input/output error
        return write_error(self.path, error, kept, FULL_DISK)


def refuse_unrelated(path: PathLike, resume: str | None) -> None:
    """Refuse an output that exists, unless it is a store that the preparation to be resumed has published itself.

    Args:
        path (str | PathLike): The output.
        resume (str | None): Description of the preparation, which it leaves in its stores until all have appeared.

    Raises:
        FileExistsError: There is anything else at ``path``, be it a broken link.
    """
    if resume is None or preparation_of(path) != resume:
        refuse_existing(path)


def preparation_of(store: PathLike) -> str | None:
    """Return what a writer with ``resume`` is or was preparing in a folder; None for a finished store or no store."""
    try:
        return Path(store, DESCRIPTION_FILE).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError):
        return None


def partial_store(path: PathLike) -> Path:
    """Return the folder in which an interrupted :class:`CubeStoreWriter` with ``resume`` keeps its scenes."""
    path = Path(os.path.abspath(path))
    return path.with_name(f'.{path.name}.partial')
