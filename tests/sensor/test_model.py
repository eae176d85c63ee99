"""Sensor models agree with the degradations that they model, keep their adjoints, and survive a file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.degradation.correlation import blur_and_downsample
from mulsr_plugin.data.degradation.presets import PRESETS
from mulsr_plugin.sensor.model import SensorModel

OPTIONS = {
    'gaussian': {'sigma': [2.0, 1.0], 'angle': 30},
    'sensor_mtf': {'nyquist_gain': 0.3},
    'bicubic': {'antialias': False},
}
SCALES = (2, 3, 8)


@pytest.fixture
def kernel_file(tmp_path):
    path = tmp_path / 'kernel.csv'
    np.savetxt(path, np.random.default_rng(0).random((6, 6)), delimiter=',')
    return str(path)


def block_of(preset, kernel_file):
    extra = {'kernel': kernel_file} if preset == 'kernel_file' else OPTIONS.get(preset, {})
    return {'preset': preset, **extra}


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize('preset', PRESETS)
def test_forward_equals_the_degradation_without_noise(preset, scale, kernel_file):
    degradation = build_degradation(block_of(preset, kernel_file), scale)
    for seed in range(6 if preset == 'authors_random' else 1):
        draw = degradation.draw(np.random.default_rng(seed))
        model = SensorModel.from_degradation(degradation, scale, rng=np.random.default_rng(seed))
        cube = np.random.default_rng(1).random((3, 3 * scale, 5 * scale), dtype=np.float32)
        expected = blur_and_downsample(cube, draw, scale)
        np.testing.assert_allclose(model.blur(torch.from_numpy(cube)[None])[0], expected, rtol=0, atol=1e-6)
        assert model.scale == scale and float(model.noise_sigma) == draw.noise_sigma


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize('preset', PRESETS)
@pytest.mark.parametrize('boundary', [None, 'edge', 'symmetric', 'circular'])
def test_adjoint_is_exact(preset, scale, boundary, kernel_file):
    model = SensorModel.from_degradation(block_of(preset, kernel_file), scale)
    model = model if boundary is None else model.with_boundary(boundary)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 3 * scale, 5 * scale, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 3, 3, 5, generator=generator, dtype=torch.float64)
    blurred = model.blur(x)
    assert abs((blurred * y).sum() - (x * model.blur_adjoint(y)).sum()) <= 1e-15 * blurred.norm() * y.norm()


def test_response_and_its_adjoint():
    response = np.random.default_rng(0).random((2, 5))
    model = SensorModel.from_degradation('average', 2, response)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 5, 4, 6, generator=generator, dtype=torch.float64)
    y = torch.randn(2, 2, 4, 6, generator=generator, dtype=torch.float64)
    guide = model.apply_response(x)
    np.testing.assert_allclose(guide[1, :, 2, 3], response @ x[1, :, 2, 3].numpy(), rtol=1e-13)
    torch.testing.assert_close((guide * y).sum(), (x * model.response_adjoint(y)).sum(), rtol=1e-13, atol=0)
    assert model.apply_response(x.float()).dtype == torch.float32
    # blur acts on space, the response on spectra: either may come first
    torch.testing.assert_close(model.blur(guide), model.apply_response(model.blur(x)), rtol=1e-12, atol=1e-13)
    with pytest.raises(ValueError, match='response of this sensor model is unknown'):
        SensorModel.from_degradation('average', 2).apply_response(x)


@pytest.mark.parametrize('scale', [2, 3, 4, 7, 8])
@pytest.mark.parametrize('sigma', [0.4, 1.3, 3.0])
def test_an_unshifted_gaussian_is_the_preset(scale, sigma):
    (step,) = SensorModel.from_gaussian(scale, sigma).steps
    (expected,) = SensorModel.from_degradation({'preset': 'gaussian', 'sigma': sigma}, scale).steps
    assert (step.offset, step.stride, step.boundary) == (expected.offset, expected.stride, expected.boundary)
    np.testing.assert_allclose(step.kernel, expected.kernel, rtol=1e-14)


@pytest.mark.parametrize('shift', [(0.0, 0.0), (3.4, -2.5), (-11.0, 0.25)])
def test_a_gaussian_has_the_given_centre_and_axes(shift):
    model = SensorModel.from_gaussian(4, (4.0, 2.0), angle=30, shift=shift)
    np.testing.assert_allclose(model.centre, np.array(shift) + 1.5, atol=2e-3)  # the window cuts it at 4 sigma
    (step,) = model.steps
    rows, columns = (np.arange(n) + first for n, first in zip(step.kernel.shape, step.offset))
    rows, columns = rows[:, None] - model.centre[0], columns - model.centre[1]
    covariance = [[(step.kernel * a * b).sum() for a in (columns, rows)] for b in (columns, rows)]
    values, vectors = np.linalg.eigh(covariance)
    np.testing.assert_allclose(np.sqrt(values), (2, 4), rtol=3e-3)
    assert np.rad2deg(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180 == pytest.approx(30, abs=0.2)


def test_a_whole_shift_moves_the_image():
    x = torch.rand(1, 1, 40, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    still = SensorModel.from_gaussian(4, 1.5, boundary='circular')
    moved = SensorModel.from_gaussian(4, 1.5, shift=(2, -3), boundary='circular')
    torch.testing.assert_close(moved.blur(x), still.blur(x.roll((-2, 3), (2, 3))), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize('scale', [2, 3, 8])
@pytest.mark.parametrize('preset', ['authors_fixed', 'noise_free'])
def test_centre_and_enlargement_undo_the_displacement(scale, preset):
    """A plane goes through blur and enlargement unchanged, away from the borders."""
    model = SensorModel.from_degradation(preset, scale)
    rows, columns = torch.meshgrid(*(torch.arange(n * scale, dtype=torch.float64) for n in (20, 24)), indexing='ij')
    plane = (0.3 * rows - 0.7 * columns + 5)[None, None]
    inside = (..., slice(7 * scale, -7 * scale), slice(7 * scale, -7 * scale))
    torch.testing.assert_close(model.enlarge(model.blur(plane))[inside], plane[inside], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('preset', ['authors_fixed', 'noise_free'])
@pytest.mark.parametrize('scale', [2, 8])
@pytest.mark.parametrize('with_response', [True, False])
def test_a_file_holds_all(tmp_path, preset, scale, with_response):
    response = np.random.default_rng(0).random((3, 7)) if with_response else None
    model = SensorModel.from_degradation(preset, scale, response)
    model = replace(model, response_fitted=with_response)
    model.save(tmp_path / 'sensor.npz')
    assert [path.name for path in tmp_path.iterdir()] == ['sensor.npz']
    assert (tmp_path / 'sensor.npz').stat().st_size < 10_000
    read = SensorModel.load(tmp_path / 'sensor.npz')
    assert len(read.steps) == len(model.steps)
    for a, b in zip(read.steps, model.steps):
        assert (a.offset, a.stride, a.boundary) == (b.offset, b.stride, b.boundary)
        np.testing.assert_array_equal(a.kernel, b.kernel)
    assert torch.equal(read.noise_sigma, model.noise_sigma) and read.response_fitted is with_response
    assert (read.response is None) == (response is None)
    assert response is None or torch.equal(read.response, model.response)
    with pytest.raises(FileExistsError):
        model.save(tmp_path / 'sensor.npz')
    model.save(tmp_path / 'sensor.npz', overwrite=True)


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='correct the name of the sensor model'):
        SensorModel.load(tmp_path / 'absent.npz')
    with pytest.raises(ValueError, match=r'does not end in \.npz'):
        SensorModel.from_degradation('average', 2).save(tmp_path / 'sensor.yml')
    path = tmp_path / 'sensor.npz'
    SensorModel.from_degradation('average', 2).save(path)
    content = path.read_bytes()
    others = {'cut': content[: len(content) // 2], 'empty': b'', 'text': b'scale: 8\n'}
    for name, data in others.items():
        (tmp_path / f'{name}.npz').write_bytes(data)
    np.savez(tmp_path / 'arrays.npz', kernel=np.ones((3, 3)))
    np.savez(tmp_path / 'objects.npz', format=np.array([{}], dtype=object))
    np.savez(tmp_path / 'later.npz', format=np.array('mulsr_plugin sensor model 2'))
    for name in (*others, 'arrays', 'objects', 'later'):
        with pytest.raises(ValueError, match='is not a sensor model'):
            SensorModel.load(tmp_path / f'{name}.npz')


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: SensorModel(()), r'strides \[\], expected one step or more'),
        (lambda: SensorModel(SensorModel.from_gaussian(2, 1).steps * 2), r'strides \[2, 2\]'),
        (lambda: SensorModel.from_gaussian(2, 1, response=np.ones(3)), r'response has shape \(3,\)'),
        (lambda: SensorModel.from_gaussian(2, 1).with_response(torch.ones(3)), r'response has shape \(3,\)'),
        (lambda: SensorModel(SensorModel.from_gaussian(2, 1).steps, noise_sigma=torch.tensor(1.0)), 'noise_sigma'),
        (lambda: SensorModel.from_gaussian(2, (1.0, 0.0)), 'expected positive standard deviations'),
        (lambda: SensorModel.from_degradation(build_degradation('average', 4), 2), 'one by 4, expected one by 2'),
        (lambda: SensorModel.from_degradation('blurry', 2), "preset is 'blurry'"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
