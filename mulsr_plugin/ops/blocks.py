"""Work on large images block by block, each with a halo of its surroundings, so that results do not change."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor


class Block(NamedTuple):
    """Part of an image, (rows, columns) of three places.

    Attributes:
        window (tuple[slice, slice]): What is computed, in the image.
        kept (tuple[slice, slice]): What of it is kept, in the window.
        target (tuple[slice, slice]): Where that belongs, in the image.
    """

    window: tuple[slice, slice]
    kept: tuple[slice, slice]
    target: tuple[slice, slice]

    def enlarged(self, scale: int) -> Block:
        """Return the same part of an image that is larger by a whole factor."""

        def larger(place: tuple[slice, slice]) -> tuple[slice, slice]:
            rows, columns = (slice(part.start * scale, part.stop * scale) for part in place)
            return rows, columns

        return Block(larger(self.window), larger(self.kept), larger(self.target))


def blocks(size: tuple[int, int], side: int | tuple[int, int], halo: int) -> Iterator[Block]:
    """Cut an image into the fewest blocks of at most so many pixels, about equally large, row of blocks by row.

    Args:
        size (tuple[int, int]): Rows and columns of the image.
        side (int | tuple[int, int]): Largest side of what is kept of a block, or its largest rows and columns.
        halo (int): Pixels computed around it, as far as the image goes.
    """
    sides = (side, side) if isinstance(side, int) else side
    for parts in itertools.product(*(_parts(length, most, halo) for length, most in zip(size, sides))):
        (row, column) = parts
        yield Block((row[0], column[0]), (row[1], column[1]), (row[2], column[2]))


def _parts(length: int, side: int, halo: int) -> list[tuple[slice, slice, slice]]:
    count = math.ceil(length / side)
    limits = [length * number // count for number in range(count + 1)]
    parts = []
    for first, last in itertools.pairwise(limits):
        start, stop = max(0, first - halo), min(length, last + halo)
        parts.append((slice(start, stop), slice(first - start, last - start), slice(first, last)))
    return parts


def by_blocks(compute: Callable[[Tensor], Tensor], images: Tensor, side: int, halo: int) -> Tensor:
    """Compute a function of images (C, h, w) block by block.

    Args:
        compute (Callable): Turns (C, h, w) into (..., h, w); no pixel depends on others farther away than the halo.
        images (Tensor): (C, h, w).
        side (int): See :func:`blocks`.
        halo (int): See :func:`blocks`.
    """
    result: Tensor | None = None
    for block in blocks((images.shape[1], images.shape[2]), side, halo):
        part = compute(images[(..., *block.window)])
        if result is None:
            result = part.new_empty(*part.shape[:-2], *images.shape[1:])
        result[(..., *block.target)] = part[(..., *block.kept)]
    if result is None:
        raise ValueError(f'The images have shape {tuple(images.shape)}, expected pixels: pass (C, h, w) with h, w > 0.')
    return result
