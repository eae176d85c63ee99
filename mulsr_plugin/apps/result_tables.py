"""The tables of metrics that validation writes, read back and set side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mulsr_plugin.utils.tables import markdown_table, read_csv


def read_means(path: Path) -> tuple[str, dict[str, float]]:
    """Read one ``metrics_<data set>.csv`` and average the last validation in it over its images.

    Args:
        path: File written by :func:`mulsr_plugin.models.validation.validate`.

    Returns:
        The protocol line of the file and the mean of every metric (and of the seconds per image).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not such a table.
    """
    protocol, last = read_rows(path)
    names = [name for name in last[0] if name not in ('iter', 'image')]
    return protocol, {name: sum(float(row[name]) for row in last) / len(last) for name in names}


def read_rows(path: Path) -> tuple[str, list[dict[str, str]]]:
    """Read the rows of the last validation of one ``metrics_<data set>.csv``.

    Args:
        path: File written by :func:`mulsr_plugin.models.validation.validate`.

    Returns:
        The protocol line of the file, and a row for every image.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not such a table.
    """
    if not path.is_file():
        raise FileNotFoundError(f'There is no table of metrics {path}; run a test with val: metrics first.')
    protocols, rows = read_csv(path)
    if not rows or not {'iter', 'image'} <= set(rows[0]):
        raise ValueError(f'{path} is not a table of metrics with columns iter and image; run the test again.')
    return ' '.join(protocols), [row for row in rows if row['iter'] == rows[-1]['iter']]


def format_table(means: Mapping[str, Mapping[str, float]]) -> str:
    """Set the means of several experiments side by side as a Markdown table, one row each.

    Args:
        means: Metrics by experiment; metrics missing in an experiment are left blank.
    """
    names = list(dict.fromkeys(name for values in means.values() for name in values))
    rows = [[label, *(f'{values[n]:.4f}' if n in values else '' for n in names)] for label, values in means.items()]
    return markdown_table(['experiment', *names], rows)


def image_table(rows: Sequence[Mapping[str, str]]) -> str:
    """Set the metrics of images and their means as a Markdown table.

    Args:
        rows: As :func:`read_rows` returns them.
    """
    names = [name for name in rows[0] if name not in ('iter', 'image', 'seconds')]
    body = [[row['image'], *(f'{float(row[name]):.4f}' for name in names)] for row in rows]
    means = [f'{sum(float(row[name]) for row in rows) / len(rows):.4f}' for name in names]
    return markdown_table(['image', *names], [*body, ['**mean**', *means]])
