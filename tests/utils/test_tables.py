"""Tables as Markdown, LaTeX and CSV."""

from __future__ import annotations

import pytest

from mulsr_plugin.utils.tables import (
    csv_text,
    escape_latex,
    latex_table,
    markdown_table,
    read_csv,
    read_csv_of,
    write_csv,
)

ROWS = [{'image': 'a, "b"', 'psnr': 30.5, 'seconds': 1}, {'image': 'c'}]


def test_markdown_is_aligned_and_bars_do_not_split_cells():
    assert markdown_table(['x', 'longer'], [['a|b', '1'], ['', '22']]).splitlines() == [
        '| x        | longer |',
        '| -------- | ------ |',
        '| a&#124;b | 1      |',
        '|          | 22     |',
    ]
    assert markdown_table(['x'], []) == '| x |\n| - |'


def test_latex():
    text = latex_table('100 %', ['Network', 'PSNR ↑'], [['a', r'\textbf{1}']], ['p < 0.05'])
    assert text.splitlines()[1:6] == [
        r'\caption{100 \%}',
        r'\begin{tabular}{lr}',
        r'\hline',
        r'Network & PSNR $\uparrow$ \\',
        r'\hline',
    ]
    assert r'a & \textbf{1} \\' in text and r'\par p $<$ 0.05' in text


def test_latex_special_characters():
    assert escape_latex('a_b & 5% of {x} ~ y^2 \\ <z>') == (
        r'a\_b \& 5\% of \{x\} \textasciitilde{} y\textasciicircum{}2 \textbackslash{} $<$z$>$'
    )


def test_csv_comes_back(tmp_path):
    path = tmp_path / 'new' / 'table.csv'
    write_csv(path, ['image', 'psnr'], ROWS, ['first # line', 'second'])
    assert path.read_text() == csv_text(['image', 'psnr'], ROWS, ['first # line', 'second'])
    assert path.read_text() == '# first # line\n# second\nimage,psnr\n"a, ""b""",30.5\nc,\n'
    rows = [{'image': 'a, "b"', 'psnr': '30.5'}, {'image': 'c', 'psnr': ''}]
    assert read_csv(path) == (['first # line', 'second'], rows)
    assert sorted(file.name for file in path.parent.iterdir()) == ['table.csv']


def test_only_a_table_of_the_same_protocol_is_continued(tmp_path):
    path = tmp_path / 'table.csv'
    assert read_csv_of(path, 'P') == []
    write_csv(path, ['image'], ROWS, ['P'])
    assert [row['image'] for row in read_csv_of(path, 'P')] == ['a, "b"', 'c']
    with pytest.raises(ValueError, match='holds results of another protocol'):
        read_csv_of(path, 'Q')
