"""Direction-aware line scans over a feature map.

A scan is two sweeps through the lines, each a chain of dependent steps. It is one opaque operator with its own
derivative, so that neither autograd nor torch.compile sees hundreds of small steps. In the derivative, too, only the
gradient of the lines is a chain; the gradients of the parameters are formed for all lines at once.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from mulsr_plugin.ops import scan_kernels
from mulsr_plugin.ops.fused_conv import is_channels_last

_ELEMENTS_AT_ONCE = 2**22  # bounds what is formed of elementwise products at a time


class LineScan(nn.Module):
    """Pass information through a map line by line, forth and back.

    With lines l_0 ... l_n and phi = PReLU(convolution along the line), the first sweep sets
    l_i <- phi(l_(i-1)) + l_i for i = 1 ... n, the second l_i <- phi(l_(i+1)) + l_i for i = n-1 ... 0 on the lines
    that the first sweep has updated. Both sweeps share one convolution and one PReLU slope.

    The n dependent steps are small, so fold as much as possible (images, bands) into the batch. Fastest for maps in
    the memory format channels_last; others are converted there and back. Gradients of gradients are not supported.

    Under autocast the convolutions take lines and weights in the lower precision, while a line keeps the precision of
    the map.

    Args:
        num_feat (int): Channels of the map.
        lines (str): 'rows' scans down and up the rows, 'columns' scans right and left through the columns.
        kernel_size (int): Extent of the convolution along the line, odd. Default: 7.

    Raises:
        ValueError: `lines` is another word, or `kernel_size` is even.
    """

    def __init__(self, num_feat: int, lines: str, kernel_size: int = 7) -> None:
        super().__init__()
        if lines not in ('rows', 'columns'):
            raise ValueError(f"lines is {lines!r}, expected 'rows' or 'columns': choose the direction of the scan.")
        if kernel_size % 2 == 0:
            raise ValueError(f'kernel_size is {kernel_size}, expected an odd number, so that lines keep their length.')
        self.dim = 2 if lines == 'rows' else 3
        size = (1, kernel_size) if lines == 'rows' else (kernel_size, 1)
        self.conv = nn.Sequential(nn.Conv2d(num_feat, num_feat, size, padding=(size[0] // 2, size[1] // 2)), nn.PReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scan the map.

        Args:
            x (Tensor): Features, (B, num_feat, H, W).

        Returns:
            Tensor: Scanned features, (B, num_feat, H, W), in the memory format of `x`.
        """
        if x.shape[self.dim] == 1:
            return x.clone()
        weight, bias, slope = self.conv[0].weight, self.conv[0].bias, self.conv[1].weight
        if torch.is_autocast_enabled(x.device.type):
            weight = weight.to(torch.get_autocast_dtype(x.device.type))
        memory_format = torch.channels_last if is_channels_last(x) else torch.contiguous_format
        keep = torch.is_grad_enabled() and any(t.requires_grad for t in (x, weight, bias, slope))
        if self.dim == 2:
            out = line_scan(x, weight, bias, slope, keep)[0]
        else:  # columns are scattered in memory: two copies cost less than many steps on them
            out = line_scan(x.mT, weight.mT, bias, slope, keep)[0].mT
        return out.contiguous(memory_format=memory_format)


@torch.library.custom_op(
    'mulsr_plugin::line_scan',
    mutates_args=(),
    schema='(Tensor x, Tensor weight, Tensor bias, Tensor slope, bool keep) -> (Tensor, Tensor, Tensor, Tensor)',
)
def line_scan(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, slope: torch.Tensor, keep: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sweep through the rows of a map forth and back.

    The products are formed in the precision of `weight`, the lines are stored in that of `x`.

    Args:
        x (Tensor): Features, (B, C, H, W), fastest in channels_last.
        weight (Tensor): Convolution along the rows, (C, C, 1, K), K odd.
        bias (Tensor): Bias of the convolution, (C,).
        slope (Tensor): Slope of the PReLU, (1,).
        keep (bool): Also return what the derivative needs.

    Returns:
        tuple[Tensor, ...]: The lines after both sweeps and, with `keep` (else empty tensors), the lines after the first
        sweep, and what went into the PReLU in the first and in the second sweep. All (B, C, H, W), channels_last.
    """
    x, first = _dense(x)
    if not keep:
        _sweep(x, first, None, weight, bias, slope, False)
        _sweep(first, first, None, weight, bias, slope, True)
        return first, x.new_empty(0), x.new_empty(0), x.new_empty(0)
    out, mixed_forth, mixed_back = _empty_like(x), _empty_like(x, weight.dtype), _empty_like(x, weight.dtype)
    _sweep(x, first, mixed_forth, weight, bias, slope, False)
    _sweep(first, out, mixed_back, weight, bias, slope, True)
    return out, first, mixed_forth, mixed_back


@torch.library.custom_op(
    'mulsr_plugin::line_scan_backward',
    mutates_args=(),
    schema='(Tensor grad, Tensor out, Tensor first, Tensor mixed_forth, Tensor mixed_back, Tensor weight, Tensor slope)'
    ' -> (Tensor, Tensor, Tensor, Tensor)',
)
def line_scan_backward(
    grad: torch.Tensor,
    out: torch.Tensor,
    first: torch.Tensor,
    mixed_forth: torch.Tensor,
    mixed_back: torch.Tensor,
    weight: torch.Tensor,
    slope: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Form the gradients of a scan.

    Args:
        grad (Tensor): Gradient of the lines after both sweeps, (B, C, H, W).
        out (Tensor): This and the following three as returned by `line_scan`.
        first (Tensor): See `out`.
        mixed_forth (Tensor): See `out`.
        mixed_back (Tensor): See `out`.
        weight (Tensor): This and the following one as given to `line_scan`.
        slope (Tensor): See `weight`.

    Returns:
        tuple[Tensor, ...]: Gradients of `x` (channels_last), `weight`, bias and `slope`.
    """
    grad, total = _dense(grad)
    delta = _empty_like(mixed_back)
    _sweep_backward(grad, total, delta, mixed_back, weight, slope, True)
    back = _parameter_gradients(out, total, delta, mixed_back, weight, slope, True)
    _sweep_backward(total, total, delta, mixed_forth, weight, slope, False)
    forth = _parameter_gradients(first, total, delta, mixed_forth, weight, slope, False)
    grad_weight, grad_bias, grad_slope = (a + b for a, b in zip(back, forth))
    return total, grad_weight.contiguous(), grad_bias, grad_slope


def _sweep(
    x: torch.Tensor,
    out: torch.Tensor,
    mixed: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    slope: torch.Tensor,
    backwards: bool,
) -> None:
    """Add to each line of `x` the PReLU of the convolution of the updated line before it.

    Writes the updated lines into `out`, which may be `x`, and what goes into the PReLU into `mixed`, at the place of
    the line that it was computed from; the last line of the chain gets zero.
    """
    kernel = _laid_out(weight)
    if scan_kernels.sweep(x, out, mixed, kernel, bias, slope, backwards):
        return
    bias, slope, padding = bias.to(weight.dtype), slope.to(weight.dtype), (0, weight.shape[3] // 2)
    x_lines, out_lines = x.split(1, 2), out.split(1, 2)
    mixed_lines = () if mixed is None else mixed.split(1, 2)
    if mixed_lines:
        mixed_lines[int(backwards) - 1].zero_()
    line = x_lines[-int(backwards)]
    out_lines[-int(backwards)].copy_(line)
    for source, target in _steps(len(x_lines), backwards):
        product = F.conv2d(line.to(weight.dtype), kernel, bias, padding=padding)
        if mixed_lines:
            mixed_lines[source].copy_(product)
        line = x_lines[target] + F.prelu(product, slope)  # dense, which a line of a map need not be
        out_lines[target].copy_(line)


def _sweep_backward(
    grad: torch.Tensor,
    total: torch.Tensor,
    delta: torch.Tensor,
    mixed: torch.Tensor,
    weight: torch.Tensor,
    slope: torch.Tensor,
    backwards: bool,
) -> None:
    """Carry the gradient `grad` of the updated lines back through a sweep.

    Writes the gradient of the lines into `total`, which may be `grad`, and the gradient of `mixed` into `delta`.
    """
    adjoint, padding = _laid_out(weight.transpose(0, 1).flip(2, 3)), (0, weight.shape[3] // 2)
    if scan_kernels.sweep_backward(grad, total, delta, mixed, adjoint, slope, backwards):
        return
    grad_lines, total_lines = grad.split(1, 2), total.split(1, 2)
    mixed_lines, delta_lines = mixed.split(1, 2), delta.split(1, 2)
    last = int(backwards) - 1
    delta_lines[last].zero_()
    line = grad_lines[last]
    total_lines[last].copy_(line)
    for _, source in _steps(len(grad_lines), not backwards):
        product = _prelu_backward(line.to(weight.dtype), mixed_lines[source], slope)
        delta_lines[source].copy_(product)
        line = grad_lines[source] + F.conv2d(product, adjoint, padding=padding)
        total_lines[source].copy_(line)


def _prelu_backward(grad: torch.Tensor, mixed: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Multiply a gradient with the derivative of the PReLU at `mixed`."""
    if grad.is_cpu:  # one step instead of three; on a GPU it would wait for the slope
        return torch.ops.aten.leaky_relu_backward(grad, mixed, slope.item(), False)
    return torch.where(mixed > 0, grad, grad * slope.to(grad.dtype))


def _parameter_gradients(
    lines: torch.Tensor,
    total: torch.Tensor,
    delta: torch.Tensor,
    mixed: torch.Tensor,
    weight: torch.Tensor,
    slope: torch.Tensor,
    backwards: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Form the gradients of weight, bias and slope in one sweep from what all its lines got and gave."""
    arguments = [1, 1], (0, weight.shape[3] // 2), [1, 1], False, [0, 0], 1, [False, True, False]
    grad_weight = torch.ops.aten.convolution_backward(delta, lines.to(weight.dtype), weight, None, *arguments)[1]
    sources, targets = (mixed[:, :, 1:], total[:, :, :-1]) if backwards else (mixed[:, :, :-1], total[:, :, 1:])
    images = max(1, _ELEMENTS_AT_ONCE // mixed[0].numel())
    grad_slope = sum(
        (z.clamp(max=0) * g).sum(dtype=slope.dtype) for z, g in zip(sources.split(images), targets.split(images))
    )
    return grad_weight, delta.sum((0, 2, 3), dtype=slope.dtype), grad_slope.reshape(slope.shape)


def _steps(num_lines: int, backwards: bool) -> list[tuple[int, int]]:
    """List the steps of a sweep: the line that a step starts from and the line that it updates."""
    order = range(num_lines - 1, -1, -1) if backwards else range(num_lines)
    return list(itertools.pairwise(order))


def _laid_out(weight: torch.Tensor) -> torch.Tensor:
    """Lay a weight out like the lines, once for all steps."""
    return weight.contiguous(memory_format=torch.channels_last)


def _dense(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Lay a map out in channels_last; return it and a map to write into, which may be the same."""
    dense = x.contiguous(memory_format=torch.channels_last)
    return dense, _empty_like(x) if dense.data_ptr() == x.data_ptr() else dense


def _empty_like(x: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Allocate a map; torch.compile counts on the memory format, whatever that of `x` is."""
    return torch.empty_like(x, dtype=dtype, memory_format=torch.channels_last)


@line_scan.register_fake
def _(x, weight, bias, slope, keep):  # type: ignore[no-untyped-def]
    if not keep:
        return _empty_like(x), x.new_empty(0), x.new_empty(0), x.new_empty(0)
    return _empty_like(x), _empty_like(x), _empty_like(x, weight.dtype), _empty_like(x, weight.dtype)


@line_scan_backward.register_fake
def _(grad, out, first, mixed_forth, mixed_back, weight, slope):  # type: ignore[no-untyped-def]
    return _empty_like(grad), weight.new_empty(weight.shape), slope.new_empty(len(weight)), slope.new_empty(slope.shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    _, weight, _, slope, _ = inputs
    ctx.save_for_backward(*output, weight, slope)
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)  # no zeros of the size of a map for what is only kept


def _differentiate(ctx: Any, grad: torch.Tensor | None, *_: None) -> tuple[torch.Tensor | None, ...]:
    """Form the gradients of the arguments of `line_scan`."""
    if grad is None:
        return (None,) * 5
    return (*line_scan_backward(grad, *ctx.saved_tensors), None)


line_scan.register_autograd(_differentiate, setup_context=_setup_context)
