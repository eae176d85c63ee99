"""Reports of inference and evaluation as JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mulsr_plugin.apps.super_resolution import InferenceReport
from mulsr_plugin.utils.files import replace_text


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write values as JSON, whole or not at all; infinite numbers are written as texts.

    Raises:
        OSError: The file cannot be written.
    """
    replace_text(path.expanduser(), json.dumps(content, indent=1, default=str, allow_nan=False) + '\n')


def plain_report(report: InferenceReport) -> dict[str, Any]:
    """Return what inference has found out as values of JSON.

    Args:
        report (InferenceReport): Of one image.
    """
    shift = None if report.shift is None else report.shift._asdict()
    sensor = None if report.sensor is None else report.sensor.statement
    return {
        'shape': list(report.shape),
        'scale': report.scale,
        'network': dict(report.network),
        'shift': shift,
        'sensor': sensor,
        'tile': None if report.tile is None else report.tile._asdict(),
        'deviation': None if report.deviation is None else report.deviation._asdict(),
        'consistency': dict(report.consistency),
        'quality': {name: value if abs(value) < float('inf') else str(value) for name, value in report.quality.items()},
    }
