"""Whether a guide image has the brightness and contrast that its spectral response makes of the cube."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Pixels of the cube a side that are averaged, so that neither a shift nor the kind of blur matters.
_WINDOW = 4
# The small networks that come along lose up to 0.5 dB at a factor of 0.9, 0.1 to 1.7 dB at 0.8, 6 to 9 dB at 0.4;
# registered scenes with the noise of the paper measure up to 0.07 from 1.
_LARGEST_DEVIATION = 0.1


class Radiometry(NamedTuple):
    """Brightness and contrast of the channels of a guide over those expected; 1 is right.

    Attributes:
        brightness (ndarray): (G,), ratio of the means.
        contrast (ndarray): (G,), ratio of the standard deviations of coarse structure; nan where there is none.
    """

    brightness: np.ndarray
    contrast: np.ndarray

    @property
    def is_right(self) -> bool:
        """Whether all ratios are within a tenth of 1."""
        ratios = np.concatenate([self.brightness, self.contrast[np.isfinite(self.contrast)]])
        return bool(np.abs(ratios - 1).max(initial=0) <= _LARGEST_DEVIATION)

    def describe(self, value_scale: float) -> str:
        """Say what is wrong and what to do.

        Args:
            value_scale (float): Factor that has brought the guide to [0, 1].
        """
        brightness, contrast = (_listed(ratios) for ratios in self)
        text = (
            f'By its spectral response the guide should be otherwise bright: brightness {brightness} and contrast '
            f'{contrast} times what the cube says of its {len(self.brightness)} channels. Networks lose several dB by '
            'that: '
        )
        mean = float(self.brightness.mean())
        if np.nanmax(np.abs(np.concatenate(self) / mean - 1)) <= _LARGEST_DEVIATION:
            return f'{text}give guide_value_scale (--guide-value-scale) {value_scale / mean:.4g}.'
        return f'{text}undo a gamma, stretch or offset of the guide, or name the response that it has.'


def guide_radiometry(cube: np.ndarray, guide: np.ndarray, response: np.ndarray) -> Radiometry | None:
    """Compare brightness and contrast of a guide with those that its response makes of the cube.

    Args:
        cube (ndarray): Low-resolution cube, (h, w, L) in [0, 1].
        guide (ndarray): (scale * h, scale * w, G) in [0, 1].
        response (ndarray): Spectral response, (G, L).

    Returns:
        Radiometry | None: None where a channel is black in the cube.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.data.radiometry import guide_radiometry
        >>> cube = np.random.default_rng(0).random((16, 16, 5))
        >>> guide = 0.4 * cube.mean(axis=2, keepdims=True).repeat(8, axis=0).repeat(8, axis=1)  # dimmed
        >>> found = guide_radiometry(cube, guide, np.full((1, 5), 0.2))
        >>> found.brightness.round(2).tolist(), found.contrast.round(2).tolist(), found.is_right
        ([0.4], [0.4], False)
    """
    side = min(_WINDOW, *cube.shape[:2])
    scale = guide.shape[0] // cube.shape[0]
    expected = _coarse(cube, side) @ response.T
    actual = _coarse(guide, side * scale)
    if not (expected.mean(axis=(0, 1)) > 0).all():
        return None
    spread = expected.std(axis=(0, 1))
    has_structure = spread > 1e-3 * expected.mean(axis=(0, 1))
    contrast = np.where(has_structure, actual.std(axis=(0, 1)) / np.where(has_structure, spread, 1), np.nan)
    return Radiometry(actual.mean(axis=(0, 1)) / expected.mean(axis=(0, 1)), contrast)


def _coarse(image: np.ndarray, side: int) -> np.ndarray:
    """Average squares of pixels; what is left over at the bottom and right does not count."""
    rows, columns = image.shape[0] // side, image.shape[1] // side
    part = image[: rows * side, : columns * side]
    return part.reshape(rows, side, columns, side, -1).mean(axis=(1, 3), dtype=np.float64)


def _listed(ratios: np.ndarray) -> str:
    return ', '.join(f'{ratio:.2f}' for ratio in ratios)
