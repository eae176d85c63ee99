"""LogErrorLoss: images count alike, gradients are finite, parts that are right already count less."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.losses import build_loss

from mulsr_plugin.losses.log_error_loss import LogErrorLoss


def cubes(seed):
    return torch.rand(2, 5, 6, 6, generator=torch.Generator().manual_seed(seed))


def test_a_decibel_counts_alike_in_easy_and_hard_images():
    target, noise = cubes(0), cubes(1) - 0.5
    sizes = torch.tensor([1e-2, 1e-1]).view(2, 1, 1, 1)
    loss = LogErrorLoss(sam_weight=0)
    for changed in ([0.5, 1.0], [1.0, 0.5]):
        less = loss(target + torch.tensor(changed).view(2, 1, 1, 1) * sizes * noise, target)
        assert float(loss(target + sizes * noise, target) - less) == pytest.approx(math.log(4) / 2, rel=1e-2)


def test_a_reference_keeps_small_errors_small():
    target = cubes(0)
    loss = LogErrorLoss(sam_weight=0, floor_share=0.5)
    gain = loss(target + 1e-3, target, reference=1e-2) - loss(target, target, reference=1e-2)
    assert 0 < gain < 1e-3


def test_the_angle_is_of_spectra():
    target = cubes(0) + 0.1
    loss = LogErrorLoss(sam_weight=1.0)
    plain = LogErrorLoss(sam_weight=0.0)
    scaled = 1.1 * target  # same angles
    assert float(loss(scaled, target) - plain(scaled, target)) == pytest.approx(math.log(0.01 + 1e-3), rel=1e-2)
    turned = target.flip(1)
    assert loss(turned, target) - plain(turned, target) > loss(scaled, target) - plain(scaled, target) + 1


@pytest.mark.parametrize('pred', [torch.zeros(2, 5, 6, 6), cubes(0), -cubes(0)])
def test_gradients_are_finite(pred):
    pred = pred.clone().requires_grad_()
    LogErrorLoss()(pred, cubes(0)).backward()
    assert pred.grad.isfinite().all()


def test_it_is_registered_and_has_the_mean_alone():
    loss = build_loss({'type': 'LogErrorLoss', 'loss_weight': 2.0, 'reduction': 'mean'})
    pred, target = cubes(0), cubes(1)
    assert float(loss(pred, target)) == pytest.approx(2 * float(LogErrorLoss()(pred, target)))
    with pytest.raises(ValueError, match='has the mean alone'):
        build_loss({'type': 'LogErrorLoss', 'reduction': 'sum'})
