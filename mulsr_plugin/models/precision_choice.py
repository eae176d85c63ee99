"""``precision: auto``: whether bfloat16 or float32 is faster for a network on the machine at hand, by measuring."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mulsr_plugin.models.precision import autocast

AUTO = 'auto'
_ROUNDS = 8
_BEARABLE = 1.5
"""A run that is resumed keeps its precision unless it takes so many times as long as the other."""


@dataclass(frozen=True)
class PrecisionTiming:
    """Seconds, on CPUs of processor time, of one computation in two precisions, forward and backward.

    Attributes:
        work (str): What was computed.
        fp32 (float): Seconds in float32.
        bf16 (float): Seconds in bfloat16.
    """

    work: str
    fp32: float
    bf16: float

    @property
    def chosen(self) -> str:
        """The faster precision; fp32 unless bf16 brings at least a tenth."""
        return 'bf16' if self.bf16 < 0.9 * self.fp32 else 'fp32'

    def is_bearable(self, precision: str) -> bool:
        """Return whether a precision is not much slower than the other one; tf32 computes as fp32 on CPUs."""
        times = {'bf16': self.bf16 / self.fp32}
        return times.get(precision, self.fp32 / self.bf16) < _BEARABLE

    def __str__(self) -> str:
        return f'{self.work} takes {1e3 * self.fp32:.3g} ms in fp32 and {1e3 * self.bf16:.3g} ms in bf16'


def time_precisions(net: nn.Module, device: torch.device | str) -> PrecisionTiming:
    """Time the largest convolution of a network in float32 and in bfloat16, in turn; the fastest of some rounds counts.

    Processors without instructions for bfloat16 (AMX or AVX512-BF16) emulate it, some at a small part of the speed of
    float32. A network without convolutions is judged by its largest linear layer, else by a matrix product.

    Args:
        net (nn.Module): Network; nothing of it is run or changed, and no random number is drawn.
        device (torch.device | str): Where it will run.

    Example:
        >>> time_precisions(nn.Conv2d(8, 8, 3, padding=1), 'cpu').work
        'a 3x3 convolution from 8 to 8 channels'
    """
    device = torch.device(device)
    work, compute = _largest_work(net, device)
    seconds = {'fp32': float('inf'), 'bf16': float('inf')}
    for number in range(_ROUNDS + 1):
        for precision in seconds:
            passed = _seconds(compute, precision, device)
            if number > 0:  # the first round warms up
                seconds[precision] = min(seconds[precision], passed)
    return PrecisionTiming(work, **seconds)


def _seconds(compute: Callable[[], Tensor], precision: str, device: torch.device) -> float:
    # other programs on a CPU count in seconds, not in processor time
    clock = time.perf_counter if device.type == 'cuda' else time.process_time
    _synchronise(device)
    start = clock()
    with torch.enable_grad():
        with autocast(precision, device):
            result = compute()
        result.float().sum().backward()
    _synchronise(device)
    return clock() - start


def _synchronise(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _largest_work(net: nn.Module, device: torch.device) -> tuple[str, Callable[[], Tensor]]:
    """Return the name of the layer with the largest weights and a function that computes one like it."""
    side = 256 if device.type == 'cuda' else 64
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    if convolutions:
        layer = max(convolutions, key=lambda module: module.weight.numel())
        size = tuple(layer.weight.shape)
        image, weight = _values((1, layer.in_channels, side, side), device), _values(size, device)
        image = image.detach().contiguous(memory_format=torch.channels_last).requires_grad_()  # as on CPUs
        work = '{2}x{3} convolution from {1} to {0} channels'.format(size[0], layer.in_channels, *size[2:])
        return f'a {work}', lambda: F.conv2d(image, weight, padding=size[2] // 2, groups=layer.groups)
    linear = [tuple(module.weight.shape) for module in net.modules() if isinstance(module, nn.Linear)]
    outputs, inputs = max(linear, key=lambda size: size[0] * size[1], default=(256, 256))
    rows, matrix = _values((side * side, inputs), device), _values((outputs, inputs), device)
    return f'a linear layer from {inputs} to {outputs} values', lambda: F.linear(rows, matrix)


def _values(shape: tuple[int, ...], device: torch.device) -> Tensor:
    # no random ones: a training must not depend on whether its precision was measured
    return torch.full(shape, 0.5, device=device, requires_grad=True)
