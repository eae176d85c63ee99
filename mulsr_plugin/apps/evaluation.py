"""A result measured against a reference, with every spectral metric that the two allow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger

from mulsr_plugin.apps.pair_checks import log_notes
from mulsr_plugin.apps.super_resolution import InferenceReport
from mulsr_plugin.data.cube import Cube, Doubt, scaled_to_unit
from mulsr_plugin.data.formats import read_cube
from mulsr_plugin.utils.files import PathLike
from mulsr_plugin.utils.tables import markdown_table

METRICS: dict[str, tuple[str, str]] = {
    'psnr': ('calculate_hsi_psnr', 'PSNR of the whole cube, peak 1 (dB)'),
    'mpsnr': ('calculate_mpsnr', 'mean over bands of the PSNR, peak 1 (dB)'),
    'ssim': ('calculate_hsi_ssim', 'SSIM, Gaussian 11x11 of std 1.5, mean over bands'),
    'sam': ('calculate_sam', 'spectral angle, mean over pixels (degrees)'),
    'rmse': ('calculate_rmse', 'RMSE in the range [0, 1]'),
    'ergas': ('calculate_ergas', 'ERGAS with 100 / scale'),
    'cc': ('calculate_cc', 'correlation, mean over bands'),
    'uiqi': ('calculate_uiqi', 'UIQI in windows of 8x8, mean over bands'),
    'q2n': ('calculate_q2n', 'Q2n in blocks of 32x32'),
}
"""Registered name and convention of every metric, by the name that it has in tables."""
_SAME_WAVELENGTH = 1.0  # nm
_LARGEST_RATIO = 2.0


@dataclass(frozen=True)
class Evaluation:
    """Quality of a result.

    Attributes:
        shape (tuple[int, int, int]): Rows, columns and bands compared, after the border was dropped.
        scale (int | None): Super-resolution factor, for ERGAS.
        border (int): Pixels dropped on each side first.
        metrics (Mapping[str, float]): By the names of :data:`METRICS`.
        psnr_per_band (tuple[float]): dB at peak 1.
        left_out (Mapping[str, str]): Why each of the other metrics is missing, by name.
        notes (tuple[str]): What was changed for the comparison; what looks wrong is a ``Doubt``.
    """

    shape: tuple[int, int, int]
    scale: int | None
    border: int
    metrics: Mapping[str, float]
    psnr_per_band: tuple[float, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """Return the metrics as a Markdown table with their conventions."""
        rows = [[name.upper(), f'{value:.4f}', METRICS[name][1]] for name, value in self.metrics.items()]
        rows += [[name.upper(), 'left out', reason] for name, reason in self.left_out.items()]
        return markdown_table(['metric', 'value', 'convention'], rows)

    def plain(self) -> dict[str, Any]:
        """Return all as values of JSON; infinite numbers as the text 'inf'."""
        content = {**asdict(self), 'conventions': {name: METRICS[name][1] for name in self.metrics}}
        content['metrics'] = {name: _finite(value) for name, value in self.metrics.items()}
        content['psnr_per_band'] = [_finite(value) for value in self.psnr_per_band]
        return content


def evaluate_cubes(result: Cube, reference: Cube, scale: int | None = None, border: int = 0) -> Evaluation:
    """Compute all spectral metrics of a result.

    A reference that is larger by less than the scale is cut at the bottom and right, as ``simulate`` cuts it.

    Args:
        result (Cube): (H, W, L).
        reference (Cube): Same shape.
        scale (int | None): Super-resolution factor. Default: None, unknown; then ERGAS is left out.
        border (int): Pixels dropped on each side first. Default: 0.

    Raises:
        ValueError: Shapes or wavelengths differ, or the border leaves nothing.
    """
    if border < 0 or (scale is not None and scale < 1):
        raise ValueError(f'border is {border} and scale {scale}, expected at least 0 and at least 1: correct them.')
    reference, notes = _fitting(result, reference, scale)
    check_comparable(result, reference)
    height, width = (side - 2 * border for side in result.values.shape[:2])
    if min(height, width) < 1:
        raise ValueError(
            f'A border of {border} pixels leaves nothing of {result.values.shape[0]}x{result.values.shape[1]}: give a '
            'smaller one.'
        )
    images = {
        name: scaled_to_unit(cube.values[border : border + height, border : border + width], cube.scale)
        for name, cube in (('img', result), ('img2', reference))
    }
    metrics, left_out = _measured(images, scale)
    return Evaluation(
        (height, width, result.num_bands),
        scale,
        border,
        metrics,
        _psnr_per_band(**images),
        left_out,
        (*notes, *_doubts(**images)),
    )


def read_reference(path: PathLike, options: Mapping[str, Any], cube: Cube, scale: int) -> Cube:
    """Read the reference of a super-resolution that is still to be made, and check that it fits.

    Args:
        path (str | PathLike): File of the reference.
        options (Mapping): Arguments of ``read_cube`` for it.
        cube (Cube): Low-resolution cube, (h, w, L).
        scale (int): Super-resolution factor.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not of the size or the bands that the result will have.
    """
    reference = read_cube(path, **options)
    height, width = (scale * side for side in cube.values.shape[:2])
    expected = replace(cube, values=np.broadcast_to(np.zeros(1, np.float32), (height, width, cube.num_bands)), scale=1)
    check_comparable(expected, _fitting(expected, reference, scale)[0])
    return reference


def with_quality(report: InferenceReport, result: PathLike, reference: Cube) -> InferenceReport:
    """Measure a result that inference has written, log its metrics and add them to the report."""
    evaluation = evaluate_cubes(read_cube(result), reference, report.scale)
    log_evaluation(evaluation)
    return replace(report, quality=evaluation.metrics)


def log_evaluation(evaluation: Evaluation) -> None:
    """Log the metrics, a line each, and what looks wrong."""
    for name, value in evaluation.metrics.items():
        get_root_logger().info(f'{name.upper()}: {value:.4f}, {METRICS[name][1]}')
    for name, reason in evaluation.left_out.items():
        get_root_logger().info(f'{name.upper()} is left out: {reason}')
    log_notes(cube=evaluation.notes)


def check_comparable(result: Cube, reference: Cube) -> None:
    """Refuse cubes of other shapes or bands.

    Raises:
        ValueError: Shapes or wavelengths differ.
    """
    if result.values.shape != reference.values.shape:
        raise ValueError(
            f'The result has the shape {result.values.shape} and the reference {reference.values.shape} (rows, columns '
            'and bands): give the reference of the same ground, pixels and bands, cut to the same size.'
        )
    if result.wavelengths is None or reference.wavelengths is None:
        return
    apart = np.abs(np.subtract(result.wavelengths, reference.wavelengths))
    if apart.max() > _SAME_WAVELENGTH:
        band = int(np.argmax(apart > _SAME_WAVELENGTH))
        raise ValueError(
            f'Band {band + 1} is at {result.wavelengths[band]:g} nm in the result and at '
            f'{reference.wavelengths[band]:g} nm in the reference: select the same bands in both, or give the right '
            'wavelengths (--wavelengths).'
        )


def _fitting(result: Cube, reference: Cube, scale: int | None) -> tuple[Cube, list[str]]:
    """Cut what a simulation would have cut from a reference."""
    (height, width), (rows, columns) = result.values.shape[:2], reference.values.shape[:2]
    if scale is None or (height, width) == (rows, columns):
        return reference, []
    if (height, width) != (rows // scale * scale, columns // scale * scale):
        return reference, []
    cut = replace(reference, values=reference.values[:height, :width])
    return cut, [f'the reference of {rows}x{columns} is cut at the bottom and right to {height}x{width}']


def _measured(images: Mapping[str, np.ndarray], scale: int | None) -> tuple[dict[str, float], dict[str, str]]:
    metrics, left_out = {}, {}
    for name, (registered, _) in METRICS.items():
        if name == 'ergas' and scale is None:
            left_out[name] = 'needs the scale (--scale)'
            continue
        options = {'type': registered} if scale is None else {'type': registered, 'scale': scale}
        try:
            metrics[name] = float(calculate_metric(dict(images), options))
        except ValueError as error:  # smaller than the window of the metric
            left_out[name] = str(error)
    return metrics, left_out


def _psnr_per_band(img: np.ndarray, img2: np.ndarray) -> tuple[float, ...]:
    errors = np.square(img.astype(np.float64) - img2).mean(axis=(0, 1))
    return tuple(-10 * math.log10(error) if error > 0 else math.inf for error in errors)


def _doubts(img: np.ndarray, img2: np.ndarray) -> list[str]:
    """Name ranges that make a comparison meaningless."""
    means = float(img.mean()), float(img2.mean())
    if max(means) <= _LARGEST_RATIO * min(means):
        return []
    return [
        Doubt(
            f'the mean of the result is {means[0]:.3g} and that of the reference {means[1]:.3g}: is the value scale '
            'of one of them wrong?'
        )
    ]


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
