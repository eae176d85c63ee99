"""List the option files that come with the package, or copy one.

  mulsr options
  mulsr options train_mulsr_cave_x8 --out mine.yml

Wherever a command takes an option file, -opt, the name of one of these does as well; a file of that name in the working
directory comes first. Copy one to change it.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from mulsr_plugin.cli.arguments import add_out
from mulsr_plugin.cli.checks import check_new
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.utils.options import shipped_option_file, shipped_options


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    parser.add_argument('name', nargs='?', metavar='NAME', help='option file to copy; default: list all')
    add_out(parser, 'file to write; default: NAME.yml in the working directory', required=False)
    parser.add_argument('--force', action='store_true', help='replace the file if it exists')


def run(args: argparse.Namespace) -> int:
    """List the option files or copy one."""
    if args.name is None:
        if args.out is not None or args.force:
            raise ValueError('--out and --force are for copying an option file: name it too.')
        print_list()
        return 0
    source = shipped_option_file(args.name)
    target = Path(source.name if args.out is None else args.out)
    if target.is_dir():
        target /= source.name
    check_new(target, args.force)
    shutil.copyfile(source, target)
    print(f'{target}: {first_comment(source)}')
    return 0


def print_list() -> None:
    """Print the name and the first comment of every option file."""
    files = shipped_options()
    width = max(map(len, files))
    for name, path in files.items():
        print(f'{name:<{width}}  {first_comment(path)}')


def first_comment(path: Path) -> str:
    """Return the first line of an option file, a comment that says what it is for."""
    with path.open(encoding='utf-8') as file:
        return file.readline().lstrip('#').strip()
