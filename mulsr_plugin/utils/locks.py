"""The right of one process to write an output, which goes with the process however it ends."""

from __future__ import annotations

import os
import socket
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


class OutputLock:
    """Hold a lock on an output until :meth:`release`, or until the process ends in any way.

    The operating system keeps the lock, on the hidden file ``.<name>.lock`` beside the output: of a process that was
    killed nothing is left but that file, which the next one takes over.

    Attributes:
        is_held (bool): False where the system or the file system has no locks; nothing is excluded then.

    Args:
        output (Path): What will be written; its folder must exist.

    Raises:
        BlockingIOError: Another process has the lock; the message names it.
        OSError: The folder cannot be written.
    """

    def __init__(self, output: Path) -> None:
        self._output = output
        self._path = output.with_name(f'.{output.name}.lock')
        self._descriptor: int | None = None
        # the one who had the lock may have removed the file after we opened it: then the next one is another file
        while fcntl is not None and not self._try():
            pass

    @property
    def is_held(self) -> bool:
        return self._descriptor is not None

    def release(self) -> None:
        """Let others write; harmless if there is no lock."""
        if self._descriptor is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = None

    def _try(self) -> bool:
        """Return False to be called again."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 300).decode(errors='replace').strip() or 'another process'
            os.close(descriptor)
            raise BlockingIOError(
                f'{self._output} is being written by {holder}: wait for its end, or choose another output.'
            ) from None
        except OSError:  # a file system without locks
            os.close(descriptor)
            self._path.unlink(missing_ok=True)
            return True
        if not self._is_same(descriptor):
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        try:
            os.truncate(descriptor, 0)
            os.write(descriptor, f'process {os.getpid()} of {socket.gethostname()}'.encode())
        except OSError:
            self.release()
            raise
        return True

    def _is_same(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False
