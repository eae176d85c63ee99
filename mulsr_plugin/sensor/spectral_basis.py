"""The strongest components of the spectra of a cube, with the noise of the bands made alike."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mulsr_plugin.ops.covariance import mean_and_covariance

# Bands are never weighted as if their noise were less than this share of the standard deviation of the cube.
_SMALLEST_NOISE = 0.01


class SpectralBasis(NamedTuple):
    """Linear maps between spectra and their components.

    Attributes:
        mean (Tensor): (L, 1) mean spectrum.
        analysis (Tensor): (P, L), spectra to components.
        synthesis (Tensor): (L, P), components to spectra.
        noise (Tensor): (P,) variances of the noise of the components.
    """

    mean: Tensor
    analysis: Tensor
    synthesis: Tensor
    noise: Tensor

    def components(self, spectra: Tensor) -> Tensor:
        """Turn spectra (L, h, w) into components (P, h, w), the strongest first."""
        return (self.analysis @ (spectra.flatten(1) - self.mean)).unflatten(1, spectra.shape[1:])

    def spectra(self, components: Tensor) -> Tensor:
        """Turn components (P, h, w) into spectra (L, h, w)."""
        return (self.synthesis @ components.flatten(1) + self.mean).unflatten(1, components.shape[1:])


def spectral_basis(lq: Tensor, noise_sigma: Tensor, num_components: int) -> SpectralBasis:
    """Find the principal components of a cube whose bands are divided by the deviation of their noise.

    Args:
        lq (Tensor): (L, h, w).
        noise_sigma (Tensor): (L,) or (1,) standard deviations of the noise.
        num_components (int): P; the number of bands where there are fewer.
    """
    mean, covariance = mean_and_covariance(lq)
    noise = noise_sigma.to(mean).expand(len(mean))
    floor = _SMALLEST_NOISE * covariance.diagonal().mean().sqrt() + 1e-12
    unit = (noise.square() + floor.square()).sqrt()
    unit = (unit / unit.mean())[:, None]
    vectors = torch.linalg.eigh(covariance / (unit * unit.T))[1].flip(1)[:, :num_components]
    analysis = (vectors / unit).T
    parts = (mean, analysis, vectors * unit, analysis.square() @ noise.square())
    return SpectralBasis(*(part.to(lq) for part in parts))
