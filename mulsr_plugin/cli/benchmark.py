#!/usr/bin/env python3
"""Run the networks of an option file over its data sets and write one folder of tables.

python scripts/benchmark.py -opt options/benchmark_cave_x8.yml

Writes results/NAME/ in the working directory: results.csv (a row per image and network), results.json, table.md and
table.tex; with --figures also figures/ and, for TensorBoard, tb_logger/. Started again it goes on where it ended. The
exit code is 1 if any entry or data set failed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

sys.path.insert(0, os.getcwd())  # where modules that `imports` names may lie


from basicsr.utils import get_root_logger

from mulsr_plugin import register
from mulsr_plugin.apps.benchmark.options import load_benchmark_options
from mulsr_plugin.apps.benchmark.runner import Benchmark


def main() -> int:
    """Parse, run, and tell every mistake in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-opt', required=True, help='option file of the benchmark')
    parser.add_argument('--published', action='store_true', help='add the published figures as a block of their own')
    parser.add_argument('--figures', action='store_true', help='draw the figures, for TensorBoard too')
    args = parser.parse_args()
    get_root_logger(log_level=logging.WARNING)  # the structure of every network would bury the table
    register()
    try:
        benchmark = Benchmark(load_benchmark_options(args.opt), os.getcwd())
        failures = benchmark.run(args.published)
        print((benchmark.folder / 'table.md').read_text(encoding='utf-8'))
        if args.figures:
            draw(benchmark.folder)
    except (ImportError, ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    for sentence in failures:
        print(f'error: {sentence}', file=sys.stderr)
    return 1 if failures else 0


def draw(folder: Path) -> None:
    """Draw the figures of a finished benchmark, as files and in TensorBoard."""
    from mulsr_plugin.apps.benchmark.drawing import figures_to_tensorboard
    from mulsr_plugin.apps.benchmark.figures import write_benchmark_figures

    write_benchmark_figures(folder)
    figures_to_tensorboard(folder)


if __name__ == '__main__':
    sys.exit(main())
