"""Estimate a spectral response from a cube and a registered guide image of the same scene."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.sources.pair import scale_of_pair
from mulsr_plugin.data.spectral_response import SMALLEST_WAVELENGTH
from mulsr_plugin.utils.files import PathLike, whole_files


class ResponseEstimate(NamedTuple):
    """A spectral response with the figures of its fit.

    Attributes:
        response (ndarray): (G, L) float64, not negative, every row sums to 1.
        gains (ndarray): (G,), sum of the weights of every channel before that: brightness of guide against cube.
        residuals (ndarray): (G,), root mean square of what the fit leaves, over that of the channel: 0 is perfect, 1
            no better than nothing.
    """

    response: np.ndarray
    gains: np.ndarray
    residuals: np.ndarray


def estimate_of_pair(cube: Cube, guide: Cube, degradation: str = 'noise_free') -> ResponseEstimate:
    """Estimate the response of a guide at the resolution of the cube.

    Args:
        cube (Cube): (h, w, L).
        guide (Cube): (h, w, G) or a whole multiple of these sides; then it is reduced first.
        degradation (str): Preset that reduces the guide, see ``build_degradation``. Default: noise_free.

    Raises:
        ValueError: The sizes are not in a whole ratio, or see :func:`estimate_spectral_response`.
    """
    values = _in_unit_range(guide)
    if values.shape[:2] != cube.values.shape[:2]:
        scale = scale_of_pair(cube.values.shape[:2], values.shape[:2])
        planes = np.ascontiguousarray(values.transpose(2, 0, 1))
        values = build_degradation(degradation, scale)(planes, np.random.default_rng(0)).transpose(1, 2, 0)
    return estimate_spectral_response(_in_unit_range(cube), values)


def estimate_spectral_response(cube: np.ndarray, guide: np.ndarray) -> ResponseEstimate:
    """Find the non-negative weights that make each channel of a guide from the bands, by least squares over all pixels.

    With many narrow bands the fit is good but the weights are spiky and not unique, because neighbouring bands look
    alike.

    Args:
        cube (ndarray): (h, w, L).
        guide (ndarray): (h, w, G).

    Raises:
        ValueError: The sizes differ, there are fewer pixels than bands, or no positive weights make a channel.
    """
    if cube.shape[:2] != guide.shape[:2]:
        raise ValueError(f'The cube has {cube.shape[:2]} pixels and the guide {guide.shape[:2]}; expected equal sizes.')
    spectra, channels = (array.reshape(-1, array.shape[2]).astype(np.float64) for array in (cube, guide))
    if len(spectra) < spectra.shape[1]:
        raise ValueError(
            f'{len(spectra)} pixels cannot determine the weights of {spectra.shape[1]} bands; use a larger pair.'
        )
    weights = non_negative_weights(spectra, channels)
    gains = weights.sum(axis=1)
    if not (gains > 0).all():
        raise ValueError(
            f'No positive weights of the bands make channel {int(np.argmin(gains)) + 1} of the guide; is it registered '
            'with the cube, and within its wavelengths?'
        )
    left = channels - spectra @ weights.T
    residuals = np.sqrt((left**2).mean(axis=0) / (channels**2).mean(axis=0))
    return ResponseEstimate(weights / gains[:, None], gains, residuals)


def non_negative_weights(spectra: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """Solve channels = spectra W^T for W >= 0 by least squares.

    Args:
        spectra (ndarray): (N, L) float64, one pixel a row.
        channels (ndarray): (N, G) float64.

    Returns:
        ndarray: W, (G, L) float64.
    """
    # An orthogonal reduction to at most L equations has the same solution.
    orthogonal, triangular = np.linalg.qr(spectra)
    return np.stack([nnls(triangular, orthogonal.T @ channel)[0] for channel in channels.T])


def write_response(path: PathLike, estimate: ResponseEstimate, wavelengths: tuple[float, ...] | None = None) -> None:
    """Write a response as a .csv file that ``spectral_response`` of an option file accepts.

    Args:
        path (str | PathLike): New file.
        estimate (ResponseEstimate): What to write; gains and residuals become comments.
        wavelengths (tuple[float] | None): Band centres in nm, which make the file a table over rising centres; None, or
            bands of the same centre, make it a matrix for cubes of the same bands. Default: None.

    Raises:
        FileExistsError: It exists.
        ValueError: The name does not end in .csv.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() != '.csv':
        raise ValueError(f'{path} does not end in .csv, which spectral responses are written as; correct the name.')
    names = [f'channel_{number}' for number in range(1, len(estimate.response) + 1)]
    columns = estimate.response.T
    if (
        wavelengths is not None
        and min(wavelengths) >= SMALLEST_WAVELENGTH
        and len(set(wavelengths)) == len(wavelengths)
    ):
        rising = np.argsort(wavelengths)
        names, columns = ['wavelength_nm', *names], np.column_stack([wavelengths, columns])[rising]
    comments = [
        f'# channel {number}: gain {gain:.6g}, relative residual {residual:.6g}\n'
        for number, (gain, residual) in enumerate(zip(estimate.gains, estimate.residuals), 1)
    ]
    rows = (','.join(f'{value:.9g}' for value in row) for row in columns)
    text = ''.join([*comments, ','.join(names), '\n', *(f'{row}\n' for row in rows)])
    with whole_files(path, overwrite=False) as temporary:
        temporary.write_text(text, encoding='utf-8')


def _in_unit_range(cube: Cube) -> np.ndarray:
    return np.multiply(cube.values, np.float32(cube.scale), dtype=np.float32, casting='unsafe')
