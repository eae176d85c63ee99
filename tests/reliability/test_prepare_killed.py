"""Preparation that is killed, interrupted, or run twice at once: no half data set, nothing done twice."""

from __future__ import annotations

import builtins
import multiprocessing
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mulsr_plugin.data.cube import Cube, SceneCubes, SourceScene
from mulsr_plugin.data.prepare import describe_preparation, kept_stores, prepare_dataset, verify_dataset
from mulsr_plugin.data.scene_splits import SceneSplit, SplitResult
from mulsr_plugin.data.store.header import CubeStoreError
from mulsr_plugin.data.store.reader import CubeStore, verify_store
from mulsr_plugin.data.store.writer import CubeStoreWriter, partial_store

# more: MULSR_KILLS=1000 pytest tests/reliability -k kill
KILLS = int(os.environ.get('MULSR_KILLS', 40))
NO_SPLIT = SplitResult(SceneSplit((), ()), (), ())
_FORK = multiprocessing.get_context('fork')


def values_of(seed: int, side: int = 40, bands: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, (side, side, bands)).astype(np.uint16)


def cube_of(seed: int, **size: int) -> Cube:
    return Cube(values_of(seed, **size), 1 / 65535, source=f'seed {seed}')


def paired(seed: int) -> SceneCubes:
    return SceneCubes(gt=cube_of(seed), lq=cube_of(100 + seed, side=10), rgb=cube_of(200 + seed, bands=3))


def scenes_with(load, count: int = 12) -> list[SourceScene]:
    """Scenes of both phases, in turns, of three images each."""
    return [SourceScene(f's{i:02d}', lambda i=i: load(i), 'test' if i % 3 == 2 else 'train') for i in range(count)]


def prepare(output: Path, load=paired, resume: str = 'same') -> None:
    prepare_dataset(scenes_with(load), output, NO_SPLIT, progress=False, resume=resume)


NAMES = sorted(f'{phase}{suffix}.lmdb' for phase in ('train', 'test') for suffix in ('', '_lq', '_rgb'))


def is_complete(output: Path) -> bool:
    return all((output / name).exists() and not (output / name / 'preparation.txt').exists() for name in NAMES)


def assert_complete(output: Path) -> None:
    # killed at its very last step, a preparation leaves the file of its lock
    assert sorted(name for name in os.listdir(output) if not name.endswith('.lock')) == NAMES
    assert not any(verify_dataset(output).values())
    for name in NAMES:
        assert sorted(os.listdir(output / name)) == ['data.mdb', 'meta_info.txt', 'structure.json']
    for i in range(12):
        phase, cubes = 'test' if i % 3 == 2 else 'train', paired(i)
        for suffix, cube in (('', cubes.gt), ('_lq', cubes.lq), ('_rgb', cubes.rgb)):
            np.testing.assert_array_equal(CubeStore(output / f'{phase}{suffix}.lmdb').read(f's{i:02d}'), cube.values)


def assert_sound_so_far(output: Path) -> None:
    """Under the final names there is nothing, or what is there is whole."""
    for name in NAMES:
        if (output / name).exists():
            assert verify_store(output / name) == []


def test_killed_at_random_moments_until_it_is_done(tmp_path):
    """SIGKILL again and again, each time a little later; the scenes of each life are not loaded again in the next."""
    rng, kills, lives = np.random.default_rng(0), 0, 0
    log = tmp_path / 'loaded.txt'

    def logged(i):
        with open(log, 'a') as file:
            file.write(f'{i}\n')
        return paired(i)

    while kills < KILLS:
        output = tmp_path / str(lives)
        lives += 1
        log.write_text('')
        deaths = 0
        while not is_complete(output):
            process = _FORK.Process(target=prepare, args=(output, logged))
            process.start()
            process.join(float(rng.uniform(0.0, 0.08)) * (1 + deaths / 10))
            if process.is_alive():
                process.kill()
                process.join()
                deaths += 1
            else:
                assert process.exitcode == 0
            assert_sound_so_far(output)
        kills += deaths
        assert_complete(output)
        # at most the scene that was being written and the one before it come again after a death
        assert len(log.read_text().split()) <= 12 + 2 * deaths
    assert lives < kills  # more than one death per life


@pytest.mark.parametrize(('call', 'step'), [('rename', step) for step in range(6)] + [('unlink', 1), ('unlink', 5)])
def test_killed_while_publishing(tmp_path, call, step):
    """Between two stores, the only moments at which some of a data set have appeared, or are tidied, and others not."""

    def die_there():
        counter, original = iter(range(1000)), getattr(os, call)

        def dying(path, *arguments, **keywords):
            if (call == 'rename' or str(path).endswith('preparation.txt')) and next(counter) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(path, *arguments, **keywords)

        setattr(os, call, dying)
        prepare(tmp_path)

    process = _FORK.Process(target=die_there)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    published = [name for name in NAMES if (tmp_path / name).exists()]
    assert len(published) == (step if call == 'rename' else 6)
    assert_sound_so_far(tmp_path)
    if published:  # another preparation leaves them alone
        with pytest.raises(FileExistsError):
            prepare(tmp_path, resume='other')
    prepare(tmp_path)
    assert is_complete(tmp_path)
    assert_complete(tmp_path)


@pytest.mark.parametrize('step', range(18))
def test_killed_within_a_text_file_of_a_store(tmp_path, step):
    """Half a preparation.txt (steps 0 to 5), meta_info.txt or structure.json costs none of the finished scenes."""

    def interrupted(i):
        if i == 11:
            raise KeyboardInterrupt
        return paired(i)

    def die_there():
        counter, original = iter(range(1000)), open

        def dying(path, mode='r', **keywords):
            file = original(path, mode, **keywords)
            if '.partial-' in str(path) and mode == 'wb' and next(counter) == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return file

        builtins.open = dying
        prepare(tmp_path)

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, interrupted)
    process = _FORK.Process(target=die_there)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    loaded = []
    prepare(tmp_path, lambda i: loaded.append(i) or paired(i))
    assert loaded == ([10, 11] if step < 6 else [11])
    assert_complete(tmp_path)


@pytest.mark.parametrize('error', [KeyboardInterrupt, SystemExit, OSError, MemoryError])
def test_interrupted_preparation_goes_on_where_it_stopped(tmp_path, error):
    def failing(i):
        if i == 7:
            raise error
        return paired(i)

    loaded = []

    def logged(i):
        loaded.append(i)
        return paired(i)

    with pytest.raises(error):
        prepare(tmp_path, failing)
    assert len(kept_stores(tmp_path)) == 6
    assert not set(NAMES) & set(os.listdir(tmp_path))
    prepare(tmp_path, logged)
    assert loaded == [6, 7, 8, 9, 10, 11]  # the last one before the interruption may have lacked a cube
    assert_complete(tmp_path)


def test_a_wrong_scene_keeps_nothing(tmp_path):
    def wrong(i):
        return cube_of(i, bands=7 if i < 5 else 6)

    with pytest.raises(ValueError, match='Scene s05 has 6 bands, but s00 has 7'):
        prepare(tmp_path / 'new', wrong)
    assert os.listdir(tmp_path) == []


def test_wrong_bands_are_noticed_against_finished_scenes_too(tmp_path):
    def failing(i):
        if i == 7:
            raise KeyboardInterrupt
        return cube_of(i)

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, failing)
    with pytest.raises(ValueError, match='Scene s08 has 6 bands, but s'):
        prepare(tmp_path, lambda i: cube_of(i, bands=7 if i < 8 else 6))


def interrupt(output: Path, count: int = 3) -> Path:
    """Leave a partial store of ``count`` scenes."""
    with pytest.raises(KeyboardInterrupt), CubeStoreWriter(output, resume='same') as writer:
        for seed in range(count):
            writer.add(f's{seed}', values_of(seed), 1 / 65535)
        raise KeyboardInterrupt
    return partial_store(output)


def test_a_partial_store_of_another_preparation_is_thrown_away(tmp_path):
    interrupt(tmp_path / 'a.lmdb')
    with CubeStoreWriter(tmp_path / 'a.lmdb', resume='other') as writer:
        assert not writer.finished
        writer.add('s9', values_of(9), 1 / 65535)
    assert CubeStore(tmp_path / 'a.lmdb').keys() == ['s9']
    assert os.listdir(tmp_path) == ['a.lmdb']
    assert sorted(os.listdir(tmp_path / 'a.lmdb')) == ['data.mdb', 'meta_info.txt', 'structure.json']


def test_a_damaged_partial_store_is_thrown_away(tmp_path):
    partial = interrupt(tmp_path / 'a.lmdb')
    data = (partial / 'data.mdb').read_bytes()
    value = values_of(1).tobytes()
    (partial / 'data.mdb').write_bytes(data.replace(value, value[:-1] + bytes([value[-1] ^ 4])))
    with CubeStoreWriter(tmp_path / 'a.lmdb', resume='same') as writer:
        assert not writer.finished
        writer.add('s1', values_of(1), 1 / 65535)
    assert CubeStore(tmp_path / 'a.lmdb').keys() == ['s1']


def test_a_finished_scene_that_has_changed_is_noticed(tmp_path):
    partial = interrupt(tmp_path / 'a.lmdb')
    message = 'Scene s1 has changed since the interrupted preparation'
    with pytest.raises(CubeStoreError, match=message), CubeStoreWriter(tmp_path / 'a.lmdb', resume='same') as writer:
        assert writer.finished == {'s0', 's1', 's2'}
        writer.add('s0', values_of(0), 1 / 65535)
        writer.add('s1', values_of(7), 1 / 65535)
    assert not partial.exists()


def test_the_description_follows_options_files_and_release(tmp_path, monkeypatch):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'a.mat').write_bytes(b'a')
    options = {'input': str(tmp_path / 'in'), 'scale': 0.5, 'key': None}
    first = describe_preparation(options)
    assert describe_preparation(dict(reversed(options.items()))) == first
    others = {describe_preparation({**options, 'scale': 0.25})}
    (tmp_path / 'in' / 'b.mat').write_bytes(b'b')
    others.add(describe_preparation(options))
    (tmp_path / 'in' / 'b.mat').write_bytes(b'bb')
    others.add(describe_preparation(options))
    os.utime(tmp_path / 'in' / 'a.mat', (1, 1))
    others.add(describe_preparation(options))
    monkeypatch.setattr('mulsr_plugin.data.prepare.__version__', '99')
    others.add(describe_preparation(options))
    assert len(others | {first}) == 6


# ---- two at once


def write_slowly(output: Path, resume, started, go_on) -> None:
    with CubeStoreWriter(output, resume=resume) as writer:
        writer.add('s0', values_of(0), 1 / 65535)
        started.set()
        go_on.wait(60)


@pytest.mark.parametrize('resume', [None, 'same'])
def test_two_writers_of_one_output_exclude_each_other(tmp_path, resume):
    output, started, go_on = tmp_path / 'a.lmdb', _FORK.Event(), _FORK.Event()
    process = _FORK.Process(target=write_slowly, args=(output, resume, started, go_on))
    process.start()
    assert started.wait(60)
    for second in (None, 'same', 'other'):
        with pytest.raises(BlockingIOError, match=rf'a\.lmdb is being written by process {process.pid} of .*: wait'):
            CubeStoreWriter(output, resume=second).__enter__()
    go_on.set()
    process.join()
    assert process.exitcode == 0
    assert os.listdir(tmp_path) == ['a.lmdb']
    assert CubeStore(output).keys() == ['s0']


@pytest.mark.parametrize('resume', [None, 'same'])
def test_the_lock_of_a_killed_writer_is_gone_with_it(tmp_path, resume):
    output, started, go_on = tmp_path / 'a.lmdb', _FORK.Event(), _FORK.Event()
    process = _FORK.Process(target=write_slowly, args=(output, resume, started, go_on))
    process.start()
    assert started.wait(60)
    process.kill()
    process.join()
    assert len(os.listdir(tmp_path)) == 2  # the file of the lock and the partial store
    with CubeStoreWriter(output, resume=resume) as writer:
        assert writer.finished == ({'s0'} if resume else frozenset())
        writer.add('s1', values_of(1), 1 / 65535)
    assert os.listdir(tmp_path) == ['a.lmdb']


def test_many_writers_at_once_give_one_sound_store(tmp_path):
    """A race of eight for the same name, over and over: one wins each time, and the others say why not."""

    def race(barrier, results):
        barrier.wait()
        try:
            with CubeStoreWriter(tmp_path / 'a.lmdb', resume='same') as writer:
                writer.add('s0', values_of(0), 1 / 65535)
            results.put('won')
        except (BlockingIOError, FileExistsError):
            results.put('lost')

    for _ in range(5):
        barrier, results = _FORK.Barrier(8), _FORK.Queue()
        processes = [_FORK.Process(target=race, args=(barrier, results)) for _ in range(8)]
        for process in processes:
            process.start()
        assert sorted(results.get(timeout=60) for _ in processes) == ['lost'] * 7 + ['won']
        for process in processes:
            process.join()
        assert os.listdir(tmp_path) == ['a.lmdb']
        assert verify_store(tmp_path / 'a.lmdb') == []
        for name in os.listdir(tmp_path / 'a.lmdb'):
            (tmp_path / 'a.lmdb' / name).unlink()
        (tmp_path / 'a.lmdb').rmdir()


def test_a_full_disk_keeps_the_finished_scenes_and_says_so(tmp_path):
    if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', tmp_path]).returncode:
        pytest.skip('mounting a small disk is not allowed here')
    try:
        output = tmp_path / 'a.lmdb'
        message = r'the disk is full .*its \d finished scenes are kept in \.a\.lmdb\.partial'
        with pytest.raises(OSError, match=message), CubeStoreWriter(output, resume='same') as writer:
            for seed in range(9):
                writer.add(f's{seed}', values_of(seed, side=160), 1 / 65535)
        subprocess.run(['mount', '-o', 'remount,size=30m', tmp_path], check=True)
        with CubeStoreWriter(output, resume='same') as writer:
            assert len(writer.finished) in range(4, 9)
            for seed in range(9):
                writer.add(f's{seed}', values_of(seed, side=160), 1 / 65535)
        assert os.listdir(tmp_path) == ['a.lmdb']
        np.testing.assert_array_equal(CubeStore(output).read('s8'), values_of(8, side=160))
    finally:
        subprocess.run(['umount', '-l', tmp_path], check=True)
