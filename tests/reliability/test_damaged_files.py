"""Whatever a file holds, reading it gives a result or one sentence, in bounded memory and time, and writes nowhere."""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io

from mulsr_plugin.data.cube import check_key
from mulsr_plugin.data.formats import FormatError, read_cube, scene_key
from mulsr_plugin.data.scene_splits import read_split
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.data.spectral_response import load_spectral_response
from mulsr_plugin.data.store.writer import CubeStoreWriter
from tests.processes import ROOT, run_python

# MULSR_FUZZ=100 flips a hundred times as many
NUM_FLIPPED = 15 * int(os.environ.get('MULSR_FUZZ', '1'))
ESCAPES = ('../evil', '..', '/tmp/evil', 'C:evil', 'C:\\evil', 'a/b', 'a\\b', 'a\0b', '.hidden', '', 'x' * 300, 'é')


@pytest.mark.skipif(sys.platform == 'win32', reason='limits memory as Unix does')
def test_damaged_files_of_every_kind(tmp_path):
    """Cut at every percent, flipped bytes, foreign beginnings, noise: nothing but results and documented errors."""
    folder = tmp_path / 'files'
    done = run_python(
        '-m', 'tests.reliability.damaged_files', str(folder), str(NUM_FLIPPED), cwd=tmp_path, path=ROOT, timeout=3600
    )
    assert done.returncode == 0, f'died of {done.returncode} at {done.stderr[-300:]}'
    result = json.loads(done.stdout.splitlines()[-1])
    assert result['faults'] == []
    assert result['count'] > 24 * (100 + NUM_FLIPPED)
    assert [path.name for path in tmp_path.iterdir()] == ['files'], 'nothing is written beside'


def v5_with(path: Path, at: int, value: int) -> Path:
    """A sound v5 file of a 3 x 4 matrix with one byte changed."""
    scipy.io.savemat(path, {'x': np.full((3, 4), 0.25)})
    content = bytearray(path.read_bytes())
    content[at] = value
    path.write_bytes(bytes(content))
    return path


@pytest.mark.parametrize('code', [0, 8, 10, 14, 15, 16, 20, 99, 255])
def test_number_types_that_do_not_exist_never_reach_scipy(tmp_path, code):
    """SciPy looks the code of the number type up without a check, which can crash the interpreter."""
    path = v5_with(tmp_path / 'r.mat', 176, code)
    for read in (lambda: load_spectral_response(str(path), 4), lambda: read_cube(path, is_guide=True)):
        with pytest.raises(ValueError, match='tags of x are those of no array of numbers|cannot be read as a MATLAB'):
            read()


def test_names_within_files_are_made_printable(tmp_path):
    np.savez(tmp_path / 'x.npz', **{'a\nb\x1b[2J' + 2000 * 'c': np.zeros(3)})
    with pytest.raises(FormatError, match=r'holds no 3-D array; it holds a\?b\?\[2Jccc') as error:
        read_cube(tmp_path / 'x.npz')
    assert len(str(error.value)) < 1100


@pytest.mark.parametrize('name', ESCAPES)
def test_scene_names_that_are_paths_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match='cannot be a key'):
        check_key(name)
    with CubeStoreWriter(tmp_path / 'out' / 'x.lmdb') as writer:
        writer.add('sound', np.zeros((4, 4, 3), np.uint8), 1 / 255)
        with pytest.raises(ValueError, match='cannot be a key'):
            writer.add(name, np.zeros((4, 4, 3), np.uint8), 1 / 255)
    assert [path.name for path in tmp_path.iterdir()] == ['out']


@pytest.mark.parametrize('folder', ['../../', '/tmp/', 'C:\\', ''])
@pytest.mark.parametrize('scene', ['evil', '..', 'C:evil', '.evil'])
def test_nothing_leaves_an_archive_by_its_name(tmp_path, monkeypatch, folder, scene):
    """Members with paths outwards are read in memory or refused, and no file appears anywhere."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'a' / 'b' / 'cave.zip'
    path.parent.mkdir(parents=True)
    png = cv2.imencode('.png', np.zeros((4, 4), np.uint16))[1].tobytes()
    with zipfile.ZipFile(path, 'w') as archive:
        for band in range(1, 32):
            archive.writestr(f'{folder}{scene}_ms_{band:02d}.png', png)
    before = sorted(tmp_path.rglob('*'))
    try:
        keys = [scene.key for scene in cave_scenes(path) if scene.load() is not None]
    except (ValueError, FileNotFoundError):
        keys = []
    for key in keys:
        assert check_key(key) == 'evil'
    assert sorted(tmp_path.rglob('*')) == before


def test_keys_of_files_hold_no_paths(tmp_path):
    for name in ('..x.npy', 'a b.npy', '-rf.npy', 'x:y.npy'):
        try:
            assert not set(scene_key(tmp_path / name)) & set('/\\:. ')
        except ValueError as error:
            assert 'cannot be a key' in str(error)


def test_lists_that_are_no_text(tmp_path):
    (tmp_path / 'split.txt').write_bytes(b'[train]\n\xff\xfe')
    with pytest.raises(ValueError, match=r'split\.txt is not a UTF-8 text file'):
        read_split(tmp_path / 'split.txt')
