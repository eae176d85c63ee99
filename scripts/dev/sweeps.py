"""Tables of conditions, each measured once: what the measuring programs of this folder share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from mulsr_plugin.utils.tables import markdown_table, read_csv_of, write_csv

Row = dict[str, str]


class Named(Protocol):
    """A condition: what is varied, and to what."""

    @property
    def sweep(self) -> str: ...
    @property
    def value(self) -> str: ...


Condition = TypeVar('Condition', bound=Named)


def chosen_conditions(conditions: Sequence[Condition], beginnings: Sequence[str]) -> list[Condition]:
    """Return the conditions of the sweeps whose names begin so; refuse beginnings of none."""
    chosen = [condition for condition in conditions if condition.sweep.startswith(tuple(beginnings))]
    if not chosen:
        names = '; '.join(dict.fromkeys(condition.sweep for condition in conditions))
        raise ValueError(f'--sweeps {" ".join(beginnings)} begins no name of {names}: correct it.')
    return chosen


class SweepTable(NamedTuple):
    """A table of conditions.

    Attributes:
        file: The .csv file; a .md file stands beside it.
        protocol: How the values are measured.
        columns: Of the .csv file.
        head: Titles of the Markdown table.
        cells: Make a row of it from one of the .csv file.
    """

    file: Path
    protocol: str
    columns: Sequence[str]
    head: Sequence[str]
    cells: Callable[[Row], Sequence[str]]

    def fill(
        self, conditions: Iterable[Condition], measure: Callable[[Condition], Mapping[str, float]]
    ) -> Iterator[Row]:
        """Measure the conditions that are missing; yield each row, and write the tables."""
        rows = read_csv_of(self.file, self.protocol)
        for condition in conditions:
            name = {'sweep': condition.sweep, 'value': condition.value}
            if not any(name.items() <= row.items() for row in rows):
                rows.append({**name, **{key: f'{value:.4f}' for key, value in measure(condition).items()}})
                write_csv(self.file, self.columns, rows, [self.protocol])
                yield rows[-1]
        table = markdown_table(self.head, map(self.cells, rows))
        text = f'{shlex.join(["python", *sys.argv])}\n\n{self.protocol}\n\n{table}\n'
        self.file.with_suffix('.md').write_text(text, encoding='utf-8')


def print_as_measured(rows: Iterator[Row], file: Path) -> int:
    """Print rows as they come, then the table beside the .csv file; a user's mistake ends it with one line."""
    try:
        for row in rows:
            print(', '.join(f'{key} {value}' for key, value in row.items()), flush=True)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(file.with_suffix('.md').read_text(encoding='utf-8'))
    return 0
