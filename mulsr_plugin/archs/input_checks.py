"""Checks of options and inputs that the networks share; each is made once, where the value enters."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mulsr_plugin.utils.options import LARGEST_OF_NETWORK


def accepted_scales(upscale: int | Sequence[int]) -> tuple[int, ...]:
    """Check the option `upscale`.

    Args:
        upscale (int | Sequence[int]): Scale factor, or a list of them.

    Returns:
        tuple[int, ...]: The scale factors, sorted.

    Raises:
        ValueError: Not a positive whole number or a list of them.
    """
    scales = tuple(upscale) if isinstance(upscale, Sequence) else (upscale,)
    if not scales or any(not _is_count(scale) for scale in scales):
        raise ValueError(
            f'upscale is {upscale!r}, expected a positive whole number or a list of them: use for example 8.'
        )
    return tuple(sorted(set(scales)))


def check_positive(name: str, value: int, multiple_of: int = 1) -> None:
    """Refuse an option that is not a positive whole number, or not a multiple of another.

    Args:
        name (str): Name of the option.
        value (int): Its value.
        multiple_of (int): What must divide it. Default: 1.

    Raises:
        ValueError: The value is out of its range.
    """
    if not _is_count(value) or value % multiple_of:
        kind = 'a positive whole number' if multiple_of == 1 else f'a positive multiple of {multiple_of}'
        raise ValueError(f'{name} is {value!r}, expected {kind}: change it in the network options.')


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_OF_NETWORK


def check_inputs(
    lq: torch.Tensor,
    rgb: torch.Tensor,
    scales: Sequence[int],
    num_guide_ch: int | None = None,
    num_bands: int | None = None,
) -> int:
    """Check a cube and its guide image against each other and against the options of a network.

    Args:
        lq (Tensor): Low-resolution cube, (B, L, h, w).
        rgb (Tensor): Guide image, (B, num_guide_ch, H, W).
        scales (Sequence[int]): Accepted scale factors.
        num_guide_ch (int | None): Channels that the guide image must have. Default: None, any number.
        num_bands (int | None): Bands that the cube must have. Default: None, any number.

    Returns:
        int: The scale factor H / h = W / w.

    Raises:
        ValueError: Something does not fit.
    """
    if lq.dim() != 4 or rgb.dim() != 4 or len(lq) != len(rgb):
        raise ValueError(
            f'lq has shape {tuple(lq.shape)} and rgb {tuple(rgb.shape)}, expected (B, L, h, w) and (B, G, H, W) '
            'with the same B: give one guide image per cube.'
        )
    if num_bands is not None and lq.shape[1] != num_bands:
        raise ValueError(
            f'The cube has {lq.shape[1]} band(s), but the network was built for {num_bands}: give such a cube or set '
            'num_bands.'
        )
    if num_guide_ch is not None and rgb.shape[1] != num_guide_ch:
        raise ValueError(
            f'The guide image has {rgb.shape[1]} channel(s), but the network was built for {num_guide_ch}: '
            'give such an image or set num_guide_ch.'
        )
    if lq.dtype != rgb.dtype or not lq.is_floating_point():
        raise ValueError(
            f'lq is {lq.dtype} and rgb is {rgb.dtype}, expected one floating-point type: convert both to float32.'
        )
    (low_height, low_width), (height, width) = lq.shape[2:], rgb.shape[2:]
    for scale in scales:
        if (low_height * scale, low_width * scale) == (height, width):
            return scale
    accepted = ', '.join(f'x{scale}' for scale in scales)
    raise ValueError(
        f'The guide image of {height}x{width} pixels does not fit a cube of {low_height}x{low_width} at '
        f'{accepted}: crop it to the exact multiple, or add the scale to upscale.'
    )
