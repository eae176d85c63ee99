"""Measure the cases of the speed benchmark and write them as JSON and as a Markdown table."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from mulsr_plugin.utils.tables import markdown_table
from scripts.dev.speed.cases import Case, Setting
from scripts.dev.speed.measure import matrix_rate, time_in_turn

HEAD = ('Work', 'Variant', 'Time', 'Ratio (range)', 'Difference', 'Peak MiB', 'GFLOP/s (of matrix product)')


def matrix_rates(device: torch.device, side: int | None = None) -> dict[str, float]:
    """Measure the rate of a matrix product, see :func:`matrix_rate`, in the precisions of the benchmark, in FLOP/s."""
    rates = {'fp32': matrix_rate(torch.float32, device, side), 'bf16': matrix_rate(torch.bfloat16, device, side)}
    if device.type == 'cuda':
        torch.backends.cuda.matmul.allow_tf32 = True
        rates['tf32'] = matrix_rate(torch.float32, device, side)
        torch.backends.cuda.matmul.allow_tf32 = False
    return rates


def measure(case: Case, setting: Setting, rates: dict[str, float], rounds: int) -> list[dict[str, Any]]:
    """Time a case, reference and variants in turn.

    Args:
        case: What to time.
        setting: Where.
        rates: Rate of a matrix product by precision, FLOP/s.
        rounds: Rounds.

    Returns:
        One row per variant, the reference first.
    """
    works = {'reference': case.reference, **case.ours}
    timings = time_in_turn({name: work for name, (work, _) in works.items()}, 'reference', rounds, setting.device)
    rows = []
    for name, (_, units) in works.items():
        seconds, scale = timings[name].seconds / units, units / case.reference[1]
        precision = next((p for p in ('bf16', 'tf32') if p in name), 'fp32')
        rows.append(
            {
                'work': case.work,
                'unit': case.unit,
                'variant': case.base or setting.reference.name if name == 'reference' else name,
                'seconds_per_unit': seconds,
                'ratio': timings[name].ratio * scale,
                'ratio_range': [ratio * scale for ratio in timings[name].ratio_range],
                'difference': case.difference.get(name),
                'peak_mib': case.peak_mib.get(name),
                'flops_per_second': case.flops / seconds or None,
                'share_of_matrix_rate': case.flops / seconds / rates[precision] or None,
            }
        )
    return rows


def describe_machine(device: torch.device, rates: dict[str, float]) -> str:
    """Say in one line what was measured on."""
    if device.type == 'cuda':
        name = torch.cuda.get_device_name(device)
    else:
        name = f'{_processor()}, {torch.get_num_threads()} of {os.cpu_count()} cores'
    products = ', '.join(f'{precision} {rate / 1e9:.0f}' for precision, rate in rates.items())
    return f'{name}; PyTorch {torch.__version__}; matrix product, GFLOP/s: {products}'


def _processor() -> str:
    try:
        lines = Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(':')[1].strip() for line in lines if line.startswith('model name')), platform.machine())


def write_results(folder: Path, machine: str, command: str, rows: Iterable[dict[str, Any]]) -> str:
    """Write ``speed.json`` and ``speed.md``; return the Markdown table."""
    rows = list(rows)
    folder.mkdir(parents=True, exist_ok=True)
    content = {'machine': machine, 'command': command, 'rows': rows}
    (folder / 'speed.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')
    table = markdown_table(HEAD, map(_cells, rows))
    (folder / 'speed.md').write_text(f'{machine}\n\n`{command}`\n\n{table}\n', encoding='utf-8')
    return table


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    """Format one row."""
    low, high = row['ratio_range']
    rate, share = row['flops_per_second'], row['share_of_matrix_rate']
    return (
        row['work'],
        row['variant'],
        f'{_seconds(row["seconds_per_unit"])} per {row["unit"]}',
        f'{row["ratio"]:.3g} ({low:.3g} to {high:.3g})',
        '' if row['difference'] is None else f'{row["difference"]:.1e}',
        '' if row['peak_mib'] is None else f'{row["peak_mib"]:.0f}',
        '' if rate is None else f'{rate / 1e9:.0f} ({share:.0%})',
    )


def _seconds(seconds: float) -> str:
    return f'{seconds:.3g} s' if seconds >= 1 else f'{1e3 * seconds:.3g} ms'
