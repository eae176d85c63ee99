"""The stored outputs of the published comparison networks and the recipe of their weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

# (network, case): scale
CASES = {
    ('PZResNet', 'x8'): 8,
    ('PZResNet', 'x4'): 4,
    ('MoGDCN', 'x8'): 8,
    ('MoGDCN', 'x8_varied'): 8,
    ('UAL', 'x8'): 8,
    ('UAL', 'x4'): 4,
    ('CoarseNet', 'x4'): 4,
    ('CoarseNet', 'x4_ties'): 4,
    ('CoarseNet', 'x8_u1'): 8,
    ('PSRT', 'x8'): 8,
    ('PSRT', 'x4'): 4,
}

_GAIN = {'PZResNet': 1.4, 'MoGDCN': 1.3, 'UAL': 1.3, 'CoarseNet': 1.0, 'PSRT': 0.25}


def load_case(network: str, case: str) -> dict[str, torch.Tensor]:
    """Return `lq` (B, L, h, w), `rgb` (B, 3, H, W) and the authors' outputs (B, L, H, W) under their stored names."""
    with np.load(_golden_file(network)) as stored:
        names = [name.split('.')[1] for name in stored.files if name.startswith(f'{case}.')]
        skipped = ('keys', 'shapes', 'seed')
        return {name: torch.from_numpy(stored[f'{case}.{name}']) for name in names if name not in skipped}


def author_state(network: str, case: str) -> dict[str, torch.Tensor]:
    """Draw the weights of a case under the authors' names; only those that influence the output."""
    with np.load(_golden_file(network)) as stored:
        keys, shapes, seed = (stored[f'{case}.{name}'] for name in ('keys', 'shapes', 'seed'))
    random = np.random.RandomState(int(seed))
    state = {}
    for key, shape in zip(keys.tolist(), shapes.tolist()):
        draw = random.standard_normal([int(side) for side in shape.split(',') if side])
        weight = _weight(key, np.asarray(draw).astype(np.float32), _GAIN[network], case == 'x8_varied')
        state[key] = torch.from_numpy(np.asarray(weight, np.float32))
    return state


def author_file(network: str, case: str) -> dict[str, torch.Tensor]:
    """The same with all that the authors' own checkpoints hold besides, in the way they name it."""
    state = author_state(network, case)
    extra: dict[str, torch.Tensor] = {}
    if network == 'PZResNet':
        for number, (inside, outside) in enumerate([(31, 64), (64, 64), (64, 64), (64, 31)]):
            extra[f'scale_learning.{number}.conv.weight'] = torch.zeros(outside, inside, 4, 4)
            extra[f'scale_learning.{number}.conv.bias'] = torch.zeros(outside)
        twice = {name.replace('.conv.', '.Module.1.'): value for name, value in {**state, **extra}.items()}
        extra.update(twice)
    elif network == 'MoGDCN':
        extra = {name: torch.zeros(1) for name in ('acti.weight', 'spatial.acti.weight')}
        extra.update({f'{name}_{i}': torch.tensor(0.1) for name in ('delta', 'eta') for i in (1, 2, 4, 5, 6)})
        extra['P'] = torch.zeros(3, 31)
    elif network == 'CoarseNet':
        units = {name.split('.')[1] for name in state if name.startswith('inter_body.')}
        extra = {f'inter_body.{unit}.fusion.aggregate.gamma': torch.ones(3) for unit in units}
    return {**state, **extra}


def _weight(key: str, draw: np.ndarray, gain: float, varied: bool) -> np.ndarray:
    if key.endswith('weight_g'):
        return abs(draw) * 0.1 + 0.6
    if key.endswith('bias'):
        return 0.02 * draw
    if draw.size == 1:
        return 0.2 + 0.05 * draw if varied else np.full_like(draw, 0.2)
    return (gain / np.sqrt(np.prod(draw.shape[1:]))) * draw


def _golden_file(network: str) -> Path:
    return Path(__file__).parents[1] / 'golden' / f'{network.lower()}_forward.npz'
