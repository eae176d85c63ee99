"""Fair timing: variants of the same work in turn within one run, so that a noisy machine disturbs all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch


class Timing(NamedTuple):
    """Times of one variant.

    Attributes:
        seconds (float): Median over the rounds.
        ratio (float): Median over the rounds of the reference's time divided by this variant's.
        ratio_range (tuple[float, float]): Smallest and largest such ratio.
    """

    seconds: float
    ratio: float
    ratio_range: tuple[float, float]


def time_in_turn(
    variants: Mapping[str, Callable[[], object]], reference: str, rounds: int, device: torch.device
) -> dict[str, Timing]:
    """Run every variant once per round, and compare each with the reference of the same round.

    Args:
        variants (Mapping[str, Callable]): Work to time, by name; each has been called once before (warm-up).
        reference (str): Name of the variant that ratios are taken to.
        rounds (int): Number of rounds.
        device (device): Waited for before the clock is read.

    Returns:
        dict[str, Timing]: By name.
    """
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, work in variants.items():
            times[name].append(time_once(work, device))
    timings = {}
    for name, own in times.items():
        ratios = [base / seconds for base, seconds in zip(times[reference], own)]
        timings[name] = Timing(statistics.median(own), statistics.median(ratios), (min(ratios), max(ratios)))
    return timings


def time_once(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of one call, with the device's queue empty before and after."""
    synchronise(device)
    start = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - start


def synchronise(device: torch.device) -> None:
    """Wait for the work given to a GPU; nothing to do on a CPU."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def matrix_rate(dtype: torch.dtype, device: torch.device, side: int | None = None, rounds: int = 5) -> float:
    """Measure what the machine reaches in a large matrix product, the ceiling for convolutions.

    Args:
        dtype (dtype): float32 (without TF32 where the caller has switched it off) or bfloat16.
        device (device): Where to multiply.
        side (int | None): Rows and columns. Default: None, 8192 on a GPU and 2048 elsewhere.
        rounds (int): Products timed; the fastest counts. Default: 5.

    Returns:
        float: Floating-point operations per second.
    """
    side = side or (8192 if device.type == 'cuda' else 2048)
    first, second = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    first @ second
    return 2 * side**3 / min(time_once(lambda: first @ second, device) for _ in range(rounds))


def relative_difference(values: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the largest absolute difference divided by the largest magnitude of the reference."""
    reference = reference.double()
    return float((values.to(reference) - reference).abs().max() / reference.abs().max())
