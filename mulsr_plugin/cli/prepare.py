"""Prepare a data set of spectral scenes as LMDB stores for training and testing.

  mulsr prepare cave complete_ms_data.zip --out datasets/cave
  mulsr prepare cubes my_scenes --out datasets/mine --test-scenes a,b
  mulsr prepare pair ms.tif --guide pan.tif --out datasets/pair --reduced
  mulsr prepare verify datasets/cave

The output folder gets train.lmdb and test.lmdb, which option files name as dataroot_gt with io_backend type lmdb;
_lq and _rgb in a name stand for dataroot_lq and dataroot_rgb. Pairs without ground truth are lq.lmdb and rgb.lmdb.
They appear only when they are complete; what exists is never overwritten.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mulsr_plugin.cli.arguments import add_input, add_out
from mulsr_plugin.cli.checks import check_input
from mulsr_plugin.cli.choices import shipped_splits
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.sources import SOURCES, Source

if TYPE_CHECKING:
    from mulsr_plugin.data.cube import SourceScene
    from mulsr_plugin.data.scene_splits import SplitResult

INTERRUPTED = 'no store was written'
# What of a command line does not change the stores, so that another value goes on with an interrupted preparation.
_WITHOUT_EFFECT = ('out', 'verify', 'words')


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    names = ','.join([*SOURCES, 'verify'])
    commands = parser.add_subparsers(dest='command', required=True, metavar=f'{{{names}}}')
    for name, source in SOURCES.items():
        command = commands.add_parser(name, help=source.help)
        add_input(command, '--input', source.input_help)
        command.accept_old_names({'--hsi': '--input'})
        add_common(command, source)
        source.add_arguments(command)
    verify = commands.add_parser('verify', help='read prepared stores again and compare them with their checksums')
    verify.add_argument('path', nargs='+', help='prepared folder or single *.lmdb store')


def add_common(parser: CommandParser, source: Source) -> None:
    """Add what every source has: output, checks, and where they apply split and pictures."""
    add_out(parser, 'folder for the stores, made where needed')
    parser.add_argument('--verify', action='store_true', help='read the finished stores once more against checksums')
    parser.set_defaults(with_rgb=False, split=None, test_scenes=None, allow_missing=False)
    if source.has_pictures:
        parser.add_argument(
            '--with-rgb', action='store_true', help='also write the pictures, as train_rgb.lmdb and test_rgb.lmdb'
        )
    if not source.splits:
        return
    default = f'the list {source.default_split}' if source.default_split else 'all scenes into train.lmdb'
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        '--split',
        help=f'a list of the package ({", ".join(shipped_splits())}) or your own text file with the sections [train] '
        f'and [test], one scene name per line; default: {default}',
    )
    choice.add_argument(
        '--test-scenes',
        metavar='A,B,...',
        help="test scenes, all others are for training; the word 'all' makes every scene a test scene",
    )
    parser.add_argument('--allow-missing', action='store_true', help='go on without listed scenes that are not there')


def run(args: argparse.Namespace) -> int:
    """Run a sub-command."""
    if args.command == 'verify':
        for path in args.path:
            check_input(path)
        return verify(args.path)
    SOURCES[args.command].check(args)
    if not Path(args.out).exists():  # else what is in it is named first
        for name in ('input', 'guide', 'wavelengths'):
            check_input(getattr(args, name, None))
    return prepare(args)


def after_failure(args: argparse.Namespace) -> list[str]:
    """Say where finished scenes are kept."""
    if args.command == 'verify':
        return []
    kept = sorted(Path(args.out).glob('.*.lmdb.partial'))
    return [f'Finished scenes are kept in {folder}: the same command goes on from there.' for folder in kept]


def prepare(args: argparse.Namespace) -> int:
    """Run the sub-command of a source."""
    from mulsr_plugin.data.prepare import check_outputs, describe_preparation, prepare_dataset

    source = SOURCES[args.command]
    resume = describe_preparation({name: value for name, value in vars(args).items() if name not in _WITHOUT_EFFECT})
    if source.splits:
        check_outputs(args.out, args.with_rgb, resume)
    scenes = source.scenes(args.input, args)
    chosen = choose(scenes, source, args)
    if chosen.missing:
        print(f'Going on without {len(chosen.missing)} missing scenes: {", ".join(chosen.missing)}')
    if chosen.unlisted:
        print(f'Leaving out {len(chosen.unlisted)} scenes that the list does not name: {", ".join(chosen.unlisted)}')
    done = prepare_dataset(scenes, args.out, chosen, args.with_rgb, resume=resume)
    for note in done.notes:
        print(note)
    for path, count in done.stores.items():
        print(f'{path}: {count} scenes')
    return verify([args.out]) if args.verify else 0


def choose(scenes: Sequence[SourceScene], source: Source, args: argparse.Namespace) -> SplitResult:
    """Split the scenes as asked, or by the default list of the source."""
    from mulsr_plugin.data.prepare import split_scenes
    from mulsr_plugin.data.scene_splits import SceneSplit, SplitResult, read_split

    if not source.splits:
        return SplitResult(SceneSplit((), ()), (), ())
    name = args.split or (source.default_split if args.test_scenes is None else None)
    split = None if name is None else read_split(name)
    return split_scenes(scenes, split, (args.test_scenes or '').split(','), args.allow_missing)


def verify(paths: Sequence[str]) -> int:
    """Run the sub-command verify."""
    from mulsr_plugin.data.prepare import verify_dataset

    faults = 0
    for path in paths:
        for store, problems in verify_dataset(path).items():
            print(f'{store}: {"sound" if not problems else f"{len(problems)} problems"}')
            for problem in problems:
                print(f'  {problem}')
            faults += len(problems)
    return 1 if faults else 0
