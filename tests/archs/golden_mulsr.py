"""The stored outputs of the authors' MulSR and the recipe of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

CASES = {'x4_m1': (4, 1), 'x8_m2': (8, 2)}  # name: scale, number of modules


def load_case(case: str) -> dict[str, torch.Tensor]:
    """Return `triple` (B, 3, h, w), `rgb` (B, 3, H, W) and the authors' `image` (B, 1, H, W)."""
    with np.load(_golden_file()) as stored:
        return {name: torch.from_numpy(stored[f'{case}.{name}']) for name in ('triple', 'rgb', 'image')}


def author_state(case: str) -> dict[str, torch.Tensor]:
    """Draw the weights of a case under the authors' names, in the order and by the rules of the stored recipe."""
    with np.load(_golden_file()) as stored:
        keys, shapes, seed = stored[f'{case}.keys'], stored[f'{case}.shapes'], int(stored[f'{case}.seed'])
    random = np.random.RandomState(seed)
    state = {}
    for key, shape in zip(keys.tolist(), shapes.tolist()):
        draw = random.standard_normal(tuple(int(side) for side in shape.split(','))).astype(np.float32)
        state[key] = torch.from_numpy(_weight(key, draw).astype(np.float32))
    return state


def _weight(key: str, draw: np.ndarray) -> np.ndarray:
    if key.endswith('weight_g'):
        return abs(draw) * 0.1 + 0.6
    if key.endswith('gamma'):
        return 1 + 0.1 * draw
    if key.endswith('bias'):
        return 0.02 * draw
    if draw.size == 1:
        return np.full_like(draw, 0.2)
    return 0.05 * draw


def _golden_file() -> Path:
    return Path(__file__).parents[1] / 'golden' / 'mulsr_forward.npz'
