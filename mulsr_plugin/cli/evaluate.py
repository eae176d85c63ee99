"""Measure a result against a reference with all spectral metrics.

Prints a table with the convention of every metric, and writes JSON on request. Shapes and wavelengths must agree.
Papers on CAVE drop no border; option files of BasicSR often drop as many pixels as the scale. Examples:

  mulsr evaluate sr.tif truth.tif --scale 8
  mulsr evaluate sr.npy truth.mat --reference-value-scale 1/65535 --scale 8 --border 8 --json quality.json
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.cli.checks import check_input, check_new, check_suffix
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.reading import add_cube_arguments, add_reading_arguments, cube_options, reading_options
from mulsr_plugin.cli.running import log

INTERRUPTED = 'nothing was written'


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    parser.add_argument('result', metavar='RESULT', help='cube to measure')
    parser.add_argument('reference', metavar='REFERENCE', help='cube that it should equal')
    parser.add_argument('--scale', type=whole_number(1), metavar='N', help='super-resolution factor, for ERGAS')
    parser.add_argument(
        '--border', type=whole_number(0), default=0, metavar='N', help='pixels dropped on each side first; default: 0'
    )
    parser.add_argument('--json', metavar='FILE', help='new file for the metrics, also band by band')
    parser.add_argument('--force', action='store_true', help='replace that file if it exists')
    add_cube_arguments(parser)
    add_reading_arguments(parser, 'reference-', 'reference')


def run(args: argparse.Namespace) -> int:
    """Read both cubes, measure, print."""
    for path in (args.result, args.reference, args.wavelengths):
        check_input(path)
    if args.json is not None:
        check_suffix(args.json, ('.json',))
        check_new(args.json, args.force)
    log(f'Measuring {args.result} against {args.reference}; loading PyTorch and BasicSR first.')
    from mulsr_plugin import register
    from mulsr_plugin.apps.evaluation import evaluate_cubes
    from mulsr_plugin.apps.pair_checks import log_notes
    from mulsr_plugin.data.formats import read_cube

    register()
    result = read_cube(args.result, **cube_options(args))
    reference = read_cube(args.reference, **reading_options(args, 'reference-'))
    evaluation = evaluate_cubes(result, reference, args.scale, args.border)
    log_notes(cube=result.notes, reference=reference.notes, comparison=evaluation.notes)
    print(evaluation.table())
    if args.json is not None:
        from mulsr_plugin.apps.json_reports import write_json

        write_json(Path(args.json), {'result': args.result, 'reference': args.reference, **evaluation.plain()})
    return 0
