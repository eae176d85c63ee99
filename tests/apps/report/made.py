"""Reports made of known cubes, with names that would be markup or script if anything let them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mulsr_plugin.apps.report.page import write_report
from mulsr_plugin.apps.report.scenes import Crop, LoadedScene, Metric, Report, ReportScene

HOSTILE = '</script><img src=x onerror="window.hacked=1">'
HOSTILE_METHODS = [HOSTILE, "');window.hacked=1;//", '<!--<script>', '=1+1', '&lt;b&gt; "Ü" \u2028 \\', 'Plain']
HOSTILE_SCENE = '<svg onload=window.hacked=1>${window.hacked=1}'
SIZE, BANDS = (41, 57), 12
WAVELENGTHS = np.linspace(410, 690, BANDS)


def known_cubes() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return a reference and a result for every method, each further off."""
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[0 : SIZE[0], 0 : SIZE[1]]
    shapes = np.stack([np.sin(rows / 7), np.cos(columns / 9), (rows > 20) * (columns > 30)], axis=-1)
    spectra = 0.5 + 0.5 * np.sin(np.arange(3)[:, None] + np.arange(BANDS) / 3)
    reference = (0.1 + 0.25 * (1 + shapes) @ spectra / 2).astype(np.float32)
    reference[:2, :2] = 0  # without a direction
    results = {
        method: (reference + rng.normal(scale=0.01 * (1 + number), size=reference.shape)).clip(0, 1).astype(np.float32)
        for number, method in enumerate(HOSTILE_METHODS)
    }
    return reference, results


def known_report() -> Report:
    """Return a report with a scene that has everything, and one of one band that has no reference."""
    reference, results = known_cubes()
    response = np.stack([np.linspace(0, 0.2, BANDS), np.linspace(0.2, 0, BANDS)])
    one_band = {'Plain': reference[..., :1]}
    full = ReportScene(
        HOSTILE_SCENE, 'Set', lambda _: LoadedScene(results, reference, list(WAVELENGTHS), response, HOSTILE)
    )
    rows = [
        {'scene': scene, 'dataset': 'Set', 'method': method, 'psnr': 40.0 - number + shift, 'sam': 1.0 + number}
        for scene, shift in ((HOSTILE_SCENE, 0.0), ('other', 2.0))
        for number, method in enumerate(HOSTILE_METHODS)
    ]
    metrics = [Metric('psnr', 'PSNR', True), Metric('sam', 'SAM', False)]
    scenes = [full, ReportScene('one band', 'Set', lambda _: LoadedScene(one_band, origin=(7, 3)))]
    return Report(HOSTILE, scenes, HOSTILE_METHODS, metrics, rows, [('Protocol', HOSTILE)])


def write_known_report(path: Path) -> Path:
    """Write it and return its path."""
    write_report(known_report(), path, Crop(10**9), f'mulsr report {HOSTILE}')
    return path
