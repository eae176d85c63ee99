"""The five random operations with which the authors of MulSR vary a training crop."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Augmentation(NamedTuple):
    """Which operations to apply, in the order of the fields.

    Attributes:
        hflip: Reverse the columns.
        vflip: Reverse the rows.
        roll: Shift cyclically along the rows axis by half the height.
        rot_left: Turn by +90 degrees (counter-clockwise).
        rot_right: Turn by -90 degrees; undoes ``rot_left``, so that half of all crops stay upright.
    """

    hflip: bool
    vflip: bool
    roll: bool
    rot_left: bool
    rot_right: bool


def draw_augmentation(
    rng: np.random.Generator, hflip: bool = True, vflip: bool = True, roll: bool = True, rot: bool = True
) -> Augmentation:
    """Draw every allowed operation independently with probability one half.

    Args:
        rng: Source of randomness; five draws are used whatever is allowed.
        hflip: Allow the column flip.
        vflip: Allow the row flip.
        roll: Allow the cyclic shift.
        rot: Allow both rotations.
    """
    allowed = (hflip, vflip, roll, rot, rot)
    return Augmentation(*(bool(draw and use) for draw, use in zip(rng.integers(0, 2, size=5), allowed)))


def augment(array: np.ndarray, operations: Augmentation) -> np.ndarray:
    """Apply the operations to the last two axes; arrays of one sample must get the same operations.

    Args:
        array: (..., H, W); never changed. A single rotation of a non-square array exchanges H and W.
        operations: What to apply.

    Returns:
        The result, as a view of ``array`` where that is possible.
    """
    if operations.hflip:
        array = array[..., ::-1]
    if operations.vflip:
        array = array[..., ::-1, :]
    if operations.roll:
        array = np.roll(array, array.shape[-2] // 2, axis=-2)
    quarter_turns = int(operations.rot_left) - int(operations.rot_right)
    return np.rot90(array, quarter_turns, axes=(-2, -1)) if quarter_turns else array
