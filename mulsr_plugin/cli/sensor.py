"""Estimate blur, displacement, response and noise of the two sensors of a pair.

  mulsr estimate-sensor lr.tif --guide rgb.tif --out sensor.npz --figure sensor.png

Prints what the two images say, or that they do not say it. The file is what option files take for the methods without
training, as degradation: sensor.npz, and what `mulsr infer --sensor` and `mulsr simulate --degradation` take. The exit
code is 1 if the blur cannot be known; then nothing is written.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from mulsr_plugin.cli.arguments import add_input, add_out
from mulsr_plugin.cli.checks import check_input, check_new, check_suffix
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.reading import (
    add_cube_arguments,
    add_guide_arguments,
    cube_options,
    print_reports,
    reading_options,
)
from mulsr_plugin.cli.running import log

if TYPE_CHECKING:
    from mulsr_plugin.sensor.estimation import SensorEstimate

INTERRUPTED = 'nothing was written'


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    add_input(parser, '--hsi', 'low-resolution cube')
    add_cube_arguments(parser)
    add_guide_arguments(parser, 'high-resolution guide image of the same ground', required=True)
    parser.add_argument('--spectral-response', help="of the guide's camera; default: estimated from the pair")
    add_out(parser, 'new .npz file')
    parser.add_argument('--figure', help='new .png, .pdf or .svg file with the kernel and the response')


def run(args: argparse.Namespace) -> int:
    """Read the pair, estimate, print, write."""
    for path in (args.hsi, args.guide, args.wavelengths):
        check_input(path)
    check_suffix(args.out, ('.npz',))
    check_new(args.out, None)
    if args.figure is not None:
        check_suffix(args.figure, ('.png', '.pdf', '.svg'))
        check_new(args.figure, None)
    log(f'Reading {args.hsi} and {args.guide}; loading PyTorch and BasicSR first, which takes some seconds.')
    from mulsr_plugin.apps.sensor_report import draw_sensor, estimate_of_files

    guide_options = reading_options(args, 'guide-')
    estimate, cube, guide = estimate_of_files(
        args.hsi, args.guide, cube_options(args), guide_options, args.spectral_response
    )
    print_reports(cube, guide)
    print_estimate(estimate)
    if not estimate.known:
        return 1
    estimate.sensor.save(args.out)
    if args.figure is not None:
        draw_sensor(estimate, args.figure, cube.wavelengths)
    return 0


def print_estimate(estimate: SensorEstimate) -> None:
    """Print the statement and, where the blur is known, its figures."""
    print(estimate.statement)
    if not estimate.known:
        return
    rows, columns = estimate.sensor.steps[-1].kernel.shape
    noise = estimate.sensor.noise_sigma
    print(f'Scale {estimate.sensor.scale}, kernel of {rows}x{columns} pixels of the guide.')
    print(f'Misfit of the blurred guide: {100 * estimate.misfit:.2f} % of its standard deviation.')
    print(f'Noise of the bands: {float(noise.min()):.2g} to {float(noise.max()):.2g} of the range [0, 1].')
