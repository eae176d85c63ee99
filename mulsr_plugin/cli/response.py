#!/usr/bin/env python3
"""Estimate the spectral response of a guide image from a cube and the registered guide of the same scene.

  python scripts/estimate_response.py --hsi cube.hdr --rgb guide.tif --output response.csv
  python scripts/estimate_response.py --hsi pair.mat --key HSim --rgb pair.mat --guide-key MSim --output response.csv

Each channel of the guide, brought to the resolution of the cube, is fitted with non-negative weights of the bands. The
file is what an option file takes as spectral_response: response.csv; its rows sum to 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mulsr_plugin.cli.reading import add_cube_arguments, add_reading_arguments, cube_options, reading_options
from mulsr_plugin.data.formats import read_cube
from mulsr_plugin.data.response_estimation import estimate_of_pair, write_response


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--hsi', required=True, help='cube, of any format that prepare_dataset.py reads')
    add_cube_arguments(parser)
    parser.add_argument('--rgb', required=True, help='guide of the same ground; as large as the cube, or whole times')
    add_reading_arguments(parser, 'guide-', 'guide')
    parser.add_argument(
        '--degradation',
        choices=('noise_free', 'average'),
        default='noise_free',
        help='how the guide is brought to the resolution of the cube; default: noise_free',
    )
    parser.add_argument('--output', required=True, help='new .csv file')
    return parser


def estimate(args: argparse.Namespace) -> None:
    """Read the pair, fit, write, and tell how well it fits."""
    cube = read_cube(args.hsi, **cube_options(args))
    guide = read_cube(args.rgb, is_guide=True, **reading_options(args, 'guide_'))
    result = estimate_of_pair(cube, guide, args.degradation)
    write_response(args.output, result, cube.wavelengths)
    for number, (gain, residual) in enumerate(zip(result.gains, result.residuals), 1):
        print(f'channel {number}: relative residual {100 * residual:.2f} %, gain {gain:.4g}')
    print(f'{args.output}: {len(result.response)} channels, {cube.num_bands} bands')


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, and tell a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    try:
        estimate(args)
    except (ValueError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted: nothing was written', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
