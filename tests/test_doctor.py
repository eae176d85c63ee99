"""The doctor finds what is wrong and says what to do, one line each."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mulsr_plugin import autoload, doctor, register
from mulsr_plugin.data.store.writer import CubeStoreWriter
from tests.processes import run_python

from .models.tiny import make_options


@pytest.fixture
def report() -> doctor.Report:
    return doctor.Report()


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    """Options of a sound training file for two scenes of 48x48 pixels and 31 bands, as YAML would give them."""
    register()
    rng = np.random.default_rng(0)
    with CubeStoreWriter(tmp_path / 'train.lmdb') as writer:
        for key in ('first', 'second'):
            writer.add(key, rng.integers(0, 65536, (48, 48, 31), dtype=np.uint16), 1 / 65535)
    train = {
        'name': 'toy',
        'type': 'PairedHSIRGBDataset',
        'dataroot_gt': str(tmp_path / 'train.lmdb'),
        'io_backend': {'type': 'lmdb'},
        'gt_size': 32,
        'batch_size_per_gpu': 2,
        'num_worker_per_gpu': 0,
    }
    options = make_options(tmp_path)
    options.update(scale=8, datasets={'train': train}, network_g={'type': 'MulSR', 'upscale': 8})
    return options


def findings(report: doctor.Report, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    path = tmp_path / 'options.yml'
    path.write_text(yaml.safe_dump(options))
    doctor.check_option_file(report, str(path))
    return capsys.readouterr().out


def test_command_line_on_a_sound_installation(tmp_path: Path, options: dict[str, Any]) -> None:
    (tmp_path / 'options.yml').write_text(yaml.safe_dump(options))
    process = run_python('-m', 'mulsr_plugin.doctor', '-opt', 'options.yml', cwd=tmp_path)
    assert process.returncode == 0, process.stdout
    assert 'autoload is on' in process.stdout
    assert 'toy: 2 scenes, 31 bands, x8' in process.stdout
    for names in autoload.NAMES.values():
        assert ', '.join(names) in process.stdout
    assert process.stdout.rstrip().endswith('No problems found.')


def test_command_line_with_problems(tmp_path: Path) -> None:
    code = """
import runpy, sys
sys.modules['mulsr_plugin.models.validation'] = None
sys.argv = ['doctor', '-opt', 'no.yml']
runpy.run_module('mulsr_plugin.doctor', run_name='__main__')
"""
    process = run_python('-c', code, cwd=tmp_path, autoload=False)
    assert process.returncode == 1
    assert 'autoload is switched off by TORCH_DEVICE_BACKEND_AUTOLOAD=0' in process.stdout
    names = 'HSISRModel, MulSRModel, SensorStartModel'
    assert f'PROBLEM  model: {names} not registered, because of ModuleNotFoundError' in process.stdout
    assert process.stdout.rstrip().endswith('1 problem found.')


def test_moved_clone_is_found_before_torch_is_imported(
    report: doctor.Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = 'Metadata-Version: 2.1\nName: mulsr-plugin\nVersion: 0.1.0\n'
    (tmp_path / 'clone' / 'mulsr_plugin.egg-info').mkdir(parents=True)  # left by a build, no installation
    (tmp_path / 'clone' / 'mulsr_plugin.egg-info' / 'PKG-INFO').write_text(metadata)
    info = tmp_path / 'site' / 'mulsr_plugin-0.1.0.dist-info'
    info.mkdir(parents=True)
    (info / 'METADATA').write_text(metadata)
    (info / 'RECORD').touch()
    origin = {'url': (tmp_path / 'old place').as_uri(), 'dir_info': {'editable': True}}
    (info / 'direct_url.json').write_text(json.dumps(origin))
    monkeypatch.setattr(sys, 'path', [str(tmp_path / 'clone'), str(tmp_path / 'site'), *sys.path])

    doctor.check_installation(report)
    assert f'points to {tmp_path / "old place"}, which is gone' in capsys.readouterr().out
    (tmp_path / 'old place' / 'mulsr_plugin').mkdir(parents=True)
    doctor.check_installation(report)
    assert (
        f'points to {tmp_path / "old place"}, but {Path(doctor.__file__).parent} is running' in capsys.readouterr().out
    )
    assert report.num_problems == 2


def test_not_installed(
    report: doctor.Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, 'path', [str(tmp_path)])
    doctor.check_installation(report)
    assert report.num_problems == 1
    assert 'pip install -e' in capsys.readouterr().out


def test_clash_is_reported(
    report: doctor.Report, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    register()
    foreign = type('MulSR', (), {'__module__': 'somebody.mulsr_arch'})
    monkeypatch.setitem(autoload.registries()['arch']._obj_map, 'MulSR', foreign)
    assert not doctor.check_names(report)
    assert 'MulSR is registered by somebody.mulsr_arch' in capsys.readouterr().out
    assert report.num_problems == 1


def test_sound_option_file(
    report: doctor.Report, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = findings(report, options, tmp_path, capsys)
    assert report.num_problems == 0
    assert 'lq (31, 4, 4)' in text
    assert 'gt (31, 32, 32)' in text


@pytest.mark.parametrize(
    ('block', 'key', 'value', 'expected'),
    [
        ('train', 'dataroot_gt', 'no/such.lmdb', 'no/such.lmdb'),
        ('train', 'gt_size', 36, 'gt_size is 36'),
        ('train', 'gt_size', 64, 'gt_size is 64'),
        ('train', 'dataroot', 'x', "Unknown option 'dataroot'"),
        ('train', 'spectral_response', 'response.csv', '31'),
        ('network_g', 'upscale', 4, 'the data are for scale 8, but network_g has upscale: 4'),
        ('network_g', 'num_guide_ch', 4, 'the guide has 3 channels, but network_g has num_guide_ch: 4'),
    ],
)
def test_mismatch_is_one_problem(
    block: str,
    key: str,
    value: object,
    expected: str,
    report: doctor.Report,
    options: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    np.savetxt('response.csv', np.full((3, 102), 1 / 102), delimiter=',')  # for another number of bands
    (options['datasets'] if block == 'train' else options)[block][key] = value
    text = findings(report, options, tmp_path, capsys)
    assert report.num_problems == 1
    problem = text[text.index('PROBLEM') :]
    assert expected in problem
    assert len(problem.splitlines()) == 2
    assert problem.splitlines()[1].strip().startswith('-> ')


def test_damaged_store(
    report: doctor.Report, options: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / 'train.lmdb' / 'data.mdb'
    data.write_bytes(data.read_bytes()[:100])
    assert 'PROBLEM  train: ' in findings(report, options, tmp_path, capsys)
    assert report.num_problems == 1


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        ({'num_gpu': 1}, 'num_gpu is 1, but PyTorch sees no GPU'),
        ({'logger': {}}, "MulSRModel: logger has no 'print_freq'"),
    ],
)
def test_mistakes_outside_the_data_sets(
    change: dict[str, Any],
    expected: str,
    report: doctor.Report,
    options: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert expected in findings(report, {**options, **change}, tmp_path, capsys)
    assert report.num_problems == 1


@pytest.mark.parametrize('text', [None, 'datasets: [', 'name: no data', 'just a word'])
def test_no_option_file(
    text: str | None, report: doctor.Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if text is not None:
        (tmp_path / 'options.yml').write_text(text)
    doctor.check_option_file(report, str(tmp_path / 'options.yml'))
    assert report.num_problems == 1
    assert 'options.yml' in capsys.readouterr().out


def test_list_of_scales_and_other_networks(report: doctor.Report, capsys: pytest.CaptureFixture[str]) -> None:
    register()
    dataset = SimpleNamespace(scale=8, num_guide_ch=3)
    for network in ({'type': 'MulSR', 'upscale': [4, 8, 16]}, {'type': 'EDSR', 'upscale': 8}, {}):
        doctor._check_network_fits(report, 'train', dataset, network)
    assert report.num_problems == 0
