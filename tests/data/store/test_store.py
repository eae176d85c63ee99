"""The LMDB cube store: what goes in comes out, and damage is named."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import resource
import tracemalloc
import zlib

import lmdb
import numpy as np
import pytest
from basicsr.utils import FileClient
from basicsr.utils.lmdb_util import LmdbMaker
from hypothesis import given, settings
from hypothesis import strategies as st

from mulsr_plugin.data.store import reader as reader_module
from mulsr_plugin.data.store import writer as writer_module
from mulsr_plugin.data.store.header import CubeStoreError
from mulsr_plugin.data.store.reader import CubeStore, verify_store
from mulsr_plugin.data.store.writer import CubeStoreWriter

WAVES = (400.0, 410.0, 420.5)


def cube_of(seed: int, shape=(24, 20, 3), dtype='uint16') -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


@pytest.fixture
def folder(tmp_path):
    """Parent folder with a blank and letters beyond ASCII in its name."""
    path = tmp_path / 'Bänder der Szene'
    path.mkdir()
    return path


@pytest.fixture
def path(folder):
    """A store of the scenes s0, s1, s2."""
    path = folder / 'train set.lmdb'
    with CubeStoreWriter(path) as writer:
        for seed in range(3):
            writer.add(f's{seed}', cube_of(seed), 1 / 65535, WAVES, f'seed {seed}')
    return path


def damage(path, old: bytes, new: bytes) -> None:
    """Overwrite the one value or header ``old`` in data.mdb; pages that LMDB has given up hold headers too."""
    data = bytearray((path / 'data.mdb').read_bytes())
    ranges = json.loads((path / 'structure.json').read_text())['structure']['values']
    (offset,) = [offset for offset, length in ranges if data[offset : offset + length] == old]
    assert len(old) == len(new)
    data[offset : offset + len(old)] = new
    (path / 'data.mdb').write_bytes(data)


@pytest.mark.parametrize('dtype', ['uint8', 'uint16', '>u2', 'int16', 'float32', 'float64', '>f4'])
def test_values_and_header_return_as_written(folder, dtype):
    values = (np.random.default_rng(0).random((5, 7, 3)) * (100 if np.dtype(dtype).kind in 'ui' else 1)).astype(dtype)
    scale = 1 / 100 if values.dtype.kind in 'ui' else 1.0
    with CubeStoreWriter(folder / 'a.lmdb') as writer:
        writer.add('scene', values, scale, WAVES, 'drawn')
    store = CubeStore(folder / 'a.lmdb')
    read = store.read('scene')
    np.testing.assert_array_equal(read, values)
    assert read.dtype == np.dtype(dtype).newbyteorder('=')
    header = store.header('scene')
    assert (header.shape, header.dtype, header.scale) == ((5, 7, 3), read.dtype.name, scale)
    assert (header.wavelengths, header.source) == (WAVES, 'drawn')
    assert header.checksum == f'crc32:{zlib.crc32(read.tobytes()):08x}'


def test_basicsr_file_client_returns_the_raw_array(path):
    client = FileClient('lmdb', db_paths=str(path), client_keys='gt')
    assert client.get('s1', 'gt') == cube_of(1).astype('<u2').tobytes()


def test_meta_info_is_basicsrs(path):
    lines = (path / 'meta_info.txt').read_text().splitlines()
    assert lines == [f's{i}.raw (24,20,3) 0' for i in range(3)]
    # BasicSR takes what stands before the first full stop for the key.
    assert [line.split(' ')[0].split('.')[0] for line in lines] == CubeStore(path).keys() == ['s0', 's1', 's2']


def test_array_in_any_memory_layout(folder):
    cube = cube_of(0)
    with CubeStoreWriter(folder / 'a.lmdb') as writer:
        writer.add('fortran', np.asfortranarray(cube), 1 / 65535)
        writer.add('view', cube[::2, ::-1, 1:], 1 / 65535)
    store = CubeStore(folder / 'a.lmdb')
    np.testing.assert_array_equal(store.read('fortran'), cube)
    np.testing.assert_array_equal(store.read('view'), cube[::2, ::-1, 1:])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_window_is_a_slice(demo_dataset, data):
    store = CubeStore(demo_dataset / 'test.lmdb')
    whole = store.read('demo_03')
    top, left = data.draw(st.integers(0, 47)), data.draw(st.integers(0, 47))
    height, width = data.draw(st.integers(0, 48 - top)), data.draw(st.integers(0, 48 - left))
    window = store.read_window('demo_03', top, left, height, width)
    np.testing.assert_array_equal(window, whole[top : top + height, left : left + width])


def test_arrays_are_own_copies_that_outlive_the_store(path):
    store = CubeStore(path)
    whole, window = store.read('s0'), store.read_window('s0', 2, 3, 4, 5)
    store.close()
    del store
    np.testing.assert_array_equal(whole, cube_of(0))
    window[:] = 0
    np.testing.assert_array_equal(CubeStore(path).read_window('s0', 2, 3, 4, 5), cube_of(0)[2:6, 3:8])


def test_window_does_not_copy_the_cube(folder):
    with CubeStoreWriter(folder / 'a.lmdb') as writer:
        writer.add('large', cube_of(0, (256, 256, 31)), 1 / 65535)
    store = CubeStore(folder / 'a.lmdb')
    tracemalloc.start()
    window = store.read_window('large', 100, 100, 8, 8)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert window.nbytes == 8 * 8 * 31 * 2
    assert peak < 50_000 < store.header('large').nbytes


@pytest.mark.parametrize('window', [(-1, 0, 4, 4), (0, -1, 4, 4), (21, 0, 4, 4), (0, 17, 4, 4), (0, 0, -1, 4)])
def test_window_outside_is_refused(path, window):
    with pytest.raises(ValueError, match='leaves scene s0 of 24x20 pixels'):
        CubeStore(path).read_window('s0', *window)


def test_unknown_scene_gets_a_suggestion(path, demo_dataset):
    with pytest.raises(CubeStoreError, match=r"no scene 'demo_2' among the 2 .* did you mean demo_02\?"):
        CubeStore(demo_dataset / 'train.lmdb').read('demo_2')
    with pytest.raises(CubeStoreError, match=r"no scene 'bällöns' .* it holds s0, s1, s2\."):
        CubeStore(path).header('bällöns')


# ---- sharing within and between processes


def test_stores_of_one_file_share_its_environment(path, folder):
    link = folder / 'link.lmdb'
    link.symlink_to(path)
    stores = [CubeStore(path), CubeStore(link), CubeStore(str(path), verify=False)]
    for store in stores:
        np.testing.assert_array_equal(store.read('s2'), cube_of(2))
    stores[0].close()
    np.testing.assert_array_equal(stores[1].read('s1'), cube_of(1))
    np.testing.assert_array_equal(stores[0].read('s1'), cube_of(1))


def test_closing_the_last_store_frees_the_file_for_other_readers(path):
    store = CubeStore(path)
    store.read('s0')
    with pytest.raises(lmdb.Error, match='already open'):
        lmdb.open(str(path), readonly=True, lock=False)
    store.close()
    lmdb.open(str(path), readonly=True, lock=False).close()


def test_file_open_by_another_reader_is_said(path):
    other = lmdb.open(str(path), readonly=True, lock=False)
    with pytest.raises(CubeStoreError, match=r'open elsewhere in this process \(BasicSR FileClient\?\)'):
        CubeStore(path).read('s0')
    other.close()
    np.testing.assert_array_equal(CubeStore(path).read('s0'), cube_of(0))


def test_replaced_file_is_seen_by_new_stores(path, folder):
    old = CubeStore(path)
    old.read('s0')
    path.rename(folder / 'old.lmdb')
    with CubeStoreWriter(path) as writer:
        writer.add('s0', cube_of(9), 1 / 65535)
    np.testing.assert_array_equal(CubeStore(path).read('s0'), cube_of(9))
    np.testing.assert_array_equal(old.read('s0'), cube_of(0))


def test_pickled_store_opens_by_itself(path):
    store = CubeStore(path, verify=False)
    store.read('s0')
    copy = pickle.loads(pickle.dumps(store))
    store.close()
    assert not copy.verify
    np.testing.assert_array_equal(copy.read('s1'), cube_of(1))


@pytest.mark.parametrize(('method', 'opened'), [('fork', True), ('fork', False), ('spawn', True)])
def test_worker_processes_read(path, method, opened):
    store = CubeStore(path)
    if opened:
        store.read('s0')
    with multiprocessing.get_context(method).Pool(1) as pool:
        for seed, cube in enumerate(pool.map(store.read, ['s0', 's1', 's2'])):
            np.testing.assert_array_equal(cube, cube_of(seed))
    np.testing.assert_array_equal(store.read('s0'), cube_of(0))


def test_forked_worker_may_close_and_reopen(path):
    store = CubeStore(path)
    store.read('s0')
    context = multiprocessing.get_context('fork')
    queue = context.Queue()

    def reopen():
        store.close()
        queue.put([store.read('s1'), CubeStore(path).read('s2')])

    process = context.Process(target=reopen)
    process.start()
    first, second = queue.get(timeout=60)
    process.join()
    np.testing.assert_array_equal(first, cube_of(1))
    np.testing.assert_array_equal(second, cube_of(2))


def test_reading_needs_no_write_permission(path):
    before = sorted(os.listdir(path))
    path.chmod(0o555)
    (path / 'data.mdb').chmod(0o444)
    context = multiprocessing.get_context('fork')
    queue = context.Queue()

    def read_as_nobody():
        os.chdir(path.parent)
        if os.geteuid() == 0:
            os.setuid(65534)
        assert not os.access(path.name, os.W_OK)
        queue.put(CubeStore(path.name).read('s1'))

    process = context.Process(target=read_as_nobody)
    process.start()
    np.testing.assert_array_equal(queue.get(timeout=60), cube_of(1))
    process.join()
    path.chmod(0o755)
    assert sorted(os.listdir(path)) == before


# ---- damage


def test_flipped_value_is_named(path):
    value = bytearray(cube_of(1).tobytes())
    value[777] ^= 0x10
    damage(path, cube_of(1).tobytes(), bytes(value))
    store = CubeStore(path)
    np.testing.assert_array_equal(store.read('s0'), cube_of(0))
    with pytest.raises(CubeStoreError, match=r'Scene s1 of .* do not match their checksum'):
        store.read_window('s1', 0, 0, 1, 1)
    assert CubeStore(path, verify=False).read('s1').shape == (24, 20, 3)
    store.close()
    (problem,) = verify_store(path)
    assert problem.startswith('Scene s1 of ')


def test_flipped_header_is_named(path):
    # A digit of the scale changes: the record stays readable JSON.
    record = CubeStore(path).header('s1').to_bytes()
    damage(path, record, record.replace(b'1.5259', b'1.5269'))
    with pytest.raises(CubeStoreError, match='The header of scene s1 is damaged'):
        CubeStore(path, verify=False).read('s1')
    np.testing.assert_array_equal(CubeStore(path).read('s2'), cube_of(2))
    assert verify_store(path) == ['The header of scene s1 is damaged: prepare the data again.']


def test_header_of_a_later_version_is_said(path):
    record = CubeStore(path).header('s1').to_bytes()
    damage(path, record, record.replace(b'"version": 1', b'"version": 7'))
    with pytest.raises(CubeStoreError, match='header of scene s1 has version 7, this release reads version 1'):
        CubeStore(path).header('s1')


@pytest.mark.parametrize('keep', [0.02, 0.5, 0.95])
def test_truncated_file_is_said(path, keep):
    size = os.path.getsize(path / 'data.mdb')
    os.truncate(path / 'data.mdb', int(size * keep))
    with pytest.raises(CubeStoreError, match=r'is cut short|cannot be opened as LMDB'):
        CubeStore(path).keys()
    assert len(verify_store(path)) == 1


def test_no_flipped_bit_passes_unnoticed(path):
    data = (path / 'data.mdb').read_bytes()
    rng = np.random.default_rng(0)
    noticed = 0
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        (path / 'data.mdb').write_bytes(damaged)
        if verify_store(path):
            noticed += 1
        else:  # the bit is in no use
            store = CubeStore(path, verify=False)
            assert all(np.array_equal(store.read(f's{i}'), cube_of(i)) for i in range(3))
            assert store.header('s1').scale == 1 / 65535
    assert noticed > 20


def test_lost_value_is_named(path):
    with lmdb.open(str(path), lock=False) as environment, environment.begin(write=True) as transaction:
        transaction.delete(b's1')
    (path / 'structure.json').unlink()  # as of a store from before there was one
    with pytest.raises(CubeStoreError, match=r'Scene s1 of .* has a header but no values'):
        CubeStore(path).read('s1')


def test_wrong_length_is_named(path):
    with lmdb.open(str(path), lock=False) as environment, environment.begin(write=True) as transaction:
        transaction.put(b's1', b'short')
    (path / 'structure.json').unlink()  # as of a store from before there was one
    with pytest.raises(CubeStoreError, match=r'Scene s1 of .* 5 bytes stored, 2880 expected'):
        CubeStore(path, verify=False).read('s1')


def test_meta_info_is_compared(path):
    meta = path / 'meta_info.txt'
    meta.write_text('s0.raw (24,20,3) 0\ns1.raw (24,21,3) 0\ns9.raw (24,20,3) 0\n')
    lost, unlisted, shape = verify_store(path)
    assert 's9 is listed' in lost
    assert 's2 is not listed' in unlisted
    assert 's1 has shape (24,20,3)' in shape
    meta.unlink()
    (problem,) = verify_store(path)
    assert 'meta_info.txt cannot be read' in problem


def test_sound_store_has_no_problems(path):
    assert verify_store(path) == []


def test_missing_and_foreign_folders(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no cube store at .*absent\.lmdb'):
        CubeStore(tmp_path / 'absent.lmdb')
    (tmp_path / 'noise.lmdb').mkdir()
    (tmp_path / 'noise.lmdb' / 'data.mdb').write_bytes(os.urandom(20000))
    with pytest.raises(CubeStoreError, match='cannot be opened as LMDB'):
        CubeStore(tmp_path / 'noise.lmdb').keys()
    maker = LmdbMaker(str(tmp_path / 'png.lmdb'), map_size=1 << 20)
    maker.put(b'PNG', 'picture', (4, 4, 3))
    maker.close()
    with pytest.raises(CubeStoreError, match='holds no cube headers'):
        CubeStore(tmp_path / 'png.lmdb').keys()


def test_checksum_is_computed_once_per_process(path, monkeypatch):
    calls = []
    monkeypatch.setattr(reader_module, 'checksum_of', lambda data: calls.append(1) or f'crc32:{zlib.crc32(data):08x}')
    first, second = CubeStore(path), CubeStore(path)
    first.header('s0')
    calls.clear()
    for _ in range(3):
        first.read_window('s0', 0, 0, 4, 4)
        second.read_window('s0', 4, 4, 4, 4)
    assert len(calls) == 1


# ---- writing


def test_map_grows_with_the_data(folder, monkeypatch):
    monkeypatch.setattr(writer_module, 'INITIAL_MAP_SIZE', 1 << 16)
    cubes = [cube_of(i, (64, 64, 7)) for i in range(12)]
    with CubeStoreWriter(folder / 'a.lmdb') as writer:
        for i, cube in enumerate(cubes):
            writer.add(f's{i}', cube, 1 / 65535)
    store = CubeStore(folder / 'a.lmdb')
    for i, cube in enumerate(cubes):
        np.testing.assert_array_equal(store.read(f's{i}'), cube)
    total = sum(cube.nbytes for cube in cubes)
    assert total < os.path.getsize(folder / 'a.lmdb' / 'data.mdb') < 1.2 * total


@pytest.mark.parametrize('error', [RuntimeError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_nothing(folder, error):
    with pytest.raises(error), CubeStoreWriter(folder / 'new' / 'deep' / 'a.lmdb') as writer:
        writer.add('s0', cube_of(0), 1 / 65535)
        assert not (folder / 'new' / 'deep' / 'a.lmdb').exists()
        raise error
    assert os.listdir(folder) == []


def test_store_without_scenes_is_refused(folder):
    with pytest.raises(ValueError, match='no scene to write'), CubeStoreWriter(folder / 'a.lmdb'):
        pass
    assert os.listdir(folder) == []


def test_unreadable_writing_is_noticed(folder, monkeypatch):
    monkeypatch.setattr(writer_module, 'verify_store', lambda path: ['Scene s0 is damaged.'])
    with pytest.raises(OSError, match=r'did not return what was written'), CubeStoreWriter(folder / 'a.lmdb') as writer:
        writer.add('s0', cube_of(0), 1 / 65535)
    assert os.listdir(folder) == []


@pytest.mark.parametrize('kind', ['folder', 'file', 'dangling link'])
def test_existing_output_is_refused_and_untouched(folder, kind):
    path = folder / 'a.lmdb'
    if kind == 'folder':
        path.mkdir()
        (path / 'mine').write_text('mine')
    elif kind == 'file':
        path.write_text('mine')
    else:
        path.symlink_to(folder / 'nowhere')
    with pytest.raises(FileExistsError, match='exists already and is left as it is'):
        CubeStoreWriter(path)
    assert os.listdir(folder) == ['a.lmdb']
    if kind != 'dangling link':
        assert (path / 'mine' if kind == 'folder' else path).read_text() == 'mine'


def test_output_that_appears_meanwhile_is_untouched(folder):
    path = folder / 'a.lmdb'
    with pytest.raises(FileExistsError), CubeStoreWriter(path) as writer:
        writer.add('s0', cube_of(0), 1 / 65535)
        path.mkdir()
    assert os.listdir(folder) == ['a.lmdb']
    assert os.listdir(path) == []


def test_name_must_end_as_basicsr_wants(folder):
    with pytest.raises(ValueError, match=r'must be named \*\.lmdb'):
        CubeStoreWriter(folder / 'store')


@pytest.mark.parametrize('room', [0, 2000, 40_000, 150_000])
def test_full_disk_is_one_sentence_and_leaves_nothing(folder, room):
    context = multiprocessing.get_context('fork')
    queue = context.Queue()

    def write_with_little_room():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        try:
            with CubeStoreWriter(folder / 'a.lmdb') as writer:
                for seed in range(4):
                    writer.add(f's{seed}', cube_of(seed, (64, 64, 7)), 1 / 65535)
        except BaseException as error:
            queue.put((type(error), str(error)))

    process = context.Process(target=write_with_little_room)
    process.start()
    kind, message = queue.get(timeout=60)
    process.join()
    assert kind is OSError
    assert message.startswith(f'Cannot write {folder / "a.lmdb"}: ')
    assert 'GB are free there; nothing was kept' in message
    assert message.count('\n') == 0
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    'output, reason',
    [
        ('/proc/none/a.lmdb', 'No such file or directory'),
        ('file/a.lmdb', '.*file is a file, no folder'),
        ('file/below/a.lmdb', '.*file is a file, no folder'),
    ],
)
def test_place_that_takes_no_store_is_not_put_down_to_a_full_disk(folder, output, reason):
    (folder / 'file').write_text('mine')
    with pytest.raises(OSError, match=f'^Cannot write .*: {reason}; nothing was kept: choose another output\\.$'):
        CubeStoreWriter(folder / output).__enter__()
    assert os.listdir(folder) == ['file']


@pytest.mark.parametrize('key', ['', 'a b', 'a.b', 'a/b', 'header:a', 'fée', 'x' * 201, 'a\n'])
def test_keys_that_basicsr_or_a_file_system_cannot_take(folder, key):
    with pytest.raises(ValueError, match='cannot be a key'), CubeStoreWriter(folder / 'a.lmdb') as writer:
        writer.add(key, cube_of(0), 1 / 65535)


def test_duplicate_scene_is_refused(folder):
    with pytest.raises(ValueError, match='Scene s0 comes twice'), CubeStoreWriter(folder / 'a.lmdb') as writer:
        writer.add('s0', cube_of(0), 1 / 65535)
        writer.add('s0', cube_of(1), 1 / 65535)


def with_value(value: float, band: int) -> np.ndarray:
    cube = np.full((4, 4, 3), 0.5, np.float32)
    cube[2, 1, band] = value
    return cube


@pytest.mark.parametrize(
    ('cube', 'scale', 'waves', 'message'),
    [
        (with_value(np.nan, 1), 1.0, None, 'Scene s, band 2: .* run from nan to nan'),
        (with_value(np.inf, 2), 1.0, None, 'Scene s, band 3: .* to inf'),
        (with_value(-0.25, 0), 1.0, None, 'Scene s, band 1: .* from -0.25 to 0.5'),
        (with_value(1.5, 2), 1.0, None, 'Scene s, band 3: .* to 1.5'),
        (cube_of(0), 1 / 4095, None, 'Scene s, band 1: values times scale 0.000244'),
        (with_value(0, 0)[..., 0], 1.0, None, r'shape \(4, 4\)'),
        (with_value(0, 0)[:0], 1.0, None, r'shape \(0, 4, 3\)'),
        (with_value(0, 0).astype(complex), 1.0, None, 'holds complex128 values'),
        (with_value(0, 0) > 0, 1.0, None, 'holds bool values'),
        (with_value(0, 0), 0.0, None, 'has scale 0.0'),
        (with_value(0, 0), float('nan'), None, 'has scale nan'),
        (with_value(0, 0), 1.0, (400.0, 500.0), 'has 3 bands but 2 wavelengths'),
    ],
)
def test_what_is_no_cube_in_range_is_refused(folder, cube, scale, waves, message):
    with pytest.raises(ValueError, match=message), CubeStoreWriter(folder / 'a.lmdb') as writer:
        writer.add('s', cube, scale, waves)
    assert os.listdir(folder) == []


def test_full_scale_is_in_range(folder):
    with CubeStoreWriter(folder / 'a.lmdb') as writer:
        for dtype in ('uint8', 'uint16', 'uint32'):
            full = np.iinfo(dtype).max
            writer.add(dtype, np.full((2, 2, 3), full, dtype), 1 / full)
    assert CubeStore(folder / 'a.lmdb').keys() == ['uint16', 'uint32', 'uint8']
