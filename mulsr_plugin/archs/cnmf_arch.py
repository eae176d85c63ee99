"""CNMF, coupled non-negative matrix factorisation.

Paper: N. Yokoya, T. Yairi, A. Iwasaki, Coupled Nonnegative Matrix Factorization Unmixing for Hyperspectral and
    Multispectral Data Fusion, IEEE Transactions on Geoscience and Remote Sensing 50(2), 2012.
Compared with the author's MATLAB code of 2015, as in https://github.com/magamig/hif-benchmarking, revision ef23570.
    Written anew, no code taken over.

Identical to that code: the updates and their order, the weight of the sum-to-one constraint, constant abundances at the
start, numbers of iterations and thresholds, up to three guide channels leaving the endmembers of the guide fixed to
those of the cube, and the abundances of the cube to those of the guide.
Different: the blur is that of the sensor model (the code takes a Gaussian whose full width at half maximum is the
scale, differently at the border); the response is fitted without an offset, or given; vertex component analysis always
takes its affine projection; the number of endmembers is an option, where the code raises 30 to the virtual
dimensionality.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from mulsr_plugin.archs.endmembers import vertex_components
from mulsr_plugin.archs.input_checks import check_positive
from mulsr_plugin.archs.pair_fusion import PairFusion, response_of
from mulsr_plugin.sensor.model import SensorModel

SMALLEST_GAIN = 1e-8  # relative decrease of the error below which updates stop
SMALLEST_OUTER_GAIN = 1e-2  # likewise of alternations between cube and guide
PIXELS_AT_A_TIME = 8192
MOST_FIXED_CHANNELS = 3  # guides of so many channels do not determine endmembers


class Factors(NamedTuple):
    """Endmembers W (channels, M) and abundances H (M, pixels) of one image."""

    endmembers: Tensor
    abundances: Tensor


@ARCH_REGISTRY.register()
class CNMF(PairFusion):
    """Unmix cube and guide in turn, coupled by the sensor model; the result is what they share. Nothing is trained.

    Cube Y = W_h H_h, guide Z = W_m H_m, all factors non-negative, W_m = R W_h, H_h = H_m D:

    1. W_h from vertex component analysis, H_h from updates with W_h fixed, then both updated;
    2. W_m = R W_h and H_m = up(H_h), first H_m updated, then both;
    3. H_h = H_m D, first W_h updated, then both; again from 2 where asked for and where both errors fall;
    4. result: W_h H_m.

    The updates are the multiplicative ones of Lee and Seung for the Frobenius norm, H <- H (W^T Y) / (W^T W H) and
    W <- W (Y H^T) / (W H H^T), until the error falls by less than 1e-8 of itself. Abundances sum to about one: a row
    of equal numbers is appended to the images and to the endmembers of the updates of H.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        degradation (str | Mapping | None): D, see ``PairFusion``. Default: None.
        num_endmembers (int): M, at most the number of bands and of low-resolution pixels is used. Default: 30.
        num_updates (int): Most updates at a time; the first ones of H_h may be three times as many. Default: 200.
        num_alternations (int): Most times that 3 is done. Default: 1.
        seed (int): Of vertex component analysis. Default: 0.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        upscale: int | Sequence[int] = 8,
        degradation: str | Mapping[str, Any] | None = None,
        num_endmembers: int = 30,
        num_updates: int = 200,
        num_alternations: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(upscale, degradation)
        for name, value in (
            ('num_endmembers', num_endmembers),
            ('num_updates', num_updates),
            ('num_alternations', num_alternations),
        ):
            check_positive(name, value)
        self.num_endmembers = num_endmembers
        self.num_updates = num_updates
        self.num_alternations = num_alternations
        self.seed = seed

    @torch.no_grad()
    def fuse(self, lq: Tensor, rgb: Tensor, sensor: SensorModel) -> Tensor:
        """Fuse one pair, (1, L, h, w) and (1, G, H, W), to (1, L, H, W)."""
        response = response_of(sensor, lq, rgb)
        cube, guide = lq.clamp(min=0)[0].flatten(1), rgb.clamp(min=0)[0].flatten(1)
        is_fixed = len(guide) <= MOST_FIXED_CHANNELS
        pull = float(2 * (guide.mean() / 0.7455).sqrt() / len(guide) ** 3)  # towards a sum of one, as published
        low = self._start(cube, pull)
        high = Factors(response @ low.endmembers, _plane(sensor.enlarge(_image(low.abundances, lq))).clamp(min=0))
        high = _update(guide, high, pull, self.num_updates, first='abundances', fix_endmembers=is_fixed)
        for number in range(self.num_alternations):
            errors = _error(cube, low), _error(guide, high)
            low = Factors(low.endmembers, _plane(sensor.blur(_image(high.abundances, rgb))))
            low = _update(cube, low, pull, self.num_updates, first='endmembers', fix_abundances=is_fixed)
            if number == self.num_alternations - 1:
                break
            shared = high
            high = Factors(response @ low.endmembers, high.abundances)
            high = _update(guide, high, pull, self.num_updates, first='abundances', fix_endmembers=is_fixed)
            if not _has_fallen(errors, (_error(cube, low), _error(guide, high))):
                high = shared
                break
        return _image(low.endmembers @ high.abundances, rgb)

    def _start(self, cube: Tensor, pull: float) -> Factors:
        """Unmix the cube (L, N) alone."""
        count = min(self.num_endmembers, *cube.shape)
        endmembers = vertex_components(cube, count, np.random.default_rng(self.seed)).clamp(min=0)
        abundances = torch.full((count, cube.shape[1]), 1 / count, dtype=cube.dtype, device=cube.device)
        factors = Factors(endmembers, abundances)
        return _update(cube, factors, pull, self.num_updates, first='abundances', num_first=3 * self.num_updates)


def _update(
    image: Tensor,
    factors: Factors,
    pull: float,
    num_updates: int,
    first: str,
    num_first: int | None = None,
    fix_endmembers: bool = False,
    fix_abundances: bool = False,
) -> Factors:
    """Update one factor of an image (channels, pixels) by itself, then both in turn, that factor last.

    Args:
        image: Y.
        factors: Where to start.
        pull: Weight of the sum of abundances.
        num_updates: Most updates of each kind.
        first: 'endmembers' or 'abundances'.
        num_first: Most updates of the first kind, None for ``num_updates``.
        fix_endmembers: Leave the endmembers alone in the second part.
        fix_abundances: Leave the abundances alone in the second part.
    """
    factors = _descend(image, factors, pull, [first], num_updates if num_first is None else num_first)
    order = sorted(('endmembers', 'abundances'), key=lambda name: name == first)
    fixed = {'endmembers': fix_endmembers, 'abundances': fix_abundances}
    return _descend(image, factors, pull, [name for name in order if not fixed[name]], num_updates - 1)


def _descend(image: Tensor, factors: Factors, pull: float, order: Sequence[str], most: int) -> Factors:
    """Update the named factors one after the other, until the error hardly falls; what did not help is dropped."""
    error = math.inf
    for _ in range(most):
        updated = factors
        for name in order:
            updated = _updated(image, updated, pull, name)
        new_error = _error(image, updated)
        if error - new_error < SMALLEST_GAIN * new_error:
            return factors
        factors, error = updated, new_error
    return factors


def _updated(image: Tensor, factors: Factors, pull: float, name: str) -> Factors:
    """Update the endmembers or the abundances once."""
    w, h = factors
    if name == 'endmembers':
        denominator = (w @ (h @ h.T)).clamp(min=torch.finfo(w.dtype).tiny)
        return Factors(w * (image @ h.T) / denominator, h)
    result = torch.empty_like(h)
    extended = torch.cat([w, w.new_full((1, w.shape[1]), pull)])
    # a block of pixels at a time stays in the caches of a CPU: several times as fast
    for old, pixels, new in zip(*(array.split(PIXELS_AT_A_TIME, dim=1) for array in (h, image, result))):
        denominator = (extended.T @ (extended @ old)).clamp_(min=torch.finfo(h.dtype).tiny)
        new.copy_((w.T @ pixels).add_(pull**2).div_(denominator).mul_(old))
    return Factors(w, result)


def _error(image: Tensor, factors: Factors) -> float:
    """Sum of the squared residuals."""
    return float((image - factors.endmembers @ factors.abundances).square_().sum(dtype=torch.float64))


def _has_fallen(before: tuple[float, float], after: tuple[float, float]) -> bool:
    """Return whether the root mean square of both residuals has fallen by more than a hundredth."""
    return all(math.sqrt(new) < (1 - SMALLEST_OUTER_GAIN) * math.sqrt(old) for old, new in zip(before, after))


def _image(plane: Tensor, like: Tensor) -> Tensor:
    """Turn (C, N) into (1, C, H, W) of the size of ``like``."""
    return plane.unflatten(1, like.shape[2:])[None]


def _plane(image: Tensor) -> Tensor:
    """Turn (1, C, H, W) into (C, N)."""
    return image[0].flatten(1)
