"""How far a cube and its guide image are shifted against each other."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

# Smaller correlations of the registered images mean that they have too little in common for a measurement.
_SMALLEST_CORRELATION = 0.4
# OpenCV's registration needs some pixels to work with.
_SMALLEST_SIDE = 8
_CRITERIA = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
_SMOOTHING = 3  # pixels: width of the Gaussian that the images are smoothed with, as OpenCV recommends


class Shift(NamedTuple):
    """Place of a cube's content relative to that of its guide image, in pixels of the guide image.

    Attributes:
        down (float): How far the cube's content lies further down.
        right (float): How far it lies further to the right.
        correlation (float): Correlation coefficient of the two images after undoing the shift.
    """

    down: float
    right: float
    correlation: float


def measure_shift(cube: np.ndarray, guide: np.ndarray) -> Shift | None:
    """Measure the shift between a low-resolution cube and its guide image.

    The mean of the cube's bands is registered with the mean of the guide's channels, averaged over the pixels that make
    up one of the cube: to whole pixels by phase correlation, then by maximising the enhanced correlation coefficient,
    which a difference in brightness and contrast does not disturb. The error is about a twentieth of a pixel of the
    cube for 64x64 pixels and more, a tenth for 32x32.

    Args:
        cube (ndarray): (h, w, L), any linear unit.
        guide (ndarray): (H, W, G), H a whole multiple of h and W the same of w, any linear unit.

    Returns:
        Shift | None: None where it cannot be measured: images of fewer than 8x8 pixels, without structure, or with too
        little in common.

    Reference: Evangelidis, Psarakis, Parametric image alignment using enhanced correlation coefficient maximization,
    IEEE TPAMI 30(10), 2008 (OpenCV's findTransformECC).
    """
    height, width = cube.shape[:2]
    scale = guide.shape[0] // height
    blocks = guide.reshape(height, scale, width, scale, -1)
    fixed, moving = (_standardised(image) for image in (blocks.mean(axis=(1, 3, 4)), cube.mean(axis=2)))
    if min(height, width) < _SMALLEST_SIDE or fixed is None or moving is None:
        return None
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    (right, down), _ = cv2.phaseCorrelate(fixed, moving, window)
    # phase correlation may be far out on few pixels, so that the search from no shift is made as well
    best = max((_refined(fixed, moving, *start) for start in ((0.0, 0.0), (down, right))), key=lambda s: s.correlation)
    if best.correlation < _SMALLEST_CORRELATION:
        return None
    return Shift(scale * best.down, scale * best.right, best.correlation)


def _standardised(image: np.ndarray) -> np.ndarray | None:
    """Bring an image to mean 0 and standard deviation 1, float32; None if all pixels are equal."""
    image = image.astype(np.float64)
    spread = image.std()
    if not np.isfinite(spread) or spread <= 1e-9 * np.abs(image).max():
        return None
    return ((image - image.mean()) / spread).astype(np.float32)


def _refined(fixed: np.ndarray, moving: np.ndarray, down: float, right: float) -> Shift:
    """Register from a first guess, all in pixels of these images; correlation -1 if that does not converge."""
    start = np.array([[1, 0, right], [0, 1, down]], np.float32)
    everywhere = np.ones(fixed.shape, np.uint8)
    try:
        correlation, found = cv2.findTransformECC(
            fixed, moving, start, cv2.MOTION_TRANSLATION, _CRITERIA, everywhere, _SMOOTHING
        )
    except cv2.error:  # the images do not overlap at the guess, or have nothing in common there
        return Shift(down, right, -1.0)
    return Shift(float(found[1, 2]), float(found[0, 2]), float(correlation))
