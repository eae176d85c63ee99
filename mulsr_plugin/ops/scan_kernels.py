"""Triton kernels for the sweeps of a line scan: one launch per sweep instead of several per line.

One program carries one image through all its lines, so the lines of an image need no synchronisation beyond its block.
A line is written to global memory and, after a barrier of the block, read back once per tap: the barrier orders the
block's accesses to global memory, so the values are never stale. Nothing has to hold a whole line; lines of any length
and any number of channels are computed tile by tile. The lines in use and the weights stay in the multiprocessor's
cache: with 64 channels and 7 taps, 57 KB of bfloat16 or 115 KB of float32 weights.

Products are summed in float32. A line is stored in the precision of the map and read back from there, which with
bfloat16 is the rounding that the next product needs anyway: no other error runs along the chain.
"""

# mypy: disable-error-code=no-untyped-def
# (arguments of the kernels are pointers and scalars of the compiler, which reads annotations its own way)
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from basicsr.utils import get_root_logger

try:
    import triton
    import triton.language as tl
except ImportError:  # comes with PyTorch for CUDA only
    triton = None

_DTYPES = (torch.float32, torch.bfloat16)
_failed = False


def is_supported(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Return whether the kernels take these maps and weights.

    Args:
        x (Tensor): Features, (B, C, H, W).
        weight (Tensor): Weight of the convolution along the line.

    Returns:
        bool: True for float32 and bfloat16 on a GPU, with Triton, unless a kernel has failed before.
    """
    return triton is not None and not _failed and x.is_cuda and x.dtype in _DTYPES and weight.dtype in _DTYPES


@contextmanager
def disabled() -> Iterator[None]:
    """Let line scans within the block do without the kernels, to compare."""
    global _failed
    before, _failed = _failed, True
    try:
        yield
    finally:
        _failed = before


def sweep(
    x: torch.Tensor,
    out: torch.Tensor,
    mixed: torch.Tensor | None,
    weight: torch.Tensor,
    bias: torch.Tensor,
    slope: torch.Tensor,
    backwards: bool,
) -> bool:
    """Add to each row of `x` the PReLU of the convolution of the updated line before it.

    Args:
        x (Tensor): Features, (B, C, H, W), channels_last.
        out (Tensor): Receives the updated lines, laid out like `x`; may be `x`.
        mixed (Tensor | None): Receives what goes into the PReLU at the place of the line that it was computed from, and
            zero at the last line of the chain; laid out like `x`.
        weight (Tensor): Convolution along the line, (C, C, 1, K), channels_last.
        bias (Tensor): Bias of the convolution, (C,).
        slope (Tensor): Slope of the PReLU, (1,).
        backwards (bool): Start from the last line.

    Returns:
        bool: False if the kernel cannot be used; then nothing is written.
    """
    if not is_supported(x, weight):
        return False
    kept = out if mixed is None else mixed  # the kernel does not touch it then
    options = _options(x, weight, backwards)
    return _launch(_sweep_kernel, x, out, kept, weight, bias, slope, KEEP=mixed is not None, **options)


def sweep_backward(
    grad: torch.Tensor,
    total: torch.Tensor,
    delta: torch.Tensor,
    mixed: torch.Tensor,
    adjoint: torch.Tensor,
    slope: torch.Tensor,
    backwards: bool,
) -> bool:
    """Carry the gradient of the updated lines back through a sweep.

    Args:
        grad (Tensor): Gradient of the updated lines, (B, C, H, W), channels_last.
        total (Tensor): Receives the gradient of the lines, laid out like `grad`; may be `grad`.
        delta (Tensor): Receives the gradient of `mixed`, laid out like `grad`.
        mixed (Tensor): As written by `sweep`.
        adjoint (Tensor): Weight of the adjoint convolution: input and output channels exchanged, taps reversed,
            channels_last.
        slope (Tensor): Slope of the PReLU, (1,).
        backwards (bool): Direction of the sweep, against which the gradient travels.

    Returns:
        bool: False if the kernel cannot be used; then nothing is written.
    """
    if not is_supported(grad, adjoint):
        return False
    options = _options(grad, adjoint, not backwards)
    return _launch(_sweep_backward_kernel, grad, total, delta, mixed, adjoint, slope, **options)


def _launch(kernel: Any, x: torch.Tensor, *args: torch.Tensor, **options: Any) -> bool:
    """Run a kernel with one program per image; return whether it could be run."""
    global _failed
    try:
        with torch.cuda.device_of(x):
            kernel[(len(x),)](x, *args, **options)
    except Exception as error:  # compilers and drivers raise all kinds
        _failed = True
        get_root_logger().warning(
            'The line scans go on without their Triton kernels, which is slower but gives the same results: %s: %s',
            type(error).__name__,
            error,
        )
    return not _failed


def _options(x: torch.Tensor, weight: torch.Tensor, backwards: bool) -> dict[str, int | str]:
    """Describe the lines in the order of the chain, and choose tiles that leave all values in registers."""
    _, channels, num_lines, length = x.shape
    line_stride = length * channels
    positions = _tile(length, 256 // weight.element_size())
    return {
        'num_lines': num_lines,
        'length': length,
        'image_stride': num_lines * line_stride,
        'first_line': (num_lines - 1) * line_stride if backwards else 0,
        'line_stride': -line_stride if backwards else line_stride,
        'CHANNELS': channels,
        'TAPS': weight.shape[3],
        'POSITIONS_TILE': positions,
        'CHANNELS_TILE': _tile(channels, 128),
        'PRODUCTS_TILE': _tile(weight[0].numel(), 64),
        # three products in TF32 recover float32; an exact one would leave the matrix units unused
        'PRECISION': 'tf32' if torch.backends.cudnn.allow_tf32 else 'tf32x3',
        'num_warps': 8 if positions >= 64 else 4,
        'num_stages': 1,  # a pipeline would fetch the next line before it is written
    }


def _tile(size: int, largest: int) -> int:
    """Choose the extent of a tile: a power of two, and at least what the matrix units take."""
    return min(max(triton.next_power_of_2(size), 16), largest)


if triton is not None:

    @triton.jit
    def _line_product(
        line,
        weight,
        positions,
        outputs,
        length,
        CHANNELS: tl.constexpr,
        TAPS: tl.constexpr,
        POSITIONS_TILE: tl.constexpr,
        CHANNELS_TILE: tl.constexpr,
        PRODUCTS_TILE: tl.constexpr,
        PRECISION: tl.constexpr,
    ):
        """Convolve a line; return a tile of positions and output channels."""
        product = tl.zeros((POSITIONS_TILE, CHANNELS_TILE), tl.float32)
        for start in range(0, TAPS * CHANNELS, PRODUCTS_TILE):
            # all taps of all channels count as one sum, so that few channels fill a tile too
            index = start + tl.arange(0, PRODUCTS_TILE)
            within = index < TAPS * CHANNELS
            offsets = (positions[:, None] - TAPS // 2) * CHANNELS + index[None, :]  # neighbours lie side by side
            values = tl.load(
                line + offsets, mask=within[None, :] & (offsets >= 0) & (offsets < length * CHANNELS), other=0.0
            )
            factors = tl.load(
                weight + outputs[None, :] * (TAPS * CHANNELS) + index[:, None],
                mask=within[:, None] & (outputs < CHANNELS)[None, :],
                other=0.0,
            )
            product = tl.dot(values.to(factors.dtype), factors, product, input_precision=PRECISION)
        return product

    @triton.jit
    def _sweep_kernel(
        x,
        out,
        mixed,
        weight,
        bias,
        slope,
        num_lines,
        length,
        image_stride,
        first_line,
        line_stride,
        CHANNELS: tl.constexpr,
        TAPS: tl.constexpr,
        POSITIONS_TILE: tl.constexpr,
        CHANNELS_TILE: tl.constexpr,
        PRODUCTS_TILE: tl.constexpr,
        PRECISION: tl.constexpr,
        KEEP: tl.constexpr,
    ):
        start = tl.program_id(0).to(tl.int64) * image_stride + first_line
        x += start
        out += start
        mixed += start
        factor = tl.load(slope).to(tl.float32)
        for i in range(num_lines):
            tl.debug_barrier()  # the line before has been written by all threads
            for p in range(0, length, POSITIONS_TILE):
                positions = p + tl.arange(0, POSITIONS_TILE)
                for c in range(0, CHANNELS, CHANNELS_TILE):
                    outputs = c + tl.arange(0, CHANNELS_TILE)
                    offsets = positions[:, None] * CHANNELS + outputs[None, :]
                    mask = (positions < length)[:, None] & (outputs < CHANNELS)[None, :]
                    value = tl.load(x + i * line_stride + offsets, mask=mask, other=0.0).to(tl.float32)
                    if i > 0:
                        product = _line_product(
                            out + (i - 1) * line_stride,
                            weight,
                            positions,
                            outputs,
                            length,
                            CHANNELS,
                            TAPS,
                            POSITIONS_TILE,
                            CHANNELS_TILE,
                            PRODUCTS_TILE,
                            PRECISION,
                        )
                        product += tl.load(bias + outputs, mask=outputs < CHANNELS, other=0.0).to(tl.float32)[None, :]
                        value += tl.where(product > 0, product, product * factor)
                        if KEEP:
                            tl.store(mixed + (i - 1) * line_stride + offsets, product, mask=mask)
                    if KEEP and i == num_lines - 1:
                        tl.store(mixed + i * line_stride + offsets, tl.zeros_like(value), mask=mask)
                    tl.store(out + i * line_stride + offsets, value, mask=mask)

    @triton.jit
    def _sweep_backward_kernel(
        grad,
        total,
        delta,
        mixed,
        weight,
        slope,
        num_lines,
        length,
        image_stride,
        first_line,
        line_stride,
        CHANNELS: tl.constexpr,
        TAPS: tl.constexpr,
        POSITIONS_TILE: tl.constexpr,
        CHANNELS_TILE: tl.constexpr,
        PRODUCTS_TILE: tl.constexpr,
        PRECISION: tl.constexpr,
    ):
        start = tl.program_id(0).to(tl.int64) * image_stride + first_line
        grad += start
        total += start
        delta += start
        mixed += start
        factor = tl.load(slope).to(tl.float32)
        for i in range(num_lines):
            tl.debug_barrier()  # what the last step has written for this one is complete
            for p in range(0, length, POSITIONS_TILE):
                positions = p + tl.arange(0, POSITIONS_TILE)
                for c in range(0, CHANNELS, CHANNELS_TILE):
                    outputs = c + tl.arange(0, CHANNELS_TILE)
                    offsets = positions[:, None] * CHANNELS + outputs[None, :]
                    mask = (positions < length)[:, None] & (outputs < CHANNELS)[None, :]
                    value = tl.load(grad + i * line_stride + offsets, mask=mask, other=0.0).to(tl.float32)
                    if i == 0:
                        tl.store(delta + offsets, tl.zeros_like(value), mask=mask)
                    else:
                        value += _line_product(
                            delta + i * line_stride,
                            weight,
                            positions,
                            outputs,
                            length,
                            CHANNELS,
                            TAPS,
                            POSITIONS_TILE,
                            CHANNELS_TILE,
                            PRODUCTS_TILE,
                            PRECISION,
                        )
                    tl.store(total + i * line_stride + offsets, value, mask=mask)
                    if i < num_lines - 1:
                        following = (i + 1) * line_stride + offsets
                        entered = tl.load(mixed + following, mask=mask, other=0.0).to(tl.float32)
                        tl.store(delta + following, tl.where(entered > 0, value, value * factor), mask=mask)
