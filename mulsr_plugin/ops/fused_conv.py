"""Convolutions whose ReLU or residual addition needs no pass over memory of their own."""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def fused_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    relu: bool = False,
    add: Tensor | None = None,
) -> Tensor:
    """Convolve, then apply ReLU or add.

    On a CPU and where no gradient is wanted, oneDNN does all of it while the result is in registers, through the
    operators that torch.compile uses; bf16 gains most, because its convolutions take hardly longer than one pass over
    the features. Anywhere else ReLU and addition work in place on the result of the convolution, which autograd allows.

    Args:
        x (Tensor): Features, (B, C, H, W).
        weight (Tensor): Kernels, (O, C / groups, k, k).
        bias (Tensor | None): (O,). Default: None.
        stride (int): Default: 1.
        padding (int): Zeros on each side. Default: 0.
        groups (int): Default: 1.
        relu (bool): Apply ReLU. Default: False.
        add (Tensor | None): What to add, of the result's shape; not together with ReLU. Default: None.

    Returns:
        Tensor: (B, O, H', W'), in the memory format of `x`.

    Raises:
        ValueError: ReLU and an addition are both asked for.
    """
    if relu and add is not None:
        raise ValueError('relu and add are both given, expected one of them: add to the result.')
    if not _can_fuse(x, weight, bias, add):
        y = F.conv2d(x, weight, bias, stride, padding, 1, groups)
        y = F.relu_(y) if relu else y
        return y if add is None else y.add_(add)
    if torch.is_autocast_enabled('cpu'):  # autocast does not know these operators
        dtype = torch.get_autocast_dtype('cpu')
        x, weight = x.to(dtype), weight.to(dtype)
        bias, add = (None if value is None else value.to(dtype) for value in (bias, add))
    geometry = [padding] * 2, [stride] * 2, [1, 1], groups
    operator = torch.ops.mkldnn._convolution_pointwise
    if add is None:
        return operator(x, weight, bias, *geometry, 'relu' if relu else 'none', [], '')
    return operator.binary(x, add, weight, bias, *geometry, 'add', 1.0, None, [], None)


def _can_fuse(x: Tensor, *others: Tensor | None) -> bool:
    """Return whether the fused operators take these tensors; they know no gradient and no tracing."""
    tensors = [x, *(other for other in others if other is not None)]
    if any(tensor.device.type != 'cpu' for tensor in tensors) or not x.numel():
        return False
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return False
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._len_torch_dispatch_stack():
        return False  # compilers fuse by themselves; counters of operations only know the plain convolution
    dtypes = {tensor.dtype for tensor in tensors}
    is_one_dtype = len(dtypes) == 1
    if torch.is_autocast_enabled('cpu'):
        is_one_dtype = True
        dtypes.add(torch.get_autocast_dtype('cpu'))
    return is_one_dtype and dtypes <= _fused_dtypes() and torch._C._get_mkldnn_enabled()


@cache
def _fused_dtypes() -> frozenset[torch.dtype]:
    """Return the number formats for which this build of PyTorch and this processor have the fused operators."""
    if not (torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, '_convolution_pointwise')):
        return frozenset()
    dtypes = {torch.float32}
    if torch.ops.mkldnn._is_mkldnn_bf16_supported():
        dtypes.add(torch.bfloat16)
    return frozenset(dtypes)


class FusedConv2d(nn.Conv2d):
    """nn.Conv2d of equal zero padding on all sides with a ReLU or an addition behind; see `fused_conv2d`."""

    def forward(self, x: Tensor, relu: bool = False, add: Tensor | None = None) -> Tensor:
        """Convolve (B, in_channels, H, W), and apply ReLU, or add `add` of the result's shape."""
        return fused_conv2d(x, self.weight, self.bias, self.stride[0], int(self.padding[0]), self.groups, relu, add)


def is_channels_last(x: Tensor) -> bool:
    """Return whether the channels of a pixel lie side by side in memory.

    Unlike `is_contiguous(memory_format=torch.channels_last)` this is False for an ordinary one-channel image.

    Args:
        x (Tensor): Images or features, (B, C, H, W).

    Returns:
        bool: True for the channels_last memory format.
    """
    return x.stride(1) == 1
