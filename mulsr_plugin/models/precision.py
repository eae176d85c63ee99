"""Number formats in which a network computes: float32, TF32 or bfloat16."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

PRECISIONS = ('fp32', 'tf32', 'bf16')


@contextmanager
def autocast(precision: str, device: torch.device | str) -> Iterator[None]:
    """Run the forward passes within the block at a precision; weights, gradients and optimiser stay in float32.

    Args:
        precision: 'fp32', float32 everywhere, also where PyTorch itself would let cuDNN round to TF32; 'tf32', matrix
            products and convolutions of CUDA devices with 10 bits of mantissa, the same as fp32 elsewhere; 'bf16',
            matrix products and convolutions in bfloat16.
        device: Where the network runs.

    Raises:
        ValueError: The precision is none of these.
    """
    _check(precision)
    kind = torch.device(device).type
    with float32_math(precision, kind), torch.autocast(kind, torch.bfloat16, enabled=precision == 'bf16'):
        yield


@contextmanager
def float32_math(precision: str, device: torch.device | str) -> Iterator[None]:
    """Say what CUDA's float32 matrix products and convolutions are within the block: TF32 for 'tf32', else float32.

    A backward pass runs outside of :func:`autocast`, as PyTorch advises, and belongs in a block of this one.

    Args:
        precision: One of ``PRECISIONS``.
        device: Where the network runs; other devices than CUDA have no such switch.

    Raises:
        ValueError: The precision is none of these.
    """
    _check(precision)
    if torch.device(device).type != 'cuda':
        yield
        return
    before = _tf32()
    _set_tf32(precision == 'tf32', precision == 'tf32')
    try:
        yield
    finally:
        _set_tf32(*before)


# PyTorch 2.9 put `fp32_precision` beside these two switches, but reads these when it compiles, which fails once the new
# ones were set.
def _tf32() -> tuple[bool, bool]:
    _use_up_warning()
    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32


def _set_tf32(matmul: bool, cudnn: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = matmul
    torch.backends.cudnn.allow_tf32 = cudnn


@cache
def _use_up_warning() -> None:
    """Let PyTorch say once and unheard that it has newer switches; filtering at every step would repeat other ones."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        _set_tf32(torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


def _check(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f'precision is {precision!r}, expected one of {", ".join(PRECISIONS)}; choose one of them.')
