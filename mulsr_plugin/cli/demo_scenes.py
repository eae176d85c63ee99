"""Write small synthetic scenes in the folder layout of the CAVE data set.

mulsr demo-scenes .demo/complete_ms_data --num-scenes 6 --size 128
mulsr prepare cave .demo/complete_ms_data --out .demo/data --test-scenes demo_06
"""

from __future__ import annotations

import argparse

from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.cli.checks import check_new
from mulsr_plugin.cli.choices import LARGEST_DEMO_SCENE
from mulsr_plugin.cli.parsing import CommandParser


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    parser.add_argument('folder', metavar='FOLDER', help='new folder for the scenes, in the place of complete_ms_data')
    parser.add_argument('--num-scenes', type=whole_number(1), default=6, help='number of scenes (default: 6)')
    parser.add_argument(
        '--size',
        type=whole_number(16, LARGEST_DEMO_SCENE),
        default=128,
        help='height and width in pixels (default: 128)',
    )
    parser.add_argument('--seed', type=whole_number(0), default=0, help='equal seeds give equal scenes (default: 0)')


def run(args: argparse.Namespace) -> int:
    """Write the scenes and print their names."""
    check_new(args.folder, None)
    from mulsr_plugin.data.sources.demo_scenes import make_demo_scenes

    names = make_demo_scenes(args.folder, args.num_scenes, args.size, args.seed)
    print(f'{args.folder}: {", ".join(names)}')
    return 0
