"""Folders of cubes as scenes, and as a data set without a store."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.io

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import read_cube, write_cube
from mulsr_plugin.data.sources.cubes import cube_scenes
from mulsr_plugin.data.store.folder import CubeFolder

CUBE = np.random.default_rng(0).integers(0, 4096, (6, 5, 4)).astype(np.uint16)
NAMES = ('a.mat', 'b b.npz', 'c.v2.hdr', 'd.tif', 'e.npy', 'f')


@pytest.fixture
def folder(tmp_path):
    for shift, name in enumerate(NAMES):
        write_cube(tmp_path / name, Cube(CUBE >> shift, 1 / 65535, (400.0, 500.0, 600.0, 700.0)))
    (tmp_path / 'notes.txt').write_text('mine')
    (tmp_path / 'empty').mkdir()
    return tmp_path


def test_scenes_of_all_formats(folder):
    scenes = cube_scenes(folder)
    assert [scene.key for scene in scenes] == ['a', 'b_b', 'c_v2', 'd', 'e', 'f']
    for shift, scene in enumerate(scenes):
        cube = scene.load()
        np.testing.assert_allclose(cube.values * cube.scale, (CUBE >> shift) / 65535, rtol=1e-6)
    assert [scene.key for scene in cube_scenes(folder, '.mat')] == ['a']
    assert {scene.load().scale for scene in cube_scenes(folder, value_scale=1 / 4095)} == {1 / 4095}


@pytest.mark.parametrize('name', ['e.npy', 'c.v2.hdr', 'd.tif', 'f'])
def test_key_is_refused_where_there_are_no_variables(folder, name):
    with pytest.raises(ValueError, match=r'has no variables that key \(--key\) cube could choose from; leave it out'):
        read_cube(folder / name, key='cube')
    assert read_cube(folder / 'a.mat', key='cube').values.shape == CUBE.shape


def test_folder_reads_like_a_store(folder):
    cubes = CubeFolder(folder)
    assert cubes.keys() == ['a', 'b_b', 'c_v2', 'd', 'e', 'f']
    np.testing.assert_array_equal(cubes.read_window('d', 1, 2, 3, 2), (CUBE >> 3)[1:4, 2:4])
    assert cubes.header('d').wavelengths == (400.0, 500.0, 600.0, 700.0)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no folder'):
        cube_scenes(tmp_path / 'absent')
    with pytest.raises(FileNotFoundError, match=r'no cube in .*: expected files \.mat$|sub-folders of band PNGs\.$'):
        cube_scenes(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'expected files \.mat\.$'):
        cube_scenes(tmp_path, '.mat')
    (tmp_path / 'a.npy').write_bytes(b'')
    with pytest.raises(ValueError, match=r'a\.npy is a file, expected a folder with one file for each cube; name its'):
        cube_scenes(tmp_path / 'a.npy')


def test_names_that_collide_or_cannot_be_keys(tmp_path):
    for name in ('a b.mat', 'a.b.mat'):
        scipy.io.savemat(tmp_path / name, {'x': CUBE})
    with pytest.raises(ValueError, match=r'a b\.mat and a\.b\.mat .* give the same scene a_b'):
        cube_scenes(tmp_path)
    (tmp_path / 'a b.mat').rename(tmp_path / 'ä.mat')
    with pytest.raises(ValueError, match="Scene name 'ä' cannot be a key"):
        cube_scenes(tmp_path)
