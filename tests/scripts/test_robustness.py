"""Robustness of weights: conditions, images and the table, at the scale of seconds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.checkpoints.shipped import load_pretrained
from scripts.dev.robustness import Condition, main, measure, read_scenes, resample_bands, shift_image, sweeps
from scripts.dev.timed.training import METRICS, TestScenes


def test_resampled_bands():
    wavelengths = np.linspace(400, 700, 31)
    cube = (wavelengths[:, None, None] * np.ones((1, 2, 3))).astype(np.float32)  # linear in the wavelength
    for number in (2, 8, 31, 61):
        bands, centres = resample_bands(cube, wavelengths, number)
        assert bands.shape == (number, 2, 3) and bands.dtype == np.float32
        assert np.allclose(bands[:, 0, 0], centres) and (centres[0], centres[-1]) == (400, 700)
    assert np.array_equal(resample_bands(cube, wavelengths, 31)[0], cube)


def test_shifted_images():
    image = np.arange(12.0, dtype=np.float32).reshape(1, 3, 4)
    assert np.array_equal(shift_image(image, (0, 0)), image)
    assert shift_image(image, (1, 0))[0, :, 0].tolist() == [0, 0, 4]
    assert shift_image(image, (0, 2))[0, 0].tolist() == [0, 0, 0, 1]
    assert shift_image(image, (0, 0.5))[0, 0].tolist() == [0, 0.5, 1.5, 2.5]


def test_conditions_are_all_different_and_the_first_is_the_test_itself():
    conditions = sweeps({'preset': 'authors_fixed'})
    assert len({(condition.sweep, condition.value) for condition in conditions}) == len(conditions) > 30
    assert conditions[0] == Condition('as tested', 'authors_fixed', {'preset': 'authors_fixed'})


def test_robustness_agrees_with_validation_and_with_what_must_be(demo_dataset):
    net, store = load_pretrained('mulsr_cave_x8_small').eval(), demo_dataset / 'test.lmdb'
    scenes = read_scenes(store, 8, None, None)
    plain, *rest = sweeps({'preset': 'authors_fixed'})
    values = measure(net, scenes, 8, plain)
    block = {
        'name': 'x',
        'type': 'PairedHSIRGBDataset',
        'dataroot_gt': str(store),
        'io_backend': {'type': 'lmdb'},
        'degradation': 'authors_fixed',
        'scale': 8,
    }
    wanted = TestScenes(block, torch.device('cpu')).measure(net)
    assert {name: values[name] for name in METRICS} == pytest.approx(wanted, rel=1e-5)
    by_name = {(condition.sweep, condition.value): measure(net, scenes, 8, condition) for condition in rest[9:]}
    assert by_name['noise std x 255', '3'] == pytest.approx(values, rel=1e-6)
    moved = by_name['guide moved right, pixels', '8']
    assert moved['psnr'] < values['psnr'] and moved['bicubic_psnr'] == pytest.approx(values['bicubic_psnr'])
    assert by_name['number of bands', '8']['psnr'] > 10
    assert by_name['response of the guide', 'worldview2_rgb']['psnr'] != values['psnr']


def test_an_interrupted_call_is_continued(demo_dataset, tmp_path, capsys):
    arguments = ['--weights', 'mulsr_cave_x8_small', '--lmdb', str(demo_dataset / 'test.lmdb'), '--crop-size', '16']
    arguments += ['--device', 'cpu', '--out', str(tmp_path)]
    assert main([*arguments, '--sweeps', 'guide moved down']) == 0
    assert capsys.readouterr().out.count('sweep guide moved down, pixels, value ') == 2
    assert main([*arguments, '--sweeps', 'guide', 'as tested']) == 0
    assert capsys.readouterr().out.count('sweep ') == 6  # those that were missing
    assert len((tmp_path / 'robustness.md').read_text().splitlines()) == 4 + 2 + 8
    assert main([*arguments, '--precision', 'bf16']) == 1
    assert 'results of another protocol' in capsys.readouterr().err
