"""Arguments of BasicSR's train.py and test.py, for the help of our commands that hand them on."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from mulsr_plugin.cli.arguments import add_option_file
from mulsr_plugin.cli.choices import LAUNCHERS
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.utils.options import find_option_file, read_option_file


def add_basicsr_arguments(parser: CommandParser) -> None:
    """Add what BasicSR's own parser takes, under its names."""
    add_option_file(parser, 'option file', required=True)
    parser.add_argument(
        '--force_yml',
        nargs='+',
        metavar='KEY=VALUE',
        help='set options of the file otherwise, such as train:total_iter=1000 name=mine',
    )
    parser.add_argument('--auto_resume', action='store_true', help='go on from the newest state of this experiment')
    parser.add_argument('--debug', action='store_true', help='validate and log every few iterations')
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='of a distributed run; default: none')
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help='set by the launcher')
    parser.accept_old_names({'--force-yml': '--force_yml', '--auto-resume': '--auto_resume'})


def hand_over(module: str, args: argparse.Namespace) -> int:
    """Run ``mulsr_plugin.train`` or ``mulsr_plugin.test`` with the command line that was given.

    Args:
        module: 'train' or 'test'.
        args: The parsed arguments, with all of them under ``words``.

    Returns:
        Exit code of the run.

    Raises:
        SystemExit: With one sentence, for a mistake.
    """
    try:
        read_option_file(find_option_file(args.opt))
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')
    program = import_module(f'mulsr_plugin.{module}')
    before, sys.argv = sys.argv, [f'mulsr {module}', *args.words]
    try:
        return program.main()
    finally:
        sys.argv = before
