"""Where the time of a forward pass goes, by operator, for the reference and for ours."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from mulsr_plugin.models.inference import apply_network
from mulsr_plugin.ops.weight_norm import fold_weight_norm
from mulsr_plugin.utils.tables import markdown_table
from scripts.dev.speed.cases import Setting, build_networks, make_images, precisions_of, reference_scene

_OPERATORS = 8


def profile_forward(setting: Setting, num_bands: int = 4) -> dict[str, dict[str, float]]:
    """Profile the super-resolution of some bands of a crop.

    Args:
        setting: Where and on what.
        num_bands: Bands computed. Default: 4.

    Returns:
        By variant (the reference's name, then our precisions): share of each operator's own time, largest first; the
        rest is under 'other'.
    """
    theirs, ours = build_networks(setting)
    images, bands = make_images(setting, setting.crop, setting.num_bands), range(num_bands)
    folded = fold_weight_norm(ours)
    works: dict[str, Callable[[], Any]] = {
        setting.reference.name: partial(reference_scene, setting.reference, theirs, images, bands)
    }
    for precision in precisions_of(setting.device):
        works[precision] = partial(apply_network, folded, images['lq'], images['rgb'], bands=bands, precision=precision)
    return {name: operator_shares(work, setting.device) for name, work in works.items()}


def operator_shares(work: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """Return the share of each operator's own time in a call, after one that warms up."""
    work()
    kinds = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == 'cuda' else [])]
    with profile(activities=kinds) as record:
        work()
    own = 'self_device_time_total' if device.type == 'cuda' else 'self_cpu_time_total'
    times = {event.key: getattr(event, own) for event in record.key_averages()}
    total, largest = sum(times.values()), sorted(times, key=lambda name: -times[name])[:_OPERATORS]
    shares = {name: times[name] / total for name in largest}
    return {**shares, 'other': 1 - sum(shares.values())}


def profile_table(profiles: dict[str, dict[str, float]]) -> str:
    """Set the shares of all variants side by side as a Markdown table, one row per operator."""
    operators = dict.fromkeys(name for shares in profiles.values() for name in shares if name != 'other')
    rows = [
        [name, *(f'{shares[name]:.1%}' if name in shares else '' for shares in profiles.values())]
        for name in [*operators, 'other']
    ]
    return markdown_table(['Operator', *profiles], rows)
