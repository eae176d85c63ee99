"""Number formats: what runs in which, and that nothing of it outlives its block."""

from __future__ import annotations

import warnings

import pytest
import torch

from mulsr_plugin.models.precision import autocast, float32_math


def tf32_switches():
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(('precision', 'expected'), [('fp32', (False, False)), ('tf32', (True, True))])
def test_tf32_switches_are_set_for_the_block_alone(precision, expected):
    """PyTorch's own default lets cuDNN round to TF32, which fp32 must not."""
    before = tf32_switches()
    with warnings.catch_warnings(), pytest.raises(KeyError):
        warnings.simplefilter('error')
        with autocast(precision, 'cuda'):
            assert tf32_switches() == expected
            raise KeyError
    assert tf32_switches() == before


def test_a_cpu_has_no_tf32():
    before = tf32_switches()
    for context in (autocast, float32_math):
        with context('tf32', 'cpu'):
            assert tf32_switches() == before


def test_bf16_rounds_products_and_keeps_weights_and_gradients():
    layer = torch.nn.Linear(64, 8)
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    with autocast('bf16', 'cpu'):
        y = layer(x)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert layer.weight.dtype == layer.weight.grad.dtype == torch.float32
    torch.testing.assert_close(y.float(), layer(x), rtol=2e-2, atol=2e-2)
    with autocast('fp32', 'cpu'):
        assert torch.equal(layer(x), torch.nn.functional.linear(x, layer.weight, layer.bias))


def test_unknown_precision():
    with (
        pytest.raises(ValueError, match="precision is 'fp16', expected one of fp32, tf32, bf16"),
        autocast('fp16', 'cpu'),
    ):
        pass
