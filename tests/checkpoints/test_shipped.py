"""Weights that come with the package: whole, described, of the quality they were shipped with, found by name."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.models import build_model
from torch.nn.functional import interpolate

from mulsr_plugin.apps.infer import InferenceJob, infer
from mulsr_plugin.checkpoints import shipped as weights
from mulsr_plugin.checkpoints.shipped import find_weights, load_pretrained, shipped_weights
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.formats import write_cube
from mulsr_plugin.data.sources.demo_scenes import demo_scene
from mulsr_plugin.data.sources.pair import PairFiles
from mulsr_plugin.data.spectral_response import apply_spectral_response, load_spectral_response
from mulsr_plugin.metrics.psnr import calculate_hsi_psnr
from mulsr_plugin.models.inference import apply_network
from scripts.dev.ship_weights import main
from tests.models.tiny import make_options, make_stores, parsed

ROOT = Path(__file__).resolve().parents[2]
SMALL = 'mulsr_cave_x8_small'
# whole-cube PSNR on the first synthetic scene, computed on one CPU when the weights were shipped
PSNR = {
    SMALL: {'authors_fixed': 25.0229, 'noise_free': 25.6614},
    'mulsrcube_cave': {'authors_fixed': 36.9587, 'noise_free': 38.3229},
}


@pytest.fixture(params=list(shipped_weights().values()), ids=lambda entry: entry.name)
def entry(request):
    return request.param


def test_file_and_card(entry):
    content, card = entry.path.read_bytes(), entry.path.with_suffix('.md').read_text()
    assert hashlib.sha256(content).hexdigest() == entry.sha256
    assert len(content) < 12 * 2**20
    assert entry.name in card and entry.sha256 in card and entry.protocol in card and entry.licence in card
    for values in entry.figures.values():
        assert f'{values["psnr"]:.4f}' in card
    assert set(PSNR) == set(shipped_weights())


@pytest.mark.parametrize('preset', ['authors_fixed', 'noise_free'])
def test_quality_on_a_synthetic_scene(entry, preset):
    cube = demo_scene(128, seed=0)
    gt = (cube.values * np.float32(cube.scale)).transpose(2, 0, 1)
    lq = torch.from_numpy(build_degradation(preset, entry.scale)(gt, np.random.default_rng(0)))[None]
    rgb = torch.from_numpy(apply_spectral_response(load_spectral_response('nikon_d700', 31), gt))[None]
    result = apply_network(load_pretrained(entry.name), lq, rgb)
    bicubic = interpolate(lq, scale_factor=entry.scale, mode='bicubic')
    ours, interpolated = (
        calculate_hsi_psnr(image.clamp(0, 1)[0].permute(1, 2, 0), torch.from_numpy(gt).permute(1, 2, 0))
        for image in (result, bicubic)
    )
    assert ours == pytest.approx(PSNR[entry.name][preset], abs=0.01)
    assert ours > interpolated + 0.5


def test_names_and_paths(tmp_path, monkeypatch):
    assert find_weights(SMALL) == shipped_weights()[SMALL].path
    assert find_weights('runs/net_g_5.pth') == Path('runs/net_g_5.pth')  # need not exist: the reader tells
    with pytest.raises(FileNotFoundError, match=f'mulsr_x8 is neither a file nor .* which are {SMALL}'):
        find_weights('mulsr_x8')
    with pytest.raises(FileNotFoundError, match='No weights net.pth come with the package'):
        load_pretrained('net.pth')
    monkeypatch.chdir(tmp_path)
    (tmp_path / SMALL).touch()
    assert find_weights(SMALL) == Path(SMALL)  # a file of the user's comes first


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    content = shipped_weights()[SMALL].path.read_bytes()
    (tmp_path / f'{SMALL}.pth').write_bytes(content[:1000] + b'?' + content[1001:])
    monkeypatch.setattr(weights, 'FOLDER', tmp_path)
    with pytest.raises(ValueError, match='is not the file that was shipped: install mulsr-plugin again'):
        load_pretrained(SMALL)


def test_option_files_name_them(tmp_path):
    make_stores(tmp_path)
    opt = make_options(tmp_path)
    opt['network_g'].update(num_feat=32, num_modules=1)
    opt['path'] = {'pretrain_network_g': SMALL, 'param_key_g': 'params_ema'}
    model = build_model(parsed(opt, tmp_path))
    expected = load_pretrained(SMALL).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.net_g.state_dict().items())


@pytest.fixture
def job(tmp_path):
    """Images at x8 with five bands, and no weights."""
    rng = np.random.default_rng(0)
    write_cube(tmp_path / 'lr.npz', Cube(rng.random((6, 6, 5), dtype=np.float32), 1.0, tuple(range(500, 550, 10))))
    np.save(tmp_path / 'rgb.npy', rng.random((48, 48, 3), dtype=np.float32))
    images = PairFiles('lr', tmp_path / 'lr.npz', tmp_path / 'rgb.npy')
    return InferenceJob(images=images, output=tmp_path / 'sr.npz', device='cpu')


def test_an_option_file_needs_its_weights(job, tmp_path):
    with pytest.raises(ValueError, match='describes a network, but its weights are missing: give weights'):
        infer(replace(job, option_file=tmp_path / 'any.yml'))
    assert not job.output.exists()


@pytest.fixture
def ship(tmp_path):
    """Run ship_weights.py on the small weights and a made-up test, into a folder of its own."""
    (tmp_path / 'results').mkdir()
    text = '# made up: 2 scenes\niter,image,seconds,psnr\nnew,a,1.0,30.0\nnew,b,1.0,31.0\n'
    (tmp_path / 'results' / 'metrics_made_up.csv').write_text(text)
    checkpoint = shipped_weights()[SMALL].path

    def run(name, *options, checkpoint=checkpoint):
        required = ['--opt', str(ROOT / 'options' / 'train_mulsr_cave_x8_cpu.yml')]
        texts = ['--data', 'D', '--training', 'T', '--limits', 'L', '--results', str(tmp_path / 'results')]
        return main([name, str(checkpoint), *required, *texts, '--folder', str(tmp_path), *options])

    return run


def test_shipping(ship, tmp_path, monkeypatch, capsys):
    assert ship('first') == 0
    assert ship('second', '--bf16') == 0
    registry = json.loads((tmp_path / 'registry.json').read_text())
    assert registry['second']['figures'] == {'made up: 2 scenes': {'psnr': 30.5}}
    assert '| **mean** | 30.5000 |' in (tmp_path / 'second.md').read_text()
    before = load_pretrained(SMALL).state_dict()
    monkeypatch.setattr(weights, 'FOLDER', tmp_path)
    shipped_weights.cache_clear()
    try:
        first, second = (load_pretrained(name).state_dict() for name in ('first', 'second'))
    finally:
        monkeypatch.undo()
        shipped_weights.cache_clear()
    for name, value in before.items():
        assert torch.equal(first[name], value)
        assert torch.equal(second[name], value.bfloat16().float())
    assert (tmp_path / 'second.pth').stat().st_size < 0.65 * (tmp_path / 'first.pth').stat().st_size


def test_nothing_broken_is_shipped(ship, tmp_path, capsys):
    params = torch.load(shipped_weights()[SMALL].path, weights_only=True)['params']
    next(iter(params.values())).view(-1)[0] = float('nan')
    torch.save({'params': params}, tmp_path / 'nan.pth')
    assert ship('broken', checkpoint=tmp_path / 'nan.pth') == 1
    assert 'has NaN or infinite values' in capsys.readouterr().err
    assert not (tmp_path / 'registry.json').exists() and not (tmp_path / 'broken.pth').exists()
