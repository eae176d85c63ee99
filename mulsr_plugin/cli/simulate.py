"""Make the low-resolution cube and the guide image of a high-resolution cube.

The pair is what the data set makes of a scene in tests. The degradation is a preset (docs/datasets.md), one with
options such as '{preset: gaussian, sigma: 2}', or a sensor model that `mulsr estimate-sensor` has found. Formats follow
from the names; values are written as float32 in [0, 1]. Prints what was done. Examples:

  mulsr simulate scene.mat --scale 8 --out lr.tif --guide-out rgb.tif
  mulsr simulate scene.mat --scale 8 --degradation authors_fixed --out lr.npz --guide-out rgb.npz
  mulsr simulate scene.mat --degradation sensor.npz --out lr.npz --guide-out rgb.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mulsr_plugin.cli.arguments import add_input, add_out, super_resolution_scale, whole_number
from mulsr_plugin.cli.checks import check_input, check_new, check_suffix
from mulsr_plugin.cli.choices import CUBE_SUFFIXES
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.reading import add_cube_arguments, cube_options
from mulsr_plugin.cli.running import log
from mulsr_plugin.cli.sources import parse_degradation

INTERRUPTED = 'nothing half-written is left'


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    add_input(parser, '--hsi', 'high-resolution cube')
    add_out(parser, 'file of the low-resolution cube')
    parser.add_argument('--guide-out', metavar='FILE', help='file of the guide image; default: none is made')
    parser.add_argument(
        '--scale', type=super_resolution_scale, metavar='N', help='factor, such as 8; default: that of a sensor file'
    )
    parser.add_argument(
        '--degradation',
        type=parse_degradation,
        default='noise_free',
        help='preset, preset with options, or .npz file of a sensor model; default: noise_free',
    )
    parser.add_argument(
        '--spectral-response',
        metavar='NAME',
        help="of the guide's camera; default: that of the sensor file, else nikon_d700",
    )
    parser.add_argument('--seed', type=whole_number(0), help='of the noise; default: 0')
    parser.add_argument('--name', default='', help='name of the scene in a data set, on which its noise depends')
    parser.add_argument('--force', action='store_true', help='replace files that exist')
    add_cube_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check the files, simulate, print what was done."""
    is_sensor = isinstance(args.degradation, str) and args.degradation.lower().endswith('.npz')
    for path in (args.hsi, args.wavelengths, args.degradation if is_sensor else None):
        check_input(path)
    if args.scale is None and not is_sensor:
        raise ValueError('The scale is missing: give it, such as --scale 8.')
    if args.guide_out is None and args.spectral_response is not None:
        raise ValueError('--spectral-response makes a guide image: name its file with --guide-out too.')
    for path in filter(None, (args.out, args.guide_out)):
        check_suffix(path, ('', *CUBE_SUFFIXES))
        check_new(Path(path).expanduser(), args.force)
    log(f'Simulating a pair from {args.hsi}; loading PyTorch and BasicSR first, which takes some seconds.')
    from mulsr_plugin.apps.simulation import SimulationJob, simulate_files

    job = SimulationJob(
        cube=Path(args.hsi),
        cube_options=cube_options(args),
        output=Path(args.out).expanduser(),
        guide_output=None if args.guide_out is None else Path(args.guide_out).expanduser(),
        degradation=args.degradation,
        scale=args.scale,
        spectral_response=args.spectral_response,
        seed=args.seed,
        key=args.name,
        force=args.force,
    )
    print('\n'.join(simulate_files(job)))
    return 0
