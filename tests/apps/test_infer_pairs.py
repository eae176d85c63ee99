"""Many pairs: each once, whatever stops the process, whichever is bad and however many processes there are."""

from __future__ import annotations

import csv
import gc
import json
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mulsr_plugin.__main__ import main
from mulsr_plugin.apps import infer_pairs as module
from mulsr_plugin.apps.infer import InferenceJob, infer
from mulsr_plugin.apps.infer_pairs import PairsJob, infer_pairs
from mulsr_plugin.apps.pair_records import PairRecord
from mulsr_plugin.apps.super_resolution import InferenceSettings
from mulsr_plugin.archs import fusion_rendering
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.sources.pair import PairFiles
from mulsr_plugin.data.sources.pair_folders import folder_pairs
from mulsr_plugin.utils.locks import OutputLock
from mulsr_plugin.utils.process_share import ProcessShare
from tests.apps.test_infer import log  # noqa: F401
from tests.apps.test_infer_by_rows import Stopped, stopped_after
from tests.processes import run_python, started_python
from tests.sensor.demo_pairs import demo_pair

NAMES = ['a', 'b', 'c']


@pytest.fixture(scope='module')
def pair():
    """A pair of 64x64 pixels at x4."""
    return [image.permute(1, 2, 0).numpy() for image in demo_pair(4, size=64)[1:]]


@pytest.fixture
def folder(tmp_path, pair):
    """Folders lr and rgb with three pairs, the second of which is bad."""
    for name, image in zip(('lr', 'rgb'), pair):
        (tmp_path / name).mkdir()
        for number, key in enumerate(NAMES):
            np.save(tmp_path / name / f'{key}.npy', image * (1 - 0.1 * number))
    np.save(tmp_path / 'rgb' / 'b.npy', pair[1][:-3])
    return tmp_path


def job_in(place: Path, method: str | None = 'GSA', **values) -> PairsJob:
    pairs = folder_pairs(place / 'lr', place / 'rgb')
    settings = InferenceSettings(method=method, device='cpu')
    return PairsJob(**{'pairs': pairs, 'folder': place / 'sr', 'settings': settings, **values})


def mend(folder: Path) -> None:
    np.save(folder / 'rgb' / 'b.npy', np.load(folder / 'rgb' / 'a.npy'))


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with open(path, newline='') as file:
        return {row['pair']: row for row in csv.DictReader(file)}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob('*.npy')}


def test_a_bad_pair_is_reported_and_passed_by(folder, log):  # noqa: F811
    calls = []
    rows = infer_pairs(job_in(folder), lambda *counts: calls.append(counts))
    assert calls == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [row['pair'] for row in rows] == NAMES
    assert 'are not a pair: The guide has 61x64 pixels' in rows[1]['error']
    assert any(line.startswith('ERROR: b: ') and 'are not a pair' in line for line in log)
    assert any(line.startswith('INFO: a: Method GSA') for line in log)
    assert sorted(times(folder / 'sr')) == ['a.npy', 'c.npy']
    alone = InferenceJob(
        images=PairFiles('c', folder / 'lr' / 'c.npy', folder / 'rgb' / 'c.npy'),
        output=folder / 'alone.npy',
        method='GSA',
        device='cpu',
    )
    report = infer(alone)
    assert (folder / 'alone.npy').read_bytes() == (folder / 'sr' / 'c.npy').read_bytes()
    table = rows_of(folder / 'sr' / 'pairs.csv')
    assert (table['c']['scale'], table['c']['method'], table['c']['error']) == ('4', 'GSA', '')
    figure = 'spectral consistency (RMSE)'
    assert float(table['c'][figure]) == pytest.approx(report.consistency[figure])
    assert table['b']['error'] == rows[1]['error'] and table['b']['result'] == ''


def test_finished_pairs_are_not_computed_again(folder):
    first = infer_pairs(job_in(folder))
    before = times(folder / 'sr')
    mend(folder)
    second = infer_pairs(job_in(folder))
    after = times(folder / 'sr')
    assert sorted(after) == ['a.npy', 'b.npy', 'c.npy'] and before.items() <= after.items()
    assert second[0] == first[0] and second[2] == first[2] and 'error' not in second[1]
    (folder / 'sr' / 'a.npy').unlink()
    infer_pairs(job_in(folder))
    assert sorted(times(folder / 'sr')) == sorted(after)


def other_method(folder):
    return 'made with another method'


def other_guide(folder):
    np.save(folder / 'rgb' / 'a.npy', 0.9 * np.load(folder / 'rgb' / 'a.npy'))
    return 'made with another guide'


def no_record(folder):
    (folder / 'sr' / '.mulsr' / 'a.npy.json').write_text('{')
    return 'nothing says what it was made of'


def cut_result(folder):
    np.save(folder / 'sr' / 'a.npy', np.zeros((4, 4, 3)))
    return 'changed since'


@pytest.mark.parametrize('change', [other_method, other_guide, no_record, cut_result])
def test_what_was_made_otherwise_is_refused_before_anything_begins(change, folder):
    infer_pairs(job_in(folder))
    mend(folder)
    difference, before = change(folder), times(folder / 'sr')
    job = job_in(folder, 'MTFGLP' if change is other_method else 'GSA')
    with pytest.raises(FileExistsError, match=rf'holds results of other .* a\.npy \({difference}\)'):
        infer_pairs(job)
    assert times(folder / 'sr') == before
    rows = infer_pairs(PairsJob(**{**vars(job), 'force': True}))
    assert not any(row.get('error') for row in rows)
    after = times(folder / 'sr')
    assert after['a.npy'] != before['a.npy']
    assert (after['c.npy'] == before['c.npy']) is (change is not other_method)


def test_a_stopped_pair_goes_on_from_its_strips(folder, monkeypatch):
    mend(folder)
    infer_pairs(job_in(folder, None, folder=folder / 'whole'))
    monkeypatch.setattr(fusion_rendering, '_BLOCK_SIDE', 32)
    monkeypatch.setattr(fusion_rendering, '_STRIP_SIZE', 32 * 64 * 31 * 4)
    with monkeypatch.context() as patch:
        stopped_after(patch, 3)  # of two strips for each pair
        with pytest.raises(Stopped):
            infer_pairs(job_in(folder, None))
    assert sorted(times(folder / 'sr')) == ['a.npy'] and (folder / 'sr' / '.b.npy.partial').is_dir()
    numbers = stopped_after(monkeypatch, 100)
    infer_pairs(job_in(folder, None))
    assert numbers == [1, 0, 1]
    for key in NAMES:
        result, whole = (np.load(folder / name / f'{key}.npy') for name in ('sr', 'whole'))
        np.testing.assert_allclose(result, whole, atol=1e-5)


def test_a_result_that_was_put_in_place_just_before_the_end_is_no_obstacle(folder, monkeypatch):
    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(PairRecord, 'finish', stop)
        with pytest.raises(Stopped):
            infer_pairs(job_in(folder))
    assert sorted(times(folder / 'sr')) == ['a.npy']
    assert [bool(row.get('error')) for row in infer_pairs(job_in(folder))] == [False, True, False]


def test_a_killed_process_leaves_what_the_next_one_takes_up(folder, monkeypatch):
    mend(folder)
    monkeypatch.chdir(folder)
    words = ['infer', 'lr', '--guide', 'rgb', '--out', 'sr', '--method', 'GSA', '--device', 'cpu']
    with started_python('-m', 'mulsr_plugin', *words, cwd=folder) as process:
        while not (folder / 'sr' / 'a.npy').exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    before = (folder / 'sr' / 'a.npy').read_bytes()
    assert main(words) == 0
    assert (folder / 'sr' / 'a.npy').read_bytes() == before
    assert sorted(times(folder / 'sr')) == ['a.npy', 'b.npy', 'c.npy']
    assert not list((folder / 'sr').glob('.*.partial*'))


def by_torchrun(rank: int) -> dict[str, int]:
    return {'RANK': rank, 'WORLD_SIZE': 2, 'LOCAL_RANK': rank}


def by_array(task: int) -> dict[str, int]:
    values = {'ID': task, 'MIN': 0, 'MAX': 1, 'STEP': 1, 'COUNT': 2}
    return {f'SLURM_ARRAY_TASK_{name}': value for name, value in values.items()}


@pytest.mark.parametrize('launcher', [by_torchrun, by_array])
def test_processes_share_the_pairs_without_overlap(launcher, folder, monkeypatch, capsys):
    (folder / 'list.txt').write_text(''.join(f'lr/{key}.npy, rgb/{key}.npy, scene_{key}\n' for key in NAMES))
    words = ['infer', '--pairs', str(folder / 'list.txt'), '--out', str(folder / 'sr'), '--method', 'GSA']
    statuses = []
    for process in range(2):
        for name, value in launcher(process).items():
            monkeypatch.setenv(name, str(value))
        statuses.append(main(words))
    assert statuses == [0, 1]
    tables = [rows_of(folder / 'sr' / f'pairs_{number}_of_2.csv') for number in (1, 2)]
    assert [sorted(table) for table in tables] == [['scene_a', 'scene_c'], ['scene_b']]
    assert sorted(times(folder / 'sr')) == ['scene_a.npy', 'scene_c.npy']
    printed = capsys.readouterr().out
    assert '| scene_a | 4     | GSA    |' in printed and '1 of 1 pairs failed.' in printed


def test_under_torchrun_a_process_with_bad_pairs_does_not_end_the_others(folder):
    """The first one has bad pairs only, and is done long before the second one."""
    images = [np.load(folder / name / 'a.npy') for name in ('lr', 'rgb')]
    for number in range(12):
        np.save(folder / 'lr' / f'c{number:02}.npy', images[0])
        np.save(folder / 'rgb' / f'c{number:02}.npy', images[1] if number % 2 == 0 else images[1][:-3])
    for key in ('a', 'c'):
        np.save(folder / 'rgb' / f'{key}.npy', images[1][:-3])
    np.save(folder / 'rgb' / 'b.npy', images[1])
    launch = ['-m', 'torch.distributed.run', '--nproc-per-node', '2', '-m', 'mulsr_plugin']
    process = run_python(*launch, 'infer', 'lr', '--guide', 'rgb', '--out', 'sr', '--device', 'cpu', cwd=folder)
    assert process.returncode == 1
    first, second = (rows_of(folder / 'sr' / f'pairs_{number}_of_2.csv') for number in (1, 2))
    assert len(first) == 8 and all(row['error'] for row in first.values())
    assert len(second) == 7 and not any(row['error'] for row in second.values())


def test_a_pair_that_another_process_computes_is_left_to_it(folder):
    (folder / 'sr' / '.mulsr').mkdir(parents=True)
    lock = OutputLock(folder / 'sr' / '.mulsr' / 'a.npy.json')
    try:
        rows = infer_pairs(job_in(folder))
    finally:
        lock.release()
    assert 'is being written by process' in rows[0]['error']
    assert sorted(times(folder / 'sr')) == ['c.npy']


def test_an_error_that_nobody_has_foreseen_costs_one_pair(folder, monkeypatch, log):  # noqa: F811
    def fail_once(job):
        if job.images.key == 'a':
            raise ZeroDivisionError('division by zero')
        return infer(job)

    monkeypatch.setattr(module, 'infer', fail_once)
    rows = infer_pairs(job_in(folder))
    assert rows[0]['error'] == 'ZeroDivisionError: division by zero; the log says where.'
    assert 'ERROR: a: an error of the program.' in log
    assert (folder / 'sr' / 'c.npy').exists()


def test_no_input_is_replaced_by_the_result_of_another_pair(folder):
    pairs = [
        PairFiles('b', folder / 'lr' / 'a.npy', folder / 'rgb' / 'a.npy'),
        PairFiles('c', folder / 'lr' / 'b.npy', folder / 'rgb' / 'c.npy'),
    ]
    before = (folder / 'lr' / 'b.npy').read_bytes()
    with pytest.raises(FileExistsError, match=r'The result .*b\.npy is one of the inputs'):
        infer_pairs(job_in(folder, pairs=pairs, folder=folder / 'lr', force=True))
    assert (folder / 'lr' / 'b.npy').read_bytes() == before
    with pytest.raises(ValueError, match='Several pairs give the same scene b'):
        infer_pairs(job_in(folder, pairs=[pairs[0], pairs[0]]))


def test_bad_weights_are_refused_before_any_pair(folder):
    settings = InferenceSettings(weights=folder / 'absent.pth', device='cpu')
    with pytest.raises(FileNotFoundError, match=r'absent\.pth'):
        infer_pairs(job_in(folder, settings=settings))
    assert not (folder / 'sr').exists()


@pytest.mark.parametrize(
    ('cube', 'suffix', 'name'),
    [('x.tif', None, 'k.tif'), ('x.h5', None, 'k.npz'), ('x.bsq', None, 'k.npz'), ('x.tif', '.hdr', 'k.hdr')],
)
def test_results_have_the_format_of_the_cube_where_it_can_be_written(cube, suffix, name, tmp_path):
    pairs = [PairFiles('k', tmp_path / cube, tmp_path / 'x.png')]
    job = PairsJob(pairs=pairs, folder=tmp_path, settings=InferenceSettings(), suffix=suffix)
    assert job.job_of(pairs[0]).output == tmp_path / name


def test_processes_of_a_machine_have_a_gpu_each(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 4)
    pairs = [PairFiles('k', tmp_path / 'x.tif', tmp_path / 'x.png')]
    devices = [
        PairsJob(
            pairs=pairs, folder=tmp_path, settings=InferenceSettings(device=device), share=ProcessShare(6, 8, local)
        )
        .job_of(pairs[0])
        .device
        for device, local in (('auto', 2), ('cuda', 5), ('cuda:3', 2), ('cpu', 2), ('auto', None))
    ]
    assert devices == ['cuda:2', 'cuda:1', 'cuda:3', 'cpu', 'auto']


def test_nothing_of_a_pair_is_kept_in_memory(folder):
    mend(folder)

    def living() -> tuple[int, int]:
        gc.collect()
        objects = gc.get_objects()
        return sum(type(each) is Cube for each in objects), sum(type(each) is torch.Tensor for each in objects)

    infer_pairs(job_in(folder, pairs=job_in(folder).pairs[:1]))
    before = living()
    infer_pairs(job_in(folder))
    assert living() == before


def test_the_record_holds_the_report(folder):
    infer_pairs(job_in(folder))
    record = json.loads((folder / 'sr' / '.mulsr' / 'a.npy.json').read_text())
    assert record['report']['network'] == {'type': 'GSA', 'upscale': 4}
    assert 'The cube lies' in record['report']['sensor']
