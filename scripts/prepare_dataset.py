#!/usr/bin/env python3
"""Prepare a data set of spectral scenes as LMDB stores for training and testing.

  python scripts/prepare_dataset.py cave --input complete_ms_data.zip --output datasets/cave
  python scripts/prepare_dataset.py mat --input my_scenes --output datasets/mine --test-scenes a,b
  python scripts/prepare_dataset.py verify datasets/cave

The output folder gets train.lmdb and test.lmdb, which option files name as dataroot_gt with io_backend type lmdb.
They appear only when they are complete; what exists is never overwritten.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from fractions import Fraction

from mulsr_plugin.data.cave import cave_scenes
from mulsr_plugin.data.mat import mat_scenes
from mulsr_plugin.data.prepare import check_outputs, prepare_dataset, split_scenes, verify_dataset
from mulsr_plugin.data.scene_splits import read_split, shipped_splits


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True, metavar='{cave,mat,verify}')

    cave = commands.add_parser('cave', help='the CAVE data set: complete_ms_data.zip or the unpacked folder')
    cave.add_argument('--input', required=True, help='complete_ms_data.zip (read without unpacking) or its folder')
    add_common(cave, 'default: the list cave_80_20')
    cave.add_argument(
        '--with-rgb', action='store_true', help='also write the BMP pictures, as train_rgb.lmdb and test_rgb.lmdb'
    )

    mat = commands.add_parser('mat', help='a folder of MATLAB files (v5 or v7.3), one cube (height, width, bands) each')
    mat.add_argument('--input', required=True, help='folder with *.mat files')
    add_common(mat, 'default: all scenes into train.lmdb')
    mat.add_argument('--key', help='variable that holds the cube; default: the only 3-D numeric one')
    mat.add_argument(
        '--scale',
        type=parse_scale,
        help='factor that brings values to [0, 1], such as 1/4095; default: 1 for floats, '
        '1 / largest value of the type for integers',
    )

    verify = commands.add_parser('verify', help='read prepared stores again and compare them with their checksums')
    verify.add_argument('path', nargs='+', help='prepared folder or single *.lmdb store')
    return parser


def add_common(parser: argparse.ArgumentParser, default: str) -> None:
    """Add what every source has: output, split and checks."""
    parser.add_argument('--output', required=True, help='folder for train.lmdb and test.lmdb, made where needed')
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        '--split',
        help=f'a list of the package ({", ".join(shipped_splits())}) or your own text file with the sections [train] '
        f'and [test], one scene name per line; {default}',
    )
    choice.add_argument(
        '--test-scenes',
        metavar='A,B,...',
        help="test scenes, all others are for training; the word 'all' makes every scene a test scene",
    )
    parser.add_argument('--allow-missing', action='store_true', help='go on without listed scenes that are not there')
    parser.add_argument('--verify', action='store_true', help='read the finished stores once more against checksums')


def parse_scale(text: str) -> float:
    """Read a positive number or fraction."""
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(f'{text} is no positive number or fraction such as 0.5 or 1/4095')
    return value


def prepare(args: argparse.Namespace) -> int:
    """Run the sub-commands cave and mat."""
    with_rgb = args.command == 'cave' and args.with_rgb
    check_outputs(args.output, with_rgb)
    if args.command == 'cave':
        scenes = cave_scenes(args.input, with_rgb)
        if args.split is None and args.test_scenes is None:
            args.split = 'cave_80_20'
    else:
        scenes = mat_scenes(args.input, args.key, args.scale)
    split = None if args.split is None else read_split(args.split)
    chosen = split_scenes(scenes, split, (args.test_scenes or '').split(','), args.allow_missing)
    if chosen.missing:
        print(f'Going on without {len(chosen.missing)} missing scenes: {", ".join(chosen.missing)}')
    if chosen.unlisted:
        print(f'Leaving out {len(chosen.unlisted)} scenes that the list does not name: {", ".join(chosen.unlisted)}')
    done = prepare_dataset(scenes, args.output, chosen, with_rgb)
    for path, count in done.stores.items():
        print(f'{path}: {count} scenes')
    return verify([args.output]) if args.verify else 0


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
        return 1
    except KeyboardInterrupt:
        print('interrupted: nothing was written', file=sys.stderr)
        return 130


if __name__ == '__main__':
    # A terminated run must remove its unfinished stores as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
