"""Say what is installed, whether BasicSR sees the plugin, and whether data fit an option file.

Every finding is one line; a problem is followed by one line of advice. The exit code is 1 if there is a problem and 0
otherwise. If `import torch` itself fails, `python -m mulsr_plugin.doctor` in the folder of the clone still works.
"""

from __future__ import annotations

import argparse

from mulsr_plugin.cli.arguments import add_option_file
from mulsr_plugin.cli.parsing import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    add_option_file(parser, 'option file whose data sets are opened and checked')


def run(args: argparse.Namespace) -> int:
    """Examine everything and return the exit code."""
    from mulsr_plugin.doctor import examine

    return examine(args.opt)
