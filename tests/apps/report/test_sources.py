"""The command on a benchmark, on tests and on files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy.io import savemat

from mulsr_plugin.__main__ import main
from mulsr_plugin.apps.benchmark.options import complete_options
from mulsr_plugin.apps.benchmark.runner import Benchmark
from mulsr_plugin.apps.report.scenes import MOST_PIXELS, Crop, cut_scene
from mulsr_plugin.cli.report import MOST_VALUES
from mulsr_plugin.data.store.reader import CubeStore
from tests.apps.report.test_page import Elements

METHODS = ['Bicubic', 'GSA']


def content_of(path: Path) -> dict:
    parser = Elements()
    parser.feed(path.read_bytes().decode('latin-1'))
    return json.loads(parser.texts['content'])


def facts_of(content: dict) -> str:
    return '\n'.join(f'{name}: {text}' for name, text in content['facts'])


def data_block(demo_dataset: Path) -> dict:
    return {
        'name': 'demo',
        'type': 'PairedHSIRGBDataset',
        'dataroot_gt': str(demo_dataset / 'test.lmdb'),
        'io_backend': {'type': 'lmdb'},
        'degradation': 'noise_free',
    }


@pytest.fixture(scope='module')
def benchmark(tmp_path_factory: pytest.TempPathFactory, demo_dataset: Path) -> Path:
    root = tmp_path_factory.mktemp('benchmark')
    gsa = {'type': 'GSA', 'upscale': 8, 'degradation': 'noise_free'}
    options = {
        'name': 'small',
        'scale': 8,
        'device': 'cpu',
        'save_cubes': True,
        'datasets': {'test_1': data_block(demo_dataset)},
        'entries': ['bicubic', {'name': 'GSA', 'network_g': gsa, 'checkpoint': 'untrained'}],
    }
    assert Benchmark(complete_options(options), root, progress=False).run() == []
    return root / 'results' / 'small'


@pytest.fixture(scope='module')
def truth(demo_dataset: Path) -> np.ndarray:
    return CubeStore(demo_dataset / 'test.lmdb').read('demo_03').astype(np.float32) / 65535


def test_benchmark(benchmark: Path, truth: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / 'report.html'
    assert main(['report', str(benchmark), '--out', str(out), '--title', 'A title']) == 0
    assert ', 1 scene\n' in capsys.readouterr().out
    content = content_of(out)
    scene = content['scenes'][0]
    assert (content['title'], content['methods'], scene['name']) == ('A title', METHODS, 'demo_03')
    assert [cube['label'] for cube in scene['cubes']] == ['', *METHODS] and len(scene['response']) == 3
    results = json.loads((benchmark / 'results.json').read_text())
    assert [row['psnr'] for row in content['rows']] == [row['psnr'] for row in results['rows']]
    assert {'psnr', 'seconds', 'parameters'} <= {metric['key'] for metric in content['metrics']}
    gsa = np.load(benchmark / 'cubes' / 'demo' / 'GSA' / 'demo_03.npy').astype(np.float32)
    smallest = float(np.sqrt(np.mean((gsa - truth) ** 2)))
    assert scene['smallestError'] == pytest.approx(smallest, rel=1e-3)
    facts = facts_of(content)
    assert results['datasets']['demo']['protocol'] in facts and '--title' in facts and 'Measured' in facts


def test_benchmark_without_cubes(benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = tmp_path / 'bare'
    bare.mkdir()
    (bare / 'results.json').write_bytes((benchmark / 'results.json').read_bytes())
    assert main(['report', str(bare), '--out', str(tmp_path / 'r.html')]) == 1
    assert 'save_cubes: true' in capsys.readouterr().err and not (tmp_path / 'r.html').exists()


def test_damaged_cube_of_a_benchmark(benchmark: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / 'copy' / 'cubes' / 'demo' / 'GSA'
    folder.mkdir(parents=True)
    (tmp_path / 'copy' / 'results.json').write_bytes((benchmark / 'results.json').read_bytes())
    for damaged in (b'', b'no array', (benchmark / 'cubes' / 'demo' / 'GSA' / 'demo_03.npy').read_bytes()[:999]):
        (folder / 'demo_03.npy').write_bytes(damaged)
        assert main(['report', str(tmp_path / 'copy'), '--out', str(tmp_path / 'r.html')]) == 1
        errors = capsys.readouterr().err.strip().splitlines()[-1]
        assert errors.startswith('error: ') and 'demo_03.npy is damaged' in errors
        assert not (tmp_path / 'r.html').exists()


@pytest.mark.parametrize('form', ['npy', 'mat'])
def test_tests(
    form: str, truth: np.ndarray, demo_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'results' / 'mine'
    (folder / 'visualization' / 'demo').mkdir(parents=True)
    near = (truth + 0.01).clip(0, 1)
    if form == 'npy':
        np.save(folder / 'visualization' / 'demo' / 'demo_03_mine.npy', near)
    else:
        savemat(folder / 'visualization' / 'demo' / 'demo_03_mine.mat', {'hsi': near})
    (folder / 'metrics_demo.csv').write_text('# How it was measured\niter,image,psnr,sam\nmine,demo_03,40.5,1.25\n')
    (tmp_path / 'test.yml').write_text(
        yaml.safe_dump({'name': 'mine', 'scale': 8, 'datasets': {'test_1': data_block(demo_dataset)}})
    )
    assert main(['report', '-opt', 'test.yml', f'Ours={folder}', '--out', 'report.html']) == 0
    content = content_of(tmp_path / 'report.html')
    assert content['rows'] == [{'psnr': 40.5, 'sam': 1.25, 'scene': 'demo_03', 'dataset': 'demo', 'method': 'Ours'}]
    assert [(metric['key'], metric['higher']) for metric in content['metrics']] == [('psnr', True), ('sam', False)]
    assert 'How it was measured; measured 2' in facts_of(content)
    assert content['scenes'][0]['smallestError'] == pytest.approx(0.01, rel=0.05)


def test_files_of_any_format(truth: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save('ours.npy', np.rint(4095 * truth).astype(np.uint16))
    savemat('theirs.mat', {'sr': (4095 * truth).clip(0, 4095)})
    savemat('truth.mat', {'gt': 4095 * truth})
    words = ['ours.npy', 'Theirs=theirs.mat', '--reference', 'truth.mat', '--value-scale', '1/4095', '--crop', '32']
    assert main(['report', *words, '--out', 'r.html', '--spectral-response', 'nikon_d700']) == 0
    content = content_of(tmp_path / 'r.html')
    scene = content['scenes'][0]
    assert content['methods'] == ['ours', 'Theirs'] and scene['area'].startswith('rows 8 to 39, columns 8 to 39')
    assert len(scene['response']) == 3
    psnr = {row['method']: row['psnr'] for row in content['rows']}
    assert psnr['ours'] == pytest.approx(-10 * np.log10(1 / 4095**2 / 12), abs=1) and 'measured on rows' in facts_of(
        content
    )


def test_one_file_without_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save('one.npy', np.random.default_rng(0).random((20, 30)))
    assert main(['report', 'one.npy', '--out', 'r.html']) == 0
    content = content_of(tmp_path / 'r.html')
    assert content['rows'] == [] and content['scenes'][0]['maps'] == {} and content['scenes'][0]['size'] == [20, 30]


def test_large_cubes_are_cut_and_said_to_be() -> None:
    large = np.broadcast_to(np.float32(0.5), (4096, 4096, 3))
    scene = cut_scene('large', {'a': large}, None, Crop(MOST_VALUES // 3))
    assert scene.cubes['a'][..., 0].size <= MOST_PIXELS and '4096x4096 pixels, cut to bound' in scene.area


MISTAKES = {
    'absent.npy --out r.html': 'There is no file or folder absent.npy',
    'broken.npy --out r.html': 'broken.npy',
    'text.tif --out r.html': 'text.tif',
    'a.npy b.npy --out r.html': 'needs cubes of one shape',
    'a.npy --reference b.npy --out r.html': 'needs cubes of one shape',
    'nan.npy --out r.html': 'NaN',
    'a.npy --out r.pdf': 'r.pdf does not end in .html',
    'a.npy --out there.html': 'there.html exists already',
    'a.npy x/a.npy --out r.html': "Two results are called 'a'",
    'a.npy -opt demo_test_mulsr_x8 --out r.html': 'named as LABEL=FOLDER',
    'A=a.npy -opt demo_test_mulsr_x8 --reference a.npy --out r.html': 'leave --reference out',
    'a.npy --scenes other --out r.html': "no scene 'other'",
    'a.npy --area 0,0,99,99 --out r.html': 'is not inside of a scene',
}


@pytest.mark.parametrize(('call', 'message'), MISTAKES.items())
def test_mistakes(
    call: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cube = np.full((12, 12, 4), 0.5, np.float32)
    np.save('a.npy', cube)
    np.save('b.npy', cube[:-1])
    np.save('nan.npy', np.where(np.arange(4) == 2, np.nan, cube))
    Path('x').mkdir()
    np.save('x/a.npy', cube)
    Path('broken.npy').write_bytes(Path('a.npy').read_bytes()[:100])
    Path('text.tif').write_text('no picture')
    Path('there.html').touch()
    before = sorted(path.name for path in tmp_path.iterdir())
    assert main(['report', *call.split()]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith('error: ')]
    assert len(errors) == 1 and message in errors[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == before
