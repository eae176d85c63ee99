"""Pairs whose sensors are known, for the tests of the methods without training."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from mulsr_plugin.sensor.model import SensorModel


class Pair(NamedTuple):
    """Scene (1, L, H, W) with what two sensors see of it."""

    gt: Tensor
    lq: Tensor
    rgb: Tensor
    sensor: SensorModel


def make_pair(
    scale: int = 4,
    blocks: tuple[int, int] = (9, 11),
    num_bands: int = 6,
    num_guide_ch: int = 3,
    rank: int = 3,
    degradation: object = 'noise_free',
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Pair:
    """Mix smooth, positive maps of ``rank`` materials; the guide sees random non-negative mixtures of the bands."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, rank, 2 * blocks[0], 2 * blocks[1], generator=generator, dtype=dtype)
    size = [n * scale for n in blocks]
    maps = F.interpolate(coarse, size=size, mode='bilinear', align_corners=False)
    maps = maps / maps.sum(dim=1, keepdim=True)
    spectra = 0.1 + 0.8 * torch.rand(num_bands, rank, generator=generator, dtype=dtype)
    response = torch.rand(num_guide_ch, num_bands, generator=generator, dtype=dtype)
    response /= response.sum(dim=1, keepdim=True)
    sensor = SensorModel.from_degradation(degradation, scale, response.double().numpy())  # type: ignore[arg-type]
    gt = torch.einsum('lr,brhw->blhw', spectra, maps)
    return Pair(gt, sensor.blur(gt), sensor.apply_response(gt), sensor)


def psnr(estimate: Tensor, reference: Tensor) -> float:
    """Return the PSNR in dB for a peak of 1."""
    return float(-10 * torch.log10((estimate - reference).double().square().mean()))
