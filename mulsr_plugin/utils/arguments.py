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
