"""Stores that are damaged, cut short, read-only, or read by many: documented errors, never a crash."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from basicsr.data import build_dataloader, build_dataset

from mulsr_plugin.data.store.header import CubeStoreError
from mulsr_plugin.data.store.reader import CubeStore, verify_store
from mulsr_plugin.data.store.writer import CubeStoreWriter
from tests.models.tiny import dataset_options, make_stores

# more: MULSR_FLIPS=20000 pytest tests/reliability -k flip
FLIPS = int(os.environ.get('MULSR_FLIPS', 400))
_FORK = multiprocessing.get_context('fork')


def values_of(seed: int, side: int = 24) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (side, side, 5)).astype(np.uint16)


@pytest.fixture
def path(tmp_path):
    """Six scenes of different sizes, so that values lie in pages of their own and within others, under an odd name."""
    path = tmp_path / 'données  Ωμέγα 数据.lmdb'
    with CubeStoreWriter(path) as writer:
        for seed in range(6):
            writer.add(f'scene_{seed}', values_of(seed, side=8 * (seed + 1)), 1 / 65535, (1.0, 2.0, 3.0, 4.0, 5.0))
    return path


def read_everything(path: Path) -> list[str]:
    """Read as training does; return the errors, one a scene, or one of the store."""
    try:
        store = CubeStore(path)
        keys = store.keys()
    except (CubeStoreError, FileNotFoundError) as error:
        return [str(error)]
    errors = []
    for key in keys:
        try:
            cube = store.read(key)
        except CubeStoreError as error:
            errors.append(str(error))
        else:
            seed = int(key.split('_')[1])
            np.testing.assert_array_equal(cube, values_of(seed, side=8 * (seed + 1)))
    assert len(keys) == 6
    return errors


def in_child(function, *arguments) -> int:
    """Run in a process of its own; return its exit code, negative for the signal that it died of."""
    process = _FORK.Process(target=function, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None, 'it hangs'
    return process.exitcode


def flip_bytes(path: Path, seed: int, count: int, structure_only: bool) -> None:
    data = path / 'data.mdb'
    sound, rng, noticed = data.read_bytes(), np.random.default_rng(seed), 0
    ranges = json.loads((path / 'structure.json').read_text())['structure']['values']
    inside = np.zeros(len(sound), bool)
    for offset, length in ranges:
        inside[offset : offset + length] = True
    places = np.flatnonzero(~inside) if structure_only else np.arange(len(sound))
    for place in rng.choice(places, count):
        damaged = bytearray(sound)
        damaged[place] ^= int(rng.integers(1, 256))
        data.write_bytes(damaged)
        errors = read_everything(path)
        assert len(errors) == 1, (place, errors)
        assert ('scene_' in errors[0]) == inside[place], (place, errors)
        assert '\n' not in errors[0]
        noticed += 1
    assert noticed == count


@pytest.mark.parametrize('structure_only', [False, True])
def test_every_flipped_byte_is_noticed_and_the_interpreter_survives(path, structure_only):
    """In a value or header the scene is named; anywhere else, where LMDB would lose its way, the store is refused."""
    assert in_child(flip_bytes, path, 0, FLIPS // 2, structure_only) == 0


def test_every_flipped_byte_of_the_structure_file_is_noticed_or_harmless(path):
    file = path / 'structure.json'
    sound, rng, noticed = file.read_bytes(), np.random.default_rng(1), 0
    for place in range(0, len(sound), max(1, len(sound) // 100)):
        damaged = bytearray(sound)
        damaged[place] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        errors = read_everything(path)
        assert not errors or 'structure.json is damaged' in errors[0]
        noticed += bool(errors)
    assert noticed > 90


def test_cut_short_at_every_percent(path):
    size = os.path.getsize(path / 'data.mdb')
    for percent in range(99, -1, -1):
        os.truncate(path / 'data.mdb', size * percent // 100)
        (error,) = read_everything(path)
        assert f'is cut short ({size * percent // 100} of {size} bytes)' in error
        assert verify_store(path) == [error]


def cut_without_structure(path: Path) -> None:
    (path / 'structure.json').unlink()
    size = os.path.getsize(path / 'data.mdb')
    for percent in range(98, -1, -7):
        os.truncate(path / 'data.mdb', size * percent // 100)
        (error,) = read_everything(path)
        assert 'is cut short' in error or 'cannot be opened as LMDB' in error


def test_cut_short_without_a_structure_file(path):
    """Stores of older releases have none; LMDB alone would die of a read behind the end of the file."""
    assert in_child(cut_without_structure, path) == 0


def test_a_missing_structure_file_is_no_problem(path):
    (path / 'structure.json').unlink()
    assert read_everything(path) == []
    assert verify_store(path) == []


def test_checks_of_values_can_be_switched_off_and_verify_finds_what_was_let_through(path):
    value, data = values_of(3, side=32).tobytes(), (path / 'data.mdb').read_bytes()
    (path / 'data.mdb').write_bytes(data.replace(value, bytes([value[0] ^ 1]) + value[1:]))
    assert CubeStore(path, verify=False).read('scene_3')[0, 0, 0] == values_of(3, side=32)[0, 0, 0] ^ 1
    (problem,) = verify_store(path)
    assert 'Scene scene_3 of ' in problem


# ---- read-only and shared


def as_root(*command: str) -> bool:
    return os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0


def test_read_only_mount(path, tmp_path):
    mount = tmp_path / 'nur lesen'
    mount.mkdir()
    if not as_root('mount', '--bind', str(path.parent), str(mount)):
        pytest.skip('mounting is not allowed here')
    try:
        assert as_root('mount', '-o', 'remount,ro,bind', str(mount))
        with pytest.raises(OSError, match='Read-only'):
            (mount / 'x').touch()
        assert read_everything(mount / path.name) == []
        with pytest.raises(OSError, match=r'Cannot write .*b\.lmdb: .*Read-only file system'):
            CubeStoreWriter(mount / 'b.lmdb').__enter__()
    finally:
        subprocess.run(['umount', '-l', str(mount)], check=True)


@pytest.mark.parametrize('opened', [True, False])
def test_many_processes_read_at_once(path, opened):
    store = CubeStore(path)
    if opened:
        store.read('scene_0')
    keys = [f'scene_{i % 6}' for i in range(48)]
    with _FORK.Pool(16) as pool:
        for key, cube in zip(keys, pool.map(store.read, keys, chunksize=1)):
            seed = int(key[6:])
            np.testing.assert_array_equal(cube, values_of(seed, side=8 * (seed + 1)))


def test_a_damaged_scene_in_a_loader_worker_is_named(tmp_path):
    """What the training gets to see is the sentence, not a worker that has vanished."""
    make_stores(tmp_path)
    store = CubeStore(tmp_path / 'train.lmdb')
    value, data = store.read('scene1').tobytes(), (tmp_path / 'train.lmdb' / 'data.mdb').read_bytes()
    store.close()
    (tmp_path / 'train.lmdb' / 'data.mdb').write_bytes(data.replace(value, value[:-1] + bytes([value[-1] ^ 1])))
    opt = {**dataset_options(tmp_path, 'train'), 'phase': 'train', 'scale': 4, 'num_worker_per_gpu': 2}
    loader = build_dataloader(build_dataset(opt), opt, num_gpu=0, dist=False, sampler=None, seed=0)
    with pytest.raises(CubeStoreError, match=r'Scene scene1 of .*do not match their checksum'):
        list(loader)


def test_a_store_that_is_replaced_while_it_is_read_goes_on_to_give_the_old_values(path, tmp_path):
    store = CubeStore(path)
    store.read('scene_0')
    shutil.rmtree(path)
    np.testing.assert_array_equal(store.read('scene_5'), values_of(5, side=48))
