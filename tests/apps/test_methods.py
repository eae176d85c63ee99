"""Inference without weights: the method that a pair asks for."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

import mulsr_plugin
from mulsr_plugin.apps.methods import METHODS, choose_method
from mulsr_plugin.checkpoints.shipped import load_pretrained
from mulsr_plugin.data.sources.demo_scenes import demo_scene
from mulsr_plugin.metrics.psnr import calculate_hsi_psnr
from mulsr_plugin.sensor.model import SensorModel

SIDE, SCALE = 96, 4


@pytest.fixture(scope='module')
def truth():
    cube = demo_scene(SIDE, seed=3)
    return cube.values * np.float32(cube.scale)


@pytest.fixture(scope='module')
def pair(truth):
    return mulsr_plugin.degrade(truth, SCALE)


def psnr(result, truth):
    return calculate_hsi_psnr(result, truth)


def test_without_weights_the_sensors_are_estimated_and_fused(pair, truth):
    lq, guide = pair
    result, report = mulsr_plugin.super_resolve(lq, guide, device='cpu')
    assert report.network['type'] == 'SensorFusion' and report.sensor.known
    bicubic, plain = mulsr_plugin.super_resolve(lq, guide, method='BicubicUpsampler', device='cpu')
    assert plain.network['type'] == 'BicubicUpsampler'
    assert psnr(result, truth) > psnr(bicubic, truth) + 8
    # measured with the estimated blur, the result explains the cube; block means would not
    assert report.consistency['spectral consistency (RMSE)'] < 2e-3


def test_a_displacement_is_corrected_and_not_warned_of(truth, caplog):
    lq, guide = mulsr_plugin.degrade(truth, SCALE)
    moved = np.roll(guide, (2, -1), (0, 1))
    logging.getLogger('basicsr').addHandler(caplog.handler)
    try:
        result, report = mulsr_plugin.super_resolve(lq, moved, device='cpu')
    finally:
        logging.getLogger('basicsr').removeHandler(caplog.handler)
    middle = (SCALE - 1) / 2
    assert report.sensor.sensor.centre == pytest.approx((middle + 2, middle - 1), abs=0.1)
    assert 'register them first' not in caplog.text
    # the result lies where the guide does
    expected = np.roll(truth, (2, -1), (0, 1))[16:-16, 16:-16]
    assert psnr(result[16:-16, 16:-16], expected) > psnr(result[16:-16, 16:-16], truth[16:-16, 16:-16]) + 6


def test_unrelated_guide_leaves_interpolation(pair):
    lq, guide = pair
    noise = np.random.default_rng(0).random(guide.shape, dtype=np.float32)
    _, report = mulsr_plugin.super_resolve(lq, noise, device='cpu')
    assert report.network['type'] == 'BicubicUpsampler'


def test_without_guide_a_scale_is_enough(pair):
    result, report = mulsr_plugin.super_resolve(pair[0], scale=SCALE, device='cpu')
    assert report.network['type'] == 'BicubicUpsampler' and result.shape == (SIDE, SIDE, 31)


@pytest.mark.parametrize('name', METHODS)
def test_every_method_by_its_name(pair, truth, name):
    lq, guide = (torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float() for image in pair)
    chosen = choose_method(lq[..., :12, :12], guide[..., :48, :48], SCALE, name)
    assert chosen.network == {'type': name, 'upscale': SCALE} and name in chosen.reason
    inputs = (lq[..., :12, :12],) if name == METHODS[-1] else (lq[..., :12, :12], guide[..., :48, :48])
    assert chosen.net(*inputs).shape == (1, 31, 48, 48)


def test_mistakes(pair):
    lq, guide = pair
    with pytest.raises(ValueError, match='GSA takes a guide image, but there is none: give a guide'):
        mulsr_plugin.super_resolve(lq, scale=SCALE, method='GSA')
    with pytest.raises(ValueError, match="The method is 'gsa', expected one of SensorFusion, GSA"):
        mulsr_plugin.super_resolve(lq, guide, method='gsa')
    with pytest.raises(ValueError, match='GSA takes no weights, but .* is given: leave one of them out'):
        mulsr_plugin.super_resolve(lq, guide, method='GSA', weights='mulsr_cave_x8_small')


def test_weights_on_top_of_the_sensor_model_take_one_that_is_given(pair, tmp_path):
    lq, guide = pair
    sensor = SensorModel.from_gaussian(SCALE, (1.3, 0.8), angle=20)
    sensor.save(tmp_path / 'sensor.npz')
    how = {'weights': 'mulsrcube_cave', 'device': 'cpu'}
    result, report = mulsr_plugin.super_resolve(lq, guide, sensor=tmp_path / 'sensor.npz', **how)
    images = (torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float() for image in pair)
    with torch.no_grad():
        expected = load_pretrained('mulsrcube_cave')(*images, sensor)[0].clamp(0, 1)
    assert np.abs(result - expected.permute(1, 2, 0).numpy()).max() < 1e-5
    assert report.sensor.sensor.centre == pytest.approx(sensor.centre)
    estimated = mulsr_plugin.super_resolve(lq, guide, **how)[0]
    assert np.abs(estimated - result).max() > 1e-3
    with pytest.raises(ValueError, match='knows no sensor model, but .* is given: leave sensor out'):
        mulsr_plugin.super_resolve(
            *mulsr_plugin.degrade(np.zeros((64, 64, 31), np.float32), 8),
            weights='mulsr_cave_x8_small',
            sensor=tmp_path / 'sensor.npz',
        )


@pytest.mark.parametrize(('first', 'is_named'), [(400, True), (420, False)])
def test_weights_of_a_camera_are_named_to_those_who_may_have_it(pair, caplog, first, is_named):
    lq, guide = pair
    wavelengths = tuple(range(first, first + 301, 10))
    logger = logging.getLogger('basicsr')
    level = logger.level
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    try:
        mulsr_plugin.super_resolve(lq, guide, wavelengths=wavelengths, device='cpu')
        mulsr_plugin.super_resolve(lq, guide, wavelengths=wavelengths, method='SensorFusion', device='cpu')
        mulsr_plugin.super_resolve(lq, guide, device='cpu')
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(level)
    assert caplog.text.count('--weights mulsrcube_cave') == is_named


def test_a_guessed_blur_does_not_measure_the_consistency(pair):
    """Too few pixels to know the blur: nothing measures the consistency."""
    lq, guide = (image[: 8 * factor, : 8 * factor] for image, factor in zip(pair, (1, SCALE)))
    _, report = mulsr_plugin.super_resolve(lq, guide, method='SensorFusion', device='cpu')
    assert not report.sensor.known
    assert 'spectral consistency (RMSE)' not in report.consistency
