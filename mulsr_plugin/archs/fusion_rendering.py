"""The high-resolution half of SensorFusion: cubes from low-resolution coefficients and a guide, part by part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mulsr_plugin.archs.guide_features import GuideFeatures
from mulsr_plugin.archs.local_regression import GlobalRegression
from mulsr_plugin.ops.blocks import blocks
from mulsr_plugin.sensor.interpolation import enlargement_matrix
from mulsr_plugin.sensor.model import SensorModel
from mulsr_plugin.sensor.spectral_basis import SpectralBasis

_BLOCK_SIDE = 512  # pixels of the result that are rendered at a time, without their halo
_SMALLEST_BLOCK = 8  # the same in low-resolution pixels


class Coefficients(NamedTuple):
    """All that rendering a part of a scene needs besides the guide, as images of low resolution.

    Attributes:
        covered (Tensor): (1, h, w), 1 where the equations of a pixel hold, see ``covered``, else 0.
        y (Tensor): (P, h, w) components of the cube, free of noise.
        z (Tensor): (F, h, w) reduced features of the guide.
        gain (Tensor): (P, F, h, w) local gains beyond those of the whole image.
        left_out (Tensor): (L, h, w) what the components leave out of the cube.
    """

    covered: Tensor
    y: Tensor
    z: Tensor
    gain: Tensor
    left_out: Tensor

    def packed(self) -> Tensor:
        """Join them to one image, (C, h, w)."""
        return torch.cat([self.covered, self.y, self.z, self.gain.flatten(0, 1), self.left_out])

    @classmethod
    def unpacked(cls, image: Tensor, num_components: int, num_features: int, num_bands: int) -> Coefficients:
        """Take apart what :meth:`packed` has joined; further channels are left."""
        counts = [1, num_components, num_features, num_components * num_features, num_bands]
        covered, y, z, gain, left_out = image[: sum(counts)].split(counts)
        return cls(covered, y, z, gain.unflatten(0, (num_components, num_features)), left_out)


@dataclass(frozen=True, eq=False)
class PairRenderer:
    """Rendering of one scene by regression on its guide.

    Attributes:
        sensor (SensorModel): Model of the pair.
        features (GuideFeatures): Features of its guide.
        basis (SpectralBasis): Components of its spectra.
        regression (GlobalRegression): Of the components on the features.
        response (Tensor | None): R, (G, L), that the result must reproduce the guide with; None for no such demand.
        is_positive (bool): Whether no value of the result may be negative.
    """

    sensor: SensorModel
    features: GuideFeatures
    basis: SpectralBasis
    regression: GlobalRegression
    response: Tensor | None
    is_positive: bool

    @property
    def num_bands(self) -> int:
        """Number L of bands."""
        return len(self.basis.mean)

    def __call__(self, image: Tensor, guide: Tensor) -> Tensor:
        """Render coefficients (C, h, w) packed to one image and a guide (G, H, W): (L, H, W)."""
        parts = self.unpacked(image)
        enlarge = Enlargement(self.sensor, image)
        return self.finished(self.components(parts, guide, enlarge), enlarge(parts.left_out), guide)

    def unpacked(self, image: Tensor) -> Coefficients:
        """Take packed coefficients of this scene apart."""
        num_components, num_features = self.regression.gain.shape
        return Coefficients.unpacked(image, num_components, num_features, self.num_bands)

    def components(self, parts: Coefficients, guide: Tensor, enlarge: Enlargement) -> Tensor:
        """Return the components (P, H, W) of the result.

        They are regressed, what regression leaves at low resolution is added, and what D of that differs from the cube.
        """
        features = self.features(guide)
        x = self.regression.predict(features)
        x += enlarge(parts.y - self.regression.predict(parts.z))
        for index, feature in enumerate(features):
            x += enlarge(parts.gain[:, index]) * (feature - enlarge(parts.z[index]))
        x += enlarge(continued_outside(parts.y - self.sensor.blur(x[None])[0], parts.covered[0] > 0))
        return x

    def finished(self, components: Tensor, left_out: Tensor, guide: Tensor) -> Tensor:
        """Make spectra (L, H, W) of components and what they leave out; see the attributes for their last steps."""
        cube = self.basis.spectra(components) + left_out
        if self.response is not None:
            cube = _with_guide(cube, guide, self.response)
        return cube.clamp(min=0) if self.is_positive else cube


@dataclass(frozen=True, eq=False)
class PairInterpolation:
    """Cubic interpolation of one scene whose guide says nothing.

    Attributes:
        sensor (SensorModel): Model of the pair.
        num_bands (int): L.
    """

    sensor: SensorModel
    num_bands: int

    def __call__(self, image: Tensor, guide: Tensor) -> Tensor:
        """Enlarge the first L channels of (C, h, w)."""
        return Enlargement(self.sensor, image)(image[: self.num_bands])


class FusionRenderer(nn.Module):
    """Network of the coefficients of a batch: its results on parts with a halo are those on the whole.

    Args:
        pairs (Sequence[PairRenderer | PairInterpolation]): One for each image of the batch.
        halo (int): Low-resolution pixels that a pixel of the result depends on, to every side.
    """

    def __init__(self, pairs: Sequence[PairRenderer | PairInterpolation], halo: int) -> None:
        super().__init__()
        self.pairs, self.halo = tuple(pairs), halo

    @torch.no_grad()
    def forward(self, lq: Tensor, rgb: Tensor) -> Tensor:
        """Render a part, block by block.

        Args:
            lq (Tensor): Packed coefficients in place of the cubes, (B, C, h, w).
            rgb (Tensor): Guides, (B, G, H, W).

        Returns:
            Tensor: (B, L, H, W).
        """
        scale, size = rgb.shape[2] // lq.shape[2], (lq.shape[2], lq.shape[3])
        result = lq.new_empty(len(lq), self.pairs[0].num_bands, *rgb.shape[2:])
        with torch.autocast(lq.device.type, enabled=False):
            for block in blocks(size, max(_SMALLEST_BLOCK, _BLOCK_SIDE // scale), self.halo):
                large = block.enlarged(scale)
                for pair, image, guide, target in zip(self.pairs, lq, rgb, result):
                    part = pair(image[(..., *block.window)], guide[(..., *large.window)])
                    target[(..., *large.target)] = part[(..., *large.kept)]
        return result


def rendering_halo(sensor: SensorModel, size: tuple[int, int], covered: tuple[slice, slice]) -> int:
    """Return how many low-resolution pixels to a side a rendered pixel depends on: D and two enlargements."""
    scale, centres = sensor.scale, sensor.centre
    taps = max(max(1 + math.ceil(c / scale), 2 + math.floor((scale - 1 - c) / scale)) for c in centres)
    outside = max(max(span.start, length - span.stop) for span, length in zip(covered, size))
    return 2 * taps + sensor.reach + outside


class Enlargement:
    """Cubic interpolation from low-resolution pixels, at the centre of their kernel, to those of the guide.

    Args:
        sensor (SensorModel): Model of the pair.
        image (Tensor): (C, h, w), whose size, type and device are those of the images to enlarge.
    """

    def __init__(self, sensor: SensorModel, image: Tensor) -> None:
        self._rows, self._columns = (
            torch.from_numpy(enlargement_matrix(size, sensor.scale, centre)).to(image)
            for size, centre in zip(image.shape[1:], sensor.centre)
        )

    def __call__(self, images: Tensor) -> Tensor:
        """Enlarge (..., h, w) to (..., H, W)."""
        return self._rows @ images @ self._columns.T


def continued_outside(images: Tensor, covered: Tensor) -> Tensor:
    """Replace the pixels around a rectangle by the nearest ones in it.

    Args:
        images (Tensor): (..., h, w).
        covered (Tensor): (h, w) bool, a rectangle; zeros result where it is empty.
    """
    spans = [covered.any(dim=axis).nonzero()[:, 0] for axis in (1, 0)]
    if not len(spans[0]):
        return torch.zeros_like(images)
    rows, columns = (
        torch.arange(length, device=images.device).clamp(span[0], span[-1])
        for length, span in zip(covered.shape, spans)
    )
    if len(spans[0]) == covered.shape[0] and len(spans[1]) == covered.shape[1]:
        return images
    return images[..., rows[:, None], columns]


def _with_guide(cube: Tensor, guide: Tensor, response: Tensor) -> Tensor:
    """Return the nearest cube that a response (G, L) turns into the guide."""
    inverse = torch.linalg.pinv(response.double()).to(response)
    left = guide.flatten(1) - response @ cube.flatten(1)
    return cube + (inverse @ left).view_as(cube)
