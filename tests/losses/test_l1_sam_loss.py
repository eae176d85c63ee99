"""L1SAMLoss: its angle is that of calculate_sam, its gradient is finite and right."""

from __future__ import annotations

import math

import pytest
import torch
from basicsr.losses import build_loss
from basicsr.models import build_model

from mulsr_plugin.losses.l1_sam_loss import mean_spectral_angle
from mulsr_plugin.metrics.sam import calculate_sam
from tests.models.tiny import make_options, make_stores, parsed


def images(seed=0, shape=(2, 6, 5, 4)):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def cube(batch):
    """Images (B, L, H, W) as one cube (B * H, W, L)."""
    return batch.permute(0, 2, 3, 1).flatten(0, 1)


def test_angle_is_that_of_the_metric():
    pred, target = images(0), images(1)
    target[0, :, 2, 2] = 0
    pred[1, :, 0, 0] = 0
    expected = math.radians(calculate_sam(cube(pred), cube(target)))
    assert float(mean_spectral_angle(pred, target)) == pytest.approx(expected, rel=1e-12)
    single = mean_spectral_angle(pred.float(), target.float())
    assert float(single) == pytest.approx(expected, rel=1e-5)


def test_known_angles():
    axes = torch.eye(2).view(2, 2, 1, 1)
    assert float(mean_spectral_angle(axes, axes.flip(0))) == pytest.approx(math.pi / 2)
    assert float(mean_spectral_angle(axes, -axes)) == pytest.approx(math.pi, abs=2e-3)
    assert float(mean_spectral_angle(axes, 0.1 * axes)) <= 1.1e-3  # the limit that it counts from


def test_loss_is_the_weighted_sum():
    pred, target = images(0), images(1)
    loss = build_loss({'type': 'L1SAMLoss', 'loss_weight': 2.0, 'sam_weight': 0.3, 'reduction': 'mean'})
    expected = 2 * ((pred - target).abs().mean() + 0.3 * mean_spectral_angle(pred, target))
    assert float(loss(pred, target)) == pytest.approx(float(expected))


def test_gradient_by_differences():
    target = images(1, (1, 3, 2, 2))
    assert torch.autograd.gradcheck(
        lambda pred: mean_spectral_angle(pred, target), images(0, (1, 3, 2, 2)).requires_grad_()
    )


@pytest.mark.parametrize('case', ['zero result', 'zero target', 'equal', 'opposite', 'all zero'])
def test_gradient_is_finite_where_the_angle_is_not_smooth(case):
    pred, target = images(0).float(), images(1).float()
    if case in ('zero result', 'all zero'):
        pred.zero_()
    if case in ('zero target', 'all zero'):
        target[:, :, 1:] = 0
    if case in ('equal', 'opposite'):
        target = pred.clone() if case == 'equal' else -pred
    pred.requires_grad_()
    mean_spectral_angle(pred, target).backward()
    assert pred.grad.isfinite().all()


@pytest.fixture
def options(tmp_path):
    make_stores(tmp_path)
    opt = make_options(tmp_path, band_update='joint')
    opt['train']['pixel_opt'] = {'type': 'L1SAMLoss', 'sam_weight': 0.5, 'reduction': 'mean'}
    return opt


def test_a_joint_training_takes_it(options, tmp_path):
    model = build_model(parsed(options, tmp_path))
    before = [parameter.clone() for parameter in model.net_g.parameters()]
    generator = torch.Generator().manual_seed(0)
    model.feed_data(
        {
            name: torch.rand(shape, generator=generator)
            for name, shape in {'lq': (1, 5, 4, 4), 'rgb': (1, 3, 16, 16), 'gt': (1, 5, 16, 16)}.items()
        }
    )
    model.optimize_parameters(1)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.net_g.parameters()))


@pytest.mark.parametrize('change', [{'band_update': 'per_band'}, {'band_update': None}, {'bands_per_chunk': 2}])
def test_trainings_that_see_some_bands_only_are_refused(options, tmp_path, change):
    options['train'].update(change)
    with pytest.raises(ValueError, match='L1SAMLoss compares whole spectra.*band_update: joint'):
        build_model(parsed(options, tmp_path))


def test_it_has_the_mean_alone():
    with pytest.raises(ValueError, match='has the mean alone'):
        build_loss({'type': 'L1SAMLoss', 'reduction': 'sum'})
