"""Test a network on the data sets of an option file, in the working directory.

  mulsr test -opt test_mulsr_cave_x8 --force_yml path:pretrain_network_g=mulsr_cave_x8_small

The arguments are those of BasicSR's test.py. Writes results/NAME. For several processes: torchrun --nproc_per_node=N -m
mulsr_plugin.test --launcher pytorch -opt FILE.
"""

from __future__ import annotations

import argparse

from mulsr_plugin.cli.basicsr_arguments import add_basicsr_arguments, hand_over
from mulsr_plugin.cli.parsing import CommandParser

HANDLES_ERRORS = True


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    add_basicsr_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Test and return the exit code."""
    return hand_over('test', args)
