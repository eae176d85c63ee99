"""Hypercomplex quality index (Q2n: Q4, Q8, ...)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._cubes import CubePair, cube_pair

_BLOCK = 32


@METRIC_REGISTRY.register()
def calculate_q2n(img: CubeArray, img2: CubeArray, crop_border: int = 0, **kwargs: object) -> float:
    """Hypercomplex quality index Q2n, mean over blocks.

    A spectrum is one Cayley-Dickson number (complex for 2 bands, quaternion for 4, octonion for 8, ...), bands padded
    to a power of two. Per block, with z the reference and w the result,
    ``|cov(z, w)| * 2 / (var(z) + var(w)) * 2 |mean z| |mean w| / (|mean z|^2 + |mean w|^2)``.

    Follows the program of the index's authors that the pansharpening toolboxes share: blocks of 32 x 32 pixels side by
    side; images that are not a multiple of 32 are continued by reflection at the right and lower border; in every block
    each band of both cubes is shifted and scaled so that the reference has mean 1 and sample standard deviation 1 there
    (padding bands become 1). Two deviations: values are not rounded to integers, which would spoil cubes in [0, 1]; and
    a band that is constant in the block of the reference is shifted only, where they divide by 2.2e-16. A block without
    contrast in both cubes compares the means only. A scale common to both cubes cancels.

    Args:
        img (ndarray | Tensor): Result, (H, W, L) or (H, W), any linear unit; H and W at least 32 after cropping.
        img2 (ndarray | Tensor): Reference, same shape and unit.
        crop_border (int): Pixels dropped on each side first. Default: 0.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: In [0, 1], higher is better; 1 for identical cubes. Depends slightly on the order of the bands.

    Raises:
        ValueError: Shapes differ, values are not finite or unscaled integers, or the image is smaller than a block.

    Reference: Garzelli and Nencini, IEEE Geoscience and Remote Sensing Letters, 2009.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.q2n import calculate_q2n
        >>> gt = np.random.default_rng(0).random((32, 32, 4))
        >>> round(calculate_q2n(gt, gt), 4)
        1.0
        >>> flat = np.zeros((32, 32, 1))  # becomes 1, and a result of 1 becomes 2: 2 * 1 * 2 / (1^2 + 2^2)
        >>> round(calculate_q2n(flat + 1, flat), 4)
        0.8
    """
    pair = cube_pair(img, img2, crop_border, _BLOCK)
    qualities = [_block_quality(blocks, blocks2) for blocks, blocks2 in _block_rows(pair)]
    return pair.read(torch.cat(qualities).mean())[0]


def _block_rows(pair: CubePair) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the blocks of one row of blocks after the other, float64, (number of blocks, pixels of a block, L)."""
    height, width, num_bands = pair.img.shape
    rows, columns = (_reflected_indices(size, pair.img.device) for size in (height, width))
    for block_rows in rows.split(_BLOCK):
        first, second = (
            cube[block_rows][:, columns]
            .double()
            .unflatten(1, (-1, _BLOCK))
            .transpose(0, 1)
            .reshape(-1, _BLOCK**2, num_bands)
            for cube in (pair.img, pair.img2)
        )
        yield first, second


def _reflected_indices(size: int, device: torch.device) -> torch.Tensor:
    """Count 0..size-1 and, as far as the last block needs it, backwards again."""
    indices = torch.arange(-(-size // _BLOCK) * _BLOCK, device=device)
    return torch.where(indices < size, indices, 2 * size - 1 - indices)


def _block_quality(img: torch.Tensor, img2: torch.Tensor) -> torch.Tensor:
    """Return Q2n of each block, (number of blocks,), from results and references (number of blocks, pixels, L)."""
    img, img2 = _normalise(img, img2)
    (img, mean), (img2, mean2) = _centre(img), _centre(img2)
    variance = (img.square() + img2.square()).mean(1).sum(-1)
    covariance = img2.transpose(1, 2) @ img / img.shape[1]
    modulus = _hypercomplex_sum(covariance).norm(dim=-1)
    contrast = torch.where(variance > 0, 2 * modulus / variance, 1.0)
    padding = _power_of_two(img.shape[-1]) - img.shape[-1]
    energy, energy2 = mean.square().sum(-1) + padding, mean2.square().sum(-1) + padding
    return contrast * 2 * (energy * energy2).sqrt() / (energy + energy2)


def _centre(blocks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return deviations from the mean, and the mean, (number of blocks, L); flat blocks deviate by exactly 0."""
    first = blocks[:, :1]
    deviations = blocks - first
    shift = deviations.mean(1, keepdim=True)
    return deviations - shift, (first + shift)[:, 0]


def _normalise(img: torch.Tensor, img2: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift and scale each band of each block so that the reference has mean and standard deviation 1."""
    constant = (img2 == img2[:, :1]).all(1, keepdim=True)
    offset = torch.where(constant, img2[:, :1], img2.mean(1, keepdim=True))
    spread = torch.where(constant, 1.0, img2.std(1, keepdim=True))
    return (img - offset) / spread + 1, (img2 - offset) / spread + 1


def _hypercomplex_sum(moments: torch.Tensor) -> torch.Tensor:
    """Add up products z_i w_j to the components of the hypercomplex product of z and the conjugate of w.

    The product of two base units is a base unit with a sign, and the index of that unit is the exclusive or of theirs,
    so the mean product of two blocks needs only the mean products of their bands.

    Args:
        moments (Tensor): Mean of z_i w_j, (number of blocks, L, L).

    Returns:
        Tensor: Components, (number of blocks, power of two not below L).
    """
    num_bands = moments.shape[-1]
    size = _power_of_two(num_bands)
    signs = _unit_signs(size)[:num_bands, :num_bands].to(moments.device)
    signs = torch.cat([signs[:, :1], -signs[:, 1:]], 1)  # conjugate of w
    units = torch.arange(num_bands, device=moments.device)
    targets = (units[:, None] ^ units).flatten().expand(len(moments), -1)
    return moments.new_zeros(len(moments), size).scatter_add_(1, targets, (moments * signs).flatten(1))


@cache
def _unit_signs(size: int) -> torch.Tensor:
    """Return s with e_i e_j = s[i, j] e_(i xor j), by the doubling (a, b)(c, d) = (ac - d*b, da + bc*)."""
    if size == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    half = _unit_signs(size // 2)
    conjugate = -torch.ones(size // 2, dtype=torch.float64)
    conjugate[0] = 1
    upper = torch.cat([half, half.T], 1)
    lower = torch.cat([half * conjugate, -(half * conjugate[:, None]).T], 1)
    return torch.cat([upper, lower])


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
