"""What a checkpoint file must be made of before PyTorch may read it.

``torch.load(weights_only=True)`` has let foreign code in: by TorchScript archives and tar files before PyTorch 2.6
(CVE-2025-32434), by pickles that write into tensors or claim larger storages than the file holds before 2.10
(CVE-2026-24747). The releases since refuse these themselves; we support older ones.
"""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import IO, Any

import torch

_NUM_LEGACY_PICKLES = 5  # magic number, protocol, system, content, names of storages; then the storages' bytes


def check_form(path: Path) -> None:
    """Look through a file of ``torch.save`` with nothing at hand that could be called or written to.

    Raises:
        zipfile.BadZipFile: A record of the archive is not what was written: PyTorch never looks at the checksums.
        pickle.UnpicklingError: The file has another form, or would do more than build dicts, lists and tensors.
        Exception: Whatever reading a damaged or forged pickle comes to.
    """
    with open(path, 'rb') as file:
        is_zip = file.read(4) == b'PK\x03\x04'  # as PyTorch distinguishes them
    if is_zip:
        with open(path, 'rb') as file, zipfile.ZipFile(path) as archive:
            _check_archive(archive, torch._C.PyTorchFileReader(file))
    elif tarfile.is_tarfile(path):
        raise pickle.UnpicklingError('a tar file')
    else:
        with open(path, 'rb') as file:
            for _ in range(_NUM_LEGACY_PICKLES):
                _Inspector(file, None).load()


def _check_archive(archive: zipfile.ZipFile, reader: Any) -> None:
    names = archive.namelist()
    pickles = [name for name in names if name.count('/') == 1 and name.endswith('/data.pkl')]
    distinct = {name.lower() for name in names}  # PyTorch looks names up without regard to case
    if len(pickles) != 1 or len(distinct) < len(names) or any(name.endswith('/constants.pkl') for name in distinct):
        raise pickle.UnpicklingError('no archive of tensors')
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
        raise pickle.UnpicklingError('compressed, as torch.save never does; it may unpack to any size')
    _compare_readers(archive, reader)
    folder = pickles[0].removesuffix('data.pkl')
    sizes = {info.filename.removeprefix(f'{folder}data/'): info.file_size for info in archive.infolist()}
    with archive.open(pickles[0]) as file:
        _Inspector(file, sizes).load()


def _compare_readers(archive: zipfile.ZipFile, reader: Any) -> None:
    """Make sure that PyTorch reads what is looked through here: a file may have a directory for each reader."""
    records = {name.partition('/')[2]: name for name in archive.namelist()}
    if sorted(reader.get_all_records()) != sorted(records):
        raise pickle.UnpicklingError('two archives in one file')
    for record, name in records.items():
        if archive.read(name) != reader.get_record(record):  # the first of which compares the checksum
            raise pickle.UnpicklingError(f'two records {name} in one file')


class _Inert:
    """Stands for an object of any class: takes whatever it is given and does nothing with it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Inspector(pickle._Unpickler):
    """Goes through a pickle with every class replaced, so that only plain containers can be filled.

    The class that it is made from is the one in Python: the one in C takes memory for as many objects as a pickle
    claims to number. Byte arrays, which both do that for, are not in what torch.save writes.

    Args:
        file (IO[bytes]): The pickle.
        sizes (dict[str, int] | None): Bytes of every storage by its key; None where they are not known beforehand.
    """

    dispatch = {code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.BYTEARRAY8[0]}

    def __init__(self, file: IO[bytes], sizes: dict[str, int] | None) -> None:
        super().__init__(file)
        self.sizes = sizes

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return OrderedDict
        return type(name, (_Inert,), {'__module__': module})

    def persistent_load(self, pid: Any) -> _Inert:
        """Compare what a storage claims with what the file holds of it."""
        if self.sizes is not None:
            _, kind, key, _, numel = pid
            if self.sizes[key] != numel * _item_bytes(kind.__name__):
                raise pickle.UnpicklingError(f'storage {key} claims {numel} elements, the file holds {self.sizes[key]}')
        return _Inert()


def _item_bytes(storage_class: str) -> int:
    """Return the bytes of an element of a storage: of ``FloatStorage`` 4."""
    if storage_class == 'UntypedStorage':
        return 1
    return getattr(torch, storage_class)._dtype.itemsize  # its dtype warns
