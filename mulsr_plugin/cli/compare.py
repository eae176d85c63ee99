"""Print the mean metrics of several experiments side by side.

    python scripts/compare_results.py results/demo_bicubic results/demo_mulsr_x8

Each argument is a folder that a test or a training has written its tables ``metrics_<data set>.csv`` into.
Experiments are compared per data set; a change of protocol between them is pointed out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mulsr_plugin.apps.result_tables import format_table, read_means


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folders', nargs='+', type=Path, metavar='FOLDER', help='results/NAME or experiments/NAME')
    folders = parser.parse_args().folders
    tables = sorted({table.name for folder in folders for table in folder.glob('metrics_*.csv')})
    if not tables:
        sys.exit(f'error: No metrics_*.csv in {", ".join(map(str, folders))}; run a test with val: metrics first.')
    for name in tables:
        try:
            read = {str(folder): read_means(folder / name) for folder in folders if (folder / name).is_file()}
        except ValueError as error:
            sys.exit(f'error: {error}')
        protocols = {protocol for protocol, _ in read.values()}
        print('\n'.join(f'\n{protocol}' for protocol in sorted(protocols)))
        if len(protocols) > 1:
            print('These experiments were measured under different protocols and must not be ranked:')
        print(format_table({label: means for label, (_, means) in read.items()}))


if __name__ == '__main__':
    main()
