"""The speed benchmark at a toy size: fair order, equal results, complete tables."""

from __future__ import annotations

import json

import pytest
import torch

from scripts.dev.speed.authors_release import AuthorsRelease
from scripts.dev.speed.cases import Setting, all_cases, make_images
from scripts.dev.speed.measure import relative_difference, time_in_turn
from scripts.dev.speed.profile import profile_forward, profile_table
from scripts.dev.speed.tables import HEAD, describe_machine, matrix_rates, measure, write_results
from tests.literal_form import LiteralForm

CPU = torch.device('cpu')


def test_variants_run_in_turn_and_ratios_are_taken_within_a_round():
    calls: list[str] = []
    works = {name: (lambda name=name: calls.append(name)) for name in ('slow', 'fast')}
    timings = time_in_turn(works, 'slow', rounds=3, device=CPU)
    assert calls == ['slow', 'fast'] * 3
    assert timings['slow'].ratio == 1 and timings['slow'].ratio_range == (1, 1)
    low, high = timings['fast'].ratio_range
    assert low <= timings['fast'].ratio <= high


def test_relative_difference_is_the_largest_over_the_largest_value():
    assert relative_difference(torch.tensor([1.0, -3.5]), torch.tensor([1.0, -4.0])) == pytest.approx(0.125)


@pytest.fixture(scope='module')
def rows():
    """Every case but the scene, at a toy size, beside the literal form."""
    setting = Setting(LiteralForm(), CPU, num_modules=1, num_bands=4, crop=16, scene=64, step_bands=3)
    rates = {'fp32': 1e11, 'bf16': 2e11}
    cases = all_cases(setting, ['crop', 'training', 'metrics', 'loader', 'scan'])
    return [row for case in cases for row in measure(case, setting, rates, rounds=1)]


def test_every_variant_gives_the_reference_s_result(rows):
    differences = {(row['work'], row['variant']): row['difference'] for row in rows if row['difference'] is not None}
    assert len(differences) == 5  # forward: fp32 and bf16; step per band and metrics: fp32; SSIM beside a plain one
    for (work, variant), difference in differences.items():
        assert difference < (3e-2 if 'bf16' in variant else 1e-4), (work, variant)


def test_rows_say_how_fast_the_reference_and_ours_are(rows):
    references = [row for row in rows if row['variant'] == LiteralForm.name]
    assert {row['work'].split(',')[0] for row in references} == {
        'forward',
        'training step of one band',
        'training on whole 16x16x4 patches',
        'PSNR',
        'training sample',
    }
    assert all(row['ratio'] == 1 for row in references)
    others = {row['variant'] for row in rows if row['work'].startswith(('steps', 'one metric', 'line scan'))}
    assert {'whole sample', 'read the window', 'SSIM by 11x11 convolutions', 'qnr', 'kernels'} <= others
    forward = references[0]
    assert forward['flops_per_second'] == pytest.approx(forward['share_of_matrix_rate'] * 1e11)
    assert all(row['seconds_per_unit'] > 0 for row in rows)


def test_tables_hold_every_row(rows, tmp_path):
    machine = describe_machine(CPU, matrix_rates(CPU, side=64))
    table = write_results(tmp_path, machine, 'the command', rows)
    lines = table.splitlines()
    assert len(lines) == len(rows) + 2
    assert all(line.count('|') == len(HEAD) + 1 for line in lines)
    stored = json.loads((tmp_path / 'speed.json').read_text())
    assert stored['rows'] == json.loads(json.dumps(rows)) and stored['machine'] == machine
    assert 'the command' in (tmp_path / 'speed.md').read_text()


def test_profile_accounts_for_all_time():
    setting = Setting(LiteralForm(), CPU, num_modules=1, num_bands=4, crop=16)
    profiles = profile_forward(setting, num_bands=1)
    assert list(profiles) == [LiteralForm.name, 'fp32', 'bf16']
    assert all(sum(shares.values()) == pytest.approx(1) for shares in profiles.values())
    assert all(any('conv' in name for name in shares) for shares in profiles.values())
    assert profile_table(profiles).splitlines()[0].split() == f'| Operator | {LiteralForm.name} | fp32 | bf16 |'.split()


def test_images_fit_each_other():
    images = make_images(Setting(LiteralForm(), CPU), 32, 5, batch_size=2)
    assert [tuple(image.shape) for image in images.values()] == [(2, 5, 4, 4), (2, 3, 32, 32), (2, 5, 32, 32)]


def test_a_folder_that_is_no_clone_is_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'has no option\.py: give a clone'):
        AuthorsRelease(tmp_path)
