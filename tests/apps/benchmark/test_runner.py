"""Benchmarks on tiny scenes: what is measured, continued, refused, and what happens when an entry fails."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network
from skimage.metrics import peak_signal_noise_ratio
from torch.nn import functional as F

from mulsr_plugin.apps.benchmark import runner as module
from mulsr_plugin.apps.benchmark.options import complete_options, load_benchmark_options
from mulsr_plugin.apps.benchmark.runner import Benchmark, run_model
from mulsr_plugin.checkpoints.networks import read_weights
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from tests.models.tiny import dataset_options, make_stores

MULSR = {'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1}
PZRESNET = {'type': 'PZResNet', 'upscale': 4, 'num_bands': 5}
SCENES = ['scene10', 'scene11', 'scene12']
TOY_PACKAGE = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn


@ARCH_REGISTRY.register()
class {prefix}Toy(nn.Module):
    def __init__(self, fault=None):
        super().__init__()
        self.scale = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.scale.weight)
        self.fault = fault

    def forward(self, lq):
        image = lq.repeat_interleave(4, 2).repeat_interleave(4, 3)
        image = self.scale(image.flatten(0, 1)[:, None]).view(image.shape)
        if self.fault == 'size':
            return image[..., 1:]
        if self.fault == 'bands':
            return image[:, 1:]
        if self.fault == 'tuple':
            return image, image
        if self.fault == 'nan':
            return image * float('nan')
        if self.fault == 'memory':
            torch.ones(25 * 2**20)
        if self.fault == 'error':
            raise RuntimeError('the toy is\\nbroken')
        return image
"""


@pytest.fixture(scope='module')
def stores(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('stores')
    make_stores(folder)
    return folder


@pytest.fixture(scope='module')
def toy(tmp_path_factory) -> str:
    """Name of an importable package that registers FaultyToy."""
    folder = tmp_path_factory.mktemp('toy')
    (folder / 'toy_in_process.py').write_text(TOY_PACKAGE.format(prefix='Faulty'))
    sys.path.insert(0, str(folder))
    yield 'toy_in_process'
    sys.path.remove(str(folder))


def options(stores: Path, *entries, **changes) -> dict:
    return {
        'name': 'tiny',
        'scale': 4,
        'device': 'cpu',
        'datasets': {'test_1': dataset_options(stores, 'test')},
        'entries': list(entries) or ['bicubic'],
        **changes,
    }


def untrained(name: str, network: dict, **changes) -> dict:
    return {'name': name, 'network_g': network, 'checkpoint': 'untrained', **changes}


def run(root: Path, opt: dict, published: bool = False) -> tuple[list[str], dict]:
    failures = Benchmark(complete_options(opt), root, progress=False).run(published)
    return failures, json.loads((root / 'results' / opt['name'] / 'results.json').read_text())


def test_figures_are_those_of_an_independent_computation(stores, tmp_path):
    failures, content = run(tmp_path, options(stores, 'bicubic', save_cubes='float32'))
    assert failures == []
    dataset = PairedHSIRGBDataset({**dataset_options(stores, 'test'), 'phase': 'test', 'scale': 4})
    assert [row['image'] for row in content['rows']] == SCENES == content['datasets']['tiny']['images']
    for row, sample in zip(content['rows'], dataset):
        result = F.interpolate(sample['lq'][None], scale_factor=4, mode='bicubic', align_corners=False)[0].clamp(0, 1)
        gt, result = (cube.numpy().astype(np.float64) for cube in (sample['gt'], result))
        assert row['psnr'] == pytest.approx(peak_signal_noise_ratio(gt, result, data_range=1), abs=1e-4)
        assert row['rmse'] == pytest.approx(np.sqrt(np.mean((gt - result) ** 2)), rel=1e-5)
        assert (row['parameters'], row['gflops']) == (0, 0)
        assert row['seconds'] > 0
        cube = np.load(tmp_path / 'results' / 'tiny' / 'cubes' / 'tiny' / 'Bicubic' / f'{row["image"]}.npy')
        assert cube.dtype == np.float32
        np.testing.assert_allclose(cube, result.transpose(1, 2, 0), atol=1e-6)


def test_csv_has_a_row_per_image_and_network_below_the_protocol(stores, tmp_path):
    run(tmp_path, options(stores, untrained('P', PZRESNET), 'bicubic'))
    protocol, *lines = (tmp_path / 'results' / 'tiny' / 'results.csv').read_text().splitlines()
    for part in ('3 scenes, 5 bands, x4', 'authors_fixed', 'test.lmdb', 'peak 1', 'SAM in degrees', torch.__version__):
        assert part in protocol
    rows = list(csv.DictReader(lines))
    assert [(row['entry'], row['image']) for row in rows] == [(e, s) for e in ('P', 'Bicubic') for s in SCENES]
    # 5 bands in stages of 2, 3 and 5: counted by hand from the description of the network
    assert {row['parameters'] for row in rows if row['entry'] == 'P'} == {str(pzresnet_parameters(5, 3))}


def pzresnet_parameters(bands: int, guide: int) -> int:
    sizes = [-(-bands // step) for step in (4, 2, 1)]
    total = 0
    for c, c_in, extra in zip(sizes, (guide, sizes[0] + guide, sizes[1] + guide), (0, 0, 1)):
        layers = [(2 * c * i, 2 * c) for i in range(1, 8)] + [(16 * c, c + extra)]
        total += 9 * c_in * c + c + sum(a * b + b + 9 * b * b + b for a, b in layers)
    return total + bands * bands + bands + 9 * bands * bands + bands


def test_operations_of_a_convolution(stores, tmp_path, toy):
    """A 1x1 convolution of one band: a multiply-add, so two operations, for each pixel and band."""
    _, content = run(tmp_path, options(stores, untrained('T', {'type': 'FaultyToy'}), imports=[toy]))
    assert {row['gflops'] for row in content['rows']} == {2 * 32 * 32 * 5 / 1e9}


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems do not tell the peak of a process')
def test_peak_memory_is_that_of_every_single_call(stores, tmp_path, toy):
    """A tensor of 100 MiB, made anew for each image, is seen each time."""
    _, content = run(tmp_path, options(stores, untrained('T', {'type': 'FaultyToy', 'fault': 'memory'}), imports=[toy]))
    assert [row['memory_mib'] for row in content['rows']] == pytest.approx([100] * 3, abs=10)


def test_chunks_of_bands_do_not_change_results(stores, tmp_path):
    entries = [untrained('whole', MULSR), untrained('chunks', MULSR, bands_per_chunk=2)]
    _, content = run(tmp_path, options(stores, *entries))
    by_entry = {e: [r['psnr'] for r in content['rows'] if r['entry'] == e] for e in ('whole', 'chunks')}
    assert by_entry['whole'] == pytest.approx(by_entry['chunks'], abs=1e-4)


def test_trained_weights_are_used(stores, tmp_path, toy):
    torch.save({'params_ema': {'scale.weight': torch.zeros(1, 1, 1, 1)}}, tmp_path / 'zero.pth')
    entry = untrained('T', {'type': 'FaultyToy'}, param_key='params_ema')
    entry['checkpoint'] = str(tmp_path / 'zero.pth')
    failures, content = run(tmp_path, options(stores, entry, imports=[toy]))
    dataset = PairedHSIRGBDataset({**dataset_options(stores, 'test'), 'phase': 'test', 'scale': 4})
    assert failures == []
    expected = [np.sqrt(np.mean(sample['gt'].numpy().astype(float) ** 2)) for sample in dataset]
    assert [row['rmse'] for row in content['rows']] == pytest.approx(expected, rel=1e-5)


def test_weights_are_those_that_inference_takes_and_the_table_says_which(stores, tmp_path, toy):
    zero, one = ({'_orig_mod.scale.weight': torch.full((1, 1, 1, 1), value)} for value in (0.0, 1.0))
    files = {
        'both': ({'params': one, 'params_ema': zero}, 'params_ema', 0),
        'one': ({'params': one}, 'params', 1),
        'bare': (one, None, 1),
    }
    entries = []
    for name, (content, _, _) in files.items():
        torch.save(content, tmp_path / f'{name}.pth')
        entries.append(untrained(name, {'type': 'FaultyToy'}) | {'checkpoint': str(tmp_path / f'{name}.pth')})
    entries.append(entries[0] | {'name': 'last', 'param_key': 'params'})
    failures, content = run(tmp_path, options(stores, *entries, imports=[toy]))
    assert failures == []
    rmse = {row['entry']: row['rmse'] for row in content['rows']}
    assert rmse['one'] == rmse['bare'] == rmse['last'] != rmse['both']
    for name, (_, key, expected) in files.items():
        state = read_weights(tmp_path / f'{name}.pth').state
        assert state['scale.weight'].item() == expected
        assert {row['weights'] for row in content['rows'] if row['entry'] == name} == {key}
    table = (tmp_path / 'results' / content['name'] / 'table.md').read_text()
    assert f'both: params_ema of {tmp_path}/both.pth' in table
    assert f'last: params of {tmp_path}/both.pth' in table


def test_weights_of_another_scale_are_refused(stores, tmp_path):
    entry = untrained('small', {'type': 'MulSR', 'upscale': 4, 'num_feat': 32, 'num_modules': 1})
    entry['checkpoint'] = 'mulsr_cave_x8_small'
    failures, content = run(tmp_path, options(stores, entry, 'bicubic'))
    assert failures == [
        "Entry 'small': mulsr_cave_x8_small was trained for x8, not for x4: "
        'give weights or data sets of the same scale.'
    ]
    assert {row['entry'] for row in content['rows']} == {'Bicubic'}


def test_finished_images_are_not_run_again(stores, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(module, 'run_model', lambda *args: calls.append(1) or run_model(*args))
    opt = options(stores, 'bicubic', max_images=2, save_cubes=True)
    run(tmp_path, deepcopy(opt))
    assert len(calls) == 1 + 2  # the crop on which operations are counted, and the images
    calls.clear()
    _, first = run(tmp_path, deepcopy(opt))
    assert calls == []
    opt = {**opt, 'max_images': None, 'entries': ['bicubic', untrained('P', PZRESNET)]}
    _, second = run(tmp_path, opt)
    assert len(calls) == 1 + 1 + 1 + 3  # one more image of the first entry, all of the second
    assert second['rows'][:2] == first['rows']
    (tmp_path / 'results/tiny/cubes/tiny/P/scene11.npy').unlink()
    calls.clear()
    run(tmp_path, opt)
    assert len(calls) == 1 + 1  # a cube that was asked for is made again
    assert len(json.loads((tmp_path / 'results/tiny/results.json').read_text())['rows']) == 6


def test_interrupted_run_keeps_what_is_finished(stores, tmp_path, monkeypatch):
    def stop_at_third(*args, count=[0]):  # noqa: B006
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return run_model(*args)

    monkeypatch.setattr(module, 'run_model', stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, options(stores))
    stored = json.loads((tmp_path / 'results/tiny/results.json').read_text())
    assert [row['image'] for row in stored['rows']] == SCENES[:1]


@pytest.mark.parametrize(
    ('change', 'what'),
    [
        ({'crop_size': 16}, 'crop_size'),
        ({'metrics': {'psnr': {'type': 'calculate_hsi_psnr'}}}, 'metrics'),
        ({'degradation': 'noise_free'}, 'data set tiny'),
        ({'entries': [untrained('Bicubic', MULSR)]}, 'entry Bicubic'),
    ],
)
def test_another_protocol_needs_another_folder(stores, tmp_path, change, what):
    opt = options(stores)
    run(tmp_path, deepcopy(opt))
    if 'degradation' in change:
        opt['datasets']['test_1'].update(change)
    else:
        opt.update(change)
    with pytest.raises(ValueError, match=f'holds results of another {what}; give the benchmark another name'):
        run(tmp_path, opt)


def test_replaced_checkpoint_needs_another_folder(stores, tmp_path, toy):
    entry = {'name': 'T', 'network_g': {'type': 'FaultyToy'}, 'checkpoint': str(tmp_path / 'toy.pth')}
    opt = options(stores, entry, imports=[toy])
    for value in (1.0, 0.5):
        torch.save({'params': {'scale.weight': torch.full((1, 1, 1, 1), value)}}, tmp_path / 'toy.pth')
        if value == 1.0:
            run(tmp_path, deepcopy(opt))
    with pytest.raises(ValueError, match='another entry T'):
        run(tmp_path, opt)


FAILING = {
    'unknown': (untrained('X', {'type': 'PZResNt'}), "No network named 'PZResNt'.*did you mean 'PZResNet'"),
    'option': (untrained('X', {**PZRESNET, 'bands': 3}), "Unknown option 'bands'"),
    'bands': (untrained('X', {**PZRESNET, 'num_bands': 31}), 'has 5 band.*built for 31'),
    'file': ({'name': 'X', 'network_g': PZRESNET, 'checkpoint': 'no.pth'}, 'no checkpoint no.pth'),
    'size': (untrained('X', {'type': 'FaultyToy', 'fault': 'size'}), r'FaultyToy returned \(1, 5, .*expected a tensor'),
    'channels': (untrained('X', {'type': 'FaultyToy', 'fault': 'bands'}), r'returned \(1, 4, 32, 32\)'),
    'tuple': (untrained('X', {'type': 'FaultyToy', 'fault': 'tuple'}), 'returned a tuple'),
    'nan': (untrained('X', {'type': 'FaultyToy', 'fault': 'nan'}), 'returned NaN'),
    'error': (untrained('X', {'type': 'FaultyToy', 'fault': 'error'}), 'RuntimeError: the toy is broken'),
}


@pytest.mark.parametrize('case', FAILING)
def test_failing_entry_is_named_and_the_others_run(stores, tmp_path, toy, case):
    entry, message = FAILING[case]
    failures, content = run(tmp_path, options(stores, entry, 'bicubic', imports=[toy], max_images=1))
    assert len(failures) == 1
    assert '\n' not in failures[0]
    assert re.search(f"^Entry 'X'.*{message}", failures[0])
    assert [row['entry'] for row in content['rows']] == ['Bicubic']
    table = (tmp_path / 'results/tiny/table.md').read_text()
    assert 'Without a result for every image: X.' in table
    assert f'Failed: {failures[0]}' in table


def test_checkpoint_of_another_network(stores, tmp_path):
    torch.save({'params': build_network(deepcopy(MULSR)).state_dict()}, tmp_path / 'mulsr.pth')
    entry = {'name': 'X', 'network_g': PZRESNET, 'checkpoint': str(tmp_path / 'mulsr.pth')}
    failures, _ = run(tmp_path, options(stores, entry, 'bicubic'))
    assert len(failures) == 1
    assert failures[0].startswith("Entry 'X': ")
    assert 'mulsr.pth does not fit network PZResNet' in failures[0]


def test_corrected_entry_goes_on(stores, tmp_path):
    run(tmp_path, options(stores, 'bicubic', untrained('X', {**PZRESNET, 'num_bands': 31})))
    failures, content = run(tmp_path, options(stores, 'bicubic', untrained('X', PZRESNET)))
    assert failures == []
    assert len(content['rows']) == 6


def test_missing_data_set_is_named_and_the_others_run(stores, tmp_path):
    opt = options(stores)
    opt['datasets']['test_2'] = {**opt['datasets']['test_1'], 'name': 'gone', 'dataroot_gt': 'nowhere.lmdb'}
    failures, content = run(tmp_path, opt)
    assert len(failures) == 1
    assert failures[0].startswith("Data set 'gone': dataroot_gt: folder 'nowhere.lmdb' does not exist")
    assert list(content['datasets']) == ['tiny']
    assert len(content['rows']) == 3


def test_central_crop_and_first_images(stores, tmp_path):
    _, content = run(tmp_path, options(stores, 'bicubic', crop_size=16, max_images=1, save_cubes=True))
    assert [row['image'] for row in content['rows']] == SCENES[:1]
    cube = np.load(tmp_path / 'results/tiny/cubes/tiny/Bicubic/scene10.npy')
    assert (cube.shape, cube.dtype) == ((16, 16, 5), np.float16)
    assert 'central 16x16 pixels' in content['datasets']['tiny']['protocol']


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'entrys': []}, "Unknown option 'entrys'.*did you mean 'entries'"),
        ({'name': '../x'}, 'expected a name without slashes'),
        ({'entries': ['bicubik']}, 'entries is'),
        ({'entries': ['bicubic', 'bicubic']}, r'Two entries share a name \(Bicubic, Bicubic\)'),
        ({'entries': [{'name': 'A', 'network_g': PZRESNET}]}, "entry 'A' has no 'checkpoint'"),
        ({'entries': [untrained('A', PZRESNET, path='x')]}, "Unknown option 'path' in entry 'A'"),
        ({'imports': ['no_such_package']}, 'imports: no_such_package cannot be imported'),
        ({'datasets': {'test_1': {'type': 'PairedHSIRGBDataset'}}}, "test_1 has no 'name'"),
    ],
)
def test_wrong_options_are_named(stores, change, message):
    with pytest.raises(ValueError, match=message):
        complete_options(options(stores, **change) if 'entries' not in change else {**options(stores), **change})


def test_missing_and_broken_option_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='no option file'):
        load_benchmark_options(tmp_path / 'none.yml')
    (tmp_path / 'broken.yml').write_text('name: [')
    with pytest.raises(ValueError, match='is not a YAML file'):
        load_benchmark_options(tmp_path / 'broken.yml')


def test_network_of_another_package_joins_by_name_on_the_command_line(stores, tmp_path):
    """The whole program: a toy package beside the option file, one entry that fails, and the exit code."""
    (tmp_path / 'toy_package.py').write_text(TOY_PACKAGE.format(prefix=''))
    opt = options(stores, untrained('toy', {'type': 'Toy'}), 'bicubic', imports=['toy_package'], save_cubes=True)
    script = Path(__file__).parents[3] / 'scripts/benchmark.py'
    command = [sys.executable, script, '-opt', 'opt.yml', '--published', '--figures']
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(opt))
    environment = {'PYTHONPATH': str(Path(__file__).parents[3]), 'PATH': '/usr/bin:/bin', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert '| toy ' in done.stdout
    assert '## Published, x4' in done.stdout
    figures = {path.name for path in (tmp_path / 'results/tiny/figures').rglob('*.png')}
    assert {'psnr_per_band.png', 'scene10_results.png', 'scene10_spectra.png'} <= figures
    assert list((tmp_path / 'results/tiny/tb_logger').iterdir())
    opt['entries'].append(untrained('broken', {'type': 'Toy', 'fault': 'nan'}))
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(opt))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "error: Entry 'broken' on data set 'tiny': Toy returned NaN" in done.stderr
    assert 'Traceback' not in done.stderr
