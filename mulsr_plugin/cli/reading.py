"""Arguments that say how cubes and guides are read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from mulsr_plugin.cli.arguments import old_value_scale, value_scale
from mulsr_plugin.cli.choices import AXES
from mulsr_plugin.cli.parsing import CommandParser

if TYPE_CHECKING:
    from mulsr_plugin.data.cube import Cube


def add_reading_arguments(parser: CommandParser, prefix: str = '', what: str = 'cube') -> argparse._ArgumentGroup:
    """Add the options with which a file is read, see ``read_cube``.

    Args:
        parser (CommandParser): Where to.
        prefix (str): Put before the names, such as 'guide-'. Default: ''.
        what (str): What the file holds, for the help. Default: 'cube'.

    Returns:
        _ArgumentGroup: Group of these options.
    """
    group = parser.add_argument_group(f'how the {what} is read')
    group.add_argument(
        f'--{prefix}key',
        help=f'variable of a .mat, .npz, .h5 or .nc file that holds the {what}; in a MATLAB struct struct.field',
    )
    group.add_argument(
        f'--{prefix}value-scale',
        type=value_scale,
        metavar='FACTOR',
        help=f'factor that brings values of the {what} to [0, 1], such as 1/4095, or the word max for 1 / its largest '
        'value; default: as the file says, else 1 for floats, 1 / largest value of the type for integers that use it',
    )
    group.add_argument(
        f'--{prefix}axes', choices=AXES, help='order of rows (h), columns (w) and bands (b) in the file, such as bhw'
    )
    group.add_argument(
        f'--{prefix}fill', type=float, help='replaces NaN, infinite, no-data and masked values; default: refuse'
    )
    group.add_argument(f'--{prefix}clip', action='store_true', help='clip values beyond [0, 1]; default: refuse')
    return group


def accept_old_scale(parser: CommandParser, prefix: str = '') -> None:
    """Accept ``--scale`` for ``--value-scale``, its earlier name, unless it looks like a super-resolution factor."""
    name = f'--{prefix}value-scale'
    parser.add_argument(
        f'--{prefix}scale', dest=_dest(prefix, 'value-scale'), type=old_value_scale(name), help=argparse.SUPPRESS
    )


def add_cube_arguments(parser: CommandParser) -> None:
    """Add the options with which a cube is read: those of :func:`add_reading_arguments` and what only cubes have."""
    group = add_reading_arguments(parser)
    group.add_argument('--wavelengths', metavar='FILE', help='text file with the band centres in nm or micrometres')
    group.add_argument('--wavelengths-key', metavar='NAME', help='variable of the file that holds the band centres')
    group.add_argument('--drop-bad-bands', action='store_true', help='leave out bands that the file marks as bad')


def add_guide_arguments(parser: CommandParser, help: str, required: bool = False) -> None:
    """Add ``--guide`` with the options with which it is read, also as ``--rgb`` and ``--rgb-...``."""
    parser.add_argument('--guide', metavar='FILE', required=required, help=help)
    add_reading_arguments(parser, 'guide-', 'guide')
    accept_old_scale(parser, 'guide-')
    names = ('', '-key', '-value-scale', '-scale', '-axes', '-fill', '-clip')
    parser.accept_old_names({f'--rgb{name}': f'--guide{name}' for name in names})


def reading_options(args: argparse.Namespace, prefix: str = '') -> dict[str, Any]:
    """Return the arguments of ``read_cube`` from those of :func:`add_reading_arguments`."""
    names = ('key', 'value-scale', 'axes', 'fill', 'clip')
    return {name.replace('-', '_'): getattr(args, _dest(prefix, name)) for name in names}


def cube_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``read_cube`` from those of :func:`add_cube_arguments`.

    Raises:
        ValueError: The file of wavelengths is damaged.
        OSError: It cannot be read.
    """
    from mulsr_plugin.data.formats import read_numbers

    wavelengths = None if args.wavelengths is None else read_numbers(args.wavelengths)
    return {
        **reading_options(args),
        'wavelengths': wavelengths,
        'wavelengths_key': args.wavelengths_key,
        'drop_bad_bands': args.drop_bad_bands,
    }


def print_reports(cube: Cube, guide: Cube | None = None) -> None:
    """Print what was read: rows x columns x bands and where their order comes from, notes and warnings."""
    for name, image in (('cube', cube), ('guide', guide)):
        for line in () if image is None else image.report:
            print(f'{name}: {line}')


def _dest(prefix: str, name: str) -> str:
    """Return the name under which argparse keeps an option."""
    return f'{prefix}{name}'.replace('-', '_')
