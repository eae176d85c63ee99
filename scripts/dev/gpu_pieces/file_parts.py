"""Files in parts of a limited size with checksums, for places that large files cannot be carried to in one piece."""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from mulsr_plugin.utils.files import replace_text, sync_folder

MANIFEST = 'parts.json'
_FORM = 'mulsr_plugin parts 1'
_CHUNK = 1 << 20


def split_files(root: str | os.PathLike[str], names: Iterable[str], folder: str | os.PathLike[str], mib: float) -> Path:
    """Write files, one after the other, as ``part_000``, ``part_001``, ... and a table of checksums ``parts.json``.

    The table is written last, so parts with a table are complete. Parts from before are replaced.

    Args:
        root: Folder of the files.
        names: Paths below it, with forward slashes.
        folder: Folder for the parts, made where needed.
        mib: Largest size of a part in MiB.

    Returns:
        The table.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: The size is none.
    """
    if not (math.isfinite(mib) and mib * 2**20 >= 1):
        raise ValueError(f'Parts of {mib} MiB were asked for; give a size above 0, such as 15.')
    size = int(mib * 2**20)
    folder, paths = Path(folder), {name: Path(root, *name.split('/')) for name in sorted(names)}
    for path in paths.values():
        if not path.is_file():
            raise FileNotFoundError(f'There is no file {path} to be written in parts; check its name.')
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST).unlink(missing_ok=True)
    for old in folder.glob('part_*'):
        old.unlink()
    writer = _PartWriter(folder, size)
    files = [{'name': name, **_append(path, writer)} for name, path in paths.items()]
    writer.close()
    text = json.dumps({'form': _FORM, 'files': files, 'parts': writer.parts}, indent=1)
    replace_text(folder / MANIFEST, text)
    sync_folder(folder)
    return folder / MANIFEST


def join_files(folder: str | os.PathLike[str], root: str | os.PathLike[str]) -> list[Path]:
    """Write the files of :func:`split_files` back, bit by bit as they were; existing ones are replaced.

    Nothing takes its place before all parts and files have been compared with their checksums.

    Args:
        folder: Folder of the parts.
        root: Folder for the files, made where needed.

    Returns:
        The files.

    Raises:
        FileNotFoundError: The table or a part is missing.
        ValueError: A part or the table is damaged.
    """
    folder, root = Path(folder), Path(root)
    table = read_table(folder)
    _check_parts(folder, table['parts'])
    suffix = f'.partial-{os.getpid()}-{secrets.token_hex(4)}'
    targets = [root.joinpath(*file['name'].split('/')) for file in table['files']]
    temporary = [target.with_name(f'.{target.name}{suffix}') for target in targets]
    try:
        with ExitStack() as stack:
            parts = (stack.enter_context(open(folder / part['name'], 'rb')) for part in table['parts'])
            stream = _Stream(parts)
            for file, path in zip(table['files'], temporary):
                path.parent.mkdir(parents=True, exist_ok=True)
                if _copy(stream, path, file['size']) != file['sha256']:
                    raise ValueError(f'{file["name"]} of {folder} is not what was split: split it again.')
        for path, target in zip(temporary, targets):
            os.replace(path, target)
            sync_folder(target.parent)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    return targets


def read_table(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the table of a folder of parts: ``files`` and ``parts``, each with name, size and sha256.

    Raises:
        FileNotFoundError: There is none, so the parts are not complete.
        ValueError: It is damaged, or names a file outside of the folder it is to be joined in.
    """
    path = Path(folder, MANIFEST)
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path}: the parts are not complete, or lie in another folder.')
    try:
        table = json.loads(path.read_text(encoding='utf-8'))
        sound = table['form'] == _FORM and all(
            isinstance(entry['name'], str) and entry['size'] >= 0 and len(entry['sha256']) == 64
            for entry in [*table['files'], *table['parts']]
        )
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ValueError(f'{path} is damaged or of another program: split the files again.')
    for entry in [*table['files'], *table['parts']]:
        if {'', '.', '..'} & {*entry['name'].split('/')} or '\\' in entry['name'] or ':' in entry['name']:
            raise ValueError(f'{path} names the file {entry["name"]!r}, which would lie elsewhere: do not use it.')
    return table


class _Stream:
    """Parts read as one file."""

    def __init__(self, parts: Iterator[Any]) -> None:
        self._parts = parts
        self._part = next(parts, None)

    def read(self, size: int) -> bytes:
        while self._part is not None:
            data = self._part.read(size)
            if data:
                return data
            self._part = next(self._parts, None)
        return b''


class _PartWriter:
    """Writes a stream into files of at most ``size`` bytes."""

    def __init__(self, folder: Path, size: int) -> None:
        self.parts: list[dict[str, Any]] = []
        self._folder, self._size = folder, size
        self._file: IO[bytes] | None = None

    def write(self, data: bytes) -> None:
        while data:
            if self._file is None:
                self._file = (self._folder / f'part_{len(self.parts):03d}').open('wb')
                self._digest, self._room = hashlib.sha256(), self._size
            piece, data = data[: self._room], data[self._room :]
            self._file.write(piece)
            self._digest.update(piece)
            self._room -= len(piece)
            if not self._room:
                self.close()

    def close(self) -> None:
        """Finish the part at hand."""
        if self._file is not None:
            _flush(self._file)
            self._file.close()
            name, size = Path(self._file.name).name, self._size - self._room
            self.parts.append({'name': name, 'size': size, 'sha256': self._digest.hexdigest()})
            self._file = None


def _append(path: Path, writer: _PartWriter) -> dict[str, Any]:
    """Write a file's content; return its size and checksum."""
    digest, size = hashlib.sha256(), 0
    with open(path, 'rb') as file:
        while chunk := file.read(_CHUNK):
            writer.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return {'size': size, 'sha256': digest.hexdigest()}


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _check_parts(folder: Path, parts: list[dict[str, Any]]) -> None:
    for part in parts:
        path = folder / part['name']
        if not path.is_file():
            raise FileNotFoundError(f'{path} is missing: bring all {len(parts)} parts that {MANIFEST} names.')
        digest = hashlib.sha256()
        with open(path, 'rb') as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        if digest.hexdigest() != part['sha256']:
            raise ValueError(f'{path} is damaged (its checksum differs): bring it again.')


def _copy(stream: _Stream, path: Path, size: int) -> str:
    """Copy the next ``size`` bytes of a stream into a file on the disk; return their checksum."""
    digest = hashlib.sha256()
    with open(path, 'wb') as file:
        while size and (chunk := stream.read(min(size, _CHUNK))):
            file.write(chunk)
            digest.update(chunk)
            size -= len(chunk)
        _flush(file)
    return digest.hexdigest()
