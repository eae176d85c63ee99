"""Diagrams of a validation for TensorBoard: spectra of marked pixels and PSNR per band, the same over a training."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from torch import Tensor

from mulsr_plugin.data.false_colour import false_colour

_MARKED = 3
_MARKS = ('#d55e00', '#0072b2', '#009e73')  # Okabe and Ito's, which colour-blind readers tell apart
_INCHES, _DPI = (8.0, 2.6), 100


def validation_plots(
    result: Tensor, reference: Tensor | None, wavelengths: Sequence[float] | None = None
) -> dict[str, np.ndarray]:
    """Draw a result's spectra at three pixels, and its PSNR per band, beside its reference.

    The pixels are chosen by the reference alone, so that they stay the same over a training.

    Args:
        result: (H, W, L).
        reference: (H, W, L) in [0, 1], or None.
        wavelengths: Band centres in nm. Default: None, bands are numbered from 1.

    Returns:
        uint8 RGB pictures under ``bands``; empty without Matplotlib or without reference.
    """
    if reference is None or find_spec('matplotlib') is None:
        return {}
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    values, truth = result.detach().cpu().float().numpy(), reference.detach().cpu().float().numpy()
    positions = np.arange(1, truth.shape[2] + 1) if wavelengths is None else np.asarray(wavelengths)
    label = 'band' if wavelengths is None else 'wavelength (nm)'
    figure = Figure(_INCHES, dpi=_DPI, layout='constrained')
    picture, spectra, psnr = figure.subplots(1, 3, width_ratios=(1, 1.6, 1.6))
    picture.imshow(false_colour(truth, wavelengths))
    picture.set(xticks=[], yticks=[], title='marked pixels')
    for (row, column), colour in zip(marked_pixels(truth), _MARKS):
        picture.plot(column, row, 'o', color=colour, markeredgecolor='white')
        spectra.plot(positions, truth[row, column], color=colour)
        spectra.plot(positions, values[row, column], '--', color=colour)
    spectra.set(xlabel=label, title='reference (line), result (dashes)')
    psnr.plot(positions, _band_psnr(values, truth), 'k.-')
    psnr.set(xlabel=label, title='PSNR per band (dB)')
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return {'bands': np.asarray(canvas.buffer_rgba())[..., :3].copy()}


def marked_pixels(reference: np.ndarray) -> list[tuple[int, int]]:
    """Return the pixel whose spectrum varies most in each third of the columns, as (row, column).

    Args:
        reference: (H, W, L).
    """
    variation = reference.std(axis=2)
    strips = [strip for strip in np.array_split(np.arange(reference.shape[1]), _MARKED) if strip.size]
    places = [np.unravel_index(int(variation[:, strip].argmax()), (len(variation), strip.size)) for strip in strips]
    return [(int(row), int(strip[column])) for strip, (row, column) in zip(strips, places)]


def _band_psnr(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    errors = np.square(values - truth, dtype=np.float64).mean(axis=(0, 1))
    return np.where(errors > 0, -10 * np.log10(np.maximum(errors, 1e-30)), np.nan)
