"""Convert a checkpoint that the authors of a network published into one that BasicSR loads.

Files of MulSR, CoarseNet (SFPN), PZRes-Net, MoG-DCN and UAL are told by the names in them. The file is read without
running any code that it may hold. Example:

    python scripts/convert_author_checkpoint.py model_8_epoch_200.pth experiments/pretrained_models/mulsr_x8.pth
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mulsr_plugin.checkpoints.author_releases import RELEASES
from mulsr_plugin.checkpoints.authors import ConvertedCheckpoint, convert_author_checkpoint


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', metavar='SRC', help="the authors' file")
    parser.add_argument('target', metavar='DST', help='file to write, for path: pretrain_network_g')
    parser.add_argument('--network', choices=sorted(RELEASES), help='default: told by the names in the file')
    parser.add_argument('--force', action='store_true', help='replace DST if it exists')
    return parser


def option_lines(converted: ConvertedCheckpoint, target: str) -> str:
    """Return the part of an option file that uses the checkpoint."""
    lines = [f'  {key}: {value}' for key, value in converted.network_g.items()]
    lines.insert(1, '  upscale: 8  # set the scale that the checkpoint was trained for: its weights do not tell')
    return '\n'.join(
        [
            'network_g:',
            *lines,
            'path:',
            f'  pretrain_network_g: {target}',
            '  param_key_g: params',
            '  strict_load_g: true',
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, convert, and tell a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    try:
        converted = convert_author_checkpoint(args.source, args.target, args.network, args.force)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    count = sum(value.numel() for value in converted.params.values())
    print(f'{args.target}: {converted.network_g["type"]}, {count:,} parameters. In the option file:\n')
    print(option_lines(converted, args.target))
    return 0


if __name__ == '__main__':
    sys.exit(main())
