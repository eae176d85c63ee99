"""MTF-GLP, a generalised Laplacian pyramid with the filter of the sensor.

Papers: B. Aiazzi, L. Alparone, S. Baronti, A. Garzelli, M. Selva, MTF-tailored Multiscale Fusion of High-resolution MS
    and Pan Imagery, Photogrammetric Engineering and Remote Sensing 72(5), 2006 (the filter);
    G. Vivone, R. Restaino, M. Dalla Mura, G. Licciardi, J. Chanussot, Contrast and Error-Based Fusion Schemes for
    Multispectral Image Pansharpening, IEEE Geoscience and Remote Sensing Letters 11(5), 2014 (high-pass modulation);
    M. Selva, B. Aiazzi, F. Butera, L. Chiarantini, S. Baronti, Hyper-Sharpening: A First Approach on SIM-GA Data, IEEE
    Journal of Selected Topics in Applied Earth Observations and Remote Sensing 8(6), 2015 (several channels).
Compared with the toolbox of the review by Yokoya et al., IEEE Geoscience and Remote Sensing Magazine 5(2), 2017, as in
    https://github.com/magamig/hif-benchmarking, revision ef23570. Written anew, no code taken over.

Identical to the toolbox: each band has a synthetic guide of its own, the regression of the band on the channels at low
resolution, and with ``injection: additive`` one gain for the whole band.
Different: the filter is the blur of the sensor model (the toolbox takes a Gaussian whose full width at half maximum is
the scale), images are enlarged by cubic convolution about the centre of that blur (a filter of 23 taps or more there),
and no value is cut off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from mulsr_plugin.archs.pair_fusion import PairFusion
from mulsr_plugin.ops.least_squares import least_squares
from mulsr_plugin.sensor.model import SensorModel

INJECTIONS = ('modulation', 'additive')
LARGEST_MODULATION = 4.0


@ARCH_REGISTRY.register()
class MTFGLP(PairFusion):
    """Inject the detail of a synthetic guide that the blur of the cube has taken away; nothing is trained.

    For each band y, with up() the enlargement:

    1. synthetic guide: p = a + sum_c b_c rgb_c, where a and b minimise ||y - a - sum_c b_c D rgb_c||;
    2. low pass: p_L = up(D p);
    3. modulation: x = up(y) p / p_L; additive: x = up(y) + g (p - p_L), g = cov(up(y), p_L) / var(p_L).

    Modulation keeps to a ratio of at most 4, and to additive injection with g = 1 where p_L is not positive: on dark
    pixels the quotient means nothing.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        degradation (str | Mapping | None): D, see ``PairFusion``. Default: None.
        injection (str): 'modulation' (MTF-GLP-HPM) or 'additive' (MTF-GLP). Default: 'modulation'.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        upscale: int | Sequence[int] = 8,
        degradation: str | Mapping[str, Any] | None = None,
        injection: str = 'modulation',
    ) -> None:
        super().__init__(upscale, degradation)
        if injection not in INJECTIONS:
            raise ValueError(f'injection is {injection!r}, expected one of {", ".join(INJECTIONS)}: correct it.')
        self.injection = injection

    def fuse(self, lq: Tensor, rgb: Tensor, sensor: SensorModel) -> Tensor:
        """Fuse one pair, (1, L, h, w) and (1, G, H, W), to (1, L, H, W)."""
        reduced = sensor.blur(rgb)
        weights = _regression(lq, reduced)
        # enlarging before the regression's weights is the same as after, and cheaper: there are fewer channels
        guide, low_pass = (_synthetic(weights, image) for image in (rgb, sensor.enlarge(reduced)))
        enlarged = sensor.enlarge(lq)
        if self.injection == 'additive':
            return enlarged + _gains(enlarged, low_pass) * (guide - low_pass)
        gain = (enlarged / low_pass.clamp(min=torch.finfo(low_pass.dtype).tiny)).clamp(0, LARGEST_MODULATION)
        return enlarged + torch.where(low_pass > 0, gain, 1.0) * (guide - low_pass)


def _regression(lq: Tensor, reduced: Tensor) -> Tensor:
    """Regress the bands of (1, L, h, w) on the channels of (1, G, h, w) and a constant: (L, G + 1), constant last."""
    channels = reduced[0].flatten(1).T.double()
    mean = channels.mean(dim=0)
    spectra = lq[0].flatten(1).T.double()
    slopes = least_squares(channels - mean, spectra - spectra.mean(dim=0))
    constants = spectra.mean(dim=0) - mean @ slopes
    return torch.cat([slopes, constants[None]]).T


def _synthetic(weights: Tensor, image: Tensor) -> Tensor:
    """Apply weights of :func:`_regression` to channels (1, G, H, W)."""
    weights = weights.to(image)
    mixed = weights[:, :-1] @ image.flatten(2) + weights[:, -1:]
    return mixed.unflatten(2, image.shape[2:])


def _gains(enlarged: Tensor, low_pass: Tensor) -> Tensor:
    """Regress every band on its low pass: (1, L, 1, 1), zeros for a constant one."""
    x, y = (image.double() - image.double().mean(dim=(2, 3), keepdim=True) for image in (low_pass, enlarged))
    energy = (x * x).sum(dim=(2, 3), keepdim=True)
    gains = (x * y).sum(dim=(2, 3), keepdim=True) / energy.clamp(min=torch.finfo(x.dtype).tiny)
    return torch.where(energy > 0, gains, 0.0).to(enlarged.dtype)
