"""train_on_gpu.py in short pieces, from scenes to a test, with the state carried between machines."""

from __future__ import annotations

import csv
import importlib
import io
import multiprocessing
import os
import random
import runpy
import shutil
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
import torch
import yaml

from mulsr_plugin.__main__ import main as mulsr
from mulsr_plugin.training.stop_signals import EXIT_STOPPED
from mulsr_plugin.training.trainer import train
from scripts.dev.gpu_pieces.train_on_gpu import SUMS, names_in_parts, read_parts, write_parts

ROOT = Path(__file__).resolve().parents[2]
TOTAL_ITER = 6
CONTEXT = multiprocessing.get_context('forkserver')
CONTEXT.set_forkserver_preload(
    ['mulsr_plugin.training.trainer', 'mulsr_plugin.training.tester', 'tests.reliability.runs', __name__]
)


@pytest.fixture
def machine(tmp_path, demo_scenes):
    """A working directory with small option files and three synthetic scenes."""

    def make(name):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copytree(demo_scenes, folder / 'scenes')
        opt = yaml.safe_load((ROOT / 'options' / 'train_mulsr_cave_x8_cpu.yml').read_text())
        opt['name'] = 'tiny'
        opt['datasets']['train'].update(gt_size=16, crops_per_image=4, num_worker_per_gpu=0)
        opt['network_g'].update(num_feat=8)
        # measured anew, the faster precision of so small a network is not always the same
        opt['train'].update(total_iter=TOTAL_ITER, bands_per_chunk=31, precision='bf16')
        opt['val'].update(val_freq=3, crop_size=16, bands=2, metrics={'psnr': opt['val']['metrics']['psnr']})
        opt['logger'].update(print_freq=1, save_checkpoint_freq=3, use_tb_logger=False)
        (folder / 'train.yml').write_text(yaml.safe_dump(opt))
        test = yaml.safe_load((ROOT / 'options' / 'test_mulsr_cave_x8.yml').read_text())
        test['num_gpu'] = 0
        test['val'].update(save_img=False, save_cube=None, max_images=1, bands=2, metrics=opt['val']['metrics'])
        (folder / 'test.yml').write_text(yaml.safe_dump(test))
        return folder

    return make


def call(folder, *options, expect=0):
    """Call the script; its programs are forked from one that has imported everything, and write into a file."""
    log = folder / f'{time.monotonic_ns()}.txt'
    script = runpy.run_module('scripts.dev.gpu_pieces.train_on_gpu')

    def run(arguments):
        process = CONTEXT.Process(target=program, args=(folder, [str(word) for word in arguments], log))
        process.start()
        process.join()
        return process.exitcode

    before = os.getcwd()
    os.chdir(folder)
    script['main'].__globals__['run'] = run
    output = io.StringIO()
    try:
        with redirect_stdout(output), redirect_stderr(output):
            code = script['main'](['--opt', 'train.yml', '--test-opt', 'test.yml', '--data', 'data', *options])
    finally:
        os.chdir(before)
    output = output.getvalue() + (log.read_text() if log.exists() else '')
    assert code == expect, output[-3000:]
    return output


def program(folder, arguments, log):
    """Do what ``python -m MODULE ...`` does, in a process of its own.

    A training counts its minutes as if it had begun a minute ago: one with less time ends after its first iteration.
    """
    os.chdir(folder)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    assert arguments[0] == '-m'
    sys.argv = arguments[1:]
    if arguments[1] == 'mulsr_plugin.train':
        sys.exit(train(os.getcwd(), time.monotonic() - 60))
    importlib.import_module(arguments[1]).main()


def prepare(folder):
    """Two scenes to train with and one to test, as --input would make them of the whole of CAVE."""
    data = [str(folder / 'scenes'), '--out', str(folder / 'data')]
    assert mulsr(['prepare', 'cave', *data, '--test-scenes', 'demo_03']) == 0


def weights(folder):
    path = folder / 'experiments' / 'tiny' / 'models' / 'net_g_latest.pth'
    return torch.load(path, weights_only=True)['params_ema']


def test_a_training_in_pieces_on_two_machines_is_that_of_one_piece(machine):
    whole, first, second = machine('whole'), machine('first'), machine('second')
    for folder in (whole, first):
        prepare(folder)
    output = call(whole, '--state', 'state')
    assert f'Iterations 0 to {TOTAL_ITER}' in output and 's waiting for data' in output
    assert (whole / 'results' / 'tiny' / 'metrics_CAVE_noise_free.csv').is_file()
    pieces = ['--minutes', '1', '--reserve', '0.5', '--state', 'state', '--part-mib', '0.05']
    output = call(first, *pieces, expect=EXIT_STOPPED)
    assert 'give the same command again' in output and 'The time budget ends this run' in output
    shutil.copytree(first / 'state', second / 'state')
    write_parts(first / 'data', ['train.lmdb', 'test.lmdb'], second / 'parts', 0.3)
    output = call(second, '--input', 'parts', '--state', 'state', '--state-out', 'newer')
    assert 'Taken up from state: iteration 1.' in output
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(whole).items())
    with open(second / 'experiments' / 'tiny' / 'pieces.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [(row['from_iteration'], row['to_iteration']) for row in rows] == [('0', '1'), ('1', str(TOTAL_ITER))]
    assert f'models/net_g_{TOTAL_ITER}.pth' in names_in_parts(second / 'newer')
    assert 'Tested already' in call(second)


def test_missing_data_and_broken_input(machine):
    folder = machine('empty')
    assert 'error: data has no train.lmdb and test.lmdb: give --input' in call(folder, expect=1)
    (folder / 'parts').mkdir()
    (folder / 'parts' / SUMS).write_text(f'{"0" * 64}  part_000\n')
    assert 'part_000: No such file' in call(folder, '--input', 'parts', expect=1)


@pytest.fixture
def parts(tmp_path):
    """A folder of files and their parts: 100,000 random bytes, an empty file, and one with a blank in its name."""
    root = tmp_path / 'run'
    (root / 'models').mkdir(parents=True)
    (root / 'models' / 'net.pth').write_bytes(random.Random(0).randbytes(100_000))
    (root / 'empty.log').touch()
    (root / 'a b.csv').write_text('1')
    write_parts(root, ['models/net.pth', 'empty.log', 'a b.csv'], tmp_path / 'parts', 0.03)
    return tmp_path / 'parts'


def test_files_come_back_from_their_parts(parts, tmp_path):
    sizes = [path.stat().st_size for path in sorted(parts.glob('part_*'))]
    assert len(sizes) == 4 and max(sizes) <= 0.03 * 2**20
    assert sorted(names_in_parts(parts)) == ['a b.csv', 'empty.log', 'models/net.pth']
    read_parts(parts, tmp_path / 'back')
    for name in names_in_parts(parts):
        assert (tmp_path / 'back' / name).read_bytes() == (tmp_path / 'run' / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / 'back').iterdir()) == ['a b.csv', 'empty.log', 'models']
    write_parts(tmp_path / 'run', ['empty.log'], parts, 0.03)  # parts from before go
    assert sorted(path.name for path in parts.iterdir()) == [SUMS, 'part_000']


@pytest.mark.parametrize('damage', ['flip', 'cut', 'remove'])
def test_damaged_parts_leave_existing_files_alone(parts, tmp_path, damage):
    part = parts / 'part_001'
    content = part.read_bytes()
    part.write_bytes(content[:-1] if damage == 'cut' else content[:99] + bytes([content[99] ^ 1]) + content[100:])
    if damage == 'remove':
        part.unlink()
    (tmp_path / 'run' / 'a b.csv').write_text('2')
    with pytest.raises(ValueError, match='part_001'):
        read_parts(parts, tmp_path / 'run')
    assert (tmp_path / 'run' / 'a b.csv').read_text() == '2'
    assert sorted(path.name for path in (tmp_path / 'run').iterdir()) == ['a b.csv', 'empty.log', 'models']


def test_summary_of_a_log():
    speed = runpy.run_module('scripts.dev.gpu_pieces.train_on_gpu')['speed']
    line = '[x..][epoch:  0, iter:       {}, lr:(1e-4,)] [eta: 0:00:10, time (data): {} ({})] l_pix: 1.0e-1 {}\n'
    log = line.format(1, '0.300', '0.100', '') + line.format(2, '0.100', '0.000', '')
    assert speed(log) == '0.200 s per iteration, of which 0.050 s waiting for data.'
    log = line.format(1, '0.3', '0.1', 'gpu_percent: 9.0000e+01 ') + line.format(2, '0.1', '0', 'gpu_percent: 9.8e+01 ')
    assert speed(log).endswith('waiting for data, GPU busy 94 % of the time.')
    assert speed('nothing') == 'no iteration was logged.'
