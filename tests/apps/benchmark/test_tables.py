"""Tables of a benchmark from known rows: means, marks, significance, and text that LaTeX accepts."""

from __future__ import annotations

import re

import pytest

from mulsr_plugin.apps.benchmark.published import published_at
from mulsr_plugin.apps.benchmark.tables import paired_significance, summary_table, write_tables

IMAGES = [f'scene_{number}' for number in range(6)]
METRICS = {
    'psnr': {'type': 'calculate_hsi_psnr', 'better': 'higher'},
    'sam': {'type': 'calculate_sam', 'better': 'lower'},
}


def content(**psnr: list[float]) -> dict:
    cost = {'parameters': 1234567, 'gflops': 12.5, 'seconds': 0.25, 'memory_mib': None}
    return {
        'scale': 8,
        'entries': list(psnr),
        'checkpoints': dict.fromkeys(psnr, 'untrained'),
        'datasets': {'CAVE_1': {'protocol': 'PROTOCOL 100 %', 'images': IMAGES}},
        'metrics': METRICS,
        'failures': [],
        'rows': [
            {'dataset': 'CAVE_1', 'entry': name, 'image': image, 'psnr': value, 'sam': 100 / value, **cost}
            for name, values in psnr.items()
            for image, value in zip(IMAGES, values)
        ],
    }


THREE = {'a': [30, 31, 32, 33, 34, 35], 'b': [31, 32.5, 33.2, 34.1, 35.9, 36.4], 'c': [20, 21, 22, 23, 24, 25.0]}


def test_best_and_second_follow_the_sense_of_each_metric():
    table = summary_table(content(**THREE), 'CAVE_1')
    marks = {name: [(cell.text, cell.rank) for cell in cells[:2]] for name, cells in table.rows}
    assert marks['a'] == [('32.50', 2), ('3.09', 2)]
    assert marks['b'] == [('33.85', 1), ('2.96', 1)]
    assert marks['c'] == [('22.50', 0), ('4.47', 0)]
    assert [cell.text for cell in table.rows[0][1][2:]] == ['1,234,567', '12.5', '0.25', 'n/a']


def test_equal_figures_get_equal_marks():
    table = summary_table(content(a=[30] * 6, b=[30.001] * 6, c=[29] * 6), 'CAVE_1')
    assert [cells[0].rank for _, cells in table.rows] == [1, 1, 2]


def test_wilcoxon_of_six_images():
    """Six differences of one sign: 2 of the 2**6 signs are as extreme; one opposite and smallest: 4 of them."""
    assert paired_significance(THREE['b'], THREE['a']) == pytest.approx(2 / 64)
    assert paired_significance([1, 2, 3, 4, 5, -0.5], [0] * 6) == pytest.approx(4 / 64)
    assert paired_significance([1, 2], [1, 2]) == 1
    assert paired_significance([1], [2]) is None
    assert paired_significance([float('inf'), 1], [0, 0]) is None


def test_significance_is_against_the_first_entry():
    table = summary_table(content(**THREE), 'CAVE_1')
    assert [cells[0].significant for _, cells in table.rows] == [False, True, True]
    assert any(remark.startswith('b against a: PSNR +1.35 (p = 0.0312)') for remark in table.remarks)


def test_incomplete_entry_is_left_out():
    table = summary_table(content(a=THREE['a'], b=[50, 50]), 'CAVE_1')
    assert [name for name, _ in table.rows] == ['a']
    assert 'Without a result for every image: b.' in table.remarks


def test_files(tmp_path):
    write_tables(tmp_path, content(**THREE), published=True)
    markdown, latex = ((tmp_path / f'table.{kind}').read_text() for kind in ('md', 'tex'))
    markdown = re.sub(' +', ' ', markdown)  # columns are aligned
    assert r'| b | **33.85**\* | **2.96**\* |' in markdown
    assert '| a | <u>32.50</u> |' in markdown
    assert r'b & \textbf{33.85}$^*$ &' in latex
    assert r'CAVE\_1, x8. PROTOCOL 100 \%.' in latex
    assert latex.count(r'\begin{tabular}') == latex.count(r'\end{tabular}') == 3
    assert latex.count('{') == latex.count('}')
    # published figures stand in blocks of their own, below their caution
    measured, cave, harvard = markdown.split('\n## ')
    assert 'PROTOCOL' in measured
    assert '45.44' not in measured
    for block, figure in ((cave, '| MulSR | 45.44 | 0.9933 | 3.49 | 0.0057 |'), (harvard, '| UAL | 41.81 |')):
        assert figure in block
        assert 'protocol differs' in block
        assert '33.85' not in block


def test_names_and_paths_stay_as_they_are(tmp_path):
    data = content(**{'a|b': THREE['a']})
    data['datasets']['CAVE_1']['protocol'] = 'from ../data/test.lmdb.'
    write_tables(tmp_path, data, published=False)
    assert '| a&#124;b |' in (tmp_path / 'table.md').read_text()
    assert 'from ../data/test.lmdb.}' in (tmp_path / 'table.tex').read_text()


def test_published_figures_exist_at_two_scales():
    assert published_at(16)['CAVE']['UAL'] == {'psnr': 42.50, 'ssim': 0.9887, 'sam': 6.18, 'rmse': 0.0083}
    assert {scale: len(published_at(scale)) for scale in (4, 8, 16)} == {4: 0, 8: 2, 16: 2}
    # the paper's MulSR leads PSNR everywhere but in CAVE x16, where UAL does
    for scale in (8, 16):
        for dataset, rows in published_at(scale).items():
            best = max(rows, key=lambda name: rows[name]['psnr'])
            assert best == ('UAL' if (dataset, scale) == ('CAVE', 16) else 'MulSR')
