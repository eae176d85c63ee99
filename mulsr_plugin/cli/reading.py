"""Arguments that say how cubes and guides are read."""

from __future__ import annotations

import argparse
from fractions import Fraction
from typing import Any

import yaml

from mulsr_plugin.data.formats import AXES, read_numbers


def parse_scale(text: str) -> float | str:
    """Read a positive number or fraction, or the word max.

    Raises:
        argparse.ArgumentTypeError: It is none of these.
    """
    if text == 'max':
        return text
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        value = 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(f'{text} is no positive number or fraction such as 0.5 or 1/4095, nor max')
    return value


def parse_degradation(text: str) -> str | dict[str, Any]:
    """Read the name of a preset, or a preset with its options in YAML's short form, ``{preset: average, seed: 3}``.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, (str, dict)):
        raise argparse.ArgumentTypeError(
            f"{text} is neither a preset nor a preset with options such as '{{preset: gaussian, sigma: 2}}'"
        )
    return content


def add_reading_arguments(parser: argparse.ArgumentParser, prefix: str = '', what: str = 'cube') -> None:
    """Add the options with which a file is read, see ``read_cube``.

    Args:
        parser (ArgumentParser): Where to.
        prefix (str): Put before the names, such as 'guide-'. Default: ''.
        what (str): What the file holds, for the help. Default: 'cube'.
    """
    parser.add_argument(f'--{prefix}key', help=f'variable of a .mat or .npz file that holds the {what}')
    parser.add_argument(
        f'--{prefix}scale',
        type=parse_scale,
        help=f'factor that brings values of the {what} to [0, 1], such as 1/4095, or the word max for 1 / its largest '
        'value; default: as the file says, else 1 for floats, 1 / largest value of the type for integers',
    )
    parser.add_argument(
        f'--{prefix}axes', choices=AXES, help='order of rows (h), columns (w) and bands (b) in the file, such as bhw'
    )
    parser.add_argument(
        f'--{prefix}fill', type=float, help='replaces NaN, infinite and no-data values; default: refuse'
    )
    parser.add_argument(f'--{prefix}clip', action='store_true', help='clip values beyond [0, 1]; default: refuse')


def reading_options(args: argparse.Namespace, prefix: str = '') -> dict[str, Any]:
    """Return the arguments of ``read_cube`` from those of :func:`add_reading_arguments`."""
    options = {name: getattr(args, prefix + name) for name in ('key', 'axes', 'fill', 'clip')}
    return {**options, 'value_scale': getattr(args, prefix + 'scale')}


def cube_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``read_cube`` from those of :func:`add_cube_arguments`."""
    wavelengths = None if args.wavelengths is None else read_numbers(args.wavelengths)
    return {**reading_options(args), 'wavelengths': wavelengths, 'drop_bad_bands': args.drop_bad_bands}


def add_cube_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options with which a cube is read: those of :func:`add_reading_arguments` and what only cubes have."""
    add_reading_arguments(parser)
    parser.add_argument('--wavelengths', metavar='FILE', help='text file with the band centres in nm or micrometres')
    parser.add_argument(
        '--drop-bad-bands', action='store_true', help='leave out bands that an ENVI header marks as bad'
    )
