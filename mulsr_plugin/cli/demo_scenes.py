#!/usr/bin/env python3
"""Write small synthetic scenes in the folder layout of the CAVE data set.

python scripts/make_demo_scenes.py .demo/complete_ms_data --num-scenes 6 --size 128
python scripts/prepare_dataset.py cave --input .demo/complete_ms_data --output .demo/data --test-scenes demo_06
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mulsr_plugin.data.sources.demo_scenes import make_demo_scenes


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, write, and tell a user's mistake in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', help='new folder for the scenes, in the place of complete_ms_data')
    parser.add_argument('--num-scenes', type=int, default=6, help='number of scenes (default: 6)')
    parser.add_argument('--size', type=int, default=128, help='height and width in pixels (default: 128)')
    parser.add_argument('--seed', type=int, default=0, help='equal seeds give equal scenes (default: 0)')
    args = parser.parse_args(argv)
    try:
        names = make_demo_scenes(args.folder, args.num_scenes, args.size, args.seed)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.folder}: {", ".join(names)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
