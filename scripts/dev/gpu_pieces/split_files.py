"""Cut a folder (an LMDB, a training state) into parts of a limited size with checksums, and join them again.

python -m scripts.dev.gpu_pieces.split_files split datasets/cave parts --mib 15
python -m scripts.dev.gpu_pieces.split_files join parts datasets/cave
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.dev.gpu_pieces.file_parts import join_files, read_table, split_files


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest='command', required=True)
    split = commands.add_parser('split', help='cut all files of a folder')
    split.add_argument('source', type=Path, help='folder of the files')
    split.add_argument('target', type=Path, help='folder for the parts')
    split.add_argument('--mib', type=float, default=15, help='largest size of a part; default: %(default)s')
    join = commands.add_parser('join', help='write the files back')
    join.add_argument('source', type=Path, help='folder of the parts')
    join.add_argument('target', type=Path, help='folder for the files')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, cut or join, and tell a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    try:
        if args.command == 'join':
            print(*join_files(args.source, args.target), sep='\n')
            return 0
        if args.source.resolve() in (args.target.resolve(), *args.target.resolve().parents):
            raise ValueError(f'The parts cannot go into the folder that is cut, {args.source}: name another one.')
        files = [path for path in args.source.rglob('*') if path.is_file() and path.name != 'lock.mdb']
        if not files:
            raise FileNotFoundError(f'{args.source} has no files: name a folder with some.')
        split_files(args.source, [path.relative_to(args.source).as_posix() for path in files], args.target, args.mib)
        print(f'{len(files)} files in {len(read_table(args.target)["parts"])} parts: {args.target}')
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            f'interrupted: what was written into {args.target} is not complete; give the command again', file=sys.stderr
        )
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
