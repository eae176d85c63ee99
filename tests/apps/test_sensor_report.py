"""The command that estimates the sensors of a pair of files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

import mulsr_plugin
from mulsr_plugin.__main__ import main
from mulsr_plugin.data.sources.demo_scenes import demo_scene
from mulsr_plugin.sensor.model import SensorModel


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A pair displaced by the paper's kernel, in files."""
    folder = tmp_path_factory.mktemp('pair')
    cube = demo_scene(192, seed=5)
    lq, guide = mulsr_plugin.degrade(cube.values * np.float32(cube.scale), 8, 'authors_fixed')
    np.save(folder / 'lr.npy', lq)
    np.save(folder / 'rgb.npy', guide)
    np.save(folder / 'black.npy', np.zeros_like(guide))
    return folder


def test_pair_is_estimated_written_and_drawn(folder, monkeypatch, capsys):
    pytest.importorskip('matplotlib')
    monkeypatch.chdir(folder)
    words = 'estimate-sensor lr.npy --guide rgb.npy --out sensor.npz --figure sensor.png'
    assert main(words.split()) == 0
    printed = capsys.readouterr().out
    assert (
        'The cube lies +3.4' in printed
        and 'cube: 24x24x31 (rows x columns x bands, by their sizes)' in printed
        and 'Scale 8' in printed
    )
    assert SensorModel.load('sensor.npz').centre == pytest.approx((3.5 + 3.44, 3.5 + 2.53), abs=0.15)
    assert min(cv2.imread('sensor.png').shape[:2]) > 300
    assert main(words.split()) == 1
    assert 'sensor.npz exists already' in capsys.readouterr().err


def test_what_cannot_be_known_writes_nothing(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert main(['estimate-sensor', 'lr.npy', '--guide', 'black.npy', '--out', 'unknown.npz']) == 1
    assert 'cannot be known from these images' in capsys.readouterr().out
    assert not (folder / 'unknown.npz').exists()
