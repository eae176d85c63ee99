"""Results that are written strip by strip: equal to the whole, resumable, never mixed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mulsr_plugin.apps import super_resolution
from mulsr_plugin.apps.infer import InferenceJob, infer
from mulsr_plugin.archs import fusion_rendering
from mulsr_plugin.data.formats import read_cube
from mulsr_plugin.data.sources.pair import PairFiles
from tests.apps.test_infer import changed, save_network
from tests.sensor.demo_pairs import demo_pair

NAMES = ['sr.npy', 'sr.tif', 'sr.hdr']


@pytest.fixture
def job(tmp_path, monkeypatch):
    """A pair whose result has six strips of two blocks."""
    pair = demo_pair(4)
    np.save(tmp_path / 'lr.npy', pair.lq.permute(1, 2, 0).numpy())
    np.save(tmp_path / 'rgb.npy', pair.guide.permute(1, 2, 0).numpy())
    monkeypatch.setattr(fusion_rendering, '_BLOCK_SIDE', 96)
    monkeypatch.setattr(fusion_rendering, '_STRIP_SIZE', 32 * 192 * 31 * 4)
    images = PairFiles('lr', tmp_path / 'lr.npy', tmp_path / 'rgb.npy')
    return InferenceJob(images=images, output=tmp_path / 'out' / 'sr.npy', device='cpu')


def names_of(folder):
    return sorted(path.name for path in folder.iterdir())


class Stopped(BaseException):
    """What a signal raises."""


def stopped_after(monkeypatch, strips):
    """Let a run be stopped when it asks for one strip more; return the numbers of those computed."""
    compute, numbers = super_resolution.SuperResolution.compute, []

    def limited(self, number, progress=None):
        if len(numbers) == strips:
            raise Stopped
        numbers.append(number)
        return compute(self, number, progress)

    monkeypatch.setattr(super_resolution.SuperResolution, 'compute', limited)
    return numbers


@pytest.mark.parametrize('name', NAMES)
def test_files_by_rows_equal_the_whole_image(name, job):
    parts = []
    report = infer(changed(job, output=job.output.with_name('whole.npz')))
    rows = infer(changed(job, output=job.output.with_name(name)), lambda *counts: parts.append(counts))
    expected = read_cube(job.output.with_name('whole.npz')).values
    np.testing.assert_array_equal(read_cube(job.output.with_name(name)).values, expected)
    assert rows.consistency == report.consistency
    assert parts == [(number, 12) for number in range(1, 13)]
    assert (job.output.with_name('whole_preview.png')).read_bytes() == (
        job.output.with_name('sr_preview.png')
    ).read_bytes()


@pytest.mark.parametrize('name', NAMES)
def test_a_stopped_run_goes_on_and_gives_the_identical_file(name, job, monkeypatch):
    job = changed(job, output=job.output.with_name(name))
    infer(job)
    whole = {path.name: path.read_bytes() for path in job.output.parent.iterdir()}
    for path in job.output.parent.iterdir():
        path.unlink()
    with monkeypatch.context() as patch:
        stopped_after(patch, 4)
        with pytest.raises(Stopped):
            infer(job)
    assert names_of(job.output.parent) == [f'.{name}.partial']
    with monkeypatch.context() as patch:
        numbers = stopped_after(patch, 6)
        infer(job)
    assert numbers == [4, 5]
    assert {path.name: path.read_bytes() for path in job.output.parent.iterdir()} == whole


def test_strips_of_another_pair_or_setting_are_never_mixed(job, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        stopped_after(patch, 4)
        with pytest.raises(Stopped):
            infer(job)
    guide = np.load(job.images.guide)
    guide[0, 0, 0] += 0.001
    np.save(job.images.guide, guide)
    numbers = stopped_after(monkeypatch, 100)
    infer(job)
    assert numbers == [0, 1, 2, 3, 4, 5]
    infer(changed(job, weights=save_network(tmp_path), force=True, tile_size=64))


def test_a_damaged_strip_is_computed_again(job, monkeypatch):
    infer(changed(job, output=job.output.with_name('whole.npy')))
    with monkeypatch.context() as patch:
        stopped_after(patch, 4)
        with pytest.raises(Stopped):
            infer(job)
    partial = job.output.with_name('.sr.npy.partial')
    with open(partial / 'sr.npy', 'rb+') as file:
        file.seek(128 + 40 * 192 * 31 * 4)  # in the second strip
        file.write(b'damage')
    numbers = stopped_after(monkeypatch, 100)
    infer(job)
    assert numbers == [1, 4, 5]
    assert job.output.read_bytes() == job.output.with_name('whole.npy').read_bytes()
    assert not partial.exists()


def test_a_state_that_cannot_be_read_begins_anew(job, monkeypatch):
    with monkeypatch.context() as patch:
        stopped_after(patch, 2)
        with pytest.raises(Stopped):
            infer(job)
    state = job.output.with_name('.sr.npy.partial') / 'progress.json'
    assert len(json.loads(state.read_text())['done']) == 2
    state.write_text('{')
    numbers = stopped_after(monkeypatch, 100)
    infer(job)
    assert numbers == [0, 1, 2, 3, 4, 5]


def test_what_is_written_as_a_whole_leaves_nothing_behind(job, monkeypatch):
    stopped_after(monkeypatch, 3)
    with pytest.raises(Stopped):
        infer(changed(job, output=job.output.with_name('sr.npz')))
    assert not job.output.parent.exists()


def test_a_result_too_large_for_the_memory_is_refused_where_it_must_be_whole(job, monkeypatch):
    monkeypatch.setattr('mulsr_plugin.apps.infer.free_host_memory', lambda: 1000)
    with pytest.raises(MemoryError, match=r'sr\.mat is written from memory .* name a file of one of \.npy \.hdr'):
        infer(changed(job, output=job.output.with_name('sr.mat')))
    infer(job)


def test_tiles_of_a_trained_network_are_strips_too(job, tmp_path, monkeypatch):
    job = changed(job, weights=save_network(tmp_path), tile_size=64, tile_halo=8)
    infer(changed(job, output=job.output.with_name('whole.npz')))
    with monkeypatch.context() as patch:
        stopped_after(patch, 1)
        with pytest.raises(Stopped):
            infer(job)
    infer(job)
    np.testing.assert_array_equal(np.load(job.output), read_cube(job.output.with_name('whole.npz')).values)
