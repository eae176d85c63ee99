"""The grid of sensor estimates: its pairs, its errors and its table, on demonstration scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.sensor.model import SensorModel
from scripts.dev.sensor_grid import Condition, conditions, kernel_error, main, make_pair


def test_pairs_are_what_their_model_makes_of_the_scene():
    """But at the border, beyond which the cube has seen ground that the guide does not show."""
    cube = np.random.default_rng(0).random((31, 80, 80), np.float32)
    condition = Condition('', '', (2.0, 1.0), 30.0, (2.5, -3.0), scale=4)
    pair = make_pair('x', cube, np.linspace(400, 700, 31), condition)
    assert pair.gt.shape == (31, 64, 64) and pair.lq.shape == (31, 16, 16) and pair.guide.shape == (3, 64, 64)
    inner = (..., slice(4, -4), slice(4, -4))
    torch.testing.assert_close(pair.sensor.blur(pair.gt[None])[0][inner], pair.lq[inner], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(pair.sensor.apply_response(pair.gt[None])[0], pair.guide, rtol=1e-5, atol=1e-6)


def test_error_of_kernels():
    true = SensorModel.from_gaussian(4, 1.5)
    assert kernel_error(true, true) == 0
    assert kernel_error(SensorModel.from_gaussian(4, 1.5, shift=(20, 0)), true) == pytest.approx(2**0.5)


def test_conditions_are_all_different():
    named = [(condition.sweep, condition.value) for condition in conditions()]
    assert len(set(named)) == len(named) == 50


def test_table_is_finished_where_it_was_left(demo_dataset, tmp_path, capsys):
    arguments = ['--lmdb', str(demo_dataset / 'test.lmdb'), '--max-scenes', '1', '--out', str(tmp_path), '--sweeps']
    assert main([*arguments, 'response of the guide']) == 0
    before = (tmp_path / 'sensor_grid.csv').read_text()
    assert main([*arguments, 'response of the guide']) == 0 and (tmp_path / 'sensor_grid.csv').read_text() == before
    assert len((tmp_path / 'sensor_grid.md').read_text().splitlines()) == 4 + 2 + 4
    capsys.readouterr()
    assert main([*arguments, 'zz']) == 1 and '--sweeps zz begins no name of ' in capsys.readouterr().err
