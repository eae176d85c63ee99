"""Time of a line scan, with its Triton kernels and in single steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mulsr_plugin.models.precision import autocast, float32_math
from mulsr_plugin.ops import scan_kernels
from mulsr_plugin.ops.scans import LineScan
from scripts.dev.speed.measure import Timing, time_in_turn


def time_line_scans(
    shape: Sequence[int], precision: str, device: torch.device, with_gradients: bool = False, rounds: int = 5
) -> dict[str, Timing]:
    """Time a scan down and up the rows of a random map, with the kernels (where they are used) and without.

    Args:
        shape (Sequence[int]): (B, C, H, W) of the map.
        precision (str): 'fp32', 'tf32' or 'bf16'.
        device (device): Where to scan; a CPU does without kernels either way.
        with_gradients (bool): Also time the derivative. Default: False.
        rounds (int): Rounds to take the median of. Default: 5.

    Returns:
        dict[str, Timing]: 'single steps', which ratios are taken to, and 'kernels'.
    """
    scan = LineScan(shape[1], 'rows').to(device)
    dtype = torch.bfloat16 if precision == 'bf16' else torch.float32
    x = torch.randn(*shape, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
    x.requires_grad_(with_gradients)

    def run() -> None:
        with torch.set_grad_enabled(with_gradients), autocast(precision, device):
            y = scan(x)
        if with_gradients:
            with float32_math(precision, device):
                y.backward(torch.ones_like(y))

    def run_in_single_steps() -> None:
        with scan_kernels.disabled():
            run()

    variants: dict[str, Callable[[], None]] = {'single steps': run_in_single_steps, 'kernels': run}
    for warm_up in variants.values():
        warm_up()
    return time_in_turn(variants, 'single steps', rounds, device)
