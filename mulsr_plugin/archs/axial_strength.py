"""How much of its camera's axial chromatic aberration a pair shows, by its focus."""

from __future__ import annotations

import torch
from torch import Tensor

from mulsr_plugin.archs.chromatic_aberration import along_radius, laplacian, places_in
from mulsr_plugin.archs.fusion_rendering import Coefficients, PairRenderer
from mulsr_plugin.archs.local_regression import GlobalRegression, local_gains
from mulsr_plugin.archs.sensorfusion_arch import blurred
from mulsr_plugin.ops.windows import detail

# Strengths of scenes lie around the first, as far apart as the second; what the regression misses for other reasons
# adds to them, more than lies beyond.
_TYPICAL, _LARGEST = 1.5, 1.0
_NUM_BANDS = 8  # those with the strongest aberration, which show it


@torch.no_grad()
def axial_strength(renderer: PairRenderer, lq: Tensor, parts: Coefficients, guide: Tensor, profile: Tensor) -> float:
    """Estimate the strength from what the regression on the guide does not explain of the low-resolution cube.

    Were the strength s, the cube would differ from what the guide predicts by D of s times the profile's share of the
    prediction's Laplacian. s is fitted by least squares together with that of the lateral aberration.

    Args:
        renderer (PairRenderer): Of the scene.
        lq (Tensor): (L, h, w), with its noise: what the guide does not explain would be taken for noise.
        parts (Coefficients): Of the scene.
        guide (Tensor): (G, H, W).
        profile (Tensor): (2, L), see ``ChromaticAberration.profile``.

    Returns:
        float: Strength less that of a typical scene, between -1 and 1; 0 where the profile is zero.
    """
    if not profile.any():
        return 0.0
    bands = profile.square().sum(dim=0).topk(min(_NUM_BANDS, profile.shape[1])).indices
    spectra = renderer.basis.synthesis[bands]
    missing = _unexplained(lq[bands], parts.z, renderer.regression)
    gain = spectra @ renderer.regression.gain
    shares = [
        _unexplained(torch.einsum('l,lf,fhw->lhw', weights[bands], gain, images), parts.z, renderer.regression)
        for weights, images in zip(profile.to(guide), _reduced_derivatives(renderer, guide))
    ]
    covered = parts.covered / missing.square().mean(dim=(1, 2), keepdim=True).clamp(min=1e-30)
    normal = torch.stack([torch.stack([(a * b * covered).sum() for b in shares]) for a in shares])
    cross = torch.stack([(share * missing * covered).sum() for share in shares])
    ridge = torch.diag(1e-6 * normal.diagonal() + 1e-30)
    strength = float(torch.linalg.solve(normal + ridge, cross)[0])
    return min(max(strength - _TYPICAL, -_LARGEST), _LARGEST)


def _reduced_derivatives(renderer: PairRenderer, guide: Tensor) -> tuple[Tensor, Tensor]:
    """Return D of the Laplacians of the guide's features and of their derivatives along the radius, (F, h, w) each."""
    places = places_in((guide.shape[1], guide.shape[2]), guide)

    def derivatives(part: Tensor) -> Tensor:
        features = renderer.features(part[:-2])
        return torch.cat([laplacian(features), along_radius(features, part[-2:])])

    first, second = blurred(derivatives, torch.cat([guide, places]), renderer.sensor, margin=1).chunk(2)
    return first, second


def _unexplained(images: Tensor, z: Tensor, regression: GlobalRegression) -> Tensor:
    """Return the detail of images (L, h, w) that regression on z, of the whole image and locally, leaves over."""
    own = GlobalRegression.of(images, z, regression.num_channels, images.new_zeros(len(images)))
    left = images - own.predict(z)
    return detail(left) - torch.einsum('pfhw,fhw->phw', local_gains(left, z, own), detail(z))
