"""Pairs made of demonstration scenes by known sensors, for the tests of the estimate and of the fusion with it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.sources.demo_scenes import FULL_SCALE, demo_scene
from mulsr_plugin.data.spectral_response import NIKON_D700

RESPONSE = torch.from_numpy(NIKON_D700.copy()).float()


class DemoPair(NamedTuple):
    """Scene (31, H, W), cube (31, h, w) and guide (3, H, W) of it."""

    gt: Tensor
    lq: Tensor
    guide: Tensor


@lru_cache(maxsize=4)
def scene(size: int, index: int = 6) -> Tensor:
    """Return a demonstration scene, (31, size, size) in [0, 1]; do not write to it."""
    values = demo_scene(size, 0, index).values.astype(np.float32) / FULL_SCALE
    return torch.from_numpy(values).permute(2, 0, 1).contiguous()


def degraded(gt: Tensor, degradation: object, scale: int) -> Tensor:
    """Apply a degradation with its noise, always the same."""
    draw = build_degradation(degradation, scale)  # type: ignore[arg-type]
    return torch.from_numpy(draw(gt.contiguous().numpy(), np.random.default_rng(0)))


def guide_of(gt: Tensor) -> Tensor:
    """Return the guide (3, H, W) of a scene."""
    return torch.einsum('gl,lhw->ghw', RESPONSE, gt)


def demo_pair(scale: int = 8, degradation: object = 'noise_free', size: int = 192, index: int = 6) -> DemoPair:
    """Degrade a scene and make its guide; the size is cut to a multiple of the scale."""
    size = size // scale * scale
    gt = scene(192, index)[:, :size, :size]
    return DemoPair(gt, degraded(gt, degradation, scale), guide_of(gt))
