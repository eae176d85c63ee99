"""The Python API: arrays and files give the same, mistakes are named, and the package stays light until it is used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network

import mulsr_plugin
from mulsr_plugin import degrade, read_cube, super_resolve, write_cube
from mulsr_plugin.apps.infer import InferenceJob, infer
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.sources.pair import PairFiles
from mulsr_plugin.data.store.writer import CubeStoreWriter

ROOT = Path(__file__).resolve().parents[1]
WAVELENGTHS = tuple(np.linspace(420, 880, 5))
SCALE = 4


@pytest.fixture(scope='module')
def images():
    """A registered pair: counts of an 11-bit sensor, (12, 12, 5), and its guide in [0, 1], (48, 48, 3)."""
    rng = np.random.default_rng(0)
    base = cv2.GaussianBlur(rng.random((48, 48)), (0, 0), 2.5)
    base = (base - base.min()) / np.ptp(base)
    low = (base[..., None] * rng.uniform(0.3, 1, 5)).reshape(12, 4, 12, 4, 5).mean((1, 3))
    guide = np.stack([base, 0.8 * base, 0.6 * base], axis=-1).astype(np.float32)
    return np.rint(low * 2047).astype(np.uint16), guide


def save_network(path: Path, **options) -> Path:
    torch.manual_seed(3)
    net = build_network({'type': 'MulSR', 'upscale': SCALE, 'num_feat': 8, 'num_modules': 1, **options})
    torch.save({'params': net.state_dict()}, path)
    return path


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return save_network(tmp_path_factory.mktemp('weights') / 'mulsr.pth')


def test_arrays_cubes_and_files_give_the_same(images, weights, tmp_path):
    low, guide = images
    cube = Cube(low, 1 / 2047, WAVELENGTHS)
    write_cube(tmp_path / 'lr.npz', cube)
    np.save(tmp_path / 'rgb.npy', guide)
    response = str(tmp_path / 'response.npy')
    np.save(response, np.full((3, 5), 0.2))
    how = {'weights': weights, 'device': 'cpu', 'spectral_response': response, 'tile_size': 24, 'tile_halo': 8}
    files = PairFiles('lr', tmp_path / 'lr.npz', tmp_path / 'rgb.npy')
    expected = infer(InferenceJob(images=files, output=tmp_path / 'sr.npz', **how))
    written = read_cube(tmp_path / 'sr.npz').values
    before = low.copy(), guide.copy()
    calls = {
        'arrays': (low, guide, {'value_scale': 1 / 2047, 'wavelengths': WAVELENGTHS}),
        'cubes': (cube, Cube(guide, 1.0), {}),
        'files': (tmp_path / 'lr.npz', str(tmp_path / 'rgb.npy'), {'scale': SCALE}),
    }
    for name, (first, second, options) in calls.items():
        result, report = super_resolve(first, second, **options, **how)
        assert result.dtype == np.uint16, name
        np.testing.assert_array_equal(result, written, err_msg=name)
        assert report == expected, name
    assert all(np.array_equal(old, new) for old, new in zip(before, images))
    assert (report.shape, report.scale, report.network['type'], report.tile) == ((48, 48, 5), 4, 'MulSR', (24, 8))
    assert max(abs(report.shift.down), abs(report.shift.right)) < 0.5
    assert report.deviation.rmse > 0
    spatial = np.sqrt(((written.mean(-1, keepdims=True) / 2047 - guide) ** 2).mean())
    assert report.consistency['spatial consistency (RMSE)'] == pytest.approx(spatial, abs=3e-4)


def test_units_of_the_input(images, weights):
    low, guide = images
    how = {'weights': weights, 'device': 'cpu'}
    unit, _ = super_resolve(low / 2047, guide, **how)
    assert unit.dtype == np.float32
    assert 0 <= unit.min() < unit.max() <= 1
    counts, _ = super_resolve(low, np.rint(guide * 255).astype(np.uint8), value_scale=1 / 2047, **how)
    assert np.abs(counts / 2047 - unit).max() < 0.02  # the guide is rounded to 8 bits
    percent, _ = super_resolve(low / 20.47, guide * 2, value_scale=0.01, guide_value_scale=0.5, **how)
    np.testing.assert_allclose(percent / 100, unit, atol=1e-5)
    assert percent.dtype == np.float32


def test_one_channel_and_no_guide(images, tmp_path):
    low, guide = images
    pan = save_network(tmp_path / 'pan.pth', num_guide_ch=1)
    flat, _ = super_resolve(low / 2047, guide[..., 0], weights=pan, device='cpu')
    deep, _ = super_resolve(low / 2047, guide[..., :1], weights=pan, device='cpu')
    np.testing.assert_array_equal(flat, deep)
    net = build_network({'type': 'BicubicUpsampler', 'upscale': SCALE})
    torch.save({'params': net.state_dict(), 'x': 0}, tmp_path / 'empty.pth')
    options, parts = tmp_path / 'opt.yml', []
    options.write_text('network_g: {type: BicubicUpsampler, upscale: 4}')
    how = {'weights': tmp_path / 'empty.pth', 'option_file': options, 'device': 'cpu'}
    result, report = super_resolve(low / 2047, progress=lambda done, total: parts.append((done, total)), **how)
    with torch.no_grad():
        expected = net(torch.from_numpy(np.float32(low / 2047)).permute(2, 0, 1)[None]).clamp(0, 1)
    np.testing.assert_allclose(result, expected[0].permute(1, 2, 0), atol=1e-6)
    assert (report.shift, report.scale) == (None, SCALE)
    assert parts[-1][0] == parts[-1][1]
    options.write_text('network_g: {type: BicubicUpsampler}')  # of x8 by default
    with pytest.raises(ValueError, match='size of the guide image sets the scale, but there is no guide'):
        super_resolve(low / 2047, **how)
    with pytest.raises(ValueError, match='The BicubicUpsampler of .* enlarges 8 times, but the scale is 4'):
        super_resolve(low / 2047, scale=SCALE, **how)
    assert super_resolve(low / 2047, scale=8, **how)[1].shape == (96, 96, 5)


@pytest.mark.parametrize(
    'change, error, message',
    [
        (
            lambda low, guide: {'cube': low[..., 0]},
            ValueError,
            r'cube holds an array of shape \(12, 12\), expected',
        ),
        (lambda low, guide: {'cube': low * 900}, ValueError, 'cube holds float64 values from .*; give the factor'),
        (lambda low, guide: {'guide': guide * 255}, ValueError, 'guide holds float32 values from .*; give the factor'),
        (
            lambda low, guide: {'cube': low, 'value_scale': 2},
            ValueError,
            'cube, band .: values times scale 2 run from',
        ),
        (lambda low, guide: {'cube': np.where(low > 0.9, np.nan, low)}, ValueError, 'cube has .* NaN, infinite or no-'),
        (lambda low, guide: {'guide': guide[:45]}, ValueError, 'The guide has 45x48 pixels and the cube 12x12'),
        (lambda low, guide: {'guide': None}, ValueError, 'The size of the guide image sets the scale, but'),
        (lambda low, guide: {'guide': None, 'scale': 4}, ValueError, 'takes a guide image, but there is none'),
        (
            lambda low, guide: {'guide': None, 'scale': 4, 'spectral_response': 'worldview2_rgb'},
            ValueError,
            'worldview2_rgb is that of the camera of a guide image, but there is none',
        ),
        (lambda low, guide: {'scale': 8}, ValueError, 'The scale is 8, but the guide has 4 times as many rows'),
        (lambda low, guide: {'scale': 0}, ValueError, 'The scale is 0, expected a whole number of at least 1'),
        (lambda low, guide: {'guide': guide[..., :2]}, ValueError, r'has 2 channel\(s\), but .* takes a guide of 3'),
        (lambda low, guide: {'wavelengths': (500, 600)}, ValueError, 'cube has 5 bands but 2 wavelengths'),
        (lambda low, guide: {'weights': 'mulsr_x4'}, FileNotFoundError, 'mulsr_x4 is neither a file nor the name of'),
        (lambda low, guide: {'method': 'GSA'}, ValueError, 'GSA takes no weights, but .* is given'),
        (lambda low, guide: {'bands_per_chunk': 0}, ValueError, 'bands_per_chunk is 0, expected at least 1'),
        (lambda low, guide: {'tile_size': -1}, ValueError, 'tile_size is -1, expected at least 1'),
        (lambda low, guide: {'device': 'gpu'}, ValueError, 'The device is gpu, expected auto, cpu'),
        (lambda low, guide: {'cube': 'none.mat'}, FileNotFoundError, 'none.mat'),
        (lambda low, guide: {'cube': torch.zeros(5, 12, 12)}, TypeError, 'cube is a Tensor, expected an array'),
    ],
)
def test_mistakes_are_named(change, error, message, images, weights):
    low, guide = images[0] / 2047, images[1]
    arguments = {'cube': low, 'guide': guide, 'weights': weights, 'device': 'cpu', **change(low, guide)}
    with pytest.raises(error, match=message) as caught:
        super_resolve(**arguments)
    assert '\n' not in str(caught.value)


SENSOR = tuple(np.linspace(430, 700, 16))


@pytest.mark.parametrize(
    'bands, wavelengths, degradation, response',
    [
        (31, None, 'noise_free', 'nikon_d700'),
        (31, None, 'authors_fixed', 'nikon_d700'),
        (16, SENSOR, {'preset': 'gaussian', 'sigma': 2, 'noise_sigma': 0.02, 'seed': 7}, 'worldview2_rgb'),
        (16, SENSOR, {'preset': 'average', 'poisson_peak': 500}, 'gaussian:550/120'),
    ],
)
def test_degrade_makes_what_a_data_set_makes(bands, wavelengths, degradation, response, tmp_path):
    values = np.random.default_rng(1).integers(0, 4096, (26, 35, bands), dtype=np.uint16)
    with CubeStoreWriter(tmp_path / 'gt.lmdb') as writer:
        writer.add('scene', values, 1 / 4095, wavelengths)
    options = {
        'name': 'test',
        'phase': 'val',
        'scale': SCALE,
        'dataroot_gt': str(tmp_path / 'gt.lmdb'),
        'io_backend': {'type': 'lmdb'},
        'degradation': degradation,
        'spectral_response': response,
    }
    sample = PairedHSIRGBDataset(options)[0]
    how = {'value_scale': 1 / 4095, 'wavelengths': wavelengths, 'key': 'scene'}
    lq, guide = degrade(values, SCALE, degradation, response, **how)
    assert lq.dtype == guide.dtype == np.float32
    assert (lq.shape, guide.shape[:2]) == ((6, 8, bands), (24, 32))
    np.testing.assert_array_equal(lq, sample['lq'].permute(1, 2, 0))
    np.testing.assert_array_equal(guide, sample['rgb'].permute(1, 2, 0))
    again, none = degrade(Cube(values, 1 / 4095, wavelengths), SCALE, degradation, None, key='scene')
    np.testing.assert_array_equal(again, lq)
    assert none is None
    other, _ = degrade(values, SCALE, degradation, response, 11, **how)
    assert np.array_equal(other, lq) == (degradation == 'noise_free')


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'scale': 1}, 'scale is 1, expected a whole number from 2 to 256'),
        ({'scale': 64}, 'The cube has 26x35 pixels, fewer than one low-resolution pixel at scale 64'),
        ({'degradation': 'noisefree'}, 'noise_free'),
        ({'degradation': {'preset': 'gaussian', 'sgima': 2}}, 'sigma'),
        ({'seed': -1}, 'seed'),
        ({'spectral_response': 'worldview2_rgb'}, 'needs the wavelengths of the 31 bands'),
        ({'value_scale': 4}, 'values times scale 4 run from'),
    ],
)
def test_degrade_names_mistakes(arguments, message):
    cube = np.random.default_rng(0).random((26, 35, 31))
    with pytest.raises(ValueError, match=message) as caught:
        degrade(cube, **{'scale': 4, **arguments})
    assert '\n' not in str(caught.value)


def run_python(code: str, autoload: str, folder: Path) -> str:
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'TORCH_DEVICE_BACKEND_AUTOLOAD': autoload}
    return subprocess.run(
        [sys.executable, '-c', code], cwd=folder, env=environment, check=True, text=True, stdout=subprocess.PIPE
    ).stdout


@pytest.mark.parametrize('autoload', ['0', '1'])
def test_package_is_light_until_it_is_used(autoload, tmp_path):
    code = """
import sys
import mulsr_plugin
heavy = ('torch', 'basicsr', 'numpy', 'cv2')
assert set(mulsr_plugin.__all__) <= set(dir(mulsr_plugin))
print([name for name in heavy if name in sys.modules])
mulsr_plugin.super_resolve
print([name for name in heavy if name in sys.modules])
"""
    assert run_python(code, autoload, tmp_path).splitlines() == ['[]', "['torch', 'basicsr', 'numpy', 'cv2']"]


@pytest.mark.parametrize('first', ['import basicsr', 'import torch', 'import mulsr_plugin'])
def test_api_works_without_autoload(first, tmp_path):
    code = f"""
{first}
import numpy as np
import mulsr_plugin
rng = np.random.default_rng(0)
cube, guide = rng.random((4, 4, 5)), rng.random((32, 32, 3))
print(mulsr_plugin.super_resolve(cube, guide, weights='mulsr_cave_x8_small', device='cpu')[0].shape)
"""
    if first == 'import basicsr':  # whose missing module only the plugin supplies
        code = f'from mulsr_plugin.autoload import install\ninstall()\n{code}'
    assert run_python(code, '0', tmp_path) == '(32, 32, 5)\n'


def test_type_checkers_see_what_is_handed_on():
    tree = ast.parse(Path(mulsr_plugin.__file__).read_text(encoding='utf-8'))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module != 'typing'
        for alias in node.names
    }
    assert seen == mulsr_plugin._MODULES
    assert set(mulsr_plugin.__all__) == {*seen, 'register'}
    with pytest.raises(AttributeError, match="module 'mulsr_plugin' has no attribute 'super_resolution'"):
        mulsr_plugin.super_resolution  # noqa: B018
