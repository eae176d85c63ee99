"""The command that measures a result against a reference, and the same at the end of inference."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from mulsr_plugin import evaluate, write_cube
from mulsr_plugin.__main__ import main
from mulsr_plugin.apps.evaluation import METRICS, evaluate_cubes
from mulsr_plugin.data.cube import Cube, Doubt
from mulsr_plugin.metrics.psnr import calculate_hsi_psnr, calculate_mpsnr
from mulsr_plugin.metrics.sam import calculate_sam

SIMULATE = [
    'simulate',
    'scene.npz',
    '--scale',
    '8',
    '--degradation',
    'authors_fixed',
    '--out',
    'lr.npz',
    '--guide-out',
    'g.npz',
]
WAVELENGTHS = (450.0, 550.0, 650.0, 750.0)


def read(name: str) -> dict:
    return json.loads(Path(name).read_text())


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """A reference of 40 x 48 with 4 bands in truth.npz, and a result in 12-bit counts in sr.npz."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.2, 0.8, (40, 48, 4)).astype(np.float32)
    counts = np.rint(4095 * np.clip(truth + rng.normal(0, [0.01, 0.02, 0.03, 0.04], truth.shape), 0, 1))
    result, reference = Cube(counts.astype(np.uint16), 1 / 4095, WAVELENGTHS), Cube(truth, 1.0, WAVELENGTHS)
    write_cube('sr.npz', result)
    write_cube('truth.npz', reference)
    return result, reference


def test_table_and_json_hold_the_metrics_of_the_package(pair, capsys):
    assert main(['evaluate', 'sr.npz', 'truth.npz', '--scale', '8', '--json', 'quality.json']) == 0
    values, truth = np.float32(pair[0].values / 4095), pair[1].values
    content = read('quality.json')
    assert list(content['metrics']) == list(METRICS) and not content['left_out']
    assert content['metrics']['psnr'] == pytest.approx(calculate_hsi_psnr(values, truth), abs=1e-4)
    assert content['metrics']['sam'] == pytest.approx(calculate_sam(values, truth), abs=1e-4)
    assert np.mean(content['psnr_per_band']) == pytest.approx(calculate_mpsnr(values, truth), abs=1e-4)
    assert content['psnr_per_band'] == sorted(content['psnr_per_band'], reverse=True)
    printed = capsys.readouterr().out
    assert f'{content["metrics"]["psnr"]:.4f}' in printed and 'peak 1' in printed
    assert main(['evaluate', 'sr.npz', 'truth.npz', '--json', 'quality.json']) == 1
    assert main(['evaluate', 'sr.npz', 'truth.npz', '--json', 'quality.json', '--force']) == 0
    assert 'scale' in read('quality.json')['left_out']['ergas']


def test_border_is_dropped_on_all_sides(pair):
    result, reference = pair
    inner = evaluate(result.values[4:-4, 4:-4] / 4095, reference.values[4:-4, 4:-4])
    evaluation = evaluate_cubes(result, reference, border=4)
    assert evaluation.shape == (32, 40, 4)
    assert evaluation.metrics['psnr'] == pytest.approx(inner.metrics['psnr'], abs=1e-4)
    # 10 rows are too few for SSIM and Q2n
    small = evaluate_cubes(result, reference, border=15)
    assert {'ssim', 'q2n'} <= set(small.left_out) and 'psnr' in small.metrics
    with pytest.raises(ValueError, match='border of 20 pixels leaves nothing of 40x48'):
        evaluate_cubes(result, reference, border=20)


def test_reference_is_cut_as_a_simulation_cuts_it(pair):
    result, reference = pair
    larger = Cube(np.pad(reference.values, ((0, 3), (0, 7), (0, 0)), mode='edge'), 1.0)
    evaluation = evaluate_cubes(result, larger, scale=8)
    assert evaluation.metrics['psnr'] == evaluate_cubes(result, reference, scale=8).metrics['psnr']
    assert 'cut at the bottom and right to 40x48' in evaluation.notes[0]
    with pytest.raises(ValueError, match=r'shape \(40, 48, 4\) and the reference \(43, 55, 4\)'):
        evaluate_cubes(result, larger)


def test_other_bands_are_refused_and_other_ranges_warned_of(pair, capsys):
    result, reference = pair
    moved = Cube(reference.values, 1.0, (450.0, 550.4, 660.0, 750.0))
    with pytest.raises(ValueError, match='Band 3 is at 650 nm in the result and at 660 nm in the reference'):
        evaluate_cubes(result, moved)
    evaluation = evaluate_cubes(Cube(result.values, 1 / 65535), reference)
    assert isinstance(evaluation.notes[0], Doubt) and 'value scale' in evaluation.notes[0]
    assert not evaluate_cubes(result, reference).notes


def test_equal_cubes_give_json_without_infinities(pair, capsys):
    assert main(['evaluate', 'truth.npz', 'truth.npz', '--scale', '8', '--json', 'equal.json']) == 0
    assert read('equal.json')['metrics']['psnr'] == 'inf'


def test_inference_measures_its_result_and_works_with_a_sensor_file(tmp_path, monkeypatch, caplog):
    from mulsr_plugin.data.sources.demo_scenes import demo_scene

    monkeypatch.chdir(tmp_path)
    write_cube('scene.npz', demo_scene(160, seed=5))
    assert main(SIMULATE) == 0
    assert main(['estimate-sensor', 'lr.npz', '--guide', 'g.npz', '--out', 'sensor.npz']) == 0
    how = 'infer lr.npz --guide g.npz --sensor sensor.npz --reference scene.npz --device cpu'
    assert main(f'{how} --out sr.npz --report sr.json'.split()) == 0
    report = read('sr.json')
    assert main(['evaluate', 'sr.npz', 'scene.npz', '--scale', '8', '--json', 'quality.json']) == 0
    assert report['quality'] == pytest.approx(read('quality.json')['metrics'])
    assert report['sensor'].startswith('Sensor model of sensor.npz: the cube lies +3.')
    assert main(['infer', 'lr.npz', '--guide', 'g.npz', '--device', 'cpu', '--out', 'own.npz']) == 0
    own, given = (evaluate(name, 'scene.npz').metrics['psnr'] for name in ('own.npz', 'sr.npz'))
    assert given == pytest.approx(own, abs=0.3)
    # refused before the work
    write_cube('small.npz', demo_scene(64, seed=5))
    assert main(f'{how.replace("scene.npz", "small.npz")} --out no.npz'.split()) == 1
    assert main(f'{how} --weights mulsr_cave_x8_small --out no.npz'.split()) == 1
    assert not (tmp_path / 'no.npz').exists()


@pytest.mark.parametrize('rmse, grade', [(0.01, 'good'), (0.03, 'fair'), (0.2, 'poor')])
def test_consistency_is_judged_by_the_noise_of_the_cube(rmse, grade):
    from basicsr.utils import get_root_logger

    from mulsr_plugin.apps.consistency import judged_consistency, log_judgement

    rng = np.random.default_rng(0)
    smooth = np.add.outer(np.linspace(0.3, 0.5, 32), np.linspace(0, 0.3, 32))[..., None] * np.linspace(0.5, 1, 8)
    cube = Cube(np.float32(smooth + rng.normal(0, 0.012, smooth.shape)), 1.0)
    text, is_poor = judged_consistency(rmse, cube)
    assert text.startswith(f'{grade}: ') and 'noise of the cube 0.01' in text
    assert is_poor == (grade == 'poor')
    seen: list[int] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(record.levelno)  # type: ignore[method-assign]
    get_root_logger().addHandler(handler)
    get_root_logger().setLevel(logging.INFO)
    log_judgement(rmse, cube)
    get_root_logger().removeHandler(handler)
    assert seen == [logging.WARNING if is_poor else logging.INFO]
