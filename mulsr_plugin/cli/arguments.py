"""Values of command lines: what is out of range is told in one sentence before any work."""

from __future__ import annotations

import argparse
from collections.abc import Callable

_LARGEST = 2**31 - 1


def whole_number(minimum: int, maximum: int = _LARGEST) -> Callable[[str], int]:
    """Return the ``type`` of an argument that is a whole number from ``minimum`` to ``maximum``.

    Args:
        minimum: Smallest value.
        maximum: Largest value. Default: 2**31 - 1.
    """

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            bound = f'of at least {minimum}' if maximum == _LARGEST else f'from {minimum} to {maximum}'
            raise argparse.ArgumentTypeError(f'{text} is no whole number {bound}')
        return value

    return parse


def above_zero(text: str) -> float:
    """Parse an argument that is a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is no number above 0')
    return value
