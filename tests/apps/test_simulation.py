"""The command that simulates a pair: the very images of the data set, in any format, and of a sensor file."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

import mulsr_plugin
from mulsr_plugin import read_cube, write_cube
from mulsr_plugin.__main__ import main
from mulsr_plugin.apps.simulation import Simulation, simulate
from mulsr_plugin.data.cube import Cube, GeoReference
from mulsr_plugin.data.sources.demo_scenes import demo_scene
from mulsr_plugin.data.spectral_response import NIKON_D700
from mulsr_plugin.sensor.model import SensorModel

GEO = GeoReference((2.0, 0, 500000.0, 0, -2.0, 4.6e6))
has_rasterio = importlib.util.find_spec('rasterio') is not None


@pytest.fixture
def scene(tmp_path, monkeypatch) -> Cube:
    """A scene of 49 x 48 in scene.npz of the working directory."""
    monkeypatch.chdir(tmp_path)
    values = demo_scene(64, seed=5).values[:49, :48]
    cube = Cube(values, 1 / 65535, tuple(np.arange(400.0, 701, 10)), geo=GEO)
    write_cube('scene.npz', cube)
    return cube


@pytest.mark.parametrize('names', [('lr.npz', 'rgb.npz'), ('lr.mat', 'rgb.npy'), ('lr.tif', 'rgb.hdr')])
def test_pair_is_that_of_the_data_set_in_any_format(names, scene, capsys):
    if 'lr.tif' in names and not has_rasterio:
        pytest.skip('needs rasterio')
    words = f'simulate scene.npz --scale 8 --degradation authors_fixed --seed 3 --out {names[0]} --guide-out {names[1]}'
    assert main(words.split()) == 0
    lq, guide = mulsr_plugin.degrade(scene, 8, 'authors_fixed', seed=3)
    low, high = read_cube(names[0]), read_cube(names[1], is_guide=True)
    np.testing.assert_array_equal(low.values, lq)
    np.testing.assert_array_equal(high.values, guide)
    assert low.values.shape == (6, 6, 31) and high.values.shape == (48, 48, 3)
    printed = capsys.readouterr().out
    for expected in ('scene.npz: 49x48x31', 'Cut at the bottom and right to 48x48', 'seed 3', 'response nikon_d700'):
        assert expected in printed
    if names[0] != 'lr.mat':
        assert low.geo.transform == pytest.approx((16.0, 0, 500000.0, 0, -16.0, 4.6e6))
        assert low.wavelengths == pytest.approx(scene.wavelengths)


def test_pair_of_a_sensor_file(scene):
    noise = np.linspace(0.01, 0.03, 31)
    sensor = SensorModel.from_gaussian(8, 3.0, shift=(1.0, -2.0), response=NIKON_D700[:2])
    replace(sensor, noise_sigma=torch.from_numpy(noise)).save('sensor.npz')
    assert (
        main(['simulate', 'scene.npz', '--degradation', 'sensor.npz', '--out', 'lr.npz', '--guide-out', 'pan.npz']) == 0
    )
    values = np.float32(scene.values[:48] / 65535)
    clean = sensor.blur(torch.from_numpy(values).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    spread = (read_cube('lr.npz').values - clean).std(axis=(0, 1))
    assert np.corrcoef(spread, noise)[0, 1] > 0.8
    np.testing.assert_allclose(read_cube('pan.npz', is_guide=True).values, values @ NIKON_D700[:2].T, atol=1e-6)
    lq, _ = mulsr_plugin.degrade(scene, degradation='sensor.npz')
    np.testing.assert_array_equal(lq, read_cube('lr.npz').values)


def test_existing_files_are_kept_and_nothing_is_left(scene, capsys, monkeypatch):
    words = ['simulate', 'scene.npz', '--scale', '8', '--out', 'lr.npz', '--guide-out', 'rgb.npz']
    assert main(words) == 0
    assert main(words) == 1 and 'exists already' in capsys.readouterr().err
    assert main([*words, '--force']) == 0
    assert main(['simulate', 'scene.npz', '--scale', '8', '--out', 'scene.npz', '--force']) == 1
    assert 'is the input' in capsys.readouterr().err
    assert main(['simulate', 'scene.npz', '--scale', '8', '--out', 'a.npz', '--guide-out', 'a.npz']) == 1
    monkeypatch.setattr('mulsr_plugin.data.formats.numpy_files.sync', _fail_for('low'))
    assert main(['simulate', 'scene.npz', '--scale', '8', '--out', 'low.npz', '--guide-out', 'new.npz']) == 1
    assert sorted(os.listdir()) == ['lr.npz', 'rgb.npz', 'scene.npz']


def _fail_for(name):
    def sync(path):
        if name in path.name:
            raise OSError('the disk is full')

    return sync


@pytest.mark.parametrize(
    'how, message',
    [
        (Simulation(), 'The scale is missing'),
        (Simulation(scale=64), 'fewer than one low-resolution pixel'),
        (Simulation(scale=8, degradation='noise_fre'), 'noise_free'),
        (Simulation(scale=8, spectral_response='gaussian:2000/10'), 'overlaps with the wavelengths'),
        (Simulation(scale=4, degradation='sensor.npz'), 'is a sensor model for x8, but the scale is 4'),
    ],
)
def test_mistakes_are_named(how, message, scene):
    SensorModel.from_gaussian(8, 3.0).save('sensor.npz')
    with pytest.raises(ValueError, match=message):
        simulate(scene, how)
