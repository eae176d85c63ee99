"""The estimate of a sensor model: known kernels are found, and pairs that do not determine it are refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mulsr_plugin.sensor.estimation import estimate_sensor
from mulsr_plugin.sensor.model import SensorModel
from tests.sensor.demo_pairs import RESPONSE, degraded, demo_pair, guide_of, scene


def on_canvas(sensor, side=128, middle=56):
    """Return the kernel at its place, so that kernels of different sizes can be compared."""
    (step,) = sensor.steps
    canvas = np.zeros((side, side))
    row, column = (middle + first for first in step.offset)
    canvas[row : row + step.kernel.shape[0], column : column + step.kernel.shape[1]] = step.kernel
    return canvas


def kernel_error(found, true):
    return np.linalg.norm(on_canvas(found) - on_canvas(true)) / np.linalg.norm(on_canvas(true))


@pytest.mark.parametrize('scale', [2, 3, 4, 8])
@pytest.mark.parametrize(
    ('kind', 'largest_error'), [('noise_free', 0.02), ('average', 0.02), ('ellipse', 0.02), ('noisy', 0.03)]
)
def test_kernels_are_found(kind, largest_error, scale):
    blocks = {
        'ellipse': {'preset': 'gaussian', 'sigma': [0.5 * scale, 0.25 * scale], 'angle': 30.0},
        'noisy': {'preset': 'gaussian', 'sigma': 0.4 * scale, 'noise_sigma': 0.01},
    }
    pair = demo_pair(scale, blocks.get(kind, kind))
    true = SensorModel.from_degradation(blocks.get(kind, kind), scale)
    estimate = estimate_sensor(pair.lq, pair.guide)
    assert estimate.known and estimate.related and estimate.gain > 0.9
    np.testing.assert_allclose(estimate.sensor.centre, true.centre, rtol=0, atol=0.1)
    assert kernel_error(estimate.sensor, true) < largest_error
    assert max(estimate.spread) < 0.05


@pytest.mark.parametrize(('scale', 'largest_error'), [(3, 0.1), (4, 0.1), (8, 0.15)])
def test_the_papers_kernel_off_the_centre_under_noise(scale, largest_error):
    pair = demo_pair(scale, 'authors_fixed')
    true = SensorModel.from_degradation('authors_fixed', scale)
    estimate = estimate_sensor(pair.lq, pair.guide)
    np.testing.assert_allclose(estimate.sensor.centre, true.centre, rtol=0, atol=0.1)
    assert kernel_error(estimate.sensor, true) < largest_error
    np.testing.assert_allclose(estimate.sensor.noise_sigma.median(), 3 / 255, rtol=0.25)


@pytest.mark.parametrize('shift', [(0, -2), (5, -6), (8, 8), (-7, 1)])
def test_displacements_are_found_and_told(shift):
    """Cube and guide are cut from a larger scene, so that nothing at their borders is made up."""
    gt = scene(192)
    lq = degraded(gt[:, 8:184, 8:184], 'noise_free', 8)
    guide = guide_of(gt[:, 8 + shift[0] : 184 + shift[0], 8 + shift[1] : 184 + shift[1]])
    estimate = estimate_sensor(lq, guide)
    np.testing.assert_allclose(estimate.sensor.centre, (3.5 - shift[0], 3.5 - shift[1]), rtol=0, atol=0.1)
    assert f'The cube lies {-shift[0]:+.2f}'[:-1] in estimate.statement.replace('-0.00', '+0.00')


@pytest.mark.parametrize('boundary', ['edge', 'symmetric'])
def test_continuation_at_the_border_is_found(boundary):
    gt = scene(192)
    sensor = SensorModel.from_gaussian(4, 2.5, boundary=boundary)
    estimate = estimate_sensor(sensor.blur(gt[None])[0], guide_of(gt))
    assert estimate.sensor.steps[0].boundary == boundary


def test_told_response_is_used_and_an_unknown_one_fitted():
    pair = demo_pair(4)
    told = estimate_sensor(pair.lq, pair.guide, RESPONSE)
    assert torch.equal(told.sensor.response, RESPONSE.double()) and told.misfit < 0.01
    fitted = estimate_sensor(pair.lq, pair.guide).sensor.response
    assert fitted.shape == (3, 31)
    assert estimate_sensor(pair.lq, pair.guide).sensor.response_fitted and not told.sensor.response_fitted
    predicted = torch.einsum('gl,lhw->ghw', fitted.float(), pair.lq)
    torch.testing.assert_close(predicted, told.sensor.blur(pair.guide[None])[0], rtol=0, atol=5e-3)


@pytest.mark.parametrize('noise', [0.0, 0.01])
@pytest.mark.parametrize('first', [5, 10, 20])
@pytest.mark.parametrize('num_bands', [1, 2, 4])
def test_few_bands_with_a_panchromatic_guide_are_accepted(num_bands, first, noise):
    gt, pan = scene(192)[first : first + num_bands], scene(192).mean(dim=0, keepdim=True)
    lq = degraded(gt, {'preset': 'gaussian', 'sigma': 1.6, 'noise_sigma': noise}, 4)
    estimate = estimate_sensor(lq, pan)
    assert estimate.known and estimate.gain > 0.25
    np.testing.assert_allclose(estimate.sensor.centre, (1.5, 1.5), rtol=0, atol=0.25)


@pytest.mark.parametrize('noise', [0.0, 0.01])
@pytest.mark.parametrize('num_bands', [1, 31])
@pytest.mark.parametrize('kind', ['noise', 'another scene', 'turned', 'constant'])
def test_guides_that_tell_nothing_are_refused(kind, num_bands, noise):
    gt = scene(192)[:num_bands]
    lq = degraded(gt, {'preset': 'gaussian', 'sigma': 1.6, 'noise_sigma': noise}, 4)
    guide = {
        'noise': torch.rand(3, 192, 192, generator=torch.Generator().manual_seed(0)),
        'another scene': guide_of(scene(192, 7)),
        'turned': guide_of(scene(192)).flip(1, 2),
        'constant': torch.full((3, 192, 192), 0.4),
    }[kind]
    estimate = estimate_sensor(lq, guide)
    assert not estimate.known and not estimate.related
    assert math.isnan(estimate.misfit) and math.isnan(estimate.spread[0]) and estimate.sensor.response is None
    reason = 'is constant' if kind == 'constant' else 'shows something else'
    assert estimate.statement.startswith('The blur cannot be known from these images') and reason in estimate.statement
    np.testing.assert_allclose(estimate.sensor.centre, (1.5, 1.5), rtol=0, atol=1e-6)


def test_few_places_with_most_of_the_detail_do_not_hide_a_guide_of_the_same_scene():
    """As where a bridge crosses dark water: the gains of blocks differ by orders of magnitude."""
    gt = scene(192)
    gt = gt * (0.02 + torch.exp(-(((torch.arange(192) - 40) / 12.0) ** 2)))[:, None]
    estimate = estimate_sensor(degraded(gt, 'noise_free', 8), guide_of(gt))
    assert estimate.related and estimate.gain > 0.9
    other = estimate_sensor(degraded(gt, 'noise_free', 8), guide_of(gt).flip(2))
    assert not other.related


def test_too_few_pixels_are_told():
    pair = demo_pair(8, size=64)
    estimate = estimate_sensor(pair.lq, pair.guide)
    assert not estimate.known and estimate.related and '16 low-resolution pixels' in estimate.statement


def test_units_do_not_matter():
    pair = demo_pair(4, 'authors_fixed')
    first, second = estimate_sensor(pair.lq, pair.guide), estimate_sensor(1000 * pair.lq, 30 * pair.guide)
    np.testing.assert_allclose(first.sensor.centre, second.sensor.centre, rtol=0, atol=0.01)
    np.testing.assert_allclose(1000 * first.sensor.noise_sigma, second.sensor.noise_sigma, rtol=1e-3)


@pytest.mark.parametrize(
    ('lq', 'guide', 'response', 'message'),
    [
        ((1, 4, 8, 8), (3, 64, 64), None, r'expected \(L, h, w\)'),
        ((4, 8, 8), (3, 64, 63), None, 'not a whole multiple'),
        ((4, 8, 8), (3, 64, 64), (3, 5), r'expected \(3, 4\)'),
    ],
)
def test_shapes_that_do_not_fit_are_refused(lq, guide, response, message):
    with pytest.raises(ValueError, match=message):
        estimate_sensor(torch.zeros(lq), torch.zeros(guide), None if response is None else torch.zeros(response))


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match='not finite'):
        estimate_sensor(torch.full((4, 8, 8), math.nan), torch.zeros(3, 64, 64))


def test_a_cube_of_noise_says_nothing():
    generator = torch.Generator().manual_seed(0)
    lq, guide = torch.rand(60, 24, 24, generator=generator), torch.rand(3, 96, 96, generator=generator)
    assert not estimate_sensor(lq, guide).known
