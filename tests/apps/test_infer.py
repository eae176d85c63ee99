"""From files to a file: the whole way of `mulsr infer`."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.utils import get_root_logger
from scipy.io import savemat

from mulsr_plugin.__main__ import main
from mulsr_plugin.apps import super_resolution
from mulsr_plugin.apps.consistency import ConsistencyMeter
from mulsr_plugin.apps.infer import CubeFile, InferenceJob, infer
from mulsr_plugin.data.cube import Cube, GeoReference
from mulsr_plugin.data.formats import read_cube, write_cube
from mulsr_plugin.data.sources.pair import PairFiles
from mulsr_plugin.metrics.consistency import calculate_spectral_consistency
from mulsr_plugin.models import inference
from mulsr_plugin.sensor.estimation import estimate_sensor
from tests.processes import started_python
from tests.sensor.demo_pairs import demo_pair

ROOT = Path(__file__).resolve().parents[2]
WAVELENGTHS = tuple(np.linspace(420, 880, 5))


def save_network(folder: Path, **options) -> Path:
    torch.manual_seed(3)
    net = build_network({'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1, **options})
    path = folder / f'{options.get("type", "MulSR")}.pth'
    torch.save({'params': net.state_dict()}, path)
    return path


def scene(num_bands: int = 5, channels: int = 3, side: int = 48, scale: int = 4):
    """Return a registered pair in [0, 1]: (side / scale, ..., num_bands) and (side, side, channels)."""
    rng = np.random.default_rng(0)
    base = cv2.GaussianBlur(rng.random((side, side)), (0, 0), 2.5)
    base = (base - base.min()) / np.ptp(base)
    cube = base[..., None] * rng.uniform(0.3, 1, num_bands)
    low = cube.reshape(side // scale, scale, side // scale, scale, num_bands).mean((1, 3))
    return low, np.stack([base * weight for weight in np.linspace(1, 0.6, channels)], axis=-1)


@pytest.fixture
def job(tmp_path):
    """An 11-bit GeoTIFF-like cube in uint16 with its guide, and a MulSR for them."""
    low, guide = scene()
    np.save(tmp_path / 'rgb.npy', guide.astype(np.float32))
    cube = Cube(np.rint(low * 2047).astype(np.uint16), 1 / 2047, WAVELENGTHS)
    write_cube(tmp_path / 'lr.npz', cube)
    images = PairFiles('lr', tmp_path / 'lr.npz', tmp_path / 'rgb.npy')
    output = tmp_path / 'out' / 'sr.npz'
    return InferenceJob(weights=save_network(tmp_path), images=images, output=output, device='cpu')


def changed(job, **values):
    fields = {name: getattr(job, name) for name in job.__dataclass_fields__}
    return InferenceJob(**{**fields, **values})


@pytest.fixture
def log(monkeypatch):
    """Sentences of the log with their level."""
    records = []

    class Keep(logging.Handler):
        def emit(self, record):
            records.append(f'{record.levelname}: {record.getMessage()}')

    handler, logger = Keep(), get_root_logger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)


def expected_result(job) -> np.ndarray:
    """Run the network by hand, (H, W, L) in [0, 1]."""
    low = read_cube(job.images.cube)
    guide = read_cube(job.images.guide, is_guide=True).values
    net = build_network({'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1})
    net.load_state_dict(torch.load(job.weights, weights_only=True)['params'])
    lq, rgb = (torch.from_numpy(np.float32(each)).permute(2, 0, 1)[None] for each in (low.values / 2047, guide))
    with torch.no_grad():
        return net(lq, rgb)[0].permute(1, 2, 0).clamp(0, 1).numpy()


def test_result_is_the_network_s_in_the_units_of_the_cube(job, log):
    parts = []
    report = infer(job, lambda done, total: parts.append((done, total)))
    result = read_cube(job.output)
    assert result.values.dtype == np.uint16
    assert result.scale == pytest.approx(1 / 2047)
    assert result.wavelengths == pytest.approx(WAVELENGTHS)
    assert report.shape == result.values.shape == (48, 48, 5)
    assert (report.scale, report.network['type'], report.tile) == (4, 'MulSR', None)
    assert parts[-1][0] == parts[-1][1]
    # rounded to whole numbers, half a step at most
    assert np.abs(result.values / 2047 - expected_result(job)).max() <= 0.5 / 2047 + 1e-5
    assert max(abs(report.shift.down), abs(report.shift.right)) < 0.5
    # that an untrained network is not consistent is said
    assert not any(line.startswith('WARNING') and 'consistency is poor' not in line for line in log)
    preview = cv2.imread(str(job.preview))
    assert preview.ndim == 3
    assert preview.std() > 1
    assert sorted(path.name for path in job.output.parent.iterdir()) == ['sr.npz', 'sr_preview.png']


def demo_job(folder: Path, scale: int, degradation: str, **options) -> InferenceJob:
    """A pair of a demonstration scene, whose blur can be estimated."""
    pair = demo_pair(scale, degradation)
    np.save(folder / 'lr.npy', pair.lq.permute(1, 2, 0).numpy())
    np.save(folder / 'rgb.npy', pair.guide.permute(1, 2, 0).numpy())
    images = PairFiles('lr', folder / 'lr.npy', folder / 'rgb.npy')
    return InferenceJob(images=images, output=folder / 'out' / 'sr.npy', device='cpu', **options)


@pytest.mark.parametrize('described', ['noise_free', 'authors_fixed', None, 'no weights'])
def test_consistency_is_measured_with_the_blur_of_the_pair(described, tmp_path):
    """Whatever weights say of the degradation that they were trained for."""
    weights = None
    if described != 'no weights':
        weights = save_network(tmp_path, upscale=8)
        content = torch.load(weights, weights_only=True)
        network = {'type': 'MulSR', 'upscale': 8, 'num_feat': 8, 'num_modules': 1}
        content['mulsr_plugin'] = {'network_g': network, 'scales': [8], 'degradation': described}
        torch.save(content, weights)
    job = demo_job(tmp_path, 8, 'authors_fixed', weights=weights)
    report = infer(job)
    assert report.sensor.known
    result, low = torch.from_numpy(np.load(job.output)).permute(2, 0, 1), np.load(job.images.cube)
    blurred = report.sensor.sensor.blur(result[None])[0].permute(1, 2, 0).numpy()
    rmse = np.sqrt(((blurred - low) ** 2).mean())
    assert report.consistency['spectral consistency (RMSE)'] == pytest.approx(rmse, rel=1e-4)


def test_the_result_of_wrong_weights_does_not_score_better_than_that_of_right_ones():
    """Right is the scene; wrong what undoes a blur over the block that the pair does not have."""
    pair = demo_pair(8, 'authors_fixed')
    low, right = (image.permute(1, 2, 0).numpy() for image in (pair.lq, pair.gt))
    wrong = np.repeat(np.repeat(low, 8, axis=0), 8, axis=1)
    sensor = estimate_sensor(pair.lq, pair.guide).sensor
    scores = []
    for result in (right, wrong):
        meter = ConsistencyMeter(low, sensor)
        for first in range(0, len(result), 64):
            meter.add(first, result[first : first + 64])
        scores.append(meter.figures()['spectral consistency (RMSE)'])
    assert calculate_spectral_consistency(wrong, low) < calculate_spectral_consistency(right, low)
    assert scores[0] < 0.8 * scores[1]


def test_spatial_consistency_is_measured_in_the_unit_range(job):
    infer(job)
    result = read_cube(job.output).values / 2047
    np.save(job.output.parent / 'response.npy', np.full((3, 5), 0.2))
    answer = infer(changed(job, spectral_response=str(job.output.parent / 'response.npy'), force=True))
    guide = np.load(job.images.guide)
    rmse = np.sqrt(((result.mean(-1, keepdims=True) - guide) ** 2).mean())
    assert answer.consistency['spatial consistency (RMSE)'] == pytest.approx(rmse, abs=3e-4)


def test_float_cubes_stay_float(job, tmp_path):
    low, _ = scene()
    np.save(tmp_path / 'low.npy', low)
    job = changed(job, images=PairFiles('low', tmp_path / 'low.npy', job.images.guide), output=tmp_path / 'sr.mat')
    infer(job)
    assert read_cube(job.output).values.dtype == np.float32


def test_network_on_the_start_of_sensor_fusion(job, tmp_path):
    edsr = {'type': 'EDSR', 'num_in_ch': 5, 'num_out_ch': 5, 'num_feat': 8, 'num_block': 1, 'upscale': 1}
    block = {'type': 'SensorStart', 'network': edsr, 'upscale': 4, 'num_bands': 5}
    torch.manual_seed(0)
    net = build_network(block).eval()
    net.correction.gain.data.fill_(0.5)
    torch.save({'params': net.state_dict()}, tmp_path / 'start.pth')
    (tmp_path / 'start.yml').write_text(yaml.safe_dump({'scale': 4, 'network_g': block}))
    infer(changed(job, weights=tmp_path / 'start.pth', option_file=tmp_path / 'start.yml'))
    low, guide = read_cube(job.images.cube).values / 2047, read_cube(job.images.guide, is_guide=True).values
    images = [torch.from_numpy(np.array(each, np.float32)).permute(2, 0, 1)[None] for each in (low, guide)]
    with torch.no_grad():
        expected, start = (made(*images)[0].permute(1, 2, 0).clamp(0, 1).numpy() for made in (net, net.start))
    result = read_cube(job.output).values / 2047
    assert np.abs(result - expected).max() <= 0.5 / 2047 + 1e-5
    assert np.abs(result - start).max() > 0.01


@pytest.fixture
def unguided(tmp_path):
    """A network that takes no guide image, its weights and its option file."""
    edsr = {'type': 'EDSR', 'num_in_ch': 5, 'num_out_ch': 5, 'num_feat': 8, 'num_block': 1, 'upscale': 4}
    block = {'type': 'Unguided', 'network': edsr, 'upscale': 4, 'num_bands': 5}
    torch.manual_seed(0)
    net = build_network(block).eval()
    torch.save({'params': net.state_dict()}, tmp_path / 'edsr.pth')
    (tmp_path / 'edsr.yml').write_text(yaml.safe_dump({'scale': 4, 'network_g': block}))
    return net, tmp_path / 'edsr.pth', tmp_path / 'edsr.yml'


def test_network_without_a_guide_needs_none(job, unguided, log):
    net, weights, options = unguided
    alone = changed(job, images=CubeFile(job.images.cube), weights=weights, option_file=options)
    report = infer(alone)
    assert (report.shape, report.scale, report.shift) == ((48, 48, 5), 4, None)
    assert list(report.consistency) == []  # nothing says how the cube was blurred
    low = torch.from_numpy(np.float32(read_cube(job.images.cube).values / 2047)).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = net(low)[0].permute(1, 2, 0).clamp(0, 1).numpy()
    result = read_cube(job.output).values / 2047
    assert np.abs(result - expected).max() <= 0.5 / 2047 + 1e-5
    assert not any('WARNING' in line and 'consistency is poor' not in line for line in log)
    # given all the same it tells the scale, and that it is not used is said
    report = infer(changed(job, weights=weights, option_file=options, force=True))
    np.testing.assert_array_equal(read_cube(job.output).values / 2047, result)
    assert report.shift is not None
    assert any(line.startswith('WARNING: The Unguided of') and 'takes no guide image' in line for line in log)
    with pytest.raises(ValueError, match='computes all bands at once: leave bands_per_chunk out'):
        infer(changed(alone, bands_per_chunk=2, force=True))


def test_a_given_scale_is_compared_with_the_images_and_the_network(job, unguided, tmp_path):
    _, weights, options = unguided
    with pytest.raises(ValueError, match='The scale is 8, but the guide has 4 times as many rows'):
        infer(changed(job, scale=8))
    assert infer(changed(job, scale=4)).scale == 4
    alone = changed(job, images=CubeFile(job.images.cube), weights=weights, force=True)
    with pytest.raises(ValueError, match='describes a network for x4, but the images are given at x8'):
        infer(changed(alone, option_file=options, scale=8))
    unsaid = yaml.safe_load(options.read_text())
    del unsaid['scale'], unsaid['network_g']['upscale']
    (tmp_path / 'unsaid.yml').write_text(yaml.safe_dump(unsaid))
    with pytest.raises(ValueError, match='size of the guide image sets the scale'):
        infer(changed(alone, option_file=tmp_path / 'unsaid.yml'))
    assert infer(changed(alone, option_file=tmp_path / 'unsaid.yml', scale=4)).shape == (48, 48, 5)


def test_guided_network_asks_for_the_guide(job, tmp_path):
    block = {'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1}
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump({'scale': 4, 'network_g': block}))
    with pytest.raises(ValueError, match='The MulSR of .* takes a guide image, but there is none: give a guide'):
        infer(changed(job, images=CubeFile(job.images.cube), option_file=tmp_path / 'opt.yml'))
    arguments = ['infer', '--hsi', str(job.images.cube), '--out', str(job.output), '--weights', str(job.weights)]
    assert main([*arguments, '--rgb-scale', '0.5']) == main(arguments) == 1
    assert not job.output.parent.exists()


def test_interrupted_script_ends_with_a_line_and_leaves_nothing(job, tmp_path):
    rng = np.random.default_rng(0)
    np.save(tmp_path / 'low.npy', rng.random((64, 64, 200), np.float32))
    np.save(tmp_path / 'guide.npy', rng.random((256, 256, 3), np.float32))
    arguments = ['--weights', job.weights, '--hsi', tmp_path / 'low.npy', '--rgb', tmp_path / 'guide.npy']
    arguments += ['--out', job.output, '--device', 'cpu', '--bands-per-chunk', '1']
    with started_python(ROOT / 'scripts' / 'infer.py', *arguments, cwd=tmp_path) as process:
        lines = iter(process.stderr.readline, '')
        assert any('1 of 200 bands at a time' in line for line in lines)
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert rest.splitlines()[-1] == 'interrupted: nothing half-written is left under the name of the result'
    assert 'Traceback' not in rest
    assert not job.output.parent.exists()


@pytest.mark.parametrize('num_bands', [102, 224])
@pytest.mark.parametrize(
    'options',
    [{}, {'type': 'CoarseNet', 'num_feat': 4, 'num_units': 1, 'num_modules': None}],
    ids=['MulSR', 'CoarseNet'],
)
def test_one_checkpoint_runs_on_any_number_of_bands(options, num_bands, job, tmp_path):
    low, _ = scene(num_bands, side=16)
    np.save(tmp_path / 'low.npy', low.astype(np.float32))
    np.save(tmp_path / 'guide.npy', scene(side=16)[1].astype(np.float32))
    options = {key: value for key, value in {'num_feat': 8, 'num_modules': 1, **options}.items() if value is not None}
    torch.manual_seed(0)
    net = build_network({'type': 'MulSR', 'upscale': 4, **options}).eval()
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    images = PairFiles('low', tmp_path / 'low.npy', tmp_path / 'guide.npy')
    job = changed(job, weights=tmp_path / 'net.pth', images=images, output=tmp_path / 'sr.npy')
    assert infer(job).shape == (16, 16, num_bands)
    # a band depends on its neighbours alone: three bands of many give the middle one (MulSR)
    if 'type' not in options:
        lq = torch.from_numpy(low[..., 49:52].astype(np.float32)).permute(2, 0, 1)[None]
        rgb = torch.from_numpy(np.load(tmp_path / 'guide.npy')).permute(2, 0, 1)[None]
        with torch.no_grad():
            band = net(lq, rgb, bands=[1])[0, 0].clamp(0, 1).numpy()
        np.testing.assert_allclose(np.load(job.output)[..., 50], band, atol=1e-5)


def test_tiles_are_measured_and_reported(job, log):
    report = infer(changed(job, tile_size=18, tile_halo=6))
    assert report.tile == (16, 8)  # multiples of the scale
    assert 0 < report.deviation.rmse < report.deviation.maximum
    assert (report.deviation.height, report.deviation.width) == (32, 32)
    assert any(
        'Tiles of 16 pixels with a halo of 8. Compared with one piece, on the central 32x32' in line for line in log
    )
    whole = expected_result(job)
    assert np.abs(read_cube(job.output).values / 2047 - whole).max() < 20 * report.deviation.maximum
    # a tile as large as the image is not a tile
    assert infer(changed(job, tile_size=48, force=True)).tile is None


def test_images_that_do_not_fit_are_cut(job, monkeypatch):
    need = 48 * 48 * 4 * 5 + 5e5
    monkeypatch.setattr(inference, 'free_memory', lambda device: need / inference._USABLE_SHARE)
    report = infer(changed(job, tile_halo=4))
    assert report.tile is not None
    assert report.tile.halo == 4
    assert report.deviation is not None


def test_shifted_images_are_warned_of(job, log):
    guide = np.load(job.images.guide)
    np.save(job.images.guide, np.roll(guide, (5, -2), (0, 1)))
    report = infer(job)
    assert (report.shift.down, report.shift.right) == (pytest.approx(-5, abs=0.6), pytest.approx(2, abs=0.6))
    assert any(line.startswith('WARNING: The cube is shifted against the guide by') for line in log)


def test_panchromatic_guide_and_variables_of_one_file(job, tmp_path):
    low, pan = scene(channels=1)
    savemat(tmp_path / 'pair.mat', {'I_MS': low, 'I_PAN': pan[..., 0]})
    images = PairFiles('pair', tmp_path / 'pair.mat', tmp_path / 'pair.mat', {'key': 'I_MS'}, {'key': 'I_PAN'})
    with pytest.raises(ValueError, match=r'has 1 channel\(s\), but .* takes a guide of 3: .* num_guide_ch: 1'):
        infer(changed(job, images=images))
    weights = save_network(tmp_path, num_guide_ch=1)
    assert infer(changed(job, images=images, weights=weights)).shape == (48, 48, 5)


def test_georeferences_of_different_places_are_warned_of(job, tmp_path, log):
    low, guide = scene()
    for east, is_warned in ((500000.0, False), (500001.5, False), (500003.0, True)):
        write_cube(tmp_path / f'{east}.npz', Cube(low, 1.0, geo=GeoReference((2.0, 0, 500000.0, 0, -2.0, 4.6e6))))
        write_cube(tmp_path / f'g{east}.npz', Cube(guide, 1.0, geo=GeoReference((0.5, 0, east, 0, -0.5, 4.6e6))))
        log.clear()
        infer(changed(job, images=PairFiles('lr', tmp_path / f'{east}.npz', tmp_path / f'g{east}.npz'), force=True))
        assert any('of cube and guide lie up to 1.5 pixels of the cube apart' in line for line in log) == is_warned


@pytest.mark.skipif(importlib.util.find_spec('rasterio') is None, reason='needs rasterio')
@pytest.mark.parametrize('name', ['sr.tif', 'sr.hdr'])
def test_georeference_has_smaller_pixels_at_the_same_place(name, job, tmp_path):
    low, _ = scene()
    geo = GeoReference((2.0, 0.0, 500000.0, 0.0, -2.0, 4600000.0), '')
    write_cube(tmp_path / 'lr.tif', Cube(np.rint(low * 2047).astype(np.uint16), 1 / 2047, WAVELENGTHS, geo=geo))
    images = PairFiles('lr', tmp_path / 'lr.tif', job.images.guide)
    infer(changed(job, images=images, output=tmp_path / name))
    result = read_cube(tmp_path / name)
    assert result.geo.transform == pytest.approx((0.5, 0.0, 500000.0, 0.0, -0.5, 4600000.0))
    assert result.scale == pytest.approx(1 / 2047)
    assert result.wavelengths == pytest.approx(WAVELENGTHS)


def test_existing_files_are_kept(job, tmp_path):
    job.output.parent.mkdir()
    for path in (job.output, job.preview):
        path.write_text('precious')
        with pytest.raises(FileExistsError, match=f'{path.name} exists: .* use force'):
            infer(job)
        assert path.read_text() == 'precious'
        path.unlink()
    with pytest.raises(FileExistsError, match='is one of the inputs'):
        infer(changed(job, output=job.images.cube, force=True))
    infer(job)
    before = job.output.stat().st_mtime_ns
    os.utime(job.output, ns=(before - 10**9, before - 10**9))
    infer(changed(job, force=True))
    assert job.output.stat().st_mtime_ns >= before


def test_files_of_an_envi_image_are_kept(job, tmp_path, monkeypatch):
    monkeypatch.setattr(super_resolution, 'result_strips', None)  # all is told before the work
    write_cube(tmp_path / 'lr.hdr', read_cube(job.images.cube))
    header = (tmp_path / 'lr.hdr').read_text()
    (tmp_path / 'lr.dat').rename(tmp_path / 'lr.bil')
    images = PairFiles('lr', tmp_path / 'lr.bil', job.images.guide)
    with pytest.raises(FileExistsError, match=r'lr\.bil would be read as the data of lr\.hdr'):
        infer(changed(job, images=images, output=tmp_path / 'lr.dat', force=True))
    (tmp_path / 'old.dat').write_text('precious')
    with pytest.raises(FileExistsError, match=r'old\.dat exists: .* use force'):
        infer(changed(job, images=images, output=tmp_path / 'old.hdr'))
    assert ((tmp_path / 'lr.hdr').read_text(), (tmp_path / 'old.dat').read_text()) == (header, 'precious')


def test_place_that_takes_no_file_is_seen_before_the_work(job, tmp_path, monkeypatch):
    monkeypatch.setattr(super_resolution, 'result_strips', None)
    (tmp_path / 'file').write_text('no folder')
    with pytest.raises(OSError, match=r'Nothing can be written to .*file \(Not a directory\): name another place'):
        infer(changed(job, output=tmp_path / 'file' / 'sr.npy'))


def test_bad_bands_and_wavelengths_by_the_command_line(job, tmp_path):
    cube = read_cube(job.images.cube)
    values = cube.values.astype(np.float32) / 2047
    values[..., 2] = np.nan
    np.savez(tmp_path / 'bad.npz', cube=values, scale_to_unit=1.0, bad_bands=[2])
    (tmp_path / 'waves.txt').write_text('0.42 0.52 0.62 0.72 0.82')
    arguments = [
        'infer',
        '--weights',
        job.weights,
        '--hsi',
        tmp_path / 'bad.npz',
        '--rgb',
        job.images.guide,
        '--out',
        job.output,
    ]
    arguments += ['--drop-bad-bands', '--wavelengths', tmp_path / 'waves.txt', '--device', 'cpu']
    assert main([str(each) for each in arguments]) == 0
    assert read_cube(job.output).wavelengths == (420, 520, 720, 820)


def test_nothing_is_left_behind(job, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError('in the middle')

    monkeypatch.setattr(super_resolution, 'result_strips', fail)
    with pytest.raises(MemoryError):
        infer(job)
    assert not job.output.parent.exists()


@pytest.mark.parametrize(
    'make, message',
    [
        (
            lambda job: changed(job, output=Path('')),
            r'The output \. is not a name of a file: give one, such as sr\.tif',
        ),
        (lambda job: changed(job, output=Path('sr.xyz')), r'sr\.xyz: no writer for \.xyz; choose one of \.mat'),
        (lambda job: changed(job, device='cuda:0'), 'The device is cuda:0, but PyTorch sees no GPU'),
        (lambda job: changed(job, device='gpu'), 'The device is gpu, expected auto, cpu, cuda or cuda:N'),
        (lambda job: changed(job, spectral_response='nikon_d7000'), "Spectral response 'nikon_d7000' is neither"),
        (
            lambda job: changed(job, spectral_response='gaussian:600/100'),
            'gaussian:600/100 has 1 channel.s., but the guide has 3: name the response of the camera',
        ),
        (lambda job: changed(job, precision='fp8'), "precision is 'fp8'"),
        (lambda job: changed(job, weights=Path('none.pth')), 'There is no checkpoint none.pth'),
        (lambda job: changed(job, tile_halo=-4), 'halo of tiles is -4 pixels, expected 0 or more: correct tile_halo'),
        (lambda job: changed(job, images=CubeFile(job.images.cube)), 'size of the guide image sets the scale, but'),
        (
            lambda job: changed(job, images=CubeFile(job.images.cube), scale=4, spectral_response='worldview2_rgb'),
            'The spectral response worldview2_rgb is that of the camera of a guide image, but there is none',
        ),
    ],
)
def test_mistakes_are_named_before_the_work(make, message, job, monkeypatch):
    monkeypatch.setattr(super_resolution, 'result_strips', None)
    if 'cuda' in message and torch.cuda.is_available():
        pytest.skip('there is a GPU')
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        infer(make(job))
    assert not job.output.parent.exists()


def test_images_that_do_not_fit_each_other_or_the_network(job, tmp_path):
    guide = scene()[1]
    np.save(tmp_path / 'cut.npy', guide[:45].astype(np.float32))
    with pytest.raises(ValueError, match='The guide has 45x48 pixels and the cube 12x12'):
        infer(changed(job, images=PairFiles('lr', job.images.cube, tmp_path / 'cut.npy')))
    np.save(tmp_path / 'x3.npy', guide[:36, :36].astype(np.float32))
    with pytest.raises(ValueError, match='works at even scales only, but the images are given at x3'):
        infer(changed(job, images=PairFiles('lr', job.images.cube, tmp_path / 'x3.npy')))
    net = build_network({'type': 'PZResNet', 'upscale': 4, 'num_bands': 31})
    torch.save({'params': net.state_dict()}, tmp_path / 'pz.pth')
    with pytest.raises(
        ValueError, match=r'has 5 bands, but the PZResNet of .* was trained for 31 .* MulSR or CoarseNet'
    ):
        infer(changed(job, weights=tmp_path / 'pz.pth'))


def test_full_disk_is_seen_before_the_work(job, monkeypatch):
    monkeypatch.setattr(shutil, 'disk_usage', lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match='The result takes 23.0 kB, but .* has only 1.0 kB left'):
        infer(job)


def test_script(job, tmp_path, capsys):
    script = ROOT / 'scripts' / 'infer.py'
    arguments = ['--weights', job.weights, '--hsi', job.images.cube, '--rgb', job.images.guide, '--out', job.output]
    arguments = [*map(str, arguments), '--device', 'cpu']
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    command = [sys.executable, str(script), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert run.returncode == 0, run.stderr
    for expected in ('INFO: MulSR x4: 12x12x5 (rows x columns x bands, ', 'No spectral consistency is given', '100%'):
        assert expected in run.stdout + run.stderr
    assert np.abs(read_cube(job.output).values / 2047 - expected_result(job)).max() <= 0.5 / 2047 + 1e-5
    assert main(['infer', *arguments]) == 1
    assert capsys.readouterr().err.startswith(f'error: {job.output} exists')
