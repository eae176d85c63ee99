"""Pixels and areas of a scene that are worth showing."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.data.false_colour import as_array

Pixel = tuple[int, int]
Area = tuple[int, int, int, int]


def choose_pixels(reference: CubeArray, count: int = 4) -> list[Pixel]:
    """Choose pixels whose spectra vary much and differ from one another, far apart and inside of objects.

    Spectra are means over small squares. A pixel scores by their standard deviation over bands, less the variation
    among the pixels of the square. The first pixel has the highest score; each next one the highest product of score
    and sine of its smallest spectral angle to those chosen, at a distance from these.

    Args:
        reference (ndarray | Tensor): (H, W, L) or (H, W).
        count (int): Number of pixels. Default: 4.

    Returns:
        list[tuple[int, int]]: Different (row, column), in the order chosen.

    Raises:
        ValueError: The scene has fewer pixels.
    """
    cube = as_array(reference)
    height, width, _ = cube.shape
    if not 0 < count <= height * width:
        raise ValueError(
            f'{count} pixels were asked for in a scene of {height} x {width}; ask for at least 1, no more.'
        )
    side = max(3, min(height, width) // 40)
    smooth, squares = _box_means(cube, side), _box_means(np.square(cube, dtype=np.float32), side)
    texture = np.sqrt(np.maximum(squares - np.square(smooth), 0).mean(axis=-1))
    variation = np.maximum(smooth.std(axis=-1) - 2 * texture, 0)
    directions = smooth / np.maximum(np.linalg.norm(smooth, axis=-1, keepdims=True), 1e-9)
    contrast, distance = np.ones((height, width)), np.full((height, width), np.inf)
    rows, columns = np.ogrid[:height, :width]
    border = np.minimum(np.minimum(rows, height - 1 - rows), np.minimum(columns, width - 1 - columns))
    inside = border >= min(side, border.max() // 2)
    pixels: list[Pixel] = []
    for _ in range(count):
        # Where nothing scores, as in a grey scene, any other pixel will do.
        score = variation * contrast * inside + 1e-12
        apart = min(height, width) / 4
        while not (distance > apart).any():
            apart /= 2
        row, column = divmod(int(np.argmax(score * (distance > apart))), width)
        pixels.append((row, column))
        distance = np.minimum(distance, np.hypot(rows - row, columns - column))
        cosine = np.clip(directions @ directions[row, column], 0, 1)
        contrast = np.minimum(contrast, np.sqrt(1 - cosine**2) + 1e-6)
    return pixels


def choose_area(reference: CubeArray, side: int | None = None, errors: Sequence[np.ndarray] = ()) -> Area:
    """Choose the square where results differ most; without at least two results, the one with the most detail.

    Results differ by the standard deviation of their errors over them, each at most three times the middle one, so that
    one bad result does not decide it. Detail is the sum of differences between neighbouring pixels of the square root
    of the mean over bands, about as seen on a screen.

    Args:
        reference (ndarray | Tensor): (H, W, L) or (H, W).
        side (int): Its side in pixels. Default: None, a fifth of the shorter side of the scene, at least 8.
        errors (Sequence[ndarray]): Error maps (H, W) of the results. Default: none.

    Returns:
        tuple[int, int, int, int]: Top, left, height, width.
    """
    brightness: np.ndarray = np.sqrt(np.maximum(np.nan_to_num(as_array(reference).mean(axis=-1, dtype=np.float64)), 0))
    shorter = min(brightness.shape)
    side = min(side or max(8, shorter // 5), shorter)
    weight = _differences(errors) if len(errors) > 1 else _slopes(brightness)
    sums = np.pad(weight, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    detail = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    top, left = np.unravel_index(int(np.argmax(detail)), detail.shape)
    return int(top), int(left), side, side


def _slopes(brightness: np.ndarray) -> np.ndarray:
    slopes = np.zeros_like(brightness)
    slopes[1:] += np.abs(np.diff(brightness, axis=0))
    slopes[:, 1:] += np.abs(np.diff(brightness, axis=1))
    return slopes


def _differences(errors: Sequence[np.ndarray]) -> np.ndarray:
    """Return how much the errors of a pixel differ from result to result, (H, W)."""
    stacked = np.nan_to_num(np.stack(errors).astype(np.float64))
    return np.minimum(stacked, 3 * np.median(stacked, axis=0)).std(axis=0) if len(stacked) > 2 else stacked.std(axis=0)


def _box_means(cube: np.ndarray, side: int) -> np.ndarray:
    """Return the means over squares around every pixel, (H, W, L)."""
    bands = (np.nan_to_num(cube[..., band]).astype(np.float32) for band in range(cube.shape[-1]))
    return np.stack([cv2.blur(band, (side, side), borderType=cv2.BORDER_REFLECT) for band in bands], axis=-1)
