"""Wald's protocol: a pair without ground truth is reduced by its own scale, and the original cube is the reference.

Reference: Wald, Ranchin, Mangolini, "Fusion of satellite images of different spatial resolutions", Photogrammetric
Engineering & Remote Sensing, 1997.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.degradation import Degradation, build_degradation


def reduced_resolution(
    cube: Cube,
    guide: Cube,
    scale: int,
    degradation: Degradation | Mapping[str, Any] | str = 'noise_free',
    rng: np.random.Generator | None = None,
) -> tuple[Cube, Cube, Cube]:
    """Reduce a pair by its scale; the original cube, cut to a multiple of the scale, becomes the reference.

    The guide is always reduced by the aligned and noise-free kernel, so that it stays registered with the reference
    even where the degradation of the cube shifts or adds noise.

    Args:
        cube (Cube): (h, w, L), the low-resolution cube of the pair.
        guide (Cube): (scale * h, scale * w, G), its guide.
        scale (int): Ratio of their sides.
        degradation (Degradation | Mapping | str): What makes the new input from ``cube``; a mapping or name as in an
            option file, see ``build_degradation``. Default: 'noise_free'.
        rng (Generator | None): Source of random kernels and noise; None takes the seed of the degradation.
            Default: None.

    Returns:
        tuple[Cube, Cube, Cube]: lq (h / scale, w / scale, L) and guide (h, w, G), both float32 in [0, 1], and the
        reference (h, w, L) as it was.

    Raises:
        ValueError: The sides of the pair are not in this ratio, or the cube is smaller than one new pixel.
    """
    height, width = cube.values.shape[:2]
    if guide.values.shape[:2] != (scale * height, scale * width):
        raise ValueError(
            f'The guide has {guide.values.shape[0]}x{guide.values.shape[1]} pixels, expected {scale * height}x'
            f'{scale * width}, {scale} times the cube; cut both to the same ground.'
        )
    if min(height, width) < scale:
        raise ValueError(
            f'The cube of {height}x{width} pixels is smaller than one reduced pixel, {scale}x{scale}; '
            'use the pair at full resolution only.'
        )
    if not isinstance(degradation, Degradation):
        degradation = build_degradation(degradation, scale)
    rng = np.random.default_rng(degradation.seed) if rng is None else rng
    gt = cut(cube, 0, 0, height // scale * scale, width // scale * scale)
    guide = cut(guide, 0, 0, scale * gt.values.shape[0], scale * gt.values.shape[1])
    return _degraded(gt, degradation, rng), _degraded(guide, build_degradation('noise_free', scale), rng), gt


def cut(cube: Cube, top: int, left: int, height: int, width: int) -> Cube:
    """Return a part of a cube with its georeference, as a view."""
    values = cube.values[top : top + height, left : left + width]
    return replace(cube, values=values, geo=None if cube.geo is None else cube.geo.moved(top, left))


def _degraded(cube: Cube, degradation: Degradation, rng: np.random.Generator) -> Cube:
    values = np.multiply(cube.values.transpose(2, 0, 1), np.float32(cube.scale), dtype=np.float32, casting='unsafe')
    reduced = degradation(np.ascontiguousarray(values), rng).transpose(1, 2, 0)
    return replace(
        cube,
        values=np.ascontiguousarray(reduced),
        scale=1.0,
        geo=None if cube.geo is None else cube.geo.refined(1 / degradation.scale),
        source=f'{cube.source}, reduced by {degradation.describe()}',
    )
