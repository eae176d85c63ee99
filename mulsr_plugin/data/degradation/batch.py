"""Training samples made a batch at a time on the device of the model, from crops as they are stored.

The parts are those that the data set applies sample by sample on the CPU: the operations of ``augment``, the guide of a
spectral response, the ``DegradationDraw`` of a ``Degradation``. The same draw gives the same image up to rounding; the
field of noise comes from PyTorch's generator of the device instead of NumPy's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mulsr_plugin.data.augmentation import Augmentation, augment
from mulsr_plugin.data.degradation import Degradation
from mulsr_plugin.data.degradation.correlation import Correlation, DegradationDraw, correlations

STORABLE = frozenset({'uint8', 'int16', 'uint16', 'float32'})
"""Types of stored values that ``storable`` passes on as they are."""

_UINT16_MASK = 0xFFFF


def storable(values: np.ndarray) -> Tensor:
    """Turn a crop into a tensor that any release of PyTorch can collate: uint16 travels under the name of int16.

    Args:
        values: (H, W, C) of a type in ``STORABLE``, none of them negative; not copied.
    """
    return torch.from_numpy(values.view(np.int16) if values.dtype == np.uint16 else values)


def unpack_crops(values: Tensor, scale: Tensor, operations: Tensor) -> Tensor:
    """Vary crops as ``augment`` does and bring them to [0, 1].

    Args:
        values: (B, N, N, C), tensors of ``storable``.
        scale: (B,), the factor of each to [0, 1].
        operations: (B, 5), truth values of an ``Augmentation`` for each.

    Returns:
        (B, C, N, N) float32, contiguous, on the device of ``values``.
    """
    codes = (operations.cpu().long() << torch.arange(5)).sum(dim=1)
    side = values.shape[1]
    table = _augmented_pixels(side).to(values.device, non_blocking=True)
    pixels = table[codes.to(values.device, non_blocking=True)]
    values = values.flatten(1, 2)[torch.arange(len(values), device=values.device)[:, None], pixels]
    if values.dtype == torch.int16:
        values = values.int().bitwise_and_(_UINT16_MASK)
    scale = scale.to(values.device, torch.float32, non_blocking=True)
    cubes = (values.transpose(1, 2) * scale[:, None, None]).contiguous()
    return cubes.unflatten(2, (side, side))


def apply_response_batch(response: Tensor, cubes: Tensor) -> Tensor:
    """Make guide images (B, G, H, W) of cubes (B, L, H, W) by spectral responses (B, G, L), on the cubes' device."""
    response = response.to(cubes.device, non_blocking=True)
    return (response @ cubes.flatten(2)).unflatten(2, cubes.shape[2:])


def degrade_batch(cubes: Tensor, degradation: Degradation, generators: Sequence[np.random.Generator]) -> Tensor:
    """Degrade every cube of a batch by a draw of its own.

    Args:
        cubes: (B, L, H, W) in [0, 1]; H and W are multiples of the scale.
        degradation: What to draw from.
        generators: One for each cube: the source of its draw, then of the seed of its noise.

    Returns:
        (B, L, H / scale, W / scale) float32 in [0, 1], on the device of ``cubes``.
    """
    draws = [degradation.draw(generator) for generator in generators]
    seeds = [int(generator.integers(2**63)) for generator in generators]
    return add_noise_batch(blur_and_downsample_batch(cubes, draws, degradation.scale), draws, seeds).clamp_(0, 1)


def blur_and_downsample_batch(cubes: Tensor, draws: Sequence[DegradationDraw], scale: int) -> Tensor:
    """Do to each cube of a batch what ``blur_and_downsample`` does to one.

    Cubes whose images are continued alike share one grouped convolution, their kernels padded to a common window.

    Args:
        cubes: (B, L, H, W) float32; H and W are multiples of the scale.
        draws: What to apply to each.
        scale: Integer downsampling factor.

    Returns:
        (B, L, H / scale, W / scale) float32.
    """
    groups: dict[tuple[Any, ...], list[tuple[int, list[Correlation]]]] = defaultdict(list)
    for number, draw in enumerate(draws):
        steps = correlations(draw, scale)
        groups[tuple((step.stride, step.boundary) for step in steps)].append((number, steps))
    lq = cubes.new_empty(*cubes.shape[:2], *(n // scale for n in cubes.shape[2:]))
    for members in groups.values():
        numbers = torch.tensor([number for number, _ in members]).to(cubes.device, non_blocking=True)
        images = cubes if len(members) == len(cubes) else cubes[numbers]
        for steps in zip(*(steps for _, steps in members)):
            images = _correlate(images, steps)
        lq[numbers] = images
    return lq


def add_noise_batch(images: Tensor, draws: Sequence[DegradationDraw], seeds: Sequence[int]) -> Tensor:
    """Add to each image the noise of its draw, in place.

    Args:
        images: (B, L, h, w) float32.
        draws: Poisson and Gaussian noise of each.
        seeds: Seed of each; the noise of an image does not depend on the others of its batch.

    Returns:
        ``images``.
    """
    generator = torch.Generator(images.device)
    for image, draw, seed in zip(images, draws, seeds):
        generator.manual_seed(seed)
        if draw.poisson_peak > 0:
            # bicubic taps may have left a value below zero, which is not a mean of a count
            counts = torch.poisson(image.clamp(min=0) * draw.poisson_peak, generator=generator)
            image.copy_(counts / draw.poisson_peak)
        if draw.noise_sigma > 0:
            noise = torch.randn(image.shape, generator=generator, device=image.device)
            image.add_(noise, alpha=draw.noise_sigma)
    return images


def _correlate(images: Tensor, steps: Sequence[Correlation]) -> Tensor:
    """Correlate each image (B, L, H, W) with its kernel; all steps have the same stride and boundary."""
    stride, boundary = steps[0].stride, steps[0].boundary
    first = min(step.offset for step in steps)
    side = max(step.offset + len(step.kernel) for step in steps) - first
    kernels = np.zeros((len(steps), 1, side, side), dtype=np.float32)
    for kernel, step in zip(kernels[:, 0], steps):
        begin, end = step.offset - first, step.offset - first + len(step.kernel)
        kernel[begin:end, begin:end] = step.kernel
    for dim in (2, 3):
        images = _continue(images, dim, first, images.shape[dim] - stride + side, boundary)
    num_images, num_bands, height, width = images.shape
    weight = torch.from_numpy(kernels).to(images.device, non_blocking=True).repeat_interleave(num_bands, dim=0)
    groups = images.reshape(1, -1, height, width)
    return F.conv2d(groups, weight, stride=stride, groups=len(weight)).unflatten(1, (num_images, num_bands))[0]


def _continue(images: Tensor, dim: int, first: int, count: int, boundary: str) -> Tensor:
    """Cut ``count`` positions from ``first`` on out of images continued by 'edge' pixel or 'symmetric' reflection."""
    size = images.shape[dim]
    positions = torch.arange(first, first + count)
    if boundary == 'edge':
        pixels = positions.clamp(0, size - 1)
    else:
        pixels = positions.remainder(2 * size)
        pixels = torch.minimum(pixels, 2 * size - 1 - pixels)
    before, after = pixels[positions < 0], pixels[positions >= size]
    inside = images.narrow(dim, max(first, 0), count - len(before) - len(after))
    # selecting pixels one by one is slow on CPUs, so that only those outside are
    outside = [images.index_select(dim, part.to(images.device, non_blocking=True)) for part in (before, after)]
    return torch.cat([outside[0], inside, outside[1]], dim=dim)


@cache
def _augmented_pixels(side: int) -> Tensor:
    """Return where each pixel comes from for each of the 32 choices of operations, bits in order: (32, side^2)."""
    pixels = np.arange(side * side).reshape(side, side)
    choices = (Augmentation(*(bool(code >> bit & 1) for bit in range(5))) for code in range(32))
    return torch.from_numpy(np.stack([augment(pixels, choice).ravel() for choice in choices]))
