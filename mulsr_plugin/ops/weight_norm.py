"""Plain weights in place of normalised ones, for inference."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, remove_weight_norm
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm


@torch.no_grad()
def fold_weight_norm(net: nn.Module) -> nn.Module:
    """Copy a network for inference: what its weights are computed from is worked out once.

    Layers under weight normalisation (both of PyTorch's forms) hold their plain weight. A module with a method
    ``folded()`` is replaced by what it returns; MulSR's cross fusion so keeps the plain 2-D convolutions that it
    computes. The copy takes the same inputs and gives the same outputs up to rounding; its state dict has other names.

    Args:
        net (nn.Module): Any network, not wrapped for distributed training. It is left as it is.

    Returns:
        nn.Module: Copy in evaluation mode, whose parameters take no gradient.
    """
    folded = copy.deepcopy(net, _computed_weights(net)).eval()
    for module in folded.modules():
        _make_plain(module)
    return _replace(folded).requires_grad_(False)


def _computed_weights(net: nn.Module) -> dict[int, Any]:
    """Copies of weights that the older form has computed and that `deepcopy` refuses for their gradient."""
    tensors = [value for module in net.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    return {id(tensor): tensor.detach().clone() for tensor in tensors}


def _make_plain(module: nn.Module) -> None:
    if parametrize.is_parametrized(module):
        # PyTorch keeps the computed weight as a property of a class that the copied layer shares with the original
        own = type(module)
        module.__class__ = type(own.__name__, own.__bases__, dict(own.__dict__))
        for name, parametrizations in list(module.parametrizations.items()):  # type: ignore[union-attr, operator]
            if all(isinstance(item, _WeightNorm) for item in parametrizations):
                parametrize.remove_parametrizations(module, name)
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            remove_weight_norm(module, hook.name)


def _replace(module: nn.Module) -> nn.Module:
    if hasattr(module, 'folded'):
        return module.folded()  # type: ignore[operator, no-any-return]
    for name, child in module.named_children():
        setattr(module, name, _replace(child))
    return module
