"""Scripts given what they cannot work with: one sentence, an exit code, and nothing changed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from importlib import import_module
from pathlib import Path

import pytest

from mulsr_plugin.cli.arguments import whole_number
from tests.processes import started_python

ROOT = Path(__file__).resolve().parents[2]


SHIPPED = ['name', 'file', '--results', 'full', '--data', 'd', '--training', 't', '--limits', 'l']


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'mine').write_text('precious')
    (tmp_path / 'file').write_text('no folder')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    'script, arguments, message',
    [
        ('dev.soak', ['--out', 'full'], 'full exists already and is left as it is: remove it or name another --out'),
        ('dev.soak', ['--out', 'file/x'], 'Not a directory'),
        ('dev.soak', ['--minutes', 'nan'], '--minutes is nan, expected a number of at least 0'),
        ('dev.soak', ['--iterations', '0'], 'argument --iterations: 0 is no whole number of at least 1'),
        ('dev.soak', ['--kill-after', '5', '1'], '--kill-after takes the shortest and the longest time'),
        (
            'dev.measure_tiles',
            ['--weights', 'w.pth', '--dataroot', 'x', '--scenes', 'a', '--halos', '-1'],
            '-1 is no whole',
        ),
        (
            'dev.speed.run',
            ['--lmdb', 'nowhere', '--cases', 'loader', '--output', 'full'],
            'There is no cube store at nowhere',
        ),
        ('dev.speed.run', ['--cases', 'nothing'], "invalid choice: 'nothing'"),
        ('dev.speed.run', ['--scene-bands', '99'], '99 is no whole number from 1 to 31'),
        ('dev.speed.run', ['--reference', 'nowhere'], 'nowhere'),
        (
            'dev.robustness',
            ['--weights', 'w.pth', '--lmdb', 'x', '--crop-size', '-8'],
            '-8 is no whole number of at least 1',
        ),
        ('dev.robustness', ['--weights', 'w.pth', '--lmdb', 'x', '--sweeps', 'zz'], '--sweeps zz begins no name of '),
        ('dev.timed.search_recipe', ['--grid', 'nowhere'], 'There is no option file nowhere'),
        ('dev.timed.search_recipe', ['--grid', 'file'], 'file holds no block of options'),
        ('dev.timed.search_recipe', ['--minutes', '-1'], '-1 is no number above 0'),
        ('dev.timed.search_recipe', ['--budget', 'inf'], 'inf is no number above 0'),
        ('dev.timed.time_to_quality', ['--opt', 'nowhere'], 'There is no option file nowhere'),
        ('dev.timed.time_to_quality', ['--every', '0'], '0 is no number above 0'),
        (
            'dev.timed.time_to_quality',
            ['--reference', 'full', '--opt', f'{ROOT}/options/train_mulsr_cave_x8.yml'],
            'full',
        ),
        ('dev.ship_weights', [*SHIPPED, '--opt', 'file'], 'file holds no block of options'),
        ('dev.gpu_pieces.train_on_gpu', ['--opt', 'file'], 'file holds no block of options'),
        ('dev.gpu_pieces.train_on_gpu', ['--force-yml', 'abc'], '--force-yml abc sets no option: write KEY=VALUE'),
    ],
)
def test_mistake_is_one_sentence(folder, script, arguments, message, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', [script, *arguments])
    try:
        status = import_module(f'scripts.{script}').main()
    except SystemExit as end:
        status = end.code
    told = status if isinstance(status, str) else capsys.readouterr().err.strip().splitlines()[-1]
    assert status not in (0, None)
    assert 'error: ' in told
    assert message in told
    assert sorted(os.listdir(folder)) == ['file', 'full']
    assert (folder / 'full' / 'mine').read_text() == 'precious'


@pytest.mark.parametrize('text', ['0', '-3', '2.5', '', 'x', '11', '9' * 5000])
def test_whole_numbers(text):
    assert whole_number(1, 10)('10') == 10
    with pytest.raises(argparse.ArgumentTypeError, match='is no whole number from 1 to 10'):
        whole_number(1, 10)(text)


def test_interrupted_soak_takes_its_training_along(folder):
    with started_python('-m', 'scripts.dev.soak', '--out', 'soak', cwd=folder, path=ROOT) as process:
        deadline = time.monotonic() + 60
        while not (folder / 'soak' / 'log').exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert told.splitlines()[-1] == 'interrupted: soak has the logs so far, but no soak.json'
    training = 'mulsr_plugin.train\0-opt\0undisturbed.yml'
    running = [path for path in Path('/proc').glob('[0-9]*/cmdline') if training in read(path)]
    assert not [path for path in running if (path.parent / 'cwd').resolve() == folder / 'soak']


def read(path: Path) -> str:
    try:
        return path.read_text(errors='replace')
    except OSError:  # ended meanwhile
        return ''
