"""How the no-reference metrics compare images of two resolutions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

Degrade = Callable[[torch.Tensor], torch.Tensor | np.ndarray]
"""Degradation for a metric: takes (L, H, W) on the device of the result, returns (L, h, w), without noise."""


def check_resolutions(img: torch.Tensor, lq: torch.Tensor) -> None:
    """Refuse a result (H, W, L) that is not a whole multiple of its input (h, w, L).

    Raises:
        ValueError: Bands differ, or sizes are not in one whole ratio.
    """
    scale = img.shape[0] // lq.shape[0]
    if scale < 1 or tuple(img.shape) != (scale * lq.shape[0], scale * lq.shape[1], lq.shape[2]):
        raise ValueError(
            f'img has shape {tuple(img.shape)} and lq has shape {tuple(lq.shape)}; expected the same bands and a '
            'whole scale, the same for rows and columns, so give the low-resolution cube that img was made from.'
        )


def check_guide_size(img: torch.Tensor, rgb: torch.Tensor) -> None:
    """Refuse a guide (H, W, G) of another size than the result.

    Raises:
        ValueError: It is.
    """
    if img.shape[:2] != rgb.shape[:2]:
        raise ValueError(
            f'rgb has {rgb.shape[0]} x {rgb.shape[1]} pixels and img has {img.shape[0]} x {img.shape[1]}; '
            'expected the guide image that img was made with.'
        )


def degrade(cube: torch.Tensor, size: tuple[int, ...], degradation: Degrade | None) -> torch.Tensor:
    """Bring a cube (H, W, L) to the low resolution ``size`` = (h, w).

    Args:
        cube (Tensor): The cube.
        size (tuple[int, int]): Rows and columns wanted; H and W are whole multiples.
        degradation (callable): See :data:`Degrade`. Default: mean of every block of pixels.

    Returns:
        Tensor: (h, w, L).

    Raises:
        ValueError: The degradation returned another shape.
    """
    if degradation is None:
        blocks = cube.unflatten(1, (size[1], -1)).unflatten(0, (size[0], -1))
        return blocks.mean((1, 3), dtype=torch.float64)
    low = torch.as_tensor(degradation(cube.permute(2, 0, 1)), device=cube.device)
    if tuple(low.shape) != (cube.shape[2], *size):
        raise ValueError(
            f'The degradation made {tuple(low.shape)} of {(cube.shape[2], *cube.shape[:2])}; expected '
            f'{(cube.shape[2], *size)}, the size of lq, so build it for the same scale.'
        )
    return low.permute(1, 2, 0)
