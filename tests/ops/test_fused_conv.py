"""Tests of convolutions with their ReLU and addition, against the separate steps."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from mulsr_plugin.ops.fused_conv import FusedConv2d

STEPS = [{}, {'relu': True}, {'add': True}]


def setting(stride=1, groups=1, kernel=3, size=(5, 7), memory_format=torch.contiguous_format):
    torch.manual_seed(0)
    layer = FusedConv2d(6, 4, kernel, stride, kernel // 2, groups=groups)
    x = torch.randn(2, 6, *size).contiguous(memory_format=memory_format)
    plain = F.conv2d(x, layer.weight, layer.bias, stride, kernel // 2, 1, groups)
    return layer, x, plain


def arguments(steps, plain):
    """Options of the layer, and the result in separate steps."""
    other = torch.randn(plain.shape, generator=torch.Generator().manual_seed(1))
    expected = F.relu(plain) if 'relu' in steps else plain
    return {**steps, **({'add': other} if 'add' in steps else {})}, expected + other if 'add' in steps else expected


@pytest.mark.parametrize('steps', STEPS, ids=str)
@pytest.mark.parametrize(
    'options',
    [{}, {'stride': 2}, {'groups': 2}, {'kernel': 1}, {'size': (1, 1)}, {'memory_format': torch.channels_last}],
    ids=str,
)
def test_fused_equals_separate_steps(options, steps):
    layer, x, plain = setting(**options)
    given, expected = arguments(steps, plain)
    kept = given['add'].clone() if 'add' in given else None
    with torch.no_grad():
        result = layer(x, **given)
    torch.testing.assert_close(result, expected)
    assert result.stride() == plain.stride()
    assert kept is None or torch.equal(given['add'], kept)
    torch.testing.assert_close(layer(x, **given), expected)  # with gradients


@pytest.mark.parametrize('steps', STEPS, ids=str)
def test_gradients(steps):
    layer, x, plain = setting()
    given, expected = arguments(steps, plain)
    gradients = torch.autograd.grad(layer(x, **given).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(gradients, torch.autograd.grad(expected.square().sum(), list(layer.parameters())))


@pytest.mark.parametrize('steps', STEPS, ids=str)
def test_autocast_rounds_as_the_plain_convolution(steps):
    layer, x, plain = setting()
    given, expected = arguments(steps, plain)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        result = layer(x, **given)
    assert result.dtype == torch.bfloat16
    torch.testing.assert_close(result.float(), expected, rtol=0.02, atol=0.02)


def test_operations_are_counted():
    """One multiply-add is two operations."""
    layer, x, plain = setting()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        layer(x, relu=True)
    assert counter.get_total_flops() == 2 * 6 * 9 * plain.numel()


def test_double_precision_and_empty_batch():
    layer, x, _ = setting()
    with torch.no_grad():
        assert layer.double()(x.double(), relu=True).dtype == torch.float64
        assert layer(x[:0].double(), relu=True).shape == (0, 4, 5, 7)


def test_both_steps_are_refused():
    layer, x, plain = setting()
    with pytest.raises(ValueError, match='relu and add'):
        layer(x, relu=True, add=plain)
