"""Estimate the spectral response of a guide image from a cube registered with it.

  mulsr estimate-response cube.hdr --guide guide.tif --out response.csv
  mulsr estimate-response pair.mat --key HSim --guide pair.mat --guide-key MSim --out response.csv

Each channel of the guide, brought to the resolution of the cube, is fitted with non-negative weights of the bands. The
file is what an option file takes as spectral_response: response.csv; its rows sum to 1.
"""

from __future__ import annotations

import argparse

from mulsr_plugin.cli.arguments import add_input, add_out
from mulsr_plugin.cli.checks import check_input, check_new, check_suffix
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.reading import (
    accept_old_scale,
    add_cube_arguments,
    add_guide_arguments,
    cube_options,
    print_reports,
    reading_options,
)

INTERRUPTED = 'nothing was written'


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    add_input(parser, '--hsi', 'cube, of any format that `mulsr prepare` reads')
    parser.accept_old_names({'--input': '--hsi'})
    add_cube_arguments(parser)
    accept_old_scale(parser)
    add_guide_arguments(parser, 'guide of the same ground; as large as the cube, or whole times', required=True)
    parser.add_argument(
        '--degradation',
        choices=('noise_free', 'average'),
        default='noise_free',
        help='how the guide is brought to the resolution of the cube; default: noise_free',
    )
    add_out(parser, 'new .csv file')


def run(args: argparse.Namespace) -> int:
    """Read the pair, fit, write, and print how well it fits."""
    for path in (args.hsi, args.guide, args.wavelengths):
        check_input(path)
    check_suffix(args.out, ('.csv',))
    check_new(args.out, None)
    from mulsr_plugin.apps.pair_checks import check_places
    from mulsr_plugin.data.formats import read_cube
    from mulsr_plugin.data.response_estimation import estimate_of_pair, write_response

    cube = read_cube(args.hsi, **cube_options(args))
    guide = read_cube(args.guide, is_guide=True, **reading_options(args, 'guide-'))
    print_reports(cube, guide)
    check_places(cube, guide)
    result = estimate_of_pair(cube, guide, args.degradation)
    write_response(args.out, result, cube.wavelengths)
    for number, (gain, residual) in enumerate(zip(result.gains, result.residuals), 1):
        print(f'channel {number}: relative residual {100 * residual:.2f} %, gain {gain:.4g}')
    print(f'{args.out}: {len(result.response)} channels, {cube.num_bands} bands')
    return 0
