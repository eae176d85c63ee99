"""Consistency of a result with its inputs, and whether it is good.

It is measured from strips of rows: the whole need never be in the memory.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from basicsr.utils import get_root_logger

from mulsr_plugin.data.cube import Cube, scaled_to_unit
from mulsr_plugin.metrics.rmse import calculate_rmse
from mulsr_plugin.metrics.sam import calculate_sam
from mulsr_plugin.sensor.model import SensorModel
from mulsr_plugin.sensor.noise import estimate_noise

_PART_SIZE = 1 << 26  # bytes of the bands that are blurred at a time
# Of the standard deviation of the cube: what bicubic interpolation and models of the blur leave without any noise.
_UNAVOIDABLE = 0.01
_GOOD, _POOR = 2.0, 5.0


class ConsistencyMeter:
    """Compare a result with the cube and the guide that it was made from, in the range [0, 1].

    A blur is linear: the cube that it makes of the whole is the sum of those that it makes of the strips.

    Args:
        lq (ndarray): Low-resolution cube, (h, w, L) float32.
        sensor (SensorModel | None): Whose blur and downsampling the result is compared with the cube by; None for a
            blur that is not known, which leaves out the spectral figures.
        guide (ndarray | None): Guide image, (H, W, G) float32. Default: None.
        response (ndarray | None): Its spectral response, (G, L); None leaves out the spatial figure. Default: None.
    """

    def __init__(
        self,
        lq: np.ndarray,
        sensor: SensorModel | None,
        guide: np.ndarray | None = None,
        response: np.ndarray | None = None,
    ) -> None:
        self._lq, self._guide, self._response = lq, guide, response
        if sensor is not None and sensor.steps[-1].boundary == 'circular':  # which would join first and last strip
            sensor = sensor.with_boundary('symmetric')
        self._sensor, self._low = sensor, None if sensor is None else torch.zeros(lq.shape[2], *lq.shape[:2])
        self._error, self._count = 0.0, 0

    def add(self, first: int, rows: np.ndarray) -> None:
        """Take in rows (n, W, L) of the result, float32; n and the first row are multiples of the scale."""
        if self._sensor is not None:
            self._add_blurred(first, rows)
        if self._guide is not None and self._response is not None:
            seen = rows.astype(np.float64) @ self._response.T.astype(np.float64)
            self._error += float(np.square(seen - self._guide[first : first + len(rows)]).sum())
            self._count += seen.size

    def figures(self) -> dict[str, float]:
        """Return the figures of all rows taken in, by name; none where nothing is known to compare by."""
        figures = {}
        if self._low is not None:
            low = self._low.permute(1, 2, 0)
            figures['spectral consistency (RMSE)'] = calculate_rmse(low, self._lq)
            figures['spectral consistency (SAM)'] = calculate_sam(low, self._lq)
        if self._count:
            figures['spatial consistency (RMSE)'] = math.sqrt(self._error / self._count)
        return figures

    def _add_blurred(self, first: int, rows: np.ndarray) -> None:
        """Blur the rows between zeros, as far as the blur reaches and the image goes."""
        assert self._sensor is not None and self._low is not None
        scale = self._sensor.scale
        start, stop = first // scale, (first + len(rows)) // scale
        top, bottom = max(0, start - self._sensor.reach - 1), min(len(self._lq), stop + self._sensor.reach + 1)
        height, width = (bottom - top) * scale, rows.shape[1]
        part = max(1, _PART_SIZE // (4 * height * width))
        for band in range(0, rows.shape[2], part):
            bands = slice(band, min(rows.shape[2], band + part))
            window = torch.zeros(bands.stop - bands.start, height, width)
            inside = slice((start - top) * scale, (stop - top) * scale)
            window[:, inside] = torch.from_numpy(np.ascontiguousarray(rows[..., bands])).permute(2, 0, 1)
            self._low[bands, top:bottom] += self._sensor.blur(window[None])[0]


def log_judgement(rmse: float, cube: Cube) -> None:
    """Log what a spectral consistency means, as a warning if it is poor; see :func:`judged_consistency`."""
    text, is_poor = judged_consistency(rmse, cube)
    if is_poor:
        get_root_logger().warning(f'The spectral consistency is {text}: the result has colours that the cube has not.')
    else:
        get_root_logger().info(f'The spectral consistency is {text}.')


def judged_consistency(rmse: float, cube: Cube) -> tuple[str, bool]:
    """Compare a spectral consistency with the noise of the cube.

    A result that is right differs from the cube by the noise of the cube, and by a hundredth of its standard deviation
    for what no model of a blur gets right. Up to twice that is called good, from five times on poor.

    Args:
        rmse (float): Root mean square difference of blurred result and cube, in the range [0, 1].
        cube (Cube): (h, w, L).

    Returns:
        tuple[str, bool]: What the figure means, and whether it is poor.
    """
    lq = torch.from_numpy(scaled_to_unit(cube.values, cube.scale)).permute(2, 0, 1)
    noise = float(estimate_noise(lq).square().mean().sqrt())
    expected = (noise**2 + (_UNAVOIDABLE * float(lq.std())) ** 2) ** 0.5
    ratio = rmse / max(expected, 1e-9)
    grade = 'good' if ratio <= _GOOD else 'poor' if ratio > _POOR else 'fair'
    known = f'noise of the cube {noise:.2g}' if noise else 'no noise in the cube'
    return f'{grade}: {ratio:.1f} times what is to be expected ({expected:.2g}; {known})', grade == 'poor'
