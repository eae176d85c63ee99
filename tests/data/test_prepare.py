"""Preparing a data set: the command line, and that all stores appear or none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import skimage.io

from mulsr_plugin.data.cube import Cube, SourceScene
from mulsr_plugin.data.prepare import check_outputs, prepare_dataset, split_scenes, verify_dataset
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.data.store.reader import CubeStore

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / 'scripts' / 'prepare_dataset.py'


def cube_of(seed: int, bands: int = 4, rgb: bool = False) -> Cube:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 65536, (12, 10, bands)).astype(np.uint16)
    return Cube(values, 1 / 65535, rgb=values[..., :3].astype(np.uint8) if rgb else None)


def source(*cubes: Cube) -> list[SourceScene]:
    return [SourceScene(f's{i}', lambda cube=cube: cube) for i, cube in enumerate(cubes)]


def test_cave_command(main, demo_scenes, tmp_path, capsys):
    output = tmp_path / 'new' / 'cave'
    arguments = ['cave', '--input', str(demo_scenes), '--output', str(output), '--test-scenes', 'demo_02', '--verify']
    assert main([*arguments, '--with-rgb']) == 0
    assert sorted(os.listdir(output)) == ['test.lmdb', 'test_rgb.lmdb', 'train.lmdb', 'train_rgb.lmdb']
    test, pictures = CubeStore(output / 'test.lmdb'), CubeStore(output / 'test_rgb.lmdb')
    assert test.keys() == pictures.keys() == ['demo_02']
    assert CubeStore(output / 'train.lmdb').keys() == ['demo_01', 'demo_03']
    files = demo_scenes / 'demo_02_ms' / 'demo_02_ms'
    np.testing.assert_array_equal(test.read('demo_02')[..., 6], skimage.io.imread(files / 'demo_02_ms_07.png'))
    np.testing.assert_array_equal(pictures.read('demo_02'), skimage.io.imread(files / 'demo_02_RGB.bmp'))
    header, rgb_header = test.header('demo_02'), pictures.header('demo_02')
    assert (header.scale, header.dtype, header.wavelengths[3], len(header.wavelengths)) == (
        1 / 65535,
        'uint16',
        430.0,
        31,
    )
    assert (rgb_header.scale, rgb_header.dtype, rgb_header.wavelengths) == (1 / 255, 'uint8', None)
    assert capsys.readouterr().out.count('sound') == 4


def test_mat_command(main, tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    for name in 'abc':
        cube = cube_of(ord(name)).values >> 4
        scipy.io.savemat(tmp_path / 'in' / f'{name}.mat', {'hsi': cube, 'other': cube})
    arguments = ['mat', '--input', str(tmp_path / 'in'), '--output', str(tmp_path / 'out')]
    assert main(arguments) == 1
    assert 'name one with --key' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert main([*arguments, '--key', 'hsi', '--scale', '1/4095']) == 0
    store = CubeStore(tmp_path / 'out' / 'train.lmdb')
    assert (store.keys(), store.header('a').scale) == (['a', 'b', 'c'], 1 / 4095)
    np.testing.assert_array_equal(store.read('b'), cube_of(ord('b')).values >> 4)
    assert os.listdir(tmp_path / 'out') == ['train.lmdb']


@pytest.mark.parametrize('scale', ['0', '-1', 'x', '1/0', 'nan'])
def test_scale_must_be_positive(main, scale, capsys):
    with pytest.raises(SystemExit):
        main(['mat', '--input', 'a', '--output', 'b', f'--scale={scale}'])
    assert 'is not a positive number or fraction' in capsys.readouterr().err


def test_default_list_names_what_is_missing(main, demo_scenes, tmp_path, capsys):
    arguments = ['cave', '--input', str(demo_scenes), '--output', str(tmp_path / 'out')]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith('error: 32 of the 32 listed scenes are missing: beads, cd, chart_and_stuffed_toy')
    assert error.rstrip().endswith('or go on without them by --allow-missing.')
    assert main([*arguments, '--allow-missing']) == 1
    assert 'None of the listed scenes is there; there are demo_01, demo_02, demo_03' in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_allow_missing_tells_what_is_left_out(main, demo_scenes, tmp_path, capsys):
    (tmp_path / 'split.txt').write_text('[train]\ndemo_01\nabsent\n[test]\ndemo_03\n')
    arguments = ['cave', '--input', str(demo_scenes), '--output', str(tmp_path / 'out')]
    assert main([*arguments, '--split', str(tmp_path / 'split.txt'), '--allow-missing']) == 0
    out = capsys.readouterr().out
    assert 'Going on without 1 missing scenes: absent' in out
    assert 'Leaving out 1 scenes that the list does not name: demo_02' in out
    assert CubeStore(tmp_path / 'out' / 'train.lmdb').keys() == ['demo_01']
    assert CubeStore(tmp_path / 'out' / 'test.lmdb').keys() == ['demo_03']


def test_existing_output_is_refused_before_the_input_is_looked_at(main, tmp_path, capsys):
    (tmp_path / 'out' / 'test.lmdb').mkdir(parents=True)
    (tmp_path / 'out' / 'test.lmdb' / 'mine').write_text('mine')
    assert main(['cave', '--input', str(tmp_path / 'absent'), '--output', str(tmp_path / 'out')]) == 1
    assert 'test.lmdb exists already and is left as it is' in capsys.readouterr().err
    assert os.listdir(tmp_path / 'out') == ['test.lmdb']
    assert (tmp_path / 'out' / 'test.lmdb' / 'mine').read_text() == 'mine'


def test_existing_picture_store_matters_only_when_it_would_be_written(tmp_path):
    (tmp_path / 'train_rgb.lmdb').mkdir()
    check_outputs(tmp_path)
    with pytest.raises(FileExistsError, match=r'train_rgb\.lmdb exists already'):
        check_outputs(tmp_path, with_rgb=True)


def test_damaged_scene_leaves_nothing(main, demo_scenes, tmp_path, capsys):
    shutil.copytree(demo_scenes, tmp_path / 'in')
    broken = tmp_path / 'in' / 'demo_03_ms' / 'demo_03_ms' / 'demo_03_ms_12.png'
    broken.write_bytes(broken.read_bytes()[:-50])
    arguments = ['cave', '--input', str(tmp_path / 'in'), '--output', str(tmp_path / 'new' / 'out')]
    assert main([*arguments, '--test-scenes', 'demo_01']) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if 'error' in line]
    assert line.startswith('error: Scene demo_03: demo_03_ms/demo_03_ms/demo_03_ms_12.png is cut short')
    assert os.listdir(tmp_path) == ['in']


def test_interruption_leaves_nothing(tmp_path):
    def interrupted():
        raise KeyboardInterrupt

    scenes = [*source(cube_of(0), cube_of(1)), SourceScene('s2', interrupted)]
    with pytest.raises(KeyboardInterrupt):
        prepare_dataset(scenes, tmp_path / 'out', split_scenes(scenes, test_scenes=['s1']), progress=False)
    assert os.listdir(tmp_path) == []


def test_store_that_cannot_be_published_withdraws_the_other(tmp_path, monkeypatch):
    scenes = source(cube_of(0), cube_of(1))
    rename = os.rename

    def refusing(old, new):
        if str(new).endswith('test.lmdb'):
            raise OSError('no')
        rename(old, new)

    monkeypatch.setattr(os, 'rename', refusing)
    with pytest.raises(OSError, match='no'):
        prepare_dataset(scenes, tmp_path / 'out', split_scenes(scenes, test_scenes=['s1']), progress=False)
    assert os.listdir(tmp_path) == []


def test_scenes_with_other_bands_are_refused(tmp_path):
    scenes = source(cube_of(0), cube_of(1, bands=5))
    with pytest.raises(ValueError, match='Scene s1 has 5 bands, but s0 has 4'):
        prepare_dataset(scenes, tmp_path / 'out', split_scenes(scenes, test_scenes=['s1']), progress=False)
    assert os.listdir(tmp_path) == []


def test_scene_without_the_wanted_picture_is_refused(tmp_path):
    scenes = source(cube_of(0, rgb=True), cube_of(1))
    with pytest.raises(ValueError, match='Scene s1 has no colour picture'):
        prepare_dataset(scenes, tmp_path / 'out', split_scenes(scenes), with_rgb=True, progress=False)
    assert os.listdir(tmp_path) == []


def test_verify_command_names_the_damaged_scene(main, demo_dataset, tmp_path, capsys):
    copy = shutil.copytree(demo_dataset, tmp_path / 'copy')
    assert main(['verify', str(copy)]) == 0
    value = CubeStore(copy / 'train.lmdb').read('demo_02').tobytes()
    path = copy / 'train.lmdb' / 'data.mdb'
    path.write_bytes(path.read_bytes().replace(value, value[:-1] + bytes([value[-1] ^ 1])))
    assert main(['verify', str(copy)]) == 1
    out = capsys.readouterr().out
    assert 'train.lmdb: 1 problems\n  Scene demo_02 of ' in out
    assert 'test.lmdb: sound' in out
    assert main(['verify', str(copy / 'test.lmdb'), str(copy / 'train.lmdb')]) == 1
    assert main(['verify', str(tmp_path)]) == 1
    assert 'There is no *.lmdb store in' in capsys.readouterr().err


def test_verify_dataset_returns_problems_by_store(demo_dataset):
    found = verify_dataset(demo_dataset)
    assert sorted(Path(path).name for path in found) == ['test.lmdb', 'test_rgb.lmdb', 'train.lmdb', 'train_rgb.lmdb']
    assert not any(found.values())


def test_zip_gives_the_same_store_as_the_folder(demo_scenes, demo_dataset, tmp_path):
    archive = shutil.make_archive(str(tmp_path / 'complete_ms_data'), 'zip', demo_scenes.parent, demo_scenes.name)
    scenes = cave_scenes(archive)
    prepare_dataset(scenes, tmp_path / 'out', split_scenes(scenes, test_scenes=['demo_03']), progress=False)
    for phase in ('train', 'test'):
        for file in ('data.mdb', 'meta_info.txt'):
            expected, found = demo_dataset / f'{phase}.lmdb' / file, tmp_path / 'out' / f'{phase}.lmdb' / file
            assert found.read_bytes() == expected.read_bytes()


def test_terminated_command_writes_no_store_and_tells_what_it_keeps(demo_scenes, tmp_path):
    """The real command line, stopped while it waits for the third band of its second scene."""
    shutil.copytree(demo_scenes, tmp_path / 'in')
    pipe = tmp_path / 'in' / 'demo_02_ms' / 'demo_02_ms' / 'demo_02_ms_03.png'
    pipe.unlink()
    os.mkfifo(pipe)
    command = [sys.executable, str(SCRIPT), 'cave', '--input', str(tmp_path / 'in'), '--output', str(tmp_path / 'out')]
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    log = tmp_path / 'log'
    with log.open('wb') as errors:
        process = subprocess.Popen([*command, '--test-scenes', 'demo_02'], env=environment, stderr=errors)
    deadline = time.monotonic() + 120
    while b'scene/s, demo_02' not in log.read_bytes():  # which it says when the first scene is stored
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=60)
    assert process.returncode == 143
    assert os.listdir(tmp_path / 'out') == ['.train.lmdb.partial']
    assert f'Finished scenes are kept in {tmp_path / "out" / ".train.lmdb.partial"}: the same' in log.read_text()
