"""The tables of a benchmark: rows per image as CSV, means with marks and significance as Markdown and LaTeX."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import wilcoxon

from mulsr_plugin.apps.benchmark.published import CAUTION, COLUMNS, published_at
from mulsr_plugin.utils.tables import escape_latex, latex_table, markdown_table, write_csv

SIGNIFICANT = 0.05
_TITLES = {'psnr': 'PSNR', 'ssim': 'SSIM', 'sam': 'SAM', 'rmse': 'RMSE', 'ergas': 'ERGAS'}
_DIGITS = {'psnr': 2, 'sam': 2, 'ergas': 3}  # of the others: 4
_COSTS = {'parameters': 'Parameters', 'gflops': 'GFLOPs', 'seconds': 's/scene', 'memory_mib': 'Peak MiB'}


class Cell(NamedTuple):
    """One figure of a table.

    Attributes:
        text: The figure.
        rank: 1 best, 2 second, 0 any other.
        significant: Whether it differs significantly from that of the first entry.
    """

    text: str
    rank: int = 0
    significant: bool = False


class Table(NamedTuple):
    """A table with the line that belongs above it and remarks below."""

    title: str
    protocol: str
    head: list[str]
    rows: list[tuple[str, list[Cell]]]
    remarks: list[str]


def write_tables(folder: Path, content: Mapping[str, Any], published: bool) -> None:
    """Write ``results.csv``, ``table.md`` and ``table.tex``.

    Args:
        folder: Where to.
        content: What ``results.json`` holds.
        published: Add the published figures at this scale as tables of their own.
    """
    _write_csv(folder / 'results.csv', content)
    tables = [summary_table(content, name) for name in content['datasets']]
    if published:
        tables += published_tables(content['scale'])
    failures = [f'Failed: {sentence}' for sentence in content['failures']]
    markdown = [_markdown(table) for table in tables] + ['\n'.join(f'- {line}' for line in failures)] * bool(failures)
    (folder / 'table.md').write_text('\n\n'.join(markdown) + '\n', encoding='utf-8')
    latex = [_latex(table) for table in tables] + [f'% {line}' for line in failures]
    (folder / 'table.tex').write_text('\n\n'.join(latex) + '\n', encoding='utf-8')


def summary_table(content: Mapping[str, Any], dataset: str) -> Table:
    """Average the rows of one data set; mark the best, the second and what differs from the first entry.

    Entries without a result for every image are left out and named in a remark: means over other images do not compare.
    """
    images = content['datasets'][dataset]['images']
    values = {}
    for entry in content['entries']:
        rows = {row['image']: row for row in content['rows'] if (row['dataset'], row['entry']) == (dataset, entry)}
        values[entry] = [rows[image] for image in images if image in rows]
    complete = [entry for entry in values if len(values[entry]) == len(images)]
    incomplete = [entry for entry in values if entry not in complete]
    metrics = list(content['metrics'])
    columns = [_quality_cells(content['metrics'][m], m, {e: values[e] for e in complete}) for m in metrics]
    columns += [[Cell(_cost_text(cost, values[entry])) for entry in complete] for cost in _COSTS]
    rows_of_table = [(entry, [column[number] for column in columns]) for number, entry in enumerate(complete)]
    remarks = _remarks(content, complete, values, len(images))
    if incomplete:
        remarks.append(f'Without a result for every image: {", ".join(incomplete)}.')
    return Table(
        f'{dataset}, x{content["scale"]}',
        content['datasets'][dataset]['protocol'],
        [
            'Network',
            *(_TITLES.get(m, m) + (' ↑' if _higher_is_better(content['metrics'][m]) else ' ↓') for m in metrics),
            *_COSTS.values(),
        ],
        rows_of_table,
        remarks,
    )


def published_tables(scale: int) -> list[Table]:
    """Tables of published figures at a scale, one per data set; one without rows if there are none."""
    digits = {**_DIGITS, 'ssim': 4, 'rmse': 4}
    by_dataset = published_at(scale)
    head = ['Network', *(_TITLES[name] for name in COLUMNS)]
    if not by_dataset:
        return [Table(f'Published, x{scale}', f'The paper prints no figures at x{scale}.', head, [], [])]
    return [
        Table(
            f'Published, {dataset}, x{scale}',
            CAUTION,
            head,
            [(name, [Cell(f'{row[c]:.{digits[c]}f}') for c in COLUMNS]) for name, row in networks.items()],
            [],
        )
        for dataset, networks in by_dataset.items()
    ]


def paired_significance(values: Sequence[float], first: Sequence[float]) -> float | None:
    """Return two-sided p of Wilcoxon's signed-rank test for the images of two entries.

    Args:
        values: A metric, image by image.
        first: The same of the first entry, same images.

    Returns:
        p; 1 if all are equal; None for fewer than two images or infinite differences.
    """
    difference = np.asarray(values, float) - np.asarray(first, float)
    if len(difference) < 2 or not np.isfinite(difference).all():
        return None
    if not difference.any():
        return 1.0
    return float(wilcoxon(difference, zero_method='wilcox').pvalue)


def _quality_cells(
    options: Mapping[str, Any], metric: str, values: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Cell]:
    columns = [[row[metric] for row in rows] for rows in values.values()]
    texts = [f'{np.mean(column):.{_DIGITS.get(metric, 4)}f}' for column in columns]
    # what reads the same ranks the same
    order = sorted({float(text) for text in texts if not math.isnan(float(text))}, reverse=_higher_is_better(options))
    cells = []
    for text, column in zip(texts, columns):
        p = paired_significance(column, columns[0])
        rank = order.index(float(text)) + 1 if float(text) in order[:2] else 0
        cells.append(Cell(text, rank if len(order) > 1 else 0, p is not None and p < SIGNIFICANT))
    return cells


def _remarks(
    content: Mapping[str, Any], complete: Sequence[str], values: Mapping[str, Sequence[Mapping[str, Any]]], count: int
) -> list[str]:
    """Return how to read the table, the weights, and each entry's paired differences from the first."""
    if not complete:
        return []
    first = complete[0]
    remarks = [
        f'Means over {count} images; bold: best, underlined: second; *: differs from {first} image by image '
        f'(Wilcoxon signed-rank test, p < {SIGNIFICANT}, not corrected for the number of comparisons).'
    ]
    if count < 6:
        remarks.append('With fewer than 6 images this test cannot reach that level.')
    for entry in complete[1:]:
        parts = []
        for metric in content['metrics']:
            pairs = [[row[metric] for row in values[name]] for name in (entry, first)]
            p = paired_significance(*pairs)
            change = np.mean(pairs[0]) - np.mean(pairs[1])
            parts.append(
                f'{_TITLES.get(metric, metric)} {change:+.{_DIGITS.get(metric, 4)}f}'
                + ('' if p is None else f' (p = {p:.3g})')
            )
        remarks.append(f'{entry} against {first}: {", ".join(parts)}.')
    trained = [entry for entry in complete if values[entry][0]['parameters']]
    weights = ', '.join(f'{entry}: {_weights_text(content["checkpoints"][entry], values[entry])}' for entry in trained)
    return [*remarks, f'Weights: {weights}.'] if trained else remarks


def _weights_text(checkpoint: str, rows: Sequence[Mapping[str, Any]]) -> str:
    keys = {str(row['weights']) for row in rows if row.get('weights')}  # results of older versions do not say
    return f'{" and ".join(sorted(keys))} of {checkpoint}' if keys else checkpoint


def _higher_is_better(options: Mapping[str, Any]) -> bool:
    return (options.get('better') or 'higher') == 'higher'


def _cost_text(cost: str, rows: Sequence[Mapping[str, Any]]) -> str:
    numbers = [row[cost] for row in rows if row[cost] is not None]
    if not numbers:
        return 'n/a'
    mean = float(np.mean(numbers)) if cost == 'seconds' else max(numbers)
    if cost == 'parameters':
        return f'{mean:,.0f}'
    return f'{mean:,.0f}' if mean >= 100 else f'{mean:.3g}'


def _write_csv(path: Path, content: Mapping[str, Any]) -> None:
    places = {(name, key) for name, data in content['datasets'].items() for key in data['images']}
    order = {entry: number for number, entry in enumerate(content['entries'])}
    rows = [r for r in content['rows'] if (r['dataset'], r['image']) in places and r['entry'] in order]
    rows.sort(key=lambda row: (row['dataset'], order[row['entry']], row['image']))
    protocols = [data['protocol'] for data in content['datasets'].values()]
    write_csv(path, ['dataset', 'entry', 'image', *content['metrics'], *_COSTS], rows, protocols)


def _markdown(table: Table) -> str:
    rows = [[name, *map(_markdown_cell, cells)] for name, cells in table.rows]
    body = [markdown_table(table.head, rows), ''] if rows else []
    lines = [f'## {table.title}', '', table.protocol, '', *body, *(f'- {remark}' for remark in table.remarks)]
    return '\n'.join(lines).rstrip()


def _markdown_cell(cell: Cell) -> str:
    text = {0: '{}', 1: '**{}**', 2: '<u>{}</u>'}[cell.rank].format(cell.text)
    return text + (r'\*' if cell.significant else '')


def _latex(table: Table) -> str:
    """Return a table whose caption ends with the protocol."""
    caption = f'{table.title}. {table.protocol.rstrip(".")}.'
    rows = [[escape_latex(name), *map(_latex_cell, cells)] for name, cells in table.rows]
    return latex_table(caption, table.head, rows, table.remarks)


def _latex_cell(cell: Cell) -> str:
    marks = {0: '{}', 1: r'\textbf{{{}}}', 2: r'\underline{{{}}}'}
    return marks[cell.rank].format(escape_latex(cell.text)) + ('$^*$' if cell.significant else '')
