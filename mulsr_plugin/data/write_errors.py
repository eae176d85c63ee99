"""Why an output could not be written, in words."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

_NO_ROOM: dict[int | None, str] = {
    errno.ENOSPC: 'the disk is full',
    errno.EDQUOT: 'the quota is used up',
    errno.EFBIG: 'the file becomes larger than files may be there',
}
# Bytes free below which a failure without a reason of its own, as libraries have them, is put down to lack of room.
_FULL_DISK = 1_000_000


def write_error(path: Path, error: Exception, kept: str = 'nothing was kept', full_disk: int = _FULL_DISK) -> OSError:
    """Return the error that tells a user why ``path`` was not written and what to do.

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
