"""Files: read as text, written whole or not at all, and why writing one has failed."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Union

PathLike = Union[str, 'os.PathLike[str]']

_PARTIAL = re.compile(r'\..+\.partial-(\d+)')
_NO_ROOM: dict[int | None, str] = {
    errno.ENOSPC: 'the disk is full',
    errno.EDQUOT: 'the quota is used up',
    errno.EFBIG: 'the file becomes larger than files may be there',
}
# Bytes free below which a failure without a reason of its own, as libraries have them, is put down to lack of room.
_FULL_DISK = 1_000_000


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file.

    Raises:
        ValueError: It is something else than text.
    """
    try:
        return path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is not a UTF-8 text file ({error.reason}); correct or replace it.') from error


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file whole, onto the disk, or leave what there was: also if the process is killed.

    Args:
        path (Path): File to write; its folder must exist.

    Yields:
        IO[bytes]: File beside it that takes its place when the block ends without
            an error.

    Raises:
        OSError: The disk is full or refuses.
    """
    partial = path.with_name(f'.{path.name}.partial-{os.getpid()}')
    try:
        with open(partial, 'wb') as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file as :func:`replacing` does."""
    with replacing(path) as file:
        file.write(text.encode('utf-8'))


def remove_partial_files(folder: PathLike) -> list[str]:
    """Remove what killed processes have left of files that they wrote through :func:`replacing`.

    Args:
        folder: Where the files are; need not exist.

    Returns:
        Names of the files removed.
    """
    removed = []
    for path in Path(folder).glob('.*.partial-*'):
        match = _PARTIAL.fullmatch(path.name)
        if match and not is_alive(int(match[1])):
            with suppress(FileNotFoundError):
                path.unlink()
                removed.append(path.name)
    return removed


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable; some file systems do not offer it, and lose nothing by that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine, other than this one, has a number."""
    if pid == os.getpid():  # a process before us had it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def refuse_existing(path: PathLike) -> None:
    """Refuse an output that exists.

    Raises:
        FileExistsError: There is something at ``path``, be it a broken link.
    """
    if os.path.lexists(path):
        raise FileExistsError(f'{path} exists already and is left as it is: remove it or choose another output.')


@contextmanager
def whole_files(path: Path, overwrite: bool, suffixes: Sequence[str] = ()) -> Iterator[Path]:
    """Give a name to write to; what was written appears at ``path`` only when the block ends without an error.

    Args:
        path (Path): The new file or folder; its parents are made where needed.
        overwrite (bool): Replace what is there, at the very end; else it is refused.
        suffixes (Sequence[str]): Suffixes of the files that are written instead of ``path`` itself; the last is that
            of the file without which the others are not read, such as a header.

    Yields:
        Path: Name in a new folder beside ``path``, to which ``suffixes`` may be given.

    Raises:
        FileExistsError: There is something already and ``overwrite`` is false.
        OSError: The disk is full or refuses; nothing is left behind and nothing was changed.
    """
    targets = [path.with_suffix(suffix) for suffix in suffixes] or [path]
    _refuse_existing(targets, overwrite)
    new_parents = [folder for folder in path.parents if not folder.exists()]
    temporary = path.parent / f'.{path.name}.partial-{os.getpid()}-{secrets.token_hex(4)}'
    try:
        temporary.mkdir(parents=True)
        yield temporary / path.name
        new_parents = []
        put_in_place(temporary, targets, overwrite)
    except FileExistsError:
        raise
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in new_parents:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()


def put_in_place(folder: Path, targets: Sequence[Path], overwrite: bool) -> None:
    """Move finished files out of a folder beside them to their final names.

    Args:
        folder (Path): Where they are, under the same names.
        targets (Sequence[Path]): Their final names; if several, the last is that of the file without which the others
            are not read.
        overwrite (bool): Replace what is there; else it is refused.

    Raises:
        FileExistsError: There is something already and ``overwrite`` is false.
    """
    _refuse_existing(targets, overwrite)  # it may have appeared meanwhile
    if len(targets) == 1:
        os.replace(folder / targets[0].name, targets[0])
    else:
        _exchange(folder, targets)


def partial_folder(path: Path) -> Path:
    """Return the folder beside an output in which a run that was stopped keeps what it has done of it."""
    return path.with_name(f'.{path.name}.partial')


def _exchange(folder: Path, targets: Sequence[Path]) -> None:
    """Put several files that belong together into place, the last of which says how the others are read.

    The old last one goes first and the new one comes last: a process that is killed on the way leaves the old files,
    the new ones, or some that are not read because the last is missing. The old ones then lie in ``folder``.
    """
    old = folder / 'old'
    old.mkdir()
    try:
        for target in reversed(targets):
            if target.exists():
                os.rename(target, old / target.name)
        for target in targets:
            os.rename(folder / target.name, target)
    except BaseException:
        for target in targets:
            if (old / target.name).exists():
                os.replace(old / target.name, target)
            elif not (folder / target.name).exists():
                target.unlink()
        raise


def sync(path: Path) -> None:
    """Bring a file to the disk, so that a full disk is reported now."""
    with open(path, 'rb+') as file:
        os.fsync(file.fileno())


def _refuse_existing(targets: Sequence[Path], overwrite: bool) -> None:
    for target in targets:
        if not overwrite or target.is_dir():
            refuse_existing(target)


def write_error(path: Path, error: Exception, kept: str = 'nothing was kept', full_disk: int = _FULL_DISK) -> OSError:
    """Return the error that says why ``path`` was not written and what to do.

    Args:
        path (Path): The output.
        error (Exception): What the system or a library has raised.
        kept (str): What is left of the work. Default: 'nothing was kept'.
        full_disk (int): Bytes free below which a failure that names no reason is one of room. Default: 1 MB.
    """
    folder = next((parent for parent in path.parents if parent.exists()), Path('/'))
    if not folder.is_dir():
        return OSError(f'Cannot write {path}: {folder} is a file, no folder; {kept}: choose another output.')
    code = getattr(error, 'errno', None)
    free = shutil.disk_usage(folder).free
    reason = _NO_ROOM.get(code) or getattr(error, 'strerror', None) or ' '.join(str(error).split())
    if code is None and free < full_disk:
        reason = f'{_NO_ROOM[errno.ENOSPC]} ({reason})'
    if code is None or code in _NO_ROOM:
        kept = f'{free / 1e9:.1f} GB are free there; {kept}'
        return OSError(f'Cannot write {path}: {reason}; {kept}: make room or choose another output.')
    return OSError(f'Cannot write {path}: {reason}; {kept}: choose another output.')
