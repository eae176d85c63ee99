"""Quality with no reference (QNR) and its two parts, spectral and spatial distortion."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from basicsr.utils.registry import METRIC_REGISTRY

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.metrics._band_pairs import check_window_option, pair_qualities
from mulsr_plugin.metrics._cubes import CheckedCube, as_cube, checked_cube, read
from mulsr_plugin.metrics._low_resolution import Degrade, check_guide_size, check_resolutions, degrade

Window = int | str


@METRIC_REGISTRY.register()
def calculate_d_lambda(img: CubeArray, lq: CubeArray, p: float = 1, window: Window = 8, **kwargs: object) -> float:
    """Spectral distortion D_lambda: how far fusion changed the similarity of the bands to one another.

    ``(mean over pairs of bands i != j of |Q(result_i, result_j) - Q(lq_i, lq_j)|^p)^(1/p)``, with Q the universal
    image quality index, mean over windows that slide by one pixel and have the same size in pixels at both
    resolutions. Needs no ground truth. A scale of either cube cancels. The work grows with the square of the number
    of bands.

    Args:
        img (ndarray | Tensor): Result, (H, W, L), any linear unit.
        lq (ndarray | Tensor): Low-resolution cube that it was made from, (h, w, L), any linear unit.
        p (float): Exponent, positive; large values emphasise the pairs that changed most. Default: 1.
        window (int | str): Side of the uniform window of Q, a power of two from 2 to 128; both images must be at least
            that large. ``gaussian`` is an 11 x 11 window with sigma 1.5 instead, as in torchmetrics. Default: 8.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: In [0, 2], lower is better; 0 for one band. Pairs of windows without contrast compare their means.

    Raises:
        ValueError: An option is out of range, the bands differ, values are not finite or unscaled integers, or an
            image is smaller than the window.

    Reference: Alparone et al., Photogrammetric Engineering and Remote Sensing 74(2), 2008.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.qnr import calculate_d_lambda
        >>> band = np.random.default_rng(0).uniform(0.1, 0.5, (32, 32))
        >>> low = band.reshape(8, 4, 8, 4).mean((1, 3))
        >>> img, lq = np.stack([band, 2 * band], -1), np.stack([low, low], -1)
        >>> round(calculate_d_lambda(img, lq), 4)  # Q of the two bands was 1 and is 0.64
        0.36
    """
    check_window_option(window)
    _check_exponent('p', p)
    cubes = _result_and_input(img, lq)
    return read(cubes, _d_lambda(cubes, p, window))[0]


@METRIC_REGISTRY.register()
def calculate_d_s(
    img: CubeArray,
    lq: CubeArray,
    rgb: CubeArray,
    degradation: Degrade | None = None,
    q: float = 1,
    window: Window = 8,
    **kwargs: object,
) -> float:
    """Spatial distortion D_s: how far fusion changed the similarity of the bands to the guide image.

    ``(mean over bands i of |Q(result_i, guide) - Q(lq_i, degraded guide)|^q)^(1/q)``, with Q as in
    :func:`calculate_d_lambda`. A scale common to the three images cancels. The index was made for a panchromatic
    guide; with several channels the mean runs over all pairs of a band and a channel.

    Args:
        img (ndarray | Tensor): Result, (H, W, L).
        lq (ndarray | Tensor): Low-resolution cube that it was made from, (h, w, L), in the same unit.
        rgb (ndarray | Tensor): Guide image, (H, W, G), or (H, W) for one channel, in the same unit.
        degradation (callable): Brings the guide to the low resolution: takes a tensor (G, H, W) on the device of
            ``img`` and returns (G, h, w), tensor or array. Default: mean of each block of H/h x W/w pixels.
        q (float): Exponent, positive; large values emphasise the bands that changed most. Default: 1.
        window (int | str): See :func:`calculate_d_lambda`. Default: 8.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: In [0, 2], lower is better.

    Raises:
        ValueError: An option is out of range, the sizes do not fit one another, values are not finite or unscaled
            integers, or an image is smaller than the window.

    Reference: Alparone et al., Photogrammetric Engineering and Remote Sensing 74(2), 2008.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.qnr import calculate_d_s
        >>> pan = np.random.default_rng(0).uniform(0.1, 0.5, (32, 32))
        >>> low = pan.reshape(8, 4, 8, 4).mean((1, 3))
        >>> img, lq = np.stack([pan, 2 * pan], -1), np.stack([low, low], -1)
        >>> round(calculate_d_s(img, lq, pan), 4)  # Q with the guide stays 1 in a band, and falls to 0.64 in the other
        0.18
    """
    check_window_option(window)
    _check_exponent('q', q)
    cubes = [*_result_and_input(img, lq), _guide(img, rgb)]
    return read(cubes, _d_s(cubes, degradation, q, window))[0]


@METRIC_REGISTRY.register()
def calculate_qnr(
    img: CubeArray,
    lq: CubeArray,
    rgb: CubeArray,
    degradation: Degrade | None = None,
    p: float = 1,
    q: float = 1,
    alpha: float = 1,
    beta: float = 1,
    window: Window = 8,
    **kwargs: object,
) -> float:
    """Quality with no reference: ``(1 - D_lambda)^alpha (1 - D_s)^beta``.

    See :func:`calculate_d_lambda` and :func:`calculate_d_s` for the two distortions.

    Args:
        img (ndarray | Tensor): Result, (H, W, L).
        lq (ndarray | Tensor): Low-resolution cube that it was made from, (h, w, L), in the same unit.
        rgb (ndarray | Tensor): Guide image, (H, W, G), or (H, W) for one channel, in the same unit.
        degradation (callable): See :func:`calculate_d_s`. Default: block means.
        p (float): Exponent of D_lambda. Default: 1.
        q (float): Exponent of D_s. Default: 1.
        alpha (float): Weight of the spectral part, not negative. Default: 1.
        beta (float): Weight of the spatial part, not negative. Default: 1.
        window (int | str): See :func:`calculate_d_lambda`. Default: 8.
        **kwargs: Ignored; BasicSR passes the other keys of the metric's options.

    Returns:
        float: At most 1, higher is better; a distortion above 1, which natural images do not reach, counts as 1.

    Raises:
        ValueError: An option is out of range, the sizes do not fit one another, values are not finite or unscaled
            integers, or an image is smaller than the window.

    Reference: Alparone et al., Photogrammetric Engineering and Remote Sensing 74(2), 2008.

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.metrics.qnr import calculate_qnr
        >>> pan = np.random.default_rng(0).uniform(0.1, 0.5, (32, 32))
        >>> low = pan.reshape(8, 4, 8, 4).mean((1, 3))
        >>> img, lq = np.stack([pan, 2 * pan], -1), np.stack([low, low], -1)
        >>> round(calculate_qnr(img, lq, pan), 4)  # (1 - 0.36) * (1 - 0.18), the distortions of the two examples above
        0.5248
    """
    check_window_option(window)
    _check_exponent('p', p)
    _check_exponent('q', q)
    for name, weight in (('alpha', alpha), ('beta', beta)):
        if not 0 <= weight < float('inf'):
            raise ValueError(f'{name} is {weight}; expected a number that is not negative.')
    cubes = [*_result_and_input(img, lq), _guide(img, rgb)]
    distortions = torch.stack([_d_lambda(cubes, p, window), _d_s(cubes, degradation, q, window)])
    d_lambda, d_s = read(cubes, (1.0 - distortions).clamp(min=0.0))
    return d_lambda**alpha * d_s**beta


def _result_and_input(img: CubeArray, lq: CubeArray) -> list[CheckedCube]:
    result = checked_cube(img, 'img')
    cubes = [result, checked_cube(lq, 'lq', result.values.device)]
    check_resolutions(result.values, cubes[1].values)
    return cubes


def _guide(img: CubeArray, rgb: CubeArray) -> CheckedCube:
    result = as_cube(img, 'img')
    guide = checked_cube(rgb, 'rgb', result.device)
    check_guide_size(result, guide.values)
    return guide


def _d_lambda(cubes: Sequence[CheckedCube], p: float, window: Window) -> torch.Tensor:
    (result,), (lq,) = (_normalised([cube]) for cube in cubes[:2])
    num_pairs = result.shape[2] * (result.shape[2] - 1) / 2
    changes = (pair_qualities(result, None, window) - pair_qualities(lq, None, window)).abs()
    return (changes.pow(p).sum() / max(num_pairs, 1)).pow(1 / p)


def _d_s(cubes: Sequence[CheckedCube], degradation: Degrade | None, q: float, window: Window) -> torch.Tensor:
    result, lq, guide = _normalised(cubes)
    low_guide = degrade(guide, lq.shape[:2], degradation).double()
    changes = (pair_qualities(result, guide, window) - pair_qualities(lq, low_guide, window)).abs()
    return changes.pow(q).mean().pow(1 / q)


def _normalised(cubes: Sequence[CheckedCube]) -> list[torch.Tensor]:
    """Scale cubes by a common power of two to a peak near 1, which is exact and keeps products in range."""
    peak = torch.stack([cube.limits.double() for cube in cubes]).abs().amax()
    factor = torch.exp2(-torch.frexp(peak).exponent.clamp(min=-120).double())
    return [cube.values * factor for cube in cubes]


def _check_exponent(name: str, value: float) -> None:
    if not 0 < value < float('inf'):
        raise ValueError(f'{name} is {value}; expected a positive number.')
