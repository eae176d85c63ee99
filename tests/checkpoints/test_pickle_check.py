"""Checkpoints that would run code, take much memory or hold two contents are refused."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import tarfile
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from mulsr_plugin.checkpoints.files import load_safely, save_atomically
from mulsr_plugin.checkpoints.pickle_check import check_form


class Payload:
    """Makes a folder when a careless loader unpickles it."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize('name', ['zip.pth', 'legacy.pth', 'bare.pth', 'renamed.safetensors', 'optimizer.state'])
@pytest.mark.parametrize('forced', [False, True])
def test_code_in_a_checkpoint_is_refused(tmp_path, monkeypatch, name, forced):
    """Also where the environment asks PyTorch to run code by default."""
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)  # set by trainings in this process
    if forced:
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    path, payload = tmp_path / name, Payload(tmp_path / 'owned')
    if name == 'bare.pth' or name.endswith('.safetensors'):
        path.write_bytes(pickle.dumps({'params': payload}))
    elif name.endswith('.state'):
        torch.save({'epoch': 0, 'iter': 1, 'optimizers': [payload], 'schedulers': []}, path)
    else:
        torch.save({'params': payload}, path, _use_new_zipfile_serialization=name == 'zip.pth')
    with pytest.raises(ValueError, match=f'{name} is damaged or is not a checkpoint of tensors alone'):
        load_safely(path)
    assert not (tmp_path / 'owned').exists()
    if not forced and name == 'zip.pth':  # the payload does work
        torch.load(path, weights_only=False)
        assert (tmp_path / 'owned').exists()


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def forged(path: Path, content: bytes) -> Path:
    """A checkpoint of one tensor with another pickle in it, checksums and all."""
    torch.save({'params': torch.ones(4)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in records.items():
            archive.writestr(name, content if name.endswith('/data.pkl') else data)
    return path


class Written:
    """Unpickles as an object that is then written to like a dict."""

    def __init__(self, function, arguments):
        self.reduced = function, arguments, None, None, iter([(0, 7)])

    def __reduce__(self):
        return self.reduced


class Storage:
    """A tensor whose storage claims ``numel`` elements."""

    def __init__(self, numel):
        self.numel = numel


class StoragePickler(pickle.Pickler):
    def persistent_id(self, obj):
        return ('storage', torch.FloatStorage, '0', 'cpu', obj.numel) if isinstance(obj, Storage) else None


def test_archives_of_code_are_refused(tmp_path):
    """PyTorch 2.5 runs TorchScript and unpacks tar files, whatever weights_only says."""
    torch.jit.script(Scripted()).save(tmp_path / 'script.pth')
    with tarfile.open(tmp_path / 'tar.pth', 'w') as archive:
        archive.add(tmp_path / 'script.pth', 'storages')
    for name in 'script.pth', 'tar.pth':
        with pytest.raises(ValueError, match=f'{name} is damaged or .* tensors alone .UnpicklingError'):
            load_safely(tmp_path / name)


@pytest.mark.parametrize('function', [torch.Size, torch.nn.Parameter])
def test_pickles_that_write_where_no_dict_is_are_refused(tmp_path, function):
    path = forged(tmp_path / 'forged.pth', pickle.dumps(Written(function, ()), 2))
    with pytest.raises(ValueError, match='not a checkpoint of tensors alone .TypeError'):
        load_safely(path)


@pytest.mark.parametrize(('numel', 'sound'), [(4, True), (5, False), (3, False), (10**12, False), (-1, False)])
def test_storages_hold_what_they_claim(tmp_path, numel, sound):
    buffer = io.BytesIO()
    StoragePickler(buffer, 2).dump(Storage(numel))
    path = forged(tmp_path / 'forged.pth', buffer.getvalue())
    if sound:
        check_form(path)
    else:
        with pytest.raises(pickle.UnpicklingError, match=f'claims {numel} elements, the file holds 16'):
            check_form(path)


def test_two_records_of_one_name_are_refused(tmp_path):
    """Readers differ in which of them they take."""
    torch.save({'params': torch.ones(4)}, tmp_path / 'twice.pth')
    with zipfile.ZipFile(tmp_path / 'twice.pth', 'a') as archive, pytest.warns(UserWarning, match='Duplicate name'):
        archive.writestr(next(name for name in archive.namelist() if name.endswith('data.pkl')), b'N.')
    with pytest.raises(ValueError, match='not a checkpoint of tensors alone'):
        load_safely(tmp_path / 'twice.pth')


def archive_of(records: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for name, data in {'a/version': b'3\n', **records}.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def two_archives_in_one(shown: bytes, hidden: bytes) -> bytes:
    """A file with two directories of one size: Python takes the one before the end, PyTorch the one it is told."""
    (hidden_end, shown_end), body = (file.rfind(b'PK\5\6') for file in (hidden, shown)), bytearray(shown)
    size, hidden_place = struct.unpack_from('<II', hidden, hidden_end + 12)
    shown_size, place = struct.unpack_from('<II', shown, shown_end + 12)
    assert size == shown_size
    moved = hidden_end - (hidden_end + place - hidden_place)  # Python adds what the directory is away from its place
    while place < shown_end:
        lengths, (offset,) = struct.unpack_from('<3H', body, place + 28), struct.unpack_from('<I', body, place + 42)
        struct.pack_into('<I', body, place + 42, offset + moved)
        place += 46 + sum(lengths)
    struct.pack_into('<I', body, shown_end + 16, hidden_place)
    return hidden[:hidden_end] + bytes(body)


def test_file_that_is_two_archives_is_refused(tmp_path):
    """Of one, which Python sees, the pickle is sound; PyTorch 2.5 would run the other as TorchScript."""
    sound, path = {'a/data.pkl': pickle.dumps({}, 2), 'a/constantz.pkl': b''}, tmp_path / 'both.pth'
    shown, hidden = archive_of(sound), archive_of({'a/data.pkl': b'evil' * 500, 'a/constants.pkl': b''})
    path.write_bytes(two_archives_in_one(shown, hidden))
    assert zipfile.ZipFile(path).namelist() == ['a/version', *sound]
    assert 'constants.pkl' in torch._C.PyTorchFileReader(str(path)).get_all_records()
    with pytest.raises(pickle.UnpicklingError, match='two archives in one file'):
        check_form(path)
    path.write_bytes(two_archives_in_one(archive_of({'a/data.pkl': b'}.'}), archive_of({'a/data.pkl': b'N.' * 500})))
    with pytest.raises(pickle.UnpicklingError, match='two records a/data.pkl in one file'):
        check_form(path)


@pytest.mark.parametrize('names', [('a/data.pkl', 'a/DATA.pkl'), ('a/DATA.pkl', 'a/data.pkl')])
def test_two_records_that_differ_in_case_are_refused(tmp_path, names):
    """PyTorch looks for names without regard to case."""
    (tmp_path / 'case.pth').write_bytes(archive_of({name: pickle.dumps({}, 2) for name in names}))
    with pytest.raises(pickle.UnpicklingError, match='no archive of tensors'):
        check_form(tmp_path / 'case.pth')


def test_small_file_never_takes_much_memory(tmp_path):
    """One is compressed, the others claim to number many objects or to hold a long byte array."""
    many = struct.pack('<I', 2**27)
    bombs = [b'\x80\x02}r' + many + b'.', b'\x80\x05\x96' + many + bytes(4) + b'.']
    with zipfile.ZipFile(tmp_path / '0.pth', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('a/version', b'3\n')
        archive.writestr('a/data.pkl', bytes(2**20))
    for number, content in enumerate([*bombs, *(archive_of({'a/data.pkl': bomb}) for bomb in bombs)], 1):
        (tmp_path / f'{number}.pth').write_bytes(content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in tmp_path.iterdir():
        with suppress(pickle.UnpicklingError, EOFError, KeyError):
            check_form(path)
            assert path.name == '3.pth'  # which is sound but for its numbers
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16  # KiB


@pytest.mark.parametrize('dtype', [torch.qint8, torch.quint8, torch.qint32])
@pytest.mark.filterwarnings('ignore')  # PyTorch is about to give these up
def test_quantized_weights_load(tmp_path, dtype):
    save_atomically({'params': torch.quantize_per_tensor(torch.ones(3), 0.5, 0, dtype)}, tmp_path / 'q.pth')
    assert load_safely(tmp_path / 'q.pth')['params'].dequantize().tolist() == [1, 1, 1]
