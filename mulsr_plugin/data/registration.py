"""How far a cube and its guide image are shifted against each other, by their contents and by their georeferences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from mulsr_plugin.data.cube import Cube, Doubt, GeoReference

# Smaller correlations of the registered images mean that they have too little in common for a measurement.
_SMALLEST_CORRELATION = 0.4
# OpenCV's registration needs some pixels to work with.
_SMALLEST_SIDE = 8
# Of the bands, that together may explain the guide.
_MOST_COMPONENTS = 8
_PIXELS_PER_COMPONENT = 32
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

    The combination of the cube's bands that explains the mean of the guide's channels best is registered with that
    mean, averaged over the pixels that make up one of the cube: to whole pixels by phase correlation, then by
    maximising the enhanced correlation coefficient, which a difference in brightness and contrast does not disturb. A
    guide of one channel shows other things bright than the mean of all bands does, which by itself looks like a shift.
    The error is about a twentieth of a pixel of the cube for 64x64 pixels and more, a tenth for 32x32.

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
    # some versions of OpenCV apply the window to the images that they are given
    (right, down), _ = cv2.phaseCorrelate(fixed.copy(), moving.copy(), window)
    # phase correlation may be far out on few pixels, so that the search from no shift is made as well
    starts = [Shift(0.0, 0.0, 0.0), Shift(down, right, 0.0)]
    starts.append(max((_refined(fixed, moving, start) for start in starts), key=lambda shift: shift.correlation))
    components = _components(cube)
    found = [_refined(fixed, _explaining(components, fixed, start), start) for start in starts]
    best = max(found, key=lambda shift: shift.correlation)
    best = _refined(fixed, _explaining(components, fixed, best), best)
    if best.correlation < _SMALLEST_CORRELATION:
        return None
    return Shift(scale * best.down, scale * best.right, best.correlation)


def _components(cube: np.ndarray) -> np.ndarray:
    """Return the strongest principal components of the bands, the mean of the bands first, (K, h, w) float32."""
    bands = cube.reshape(-1, cube.shape[2]).astype(np.float64)
    bands = bands - bands.mean(axis=0)
    vectors = np.linalg.eigh(bands.T @ bands)[1][:, ::-1]
    count = min(_MOST_COMPONENTS, cube.shape[2] - 1, len(bands) // _PIXELS_PER_COMPONENT)
    weights = np.column_stack([np.ones(cube.shape[2]), vectors[:, :count]])
    images = (bands @ weights).T.reshape(-1, *cube.shape[:2])
    return np.stack([image for image in map(_standardised, images) if image is not None])


def _explaining(components: np.ndarray, fixed: np.ndarray, shift: Shift) -> np.ndarray:
    """Return the combination of the components that is most like the guide after undoing a shift, (h, w) float32."""
    down, right = round(shift.down), round(shift.right)
    height, width = fixed.shape
    rows, columns = slice(max(0, -down), height - max(0, down)), slice(max(0, -right), width - max(0, right))
    there = slice(rows.start + down, rows.stop + down), slice(columns.start + right, columns.stop + right)
    known, wanted = components[(slice(None), *there)].reshape(len(components), -1), fixed[rows, columns].ravel()
    if known.shape[1] < _PIXELS_PER_COMPONENT * len(components):
        return components[0]
    weights = np.linalg.lstsq(known.T - known.mean(axis=1), wanted - wanted.mean(), rcond=1e-4)[0]
    combination = _standardised(np.tensordot(weights, components, axes=1))
    return components[0] if combination is None else combination


def _standardised(image: np.ndarray) -> np.ndarray | None:
    """Bring an image to mean 0 and standard deviation 1, float32; None if all pixels are equal."""
    image = image.astype(np.float64)
    spread = image.std()
    if not np.isfinite(spread) or spread <= 1e-9 * np.abs(image).max():
        return None
    return ((image - image.mean()) / spread).astype(np.float32)


def _refined(fixed: np.ndarray, moving: np.ndarray, start: Shift) -> Shift:
    """Register from a first guess, all in pixels of these images; correlation -1 if that does not converge."""
    matrix = np.array([[1, 0, start.right], [0, 1, start.down]], np.float32)
    # near the border the smoothing has mixed in what the other image does not show
    height, width = fixed.shape
    down, right = (min(int(abs(n)) + _SMOOTHING, side // 4) for n, side in ((start.down, height), (start.right, width)))
    inner = np.zeros(fixed.shape, np.uint8)
    inner[down : height - down, right : width - right] = 1
    try:
        correlation, found = cv2.findTransformECC(
            fixed, moving, matrix, cv2.MOTION_TRANSLATION, _CRITERIA, inner, _SMOOTHING
        )
    except cv2.error:  # the images do not overlap at the guess, or have nothing in common there
        return Shift(start.down, start.right, -1.0)
    return Shift(float(found[1, 2]), float(found[0, 2]), float(correlation))


def places_apart(
    cube: GeoReference | None, guide: GeoReference | None, cube_size: Sequence[int], guide_size: Sequence[int]
) -> float | None:
    """Return how far the corners of cube and guide lie apart by their georeferences, in pixels of the cube.

    Coordinate systems are compared by what they do with the corners, not by their text: formats write the same system
    in different words.

    Args:
        cube (GeoReference | None): Of the cube; None for unknown.
        guide (GeoReference | None): Of the guide; None for unknown.
        cube_size (Sequence[int]): Rows and columns of the cube.
        guide_size (Sequence[int]): Rows and columns of the guide.

    Returns:
        float | None: The largest distance of a corner along rows or columns; None where a georeference is unknown, one
        alone names its coordinate system, or the systems cannot be converted into each other.

    Example:
        >>> from mulsr_plugin.data.cube import Cube, Doubt, GeoReference
        >>> from mulsr_plugin.data.registration import places_apart
        >>> cube = GeoReference((8.0, 0.0, 500000.0, 0.0, -8.0, 4600000.0))
        >>> guide = GeoReference((2.0, 0.0, 500012.0, 0.0, -2.0, 4600000.0))  # 12 m further to the east
        >>> places_apart(cube, guide, (10, 10), (40, 40))
        1.5
    """
    if cube is None or guide is None:
        return None
    corners = _corners(guide_size) @ _affine(guide).T
    if guide.crs != cube.crs:
        corners = _converted(corners[:, :2], guide.crs, cube.crs)
        if corners is None:
            return None
    pixels = np.linalg.solve(_affine(cube), np.column_stack([corners[:, :2], np.ones(4)]).T).T
    return float(np.abs(pixels - _corners(cube_size))[:, :2].max())


def note_on_places(cube: Cube, guide: Cube) -> str | None:
    """Say whether cube and guide lie elsewhere by their georeferences, or cannot be compared; None for neither.

    Args:
        cube (Cube): (h, w, L).
        guide (Cube): (H, W, G), of the same ground.

    Returns:
        str | None: A ``Doubt`` where corners are more than a pixel of the cube apart.
    """
    if cube.geo is None or guide.geo is None:
        return None
    apart = places_apart(cube.geo, guide.geo, cube.values.shape[:2], guide.values.shape[:2])
    if apart is None:
        return 'the coordinate systems of cube and guide cannot be compared, so their places are not'
    if apart <= 1:
        return None
    return Doubt(
        f'by their georeferences the corners of cube and guide lie up to {apart:.1f} pixels of the cube apart: are '
        'they of the same ground?'
    )


def _corners(size: Sequence[int]) -> np.ndarray:
    """Return the corners of an image as (column, row, 1)."""
    return np.array([[column, row, 1] for row in (0, size[0]) for column in (0, size[1])], np.float64)


def _affine(geo: GeoReference) -> np.ndarray:
    return np.vstack([np.reshape(geo.transform, (2, 3)), [0, 0, 1]])


def _converted(places: np.ndarray, source: str, target: str) -> np.ndarray | None:
    """Convert places (N, 2) from one coordinate system to another; None where that cannot be done."""
    try:
        from rasterio.crs import CRS
        from rasterio.errors import RasterioError
        from rasterio.warp import transform
    except ImportError:
        return None
    # a file that names no system may be in any, and a local one belongs nowhere
    if '' in (source, target) or any(text.startswith(('LOCAL_CS', 'ENGCRS')) for text in (source, target)):
        return None
    failures: tuple[Any, ...] = (RasterioError, ValueError)
    try:
        x, y = transform(CRS.from_wkt(source), CRS.from_wkt(target), *places.T.tolist())
    except failures:
        return None
    converted = np.column_stack([x, y])
    return converted if np.isfinite(converted).all() else None
