"""Synthetic scenes: reproducible, smooth in the spectrum, detailed in space."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from mulsr_plugin.__main__ import main
from mulsr_plugin.data.sources import demo_scenes as module
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.data.sources.demo_scenes import demo_scene, make_demo_scenes


def test_written_scenes_are_the_drawn_ones(demo_scenes):
    for index, scene in enumerate(cave_scenes(demo_scenes, with_rgb=True)):
        drawn, read = demo_scene(48, seed=1, index=index), scene.load()
        np.testing.assert_array_equal(read.values, drawn.values)
        np.testing.assert_array_equal(read.rgb, drawn.rgb)


def test_files_are_caves(demo_scenes):
    files = sorted(os.listdir(demo_scenes / 'demo_02_ms' / 'demo_02_ms'))
    assert files == ['demo_02_RGB.bmp', *(f'demo_02_ms_{band:02d}.png' for band in range(1, 32))]


def test_seed_and_index_decide():
    again, other, next_one = demo_scene(32, 5, 0), demo_scene(32, 6, 0), demo_scene(32, 5, 1)
    first = demo_scene(32, 5, 0)
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
    assert not np.array_equal(first.values, next_one.values)


@pytest.mark.parametrize('index', range(3))
def test_scenes_are_plausible(index):
    scene = demo_scene(96, 0, index)
    cube = scene.values * scene.scale
    assert scene.values.dtype == np.uint16
    assert 0.75 < cube.max() <= 1 and cube.min() >= 0
    assert len(np.unique(scene.values)) > 10_000  # all 16 bits are used
    # Smooth spectra: neighbouring bands are close, though the spectrum as a whole changes.
    steps = np.abs(np.diff(cube, axis=2)).mean() / cube.mean()
    spread = cube.std(2).mean() / cube.mean()
    assert steps < 0.12 < spread
    # More than three colours cannot mix to: a guide of three channels does not hold the whole cube.
    assert np.linalg.matrix_rank(cube.reshape(-1, 31)[::7], tol=1) > 3


@pytest.mark.parametrize('index', range(3))
def test_guide_tells_what_bicubic_loses(index):
    """Detail lost at x8 is large, and a linear map of the guide's lost detail explains most of it."""
    scene = demo_scene(96, 0, index)
    cube = (scene.values * scene.scale).astype(np.float32)
    guide = (cube @ np.eye(31, dtype=np.float32)[:, [5, 15, 25]]).astype(np.float32)

    def lost(image):
        small = cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA)
        return (image - cv2.resize(small, (96, 96), interpolation=cv2.INTER_CUBIC)).reshape(96 * 96, -1)

    target, known = lost(cube), lost(guide)
    psnr = -10 * np.log10(np.mean(target**2))
    assert 14 < psnr < 30
    rest = target - known @ np.linalg.lstsq(known, target, rcond=None)[0]
    assert (rest**2).sum() < 0.4 * (target**2).sum()


def test_existing_folder_is_refused(tmp_path):
    (tmp_path / 'mine').write_text('mine')
    with pytest.raises(FileExistsError, match='exists already and is left as it is'):
        make_demo_scenes(tmp_path, 1, 16)
    assert os.listdir(tmp_path) == ['mine']


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    calls = []

    def failing(*args):
        calls.append(args)
        if len(calls) > 1:
            raise OSError('No space left on device')

    monkeypatch.setattr(module, 'write_cave_scene', failing)
    with pytest.raises(OSError, match='No space left'):
        make_demo_scenes(tmp_path / 'a', 2, 16)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(('number', 'size'), [(0, 32), (1, 15)])
def test_senseless_sizes_are_refused(tmp_path, number, size):
    with pytest.raises(ValueError, match=f'Asked for {number} scenes of {size} pixels'):
        make_demo_scenes(tmp_path / 'a', number, size)


def test_command(tmp_path, capsys):
    arguments = ['demo-scenes', str(tmp_path / 'a'), '--num-scenes', '2', '--size', '16', '--seed', '3']
    assert main(arguments) == 0
    assert [scene.key for scene in cave_scenes(tmp_path / 'a')] == ['demo_01', 'demo_02']
    np.testing.assert_array_equal(cave_scenes(tmp_path / 'a')[1].load().values, demo_scene(16, 3, 1).values)
    assert main(arguments) == 1
    assert capsys.readouterr().err.startswith('error: ')
