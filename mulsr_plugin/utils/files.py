"""What the operating system tells of files and of the processes that write them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def read_lines(path: Path) -> list[str]:
    """Return the lines of a UTF-8 text file.

    Raises:
        ValueError: It is something else than text.
    """
    try:
        return path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is no text file in UTF-8 ({error.reason}); correct or replace it.') from error


def replace_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file whole, onto the disk, or leave what there was: also if the process is killed."""
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with open(partial, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the entries of a folder durable; some file systems do not offer it, and lose nothing by that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_alive(pid: int) -> bool:
    """Tell whether a process of this machine, other than this one, has a number."""
    if pid == os.getpid():  # a process before us had it
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
