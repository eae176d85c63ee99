"""GSA, adaptive Gram-Schmidt component substitution.

Paper: B. Aiazzi, S. Baronti, M. Selva, Improving Component Substitution Pansharpening Through Multivariate Regression
    of MS + Pan Data, IEEE Transactions on Geoscience and Remote Sensing 45(10), 2007.
Several channels: N. Yokoya, C. Grohnfeldt, J. Chanussot, Hyperspectral and Multispectral Data Fusion: A comparative
    review of the recent literature, IEEE Geoscience and Remote Sensing Magazine 5(2), 2017; the toolbox of that review,
    as in https://github.com/magamig/hif-benchmarking, revision ef23570. Written anew, no code taken over.

Identical to the toolbox: every band goes with the channel it correlates with most at low resolution, and the bands of a
channel are fused with it by GSA with global regression and global gains.
Different: the guide is reduced by the blur of the sensor model, where the toolbox resizes it (bilinear for the
correlation, bicubic for the regression), and the cube is enlarged about the centre of that blur, so that a displacement
between the two images is undone.
"""

from __future__ import annotations

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from mulsr_plugin.archs.pair_fusion import PairFusion
from mulsr_plugin.ops.least_squares import least_squares
from mulsr_plugin.sensor.model import SensorModel


@ARCH_REGISTRY.register()
class GSA(PairFusion):
    """Replace an intensity, made of the bands by regression, by the guide; nothing is trained.

    For the bands y_l of channel p, with low-resolution means removed and up() the enlargement:

    1. weights: minimise ||D p - sum_l w_l y_l||;
    2. intensity: I = sum_l w_l up(y_l);
    3. gains: g_l = cov(up(y_l), I) / var(I);
    4. result: x_l = up(y_l) + g_l (p - mean(p) - I).

    One channel is the paper's pansharpening.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        degradation (str | Mapping | None): D, see ``PairFusion``. Default: None.
    """

    def fuse(self, lq: Tensor, rgb: Tensor, sensor: SensorModel) -> Tensor:
        """Fuse one pair, (1, L, h, w) and (1, G, H, W), to (1, L, H, W)."""
        spectra, reduced = (_centred_pixels(image) for image in (lq, sensor.blur(rgb)))
        channel_of_band = _correlations(spectra, reduced).argmax(dim=1)
        enlarged = sensor.enlarge(lq)
        result = enlarged.clone()
        for channel in channel_of_band.unique().tolist():
            bands = (channel_of_band == channel).nonzero().flatten()
            weights = least_squares(spectra[:, bands], reduced[:, channel : channel + 1])[:, 0]
            base = enlarged[0, bands] - enlarged[0, bands].mean(dim=(1, 2), keepdim=True)
            intensity = torch.einsum('l,lhw->hw', weights.to(base), base)
            detail = rgb[0, channel] - rgb[0, channel].mean() - intensity
            result[0, bands] += _gains(base, intensity)[:, None, None] * detail
        return result


def _centred_pixels(image: Tensor) -> Tensor:
    """Turn (1, C, h, w) into (h w, C) float64 of zero mean."""
    pixels = image[0].flatten(1).T.double()
    return pixels - pixels.mean(dim=0)


def _correlations(spectra: Tensor, channels: Tensor) -> Tensor:
    """Correlate bands (N, L) and channels (N, G) of zero mean; constant ones with nothing. Returns (L, G)."""
    norms = spectra.norm(dim=0)[:, None] * channels.norm(dim=0)
    return torch.where(norms > 0, spectra.T @ channels / norms.clamp(min=torch.finfo(norms.dtype).tiny), 0.0)


def _gains(bands: Tensor, intensity: Tensor) -> Tensor:
    """Regress bands (L, H, W) on an intensity (H, W), both of zero mean; zeros for a constant intensity."""
    x, y = intensity.flatten().double(), bands.flatten(1).double()
    energy = x @ x
    return torch.where(energy > 0, y @ x / energy.clamp(min=torch.finfo(x.dtype).tiny), 0.0).to(bands.dtype)
