"""Train a network as an option file says, in the working directory.

  mulsr train -opt train_mulsr_cave_x8_cpu
  mulsr train -opt mine.yml --auto_resume

The arguments are those of BasicSR's train.py, and --minutes. Writes experiments/NAME and tb_logger/NAME. SIGTERM and
Ctrl-C end a run in order: it finishes its iteration, saves a state and exits with 75; --auto_resume goes on from there
exactly. For several processes: torchrun --nproc_per_node=N -m mulsr_plugin.train --launcher pytorch -opt FILE.
"""

from __future__ import annotations

import argparse

from mulsr_plugin.cli.arguments import above_zero
from mulsr_plugin.cli.basicsr_arguments import add_basicsr_arguments, hand_over
from mulsr_plugin.cli.parsing import CommandParser

HANDLES_ERRORS = True


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    add_basicsr_arguments(parser)
    parser.add_argument(
        '--minutes', type=above_zero, metavar='N', help='end the run in order N minutes after its start'
    )


def run(args: argparse.Namespace) -> int:
    """Train and return the exit code."""
    return hand_over('train', args)
