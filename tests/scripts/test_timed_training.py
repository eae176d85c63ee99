"""Trainings against the clock, the recipe search: at the scale of seconds."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from basicsr.archs import build_network

from mulsr_plugin.models.schema import check_model_options
from scripts.dev.timed.training import (
    METRICS,
    Point,
    PointTable,
    TestScenes,
    minutes_to_reach,
    train_against_clock,
    training_rules,
)
from scripts.dev.trainings import OurTraining, ReferenceTraining, as_parsed, reference_batches, write_mats
from tests.literal_form import LiteralForm
from tests.models.tiny import make_options, make_stores

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device('cpu')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('timed')
    make_stores(folder)
    return folder


def scenes_of(opt, **changes):
    return TestScenes({**opt['datasets']['val'], 'scale': opt['scale']}, CPU, **changes)


def points(name, *pairs):
    values = dict.fromkeys(METRICS, 1.0)
    return [Point(name, minutes, number, {**values, 'psnr': psnr}) for number, (minutes, psnr) in enumerate(pairs)]


def test_our_training_is_that_of_the_model(folder):
    """The same seed gives the same losses; quality is measured before, in between and at the end."""
    opt = make_options(folder, band_update='joint')
    training = OurTraining(opt, CPU)
    net = build_network(dict(opt['network_g']))
    found = list(train_against_clock('ours', training, net, scenes_of(opt), minutes=0.02, every=0.01))
    minutes = [point.minutes for point in found]
    assert minutes == sorted(minutes) and minutes[0] == 0 and minutes[-1] >= 0.02
    assert found[0].iterations == 0 < found[1].iterations <= found[-1].iterations == training.iterations
    first, second = (OurTraining(opt, CPU) for _ in range(2))
    for other in (first, second):
        other.step()
    assert first.model.log_dict['l_pix'] == second.model.log_dict['l_pix']


def test_averaged_weights_are_tested(folder):
    training = OurTraining(make_options(folder, band_update='joint', ema_decay=0.9), CPU)
    for _ in range(2):
        training.step()
    averaged, current = training.weights(), training.model.net_g.state_dict()
    assert any(not torch.equal(averaged[name], current[name]) for name in averaged)


def test_a_training_may_go_on_beyond_the_end_of_its_schedule(folder):
    """The minutes say when it ends; a fast machine comes farther than the option file."""
    opt = make_options(folder, band_update='joint', total_iter=2)
    opt['train']['scheduler'] = {'type': 'CosineAnnealingRestartLR', 'periods': [2], 'eta_min': 1e-6}
    training = OurTraining(opt, CPU)
    rates = []
    for _ in range(4):
        training.step()
        rates += training.model.get_current_learning_rate()
    assert training.iterations == 4
    assert rates[0] > rates[1] == rates[2] == rates[3]


class Literal(LiteralForm):
    """The literal form with the samples of our own data set in the place of the release's, which only a clone has."""

    def training_set(self, folder, scale, size):
        generator = torch.Generator().manual_seed(0)
        shapes = (4, size, size), (4, size // scale, size // scale), (3, size, size)
        return [tuple(torch.rand(shape, generator=generator) for shape in shapes) for _ in range(3)]


def test_the_reference_trains_and_its_weights_are_ours(folder):
    literal = Literal()
    samples = literal.training_set(folder, 8, 16)
    training = ReferenceTraining(literal, literal.network(1, 8), reference_batches(samples, 2, 0))
    before = {name: value.clone() for name, value in training.weights().items()}
    training.step()
    net = build_network({'type': 'MulSR', 'upscale': 8, 'num_feat': 64, 'num_modules': 1})
    net.load_state_dict(training.weights())
    assert any(not torch.equal(before[name], value) for name, value in training.weights().items())
    assert 0 < training.loss() < 1


def test_scenes_are_written_as_the_release_reads_them(folder, tmp_path):
    from scipy.io import loadmat

    mats = write_mats(folder / 'train.lmdb', tmp_path / 'mat')
    assert mats.is_absolute() and sorted(path.name for path in mats.iterdir()) == ['scene0.mat', 'scene1.mat']
    hsi = loadmat(mats / 'scene0.mat')['hsi']
    assert hsi.shape == (32, 32, 5) and hsi.dtype == np.float32 and 0 <= hsi.min() < hsi.max() <= 1
    (path,) = write_mats(folder / 'train.lmdb', tmp_path / 'few', number=1, as_matlab=True).iterdir()
    double = loadmat(path)['hsi']
    assert double.dtype == np.float64 and np.allclose(double, hsi)


def test_table_goes_on_and_keeps_protocols_apart(tmp_path):
    path = tmp_path / 'new' / 'table.csv'
    PointTable(path, 'P').replace('a', points('a', (0, 20), (1, 30)))
    table = PointTable(path, 'P')
    assert table.of('a') == points('a', (0, 20), (1, 30))
    assert table.is_complete('a', 1) and not table.is_complete('a', 1.1) and not table.is_complete('b', 0)
    table.replace('a', points('a', (0, 25)))
    assert PointTable(path, 'P').points == points('a', (0, 25))
    with pytest.raises(ValueError, match='holds results of another protocol'):
        PointTable(path, 'Q')


def test_minutes_to_reach():
    found = points('a', (0, 20), (1, 30), (2, 29), (3, 31))
    assert minutes_to_reach(found, 30) == 1 and minutes_to_reach(found, 30.5) == 3
    assert minutes_to_reach(found, 32) is None  # nothing extrapolated


def test_table_of_time_to_quality(tmp_path):
    script = runpy.run_module('scripts.dev.timed.time_to_quality')
    table = PointTable(tmp_path / 'table.csv', 'P')
    table.replace('release', points('release', (0, 20), (8, 30)))
    table.replace('fast', points('fast', (0, 20), (0.5, 31)))
    table.replace('slow', points('slow', (0, 20), (8, 29)))
    text = script['table_text'](table, ['fast', 'slow', 'release', 'not run'], 'command')
    rows = {line.split()[1]: ' '.join(line.split()) for line in text.splitlines() if line.startswith('| ')}
    assert rows['fast'].endswith('| 0.50 |') and rows['slow'].endswith('| not reached |')
    assert 'not run' not in rows


def test_time_to_quality_runs_goes_on_and_draws(folder, tmp_path, monkeypatch):
    main = runpy.run_module('scripts.dev.timed.time_to_quality')['main']
    path = tmp_path / 'tiny.yml'
    path.write_text(yaml.safe_dump(make_options(folder, band_update='joint')))
    arguments = ['--opt', str(path), '--data', str(folder), '--minutes', '0.005', '--every', '0.005', '--device', 'cpu']
    arguments += ['--out', str(tmp_path / 'out')]
    monkeypatch.setattr('sys.argv', ['time_to_quality', *arguments])
    assert main(arguments) == 0
    names = {'time_to_quality.csv', 'time_to_quality.md', 'time_to_quality.png', 'quality_against_cost.png'}
    assert {file.name for file in (tmp_path / 'out').iterdir()} == names
    before = (tmp_path / 'out' / 'time_to_quality.csv').read_text()
    assert main(arguments) == 0 and (tmp_path / 'out' / 'time_to_quality.csv').read_text() == before


def test_recipe_search(folder, tmp_path, monkeypatch):
    """Only the trials that there is time for; the next call does the others; a wrong trial shows before the first."""
    main = runpy.run_module('scripts.dev.timed.search_recipe')['main']
    opt = make_options(folder, band_update='joint')
    (tmp_path / 'base.yml').write_text(yaml.safe_dump(opt))
    trials = {'lr': {'train:optim_g:lr': 0.01}, 'sam': {'train:pixel_opt': {'type': 'L1SAMLoss', 'reduction': 'mean'}}}
    grid = {'base': 'base.yml', 'common': {'train:ema_decay': 0.5}, 'trials': trials}
    (tmp_path / 'grid.yml').write_text(yaml.safe_dump(grid))
    arguments = ['--grid', str(tmp_path / 'grid.yml'), '--data', str(folder), '--minutes', '0.005', '--device', 'cpu']
    arguments += ['--out', str(tmp_path / 'out')]
    assert main([*arguments, '--budget', '0.000001']) == 75
    assert not (tmp_path / 'out' / 'search.csv').exists()
    assert main(arguments) == 0
    text = re.sub(' +', ' ', (tmp_path / 'out' / 'search.md').read_text())
    assert '| base | ' in text and '| +0.000 |' in text and '| lr | ' in text and '| sam | ' in text
    before = (tmp_path / 'out' / 'search.csv').read_text()
    assert main(arguments) == 0 and (tmp_path / 'out' / 'search.csv').read_text() == before
    for changes, message in (({'train:band_update': 'jiont'}, 'Trial wrong: '), ({'x:y': 1}, 'has no block x')):
        grid['trials']['wrong'] = changes
        (tmp_path / 'grid.yml').write_text(yaml.safe_dump(grid))
        errors = []
        monkeypatch.setattr('sys.stderr', type('Errors', (), {'write': staticmethod(errors.append), 'flush': None}))
        assert main(arguments) == 1
        monkeypatch.undo()
        assert message in ''.join(errors)


@pytest.mark.parametrize('name', ['recipe_mulsr_cave_x8', 'recipe_mulsr_cave_x8_cpu'])
def test_shipped_grids_are_legal(name):
    read_grid = runpy.run_module('scripts.dev.timed.search_recipe')['read_grid']
    options = read_grid(ROOT / 'options' / 'search' / f'{name}.yml', Path('data'))
    assert len(options) > 10
    for opt in options.values():
        check_model_options(as_parsed(opt, CPU), training_rules(opt))
