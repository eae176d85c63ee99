"""A file of a cube that is computed and written strip by strip, and goes on after whatever has stopped it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import numpy as np

from mulsr_plugin.data.formats.by_rows import RowFile
from mulsr_plugin.data.store.header import checksum_of
from mulsr_plugin.utils.files import partial_folder, put_in_place, refuse_existing, replace_text, write_error
from mulsr_plugin.utils.locks import OutputLock

_STATE_FILE = 'progress.json'


class ResumableFile:
    """Write a file strip by strip; it appears under its name only when it is complete.

    Used as a context manager it publishes on success. The strips done so far lie in the folder ``.<name>.partial``
    beside the output, each safe on the disk with its checksum. A process that is killed, interrupted or out of space or
    memory leaves them to the next one with the same ``identity``; those of another one are thrown away. One process at
    a time writes an output.

    Args:
        file (RowFile): The format, with the final name.
        targets (Sequence[Path]): The files that it has, see ``files_written``.
        rows (Sequence[slice]): Rows of each strip.
        identity (str): Digest of everything that the values follow from.
        overwrite (bool): Replace an existing output at the very end; else it is refused.

    Attributes:
        done (dict[int, str]): Checksums of the strips on the disk, by number.
        taken_up (int): How many of them an earlier process has left.
        dropped (bool): Whether there were strips of another identity.

    Raises:
        BlockingIOError: Another process writes the output.
        OSError: The disk is full or refuses.
    """

    def __init__(
        self, file: RowFile, targets: Sequence[Path], rows: Sequence[slice], identity: str, overwrite: bool
    ) -> None:
        self._output, self._targets, self._overwrite = file.path, list(targets), overwrite
        self._folder = partial_folder(file.path)
        self._file = type(file)(self._folder / file.path.name, file.form)
        self._rows, self._identity = rows, identity
        self.done: dict[int, str] = {}
        self.taken_up, self.dropped = 0, False

    def __enter__(self) -> ResumableFile:
        self._new_parents = [folder for folder in self._output.parents if not folder.exists()]
        self._lock: OutputLock | None = None
        try:
            self._output.parent.mkdir(parents=True, exist_ok=True)
            self._lock = OutputLock(self._output)
            if not self._overwrite:
                for target in self._targets:
                    refuse_existing(target)
            self._take_up()
            if not self.done:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder.mkdir()
                self._file.create()
                self._save_state()
        except BaseException as error:
            self._leave(error)
            if isinstance(error, OSError) and not isinstance(error, (BlockingIOError, FileExistsError)):
                raise write_error(self._output, error) from error
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                put_in_place(self._folder, self._targets, self._overwrite)
                self.done.clear()
        except BaseException as failure:
            error = failure
            raise
        finally:
            self._leave(error)

    def write(self, number: int, values: np.ndarray) -> None:
        """Write a strip (its rows, W, L) in the units of the form, onto the disk."""
        stored = self._file.stored(values)
        try:
            self._file.write(self._rows[number].start, stored)
            self.done[number] = _checksum(stored)
            self._save_state()
        except OSError as error:
            kept = f'{len(self.done)} of {len(self._rows)} strips are kept in {self._folder.name}'
            raise write_error(self._output, error, kept if self.done else 'nothing was kept') from error

    def read(self, number: int) -> np.ndarray:
        """Read a strip back, (its rows, W, L) as the file holds them; times ``stored_scale`` they lie in [0, 1].

        Raises:
            OSError: The disk does not return what was written.
        """
        stored = self._file.read(self._rows[number].start, self._rows[number].stop)
        if _checksum(stored) != self.done[number]:
            raise OSError(
                f'The disk did not return what was written for {self._output}: check it, and choose another place.'
            )
        return stored

    @property
    def stored_scale(self) -> float:
        """What brings values as the file holds them to [0, 1]."""
        return self._file.stored_scale

    def _save_state(self) -> None:
        content = {'identity': self._identity, 'done': {str(number): text for number, text in self.done.items()}}
        replace_text(self._folder / _STATE_FILE, json.dumps(content))

    def _take_up(self) -> None:
        """Go on with the strips of an earlier process, as far as they are of the same content and undamaged."""
        try:
            state = json.loads((self._folder / _STATE_FILE).read_text(encoding='utf-8'))
            identity, found = state['identity'], {int(number): str(text) for number, text in state['done'].items()}
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            identity, found = '', {}
        if identity != self._identity:
            self.dropped = True
            return
        for number, checksum in found.items():
            self.done[number] = checksum
            try:
                self.read(number)
            except Exception:  # libraries fail in any manner on a damaged file
                del self.done[number]
        self.taken_up = len(self.done)

    def _leave(self, error: BaseException | None) -> None:
        """Keep the strips after what may not happen again, and let others write."""
        if isinstance(error, BlockingIOError):  # it is the folder of another process
            return
        if not self.done or isinstance(error, ValueError):
            shutil.rmtree(self._folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.release()
        for folder in self._new_parents:
            with suppress(OSError):  # there is something in it
                folder.rmdir()


def _checksum(stored: np.ndarray) -> str:
    return checksum_of(np.ascontiguousarray(stored).data.cast('B'))
