"""Print the mean metrics of several experiments side by side.

  mulsr compare results/demo_bicubic results/demo_mulsr_x8

Each argument is a folder that a test or a training has written its tables metrics_<data set>.csv into. Experiments are
compared per data set; a change of protocol between them is pointed out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mulsr_plugin.cli.parsing import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    parser.add_argument('folders', nargs='+', type=Path, metavar='FOLDER', help='results/NAME or experiments/NAME')


def run(args: argparse.Namespace) -> int:
    """Print a table for every data set."""
    tables = sorted({table.name for folder in args.folders for table in folder.glob('metrics_*.csv')})
    if not tables:
        folders = ', '.join(map(str, args.folders))
        raise FileNotFoundError(f'No metrics_*.csv in {folders}; run a test with val: metrics first.')
    from mulsr_plugin.apps.result_tables import format_table, read_means

    for name in tables:
        read = {str(folder): read_means(folder / name) for folder in args.folders if (folder / name).is_file()}
        protocols = {protocol for protocol, _ in read.values()}
        print('\n'.join(f'\n{protocol}' for protocol in sorted(protocols)))
        if len(protocols) > 1:
            print('These experiments were measured under different protocols and must not be ranked:')
        print(format_table({label: means for label, (_, means) in read.items()}))
    return 0
