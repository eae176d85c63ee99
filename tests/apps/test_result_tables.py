"""Tables of metrics read back and set side by side."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mulsr_plugin.apps.result_tables import format_table, read_means

TABLE = """# tiny: two scenes
iter,image,seconds,psnr,sam
4,a,1.0,20.0,3.0
4,b,3.0,22.0,5.0
8,a,1.0,30.0,1.0
8,b,2.0,34.0,2.0
"""


def test_means_of_the_last_validation(tmp_path):
    path = tmp_path / 'metrics_tiny.csv'
    path.write_text(TABLE)
    assert read_means(path) == ('tiny: two scenes', {'seconds': 1.5, 'psnr': 32.0, 'sam': 1.5})


def test_missing_and_foreign_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match='run a test with val: metrics first'):
        read_means(tmp_path / 'metrics_tiny.csv')
    (tmp_path / 'metrics_tiny.csv').write_text('# x\na,b\n1,2\n')
    with pytest.raises(ValueError, match='is not a table of metrics with columns iter and image'):
        read_means(tmp_path / 'metrics_tiny.csv')


def test_table_leaves_missing_metrics_blank():
    table = format_table({'first': {'psnr': 32.0}, 'second': {'psnr': 30.5, 'sam': 2.0}})
    assert table.splitlines() == [
        '| experiment | psnr    | sam    |',
        '| ---------- | ------- | ------ |',
        '| first      | 32.0000 |        |',
        '| second     | 30.5000 | 2.0000 |',
    ]


def test_command_warns_where_protocols_differ(tmp_path):
    for name, protocol in (('one', 'with noise'), ('two', 'without noise')):
        (tmp_path / name).mkdir()
        (tmp_path / name / 'metrics_tiny.csv').write_text(TABLE.replace('two scenes', protocol))
    command = [sys.executable, '-m', 'mulsr_plugin', 'compare', 'one', 'two']
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert 'must not be ranked' in printed
    assert '| one ' in printed
    command[-1] = 'absent'
    command[-2] = 'absent too'
    failed = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr.startswith('error: No metrics_*.csv in absent too, absent')
