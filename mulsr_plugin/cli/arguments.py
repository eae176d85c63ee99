"""Values of command lines, refused with one sentence before any work, and arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from fractions import Fraction

from mulsr_plugin.cli.parsing import CommandParser

_LARGEST = 2**31 - 1


def whole_number(minimum: int, maximum: int = _LARGEST) -> Callable[[str], int]:
    """Return the ``type`` of an argument that is a whole number from ``minimum`` to ``maximum``.

    Args:
        minimum: Smallest value.
        maximum: Largest value. Default: 2**31 - 1.
    """

    def parse(text: str) -> int:
        value = _integer(text)
        if value is None or not minimum <= value <= maximum:
            bound = f'of at least {minimum}' if maximum == _LARGEST else f'from {minimum} to {maximum}'
            raise argparse.ArgumentTypeError(f'{text} is not a whole number {bound}')
        return value

    return parse


def above_zero(text: str) -> float:
    """Parse an argument that is a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not a number above 0')
    return value


def super_resolution_scale(text: str) -> int:
    """Parse the factor of super-resolution, a whole number of at least 2.

    Raises:
        argparse.ArgumentTypeError: It is not one; the message of what could bring values to [0, 1] names
            ``--value-scale``.
    """
    value = _integer(text)
    if value is not None and 2 <= value <= _LARGEST:
        return value
    try:
        value_scale(text)
    except argparse.ArgumentTypeError:
        advice = 'such as 8'
    else:
        advice = f'such as 8; the factor that brings values to [0, 1] is --value-scale {text}'
    raise argparse.ArgumentTypeError(f'{text} is not a super-resolution factor, a whole number of at least 2, {advice}')


def value_scale(text: str) -> float | str:
    """Parse the factor that brings values to [0, 1]: a positive number or fraction, or the word max.

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
        raise argparse.ArgumentTypeError(f'{text} is not a positive number or fraction such as 0.5 or 1/4095, nor max')
    return value


def old_value_scale(name: str) -> Callable[[str], float | str]:
    """Return the ``type`` of an option that once was the factor that brings values to [0, 1].

    Args:
        name: Its present name, such as '--value-scale'.
    """

    def parse(text: str) -> float | str:
        number = _integer(text)
        if number is not None and number >= 2:
            raise argparse.ArgumentTypeError(
                f'{text} looks like a super-resolution factor, which is not wanted here; the factor that brings values '
                f'to [0, 1] is {name}'
            )
        return value_scale(text)

    return parse


def add_input(parser: argparse.ArgumentParser, option: str, help: str) -> argparse._MutuallyExclusiveGroup:
    """Add the input of a command, which may be given with its option or without.

    Args:
        parser: Where to.
        option: Such as '--input'; its name is that of the parsed value too.
        help: What it names.

    Returns:
        Group for what may be given instead.
    """
    name = option.lstrip('-')
    group = parser.add_mutually_exclusive_group(required=True)
    # SUPPRESS: else a positional argument that is absent would overwrite the option with its default
    group.add_argument(name, nargs='?', default=argparse.SUPPRESS, metavar=name.upper(), help=help)
    group.add_argument(option, metavar=name.upper(), help='the same, as an option')
    return group


def add_out(parser: CommandParser, help: str, required: bool = True) -> None:
    """Add the output of a command, ``--out``, also as ``--output``."""
    parser.add_argument('--out', required=required, help=help)
    parser.accept_old_names({'--output': '--out'})


def add_option_file(parser: CommandParser, help: str, required: bool = False) -> None:
    """Add an option file, ``-opt`` as BasicSR has it, also as ``--opt``."""
    parser.add_argument(
        '-opt', metavar='FILE', required=required, help=f'{help}; of your own, or one of `mulsr options`'
    )
    parser.accept_old_names({'--opt': '-opt'})


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
