#!/usr/bin/env python3
"""Prepare a data set of spectral scenes as LMDB stores for training and testing.

  python scripts/prepare_dataset.py cave --input complete_ms_data.zip --output datasets/cave
  python scripts/prepare_dataset.py cubes --input my_scenes --output datasets/mine --test-scenes a,b
  python scripts/prepare_dataset.py pair --input ms.tif --guide pan.tif --output datasets/pair --reduced
  python scripts/prepare_dataset.py verify datasets/cave

The output folder gets train.lmdb and test.lmdb, which option files name as dataroot_gt with io_backend type lmdb;
_lq and _rgb in a name stand for dataroot_lq and dataroot_rgb. Pairs without ground truth are lq.lmdb and rgb.lmdb.
They appear only when they are complete; what exists is never overwritten.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence

from mulsr_plugin.cli.sources import SOURCES, Source
from mulsr_plugin.data.cube import SourceScene
from mulsr_plugin.data.prepare import (
    check_outputs,
    describe_preparation,
    kept_stores,
    prepare_dataset,
    split_scenes,
    verify_dataset,
)
from mulsr_plugin.data.scene_splits import SceneSplit, SplitResult, read_split, shipped_splits


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ','.join([*SOURCES, 'verify'])
    commands = parser.add_subparsers(dest='command', required=True, metavar=f'{{{names}}}')
    for name, source in SOURCES.items():
        command = commands.add_parser(name, help=source.help)
        command.add_argument('--input', required=True, help=source.input_help)
        add_common(command, source)
        source.add_arguments(command)
    verify = commands.add_parser('verify', help='read prepared stores again and compare them with their checksums')
    verify.add_argument('path', nargs='+', help='prepared folder or single *.lmdb store')
    return parser


def add_common(parser: argparse.ArgumentParser, source: Source) -> None:
    """Add what every source has: output, checks, and where they apply split and pictures."""
    parser.add_argument('--output', required=True, help='folder for the stores, made where needed')
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


def prepare(args: argparse.Namespace) -> int:
    """Run the sub-command of a source."""
    source = SOURCES[args.command]
    resume = describe_preparation({k: v for k, v in vars(args).items() if k not in ('output', 'verify')})
    if source.splits:
        check_outputs(args.output, args.with_rgb, resume)
    scenes = source.scenes(args.input, args)
    chosen = choose(scenes, source, args)
    if chosen.missing:
        print(f'Going on without {len(chosen.missing)} missing scenes: {", ".join(chosen.missing)}')
    if chosen.unlisted:
        print(f'Leaving out {len(chosen.unlisted)} scenes that the list does not name: {", ".join(chosen.unlisted)}')
    done = prepare_dataset(scenes, args.output, chosen, args.with_rgb, resume=resume)
    for note in done.notes:
        print(note)
    for path, count in done.stores.items():
        print(f'{path}: {count} scenes')
    return verify([args.output]) if args.verify else 0


def choose(scenes: Sequence[SourceScene], source: Source, args: argparse.Namespace) -> SplitResult:
    """Split the scenes as asked, or by the default list of the source."""
    if not source.splits:
        return SplitResult(SceneSplit((), ()), (), ())
    name = args.split or (source.default_split if args.test_scenes is None else None)
    split = None if name is None else read_split(name)
    return split_scenes(scenes, split, (args.test_scenes or '').split(','), args.allow_missing)


def verify(paths: Sequence[str]) -> int:
    """Run the sub-command verify."""
    faults = 0
    for path in paths:
        for store, problems in verify_dataset(path).items():
            print(f'{store}: {"sound" if not problems else f"{len(problems)} problems"}')
            for problem in problems:
                print(f'  {problem}')
            faults += len(problems)
    return 1 if faults else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and tell a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    try:
        return verify(args.path) if args.command == 'verify' else prepare(args)
    except (ValueError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        status = 1
    except KeyboardInterrupt as stop:
        print('interrupted: no store was written', file=sys.stderr)
        status = 143 if isinstance(stop, Terminated) else 130
    for folder in [] if args.command == 'verify' else kept_stores(args.output):
        print(f'Finished scenes are kept in {folder}: the same command goes on from there.', file=sys.stderr)
    return status


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a run as an interruption does."""


def terminate(*_: object) -> None:
    """Handle SIGTERM."""
    raise Terminated


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, terminate)
    sys.exit(main())
