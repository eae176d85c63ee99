"""Tables as text: Markdown, LaTeX, and CSV below lines that say how the values were measured."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mulsr_plugin.utils.files import replace_text


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned, so that it also reads well in a terminal.

    Args:
        head: Titles of the columns.
        rows: Cells in Markdown, as many as titles; a vertical bar in them is escaped.
    """
    lines = [[cell.replace('|', '&#124;') for cell in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*lines)]
    lines.insert(1, ['-' * width for width in widths])
    return '\n'.join(f'| {" | ".join(map(str.ljust, line, widths))} |' for line in lines)


def latex_table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], remarks: Sequence[str] = ()) -> str:
    """Return a LaTeX table environment that needs no package, with its caption above it.

    Args:
        caption: Plain text.
        head: Titles of the columns, plain text.
        rows: Cells in LaTeX, see :func:`escape_latex`; the first one of a row is set left, the others right.
        remarks: Plain text below the table, a paragraph each.
    """
    lines = [
        r'\begin{table}',
        rf'\caption{{{escape_latex(caption)}}}',
        rf'\begin{{tabular}}{{l{"r" * (len(head) - 1)}}}',
        r'\hline',
        ' & '.join(map(escape_latex, head)) + r' \\',
        r'\hline',
        *(' & '.join(row) + r' \\' for row in rows),
        r'\hline',
        r'\end{tabular}',
        *(rf'\par {escape_latex(remark)}' for remark in remarks),
        r'\end{table}',
    ]
    return '\n'.join(lines)


def escape_latex(text: str) -> str:
    """Write a plain text so that LaTeX prints it as it is."""
    special = {
        **{c: f'\\{c}' for c in '&%$#_{}'},
        '\\': r'\textbackslash{}',
        '~': r'\textasciitilde{}',
        '^': r'\textasciicircum{}',
        '<': '$<$',
        '>': '$>$',
        '↑': r'$\uparrow$',
        '↓': r'$\downarrow$',
    }
    return ''.join(special.get(character, character) for character in text)


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], protocols: Sequence[str] = ()) -> str:
    """Return the text of a CSV file: protocols as comment lines, the names of the columns, the rows.

    Args:
        columns: Names of the columns.
        rows: Values by column; a missing one is left blank, one of another column is left out.
        protocols: How the values were measured, one line each.
    """
    file = io.StringIO()
    file.writelines(f'# {protocol}\n' for protocol in protocols)
    writer = csv.DictWriter(file, columns, extrasaction='ignore', lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]], protocols: Sequence[str] = ()
) -> None:
    """Write :func:`csv_text` to a file, whole or not at all; its folder is made where needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_text(path, csv_text(columns, rows, protocols))


def read_csv(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Read a file of :func:`write_csv`; return its protocols and its rows by column."""
    with open(path, encoding='utf-8', newline='') as file:
        lines = file.readlines()
    number = next((index for index, line in enumerate(lines) if not line.startswith('# ')), len(lines))
    return [line[2:].rstrip('\r\n') for line in lines[:number]], list(csv.DictReader(lines[number:]))


def read_csv_of(path: Path, protocol: str) -> list[dict[str, str]]:
    """Return the rows of a table to be continued; none if there is no file yet.

    Raises:
        ValueError: The file was measured by another protocol.
    """
    if not path.exists():
        return []
    protocols, rows = read_csv(path)
    if protocols != [protocol]:
        raise ValueError(f'{path} holds results of another protocol: choose another folder.')
    return rows
