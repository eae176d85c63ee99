"""Checkpoints under kills, full disks and damage; what auto_resume makes of damaged states."""

from __future__ import annotations

import multiprocessing
import os
import resource
import shutil
import signal
import subprocess
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from mulsr_plugin.checkpoints.files import CheckpointError, load_safely, save_atomically
from mulsr_plugin.checkpoints.states import find_resume_state
from mulsr_plugin.utils.files import remove_partial_files
from tests.models.tiny import make_stores
from tests.reliability.runs import Run, assert_same_weights, states_of, weights_of, write_options

# more: MULSR_KILLS=1000 pytest tests/reliability -k kill
KILLS = int(os.environ.get('MULSR_KILLS', 40))


def content_of(number: int) -> dict:
    """About 1 MB, all of it telling ``number``."""
    return {'number': number, 'tensors': [torch.full((50_000,), float(number)) for _ in range(5)]}


def assert_whole(content: dict) -> int:
    number = content['number']
    assert all(torch.equal(tensor, torch.full((50_000,), float(number))) for tensor in content['tensors'])
    return number


def save_for_ever(path: str, number: int) -> None:
    while True:
        number += 1
        save_atomically(content_of(number), path)


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    """SIGKILL at random moments of a process that does nothing but save: never an older, torn or missing file."""
    path, rng, last, unfinished = tmp_path / 'a.state', np.random.default_rng(0), 0, 0
    save_atomically(content_of(0), path)
    context = multiprocessing.get_context('fork')
    for _ in range(KILLS):
        process = context.Process(target=save_for_ever, args=(str(path), last))
        process.start()
        time.sleep(float(rng.uniform(0.005, 0.06)))
        process.kill()
        process.join()
        number = assert_whole(load_safely(path))
        assert number >= last
        last = number
        left = remove_partial_files(tmp_path)
        unfinished += len(left)
        assert os.listdir(tmp_path) == ['a.state']
    assert last > 0  # it did save
    assert unfinished > 0  # and kills fell into the middle of saving


def test_files_of_living_processes_and_of_others_are_not_removed(tmp_path):
    sleeper = subprocess.Popen(['sleep', '60'])
    names = {f'.a.state.partial-{sleeper.pid}', 'a.state', '.a.partial-x', 'b.partial-1'}
    dead = subprocess.Popen(['true'])
    dead.wait()
    for name in {*names, f'.a.state.partial-{dead.pid}'}:
        (tmp_path / name).touch()
    assert remove_partial_files(tmp_path) == [f'.a.state.partial-{dead.pid}']
    assert set(os.listdir(tmp_path)) == names
    sleeper.kill()
    sleeper.wait()


# ---- full disk


def assert_old_file_is_kept(folder: Path) -> None:
    path = folder / 'a.state'
    with pytest.raises(CheckpointError) as caught:
        for number in range(1, 1000):
            save_atomically({'number': number, 'tensor': torch.zeros(10_000 * number)}, path)
    assert str(caught.value).startswith(f'Cannot write {path} (')
    assert str(caught.value).endswith('a file already there is untouched: free some space or name another folder.')
    assert '\n' not in str(caught.value)
    assert load_safely(path)['number'] == number - 1 > 1
    assert os.listdir(folder) == ['a.state']


def test_full_disk_keeps_the_old_file(tmp_path):
    if os.geteuid() or subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', tmp_path]).returncode:
        pytest.skip('mounting a small disk is not allowed here')
    try:
        assert_old_file_is_kept(tmp_path)
    finally:
        subprocess.run(['umount', tmp_path], check=True)


def test_file_size_limit_keeps_the_old_file(tmp_path):
    def limited(queue):
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
        try:
            assert_old_file_is_kept(tmp_path)
            queue.put(None)
        except BaseException as error:
            queue.put(repr(error))

    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    context.Process(target=limited, args=(queue,)).start()
    assert queue.get(timeout=60) is None


# ---- damage


def test_no_flipped_byte_of_a_checkpoint_passes_unnoticed(tmp_path):
    path, rng = tmp_path / 'a.pth', np.random.default_rng(0)
    tensors = {f'layer{i}': torch.from_numpy(rng.standard_normal(3000)) for i in range(3)}
    save_atomically({'params': tensors}, path)
    data = path.read_bytes()
    noticed = 0
    for position in rng.integers(len(data), size=300):
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            read = load_safely(path)['params']
        except ValueError:
            noticed += 1
        else:  # padding, or a field of the archive that nobody reads
            assert read.keys() == tensors.keys()
            assert all(torch.equal(read[name], tensors[name]) for name in tensors)
    assert noticed > 200


def test_truncated_at_every_percent(tmp_path):
    path = tmp_path / 'a.pth'
    save_atomically({'params': {'weight': torch.arange(5000.0)}}, path)
    size = os.path.getsize(path)
    for percent in range(99, -1, -1):
        os.truncate(path, size * percent // 100)
        with pytest.raises(ValueError, match=r'a\.pth is damaged or is not a checkpoint'):
            load_safely(path)


def resume_options(folder: Path, name: str) -> dict:
    root = folder / 'experiments' / name
    path = {'models': str(root / 'models'), 'training_states': str(root / 'training_states')}
    return {'auto_resume': True, 'path': path, 'network_g': {}, 'name': name}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    """A run of 60 iterations with states at 25 and 50."""
    folder = tmp_path_factory.mktemp('saved')
    make_stores(folder)
    Run(folder, write_options(folder, 'run', lambda opt: opt['logger'].update(save_checkpoint_freq=25))).end()
    assert states_of(folder, 'run') == [25, 50]
    return folder


def cut(share):
    def damage(path):
        os.truncate(path, int(share * os.path.getsize(path)))

    return damage


def flip(path):
    """Flip a bit of the largest record: between records is padding, which nobody reads."""
    with zipfile.ZipFile(path) as archive:
        content = archive.read(max(archive.infolist(), key=lambda record: record.file_size))
    data = bytearray(path.read_bytes())
    data[data.index(content) + len(content) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    'empty': cut(0),
    'cut at 10 %': cut(0.1),
    'cut at 50 %': cut(0.5),
    'cut at 99 %': cut(0.99),
    'flipped bit': flip,
    'text': lambda path: path.write_text('state'),
    'list': lambda path: torch.save([1, 2], path),
    'missing': lambda path: path.unlink(),
}


@pytest.mark.parametrize('file', ['training_states/50.state', 'models/net_g_50.pth'])
@pytest.mark.parametrize('damage', DAMAGES)
def test_a_damaged_newest_state_or_network_is_passed_over(saved, tmp_path, file, damage):
    shutil.copytree(saved / 'experiments', tmp_path / 'experiments')
    DAMAGES[damage](tmp_path / 'experiments' / 'run' / file)
    opt = resume_options(tmp_path, 'run')
    state, warnings = find_resume_state(opt)
    assert state['iter'] == 25
    assert opt['path']['resume_state'].endswith('25.state')
    if not (damage == 'missing' and 'states' in file):
        (warning,) = warnings
        assert Path(file).name in warning
        assert warning.endswith('50.state for the state before it.')


def test_two_damaged_states_leave_none_and_say_so(saved, tmp_path):
    shutil.copytree(saved / 'experiments', tmp_path / 'experiments')
    for state in (tmp_path / 'experiments' / 'run' / 'training_states').iterdir():
        cut(0.5)(state)
    state, warnings = find_resume_state(resume_options(tmp_path, 'run'))
    assert state is None
    assert len(warnings) == 3 and 'the training starts anew' in warnings[-1]


def test_a_run_with_a_damaged_network_and_a_partial_file_goes_on_from_the_state_before(saved, tmp_path):
    """The whole way: the run warns, cleans up, resumes from iteration 25 and ends as the first one did."""
    for name in ('train.lmdb', 'test.lmdb', 'response.npy', 'run.yml'):
        source = saved / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    shutil.copytree(saved / 'experiments', tmp_path / 'experiments')
    models = tmp_path / 'experiments' / 'run' / 'models'
    flip(models / 'net_g_50.pth')
    dead = subprocess.Popen(['true'])
    dead.wait()
    (models / f'.net_g_55.pth.partial-{dead.pid}').write_bytes(b'half')
    log = Run(tmp_path, 'run.yml', '--auto_resume').end()
    assert 'net_g_50.pth is damaged' in log
    assert f'Removed .net_g_55.pth.partial-{dead.pid} from models' in log
    assert 'Resuming from epoch 1, batch 5 of 20, iteration 25.' in log
    assert not list(models.glob('.*'))
    assert_same_weights(weights_of(tmp_path, 'run'), weights_of(saved, 'run'))


def test_training_goes_on_when_the_disk_is_full_and_stopping_says_so(saved, tmp_path):
    """The folder of the states refuses: saving is logged and survived; a signal cannot save and exits with an error."""
    for name in ('train.lmdb', 'test.lmdb', 'response.npy'):
        source = saved / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)

    def often(opt):
        opt['logger']['save_checkpoint_freq'] = 10
        opt['train']['total_iter'] = 100_000

    run = Run(tmp_path, write_options(tmp_path, 'full', often))
    run.wait_for('iter:       5,')
    states = tmp_path / 'experiments' / 'full' / 'training_states'
    states.rename(states.with_name('gone'))  # writing fails for root too
    run.wait_for('Training goes on without the state of iteration')
    run.send(signal.SIGTERM)
    log = run.end(expect=1)
    assert log.rstrip().splitlines()[-1].startswith('error: The run was stopped and ')
    assert 'Traceback' not in log
