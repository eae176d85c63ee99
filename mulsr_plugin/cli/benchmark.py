"""Run the networks of an option file over its data sets and write one folder of tables.

  mulsr benchmark -opt benchmark_cave_x8

Writes results/NAME/ in the working directory: results.csv (a row per image and network), results.json, table.md and
table.tex; with --figures also figures/ and, for TensorBoard, tb_logger/. Started again it goes on where it ended. The
exit code is 1 if any entry or data set failed.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mulsr_plugin.cli.arguments import add_option_file
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.utils.options import find_option_file, read_option_file

INTERRUPTED = 'the same command goes on from here'


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    add_option_file(parser, 'option file of the benchmark', required=True)
    parser.add_argument('--published', action='store_true', help='add the published figures as a block of their own')
    parser.add_argument('--figures', action='store_true', help='draw the figures, for TensorBoard too')


def run(args: argparse.Namespace) -> int:
    """Run the benchmark and print its table."""
    option_file = find_option_file(args.opt)
    options = read_option_file(option_file, 'datasets', 'entries')
    if args.figures:
        check_figures(options, option_file)
    sys.path.insert(0, os.getcwd())  # where modules that `imports` names may lie
    from basicsr.utils import get_root_logger

    from mulsr_plugin import register
    from mulsr_plugin.apps.benchmark.options import load_benchmark_options
    from mulsr_plugin.apps.benchmark.runner import Benchmark

    get_root_logger(log_level=logging.WARNING)  # the structure of every network would bury the table
    register()
    benchmark = Benchmark(load_benchmark_options(option_file), os.getcwd())
    failures = benchmark.run(args.published)
    print((benchmark.folder / 'table.md').read_text(encoding='utf-8'))
    if args.figures:
        from mulsr_plugin.apps.benchmark.figures import figures_to_tensorboard, write_benchmark_figures

        write_benchmark_figures(benchmark.folder)
        figures_to_tensorboard(benchmark.folder)
    for sentence in failures:
        print(f'error: {sentence}', file=sys.stderr)
    return 1 if failures else 0


def check_figures(options: Mapping[str, Any], option_file: Path) -> None:
    """Refuse figures that could only fail after the run.

    Raises:
        ValueError: The benchmark saves no cubes, which pictures, spectra and the PSNR per band are drawn from.
        ImportError: Matplotlib is missing.
    """
    if not options.get('save_cubes'):
        raise ValueError(
            f'--figures draws from the cubes of the results, which {option_file} does not save: write save_cubes: true '
            'in it, or leave --figures out.'
        )
    if find_spec('matplotlib') is None:
        raise ImportError("--figures needs Matplotlib: pip install 'mulsr-plugin[plots]'.")
