"""Pixel losses on cubes that are constant, black, tiny or huge, and in half precision, beside their closed forms."""

from __future__ import annotations

import math

import basicsr  # noqa: F401  (loads the registries)
import pytest
import torch
from basicsr.losses import build_loss

LOSSES = {
    'L1Loss': lambda d: abs(d),
    'MSELoss': lambda d: d * d,
    'CharbonnierLoss': lambda d: math.sqrt(d * d + 1e-12),
}
SHAPE = (2, 5, 6, 4)


def loss_and_gradient(kind, img, gt):
    img = img.clone().requires_grad_()
    loss = build_loss({'type': kind, 'loss_weight': 1.0, 'reduction': 'mean'})(img, gt)
    loss.backward()
    return loss.item(), img.grad


@pytest.mark.parametrize('kind', LOSSES)
@pytest.mark.parametrize(
    ('img', 'gt'), [(0.0, 0.0), (0.5, 0.5), (1.0, 0.0), (1e-12, 0.0), (1e-30, 2e-30), (1e15, -1e15)]
)
def test_constant_cubes(kind, img, gt):
    loss, gradient = loss_and_gradient(kind, torch.full(SHAPE, img), torch.full(SHAPE, gt))
    assert loss == pytest.approx(LOSSES[kind](img - gt), rel=1e-5)
    assert gradient.isfinite().all()
    if img == gt:
        assert (gradient == 0).all()


@pytest.mark.parametrize('kind', LOSSES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision(kind, dtype):
    """Images in [0, 1], as a network under autocast might return them; gradients of the mean do not vanish."""
    generator = torch.Generator().manual_seed(0)
    img, gt = (torch.rand(SHAPE, generator=generator) for _ in range(2))
    exact, _ = loss_and_gradient(kind, img.to(dtype).float(), gt.to(dtype).float())
    loss, gradient = loss_and_gradient(kind, img.to(dtype), gt.to(dtype))
    assert loss == pytest.approx(exact, rel=0.02)
    assert gradient.isfinite().all()
    assert (gradient != 0).float().mean() > 0.9


@pytest.mark.parametrize('kind', LOSSES)
@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_one_bad_value_shows_in_the_loss(kind, value):
    """So that the step which it would spoil is noticed."""
    img = torch.rand(SHAPE)
    img[1, 2, 3, 0] = value
    loss, _ = loss_and_gradient(kind, img, torch.rand(SHAPE))
    assert not math.isfinite(loss)
