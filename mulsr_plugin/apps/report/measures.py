"""What a report says of every pixel and every band."""

from __future__ import annotations

import numpy as np


def angle_map(result: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Compute the spectral angle of every pixel.

    Args:
        result: (H, W, L) float.
        reference: Same shape.

    Returns:
        Degrees, float32 (H, W); NaN where a spectrum is zero.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.apps.report.measures import angle_map
        >>> reference = np.array([[[1.0, 0.0], [0.0, 0.0]]])
        >>> angle_map(np.array([[[0.5, 0.5], [0.5, 0.5]]]), reference).round(3).tolist()
        [[45.0, nan]]
    """
    angles = np.empty(result.shape[:2], np.float32)
    for row, (spectra, others) in enumerate(zip(result, reference)):  # double precision of a whole cube is much
        spectra, others = spectra.astype(np.float64), others.astype(np.float64)
        norms = np.sqrt(np.square(spectra).sum(-1) * np.square(others).sum(-1))
        with np.errstate(divide='ignore', invalid='ignore'):
            angles[row] = np.degrees(np.arccos(np.clip((spectra * others).sum(-1) / norms, -1, 1)))
    return angles


def common_top(maps: list[np.ndarray]) -> tuple[float, float]:
    """Return the largest value of several maps, and the one up to which colours run first: the 99.5 percentile."""
    values = np.concatenate([values[np.isfinite(values)] for values in maps])
    if not values.size or values.max() <= 0:
        return 1.0, 1.0
    return float(values.max()), max(float(np.percentile(values, 99.5)), float(values.max()) / 1000)
