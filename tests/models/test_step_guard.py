"""A step with NaN or infinity in it leaves no trace but a warning; ten in a row end the training."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from mulsr_plugin.models.step_guard import MOST_IN_A_ROW, StepGuard, total_norm
from mulsr_plugin.utils.options import RunError
from tests.models.test_hsi_sr_model import batch
from tests.models.test_training_options import build, log_of, train, weights


def spoilt(data, value=float('nan'), band=3):
    data = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in data.items()}
    data['gt'][0, band, 5, 5] = value
    return data


def state_of(model):
    return deepcopy((model.net_g.state_dict(), model.optimizer_g.state_dict(), model.net_g_ema.state_dict()))


def assert_same_state(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
@pytest.mark.parametrize('band_update', ['joint', 'per_band'])
def test_a_spoilt_step_is_undone(tiny_stores, tmp_path, band_update, value):
    """One bad pixel of one band; the steps of the bands before it are undone too."""
    data = batch(tiny_stores)
    model = train(build(tiny_stores, tmp_path, band_update=band_update, ema_decay=0.5), [data])
    before = state_of(model)
    log = log_of(lambda: train(model, [spoilt(data, value)], first=2))
    assert log == [
        'Iteration 2: loss or weights became NaN or infinite, so its step is undone; 1 such steps so far, 1 in a row.'
    ]
    assert_same_state(state_of(model), before)
    assert model.log_dict['undone_steps'] == 1
    train(model, [data], first=3)
    assert model.step_guard.num_in_a_row == 0
    assert weights(model).isfinite().all()
    assert not torch.equal(weights(model), weights_of(before))


def weights_of(state):
    return torch.cat([tensor.flatten() for tensor in state[0].values()])


@pytest.mark.parametrize('kind', ['Adam', 'SGD', 'Rprop', 'ASGD'])
def test_a_spoilt_first_step_leaves_a_fresh_optimiser(tiny_stores, tmp_path, kind):
    data = batch(tiny_stores)
    options = {'type': kind, 'lr': 1e-3, **({'momentum': 0.9} if kind == 'SGD' else {})}
    results = []
    for batches in ([data], [spoilt(data), data]):
        model = build(tiny_stores, tmp_path, band_update='joint', optim_g=dict(options))
        results.append(weights(train(model, batches)))
    assert torch.equal(*results)


def test_gradients_of_a_finite_loss_that_are_not(tiny_stores, tmp_path):
    """The loss is fine and only the weights tell; with grad_clip the norm is NaN."""
    data = batch(tiny_stores)
    for options in ({}, {'grad_clip': 1.0}):
        model = train(build(tiny_stores, tmp_path, band_update='joint', ema_decay=0.5, **options), [data])
        before = state_of(model)
        parameter = next(model.net_g.parameters())
        hook = parameter.register_hook(lambda gradient: gradient * float('nan'))
        train(model, [data], first=2)
        hook.remove()
        assert_same_state(state_of(model), before)
        assert model.log_dict['l_pix'] < 1


def test_accumulated_batches_are_undone_together(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    for band_update in ('joint', 'per_band'):
        model = build(tiny_stores, tmp_path, band_update=band_update, ema_decay=0.5, accumulate=2)
        before = state_of(model)
        train(model, [spoilt(data), data])
        assert_same_state(state_of(model), before)
        assert model.step_guard.num_undone == 1


def test_ten_in_a_row_end_the_training_and_name_causes(tiny_stores, tmp_path):
    data = batch(tiny_stores)
    model = build(tiny_stores, tmp_path, band_update='joint', precision='bf16', optim_g={'type': 'Adam', 'lr': 0.5})
    train(model, [*[spoilt(data)] * (MOST_IN_A_ROW - 1), data, *[spoilt(data)] * (MOST_IN_A_ROW - 1)])
    with pytest.raises(RunError, match='NaN or infinite in 10 steps in a row, up to iteration 20') as error:
        train(model, [spoilt(data)], first=20)
    for cause in ('lr, now 0.5', 'grad_clip, such as 1.0', 'precision: bf16 .try fp32', r'outside \[0, 1\]'):
        assert error.match(cause)
    assert weights(model).isfinite().all()


def test_gradient_norm_is_logged_without_clipping_too(tiny_stores, tmp_path):
    model = train(build(tiny_stores, tmp_path, band_update='joint'), [batch(tiny_stores)])
    squares = [parameter.grad.double().square().sum() for parameter in model.net_g.parameters()]
    assert model.log_dict['grad_norm'] == pytest.approx(float(sum(squares)) ** 0.5, rel=1e-5)
    assert total_norm([torch.tensor([3.0]), None, torch.tensor([4.0])]) == 5


def test_the_guard_changes_nothing_else(tiny_stores, tmp_path):
    """The weights after good steps are those of PyTorch alone."""
    data = batch(tiny_stores)
    model = build(tiny_stores, tmp_path, band_update='joint')
    net = deepcopy(model.net_g)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        (
            net(data['lq'], data['rgb'].contiguous(memory_format=torch.channels_last)) - data['gt']
        ).abs().mean().backward()
        optimizer.step()
    train(model, [data, data])
    torch.testing.assert_close(model.net_g.state_dict(), net.state_dict(), rtol=1e-5, atol=1e-6)


def test_state_that_a_cuda_graph_uses_is_zeroed_in_place():
    weight = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weight])
    guard = StepGuard([weight], optimizer)
    guard.remember()
    weight.grad = torch.full((3,), float('nan'))
    optimizer.step()
    moments = optimizer.state[weight]['exp_avg']
    optimizer.param_groups[0]['capturable'] = True
    assert not guard.is_good()
    guard.undo()
    assert optimizer.state[weight]['exp_avg'] is moments
    assert torch.equal(moments, torch.zeros(3))
    assert torch.equal(weight, torch.ones(3))
