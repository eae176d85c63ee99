"""The high-resolution half of SensorFusion: cubes from low-resolution coefficients and a guide, part by part."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mulsr_plugin.archs.guide_features import GuideFeatures
from mulsr_plugin.archs.local_regression import GlobalRegression
from mulsr_plugin.ops.blocks import Block, blocks
from mulsr_plugin.sensor.interpolation import enlargement_matrix
from mulsr_plugin.sensor.model import SensorModel
from mulsr_plugin.sensor.spectral_basis import SpectralBasis

_BLOCK_SIDE = 512  # pixels of the result that are rendered at a time, without their halo
_SMALLEST_BLOCK = 8  # the same in low-resolution pixels
_ALL = (slice(None), slice(None))
_STRIP_SIZE = 1 << 28  # bytes of the rows of blocks that stand side by side, which sets their number of rows


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

    def __call__(self, image: Tensor, guide: Tensor, kept: tuple[slice, slice]) -> Tensor:
        """Render the kept pixels (L, H', W') of packed coefficients (C, h, w) and a guide (G, H, W)."""
        parts = self.unpacked(image)
        enlarge = Enlargement(self.sensor, image)
        # all that needs the surroundings is done to few components, before they become many bands
        components = self.components(parts, guide, enlarge)[(..., *kept)]
        return self.finished(components, enlarge(parts.left_out, kept), guide[(..., *kept)])

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
        cube = self.basis.spectra(components)
        cube += left_out
        return self.constrained(cube, guide)

    def constrained(self, cube: Tensor, guide: Tensor) -> Tensor:
        """Return the nearest cube (L, H, W) that fulfils the response and the sign that the attributes demand."""
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

    def __call__(self, image: Tensor, guide: Tensor, kept: tuple[slice, slice]) -> Tensor:
        """Enlarge the first L channels of (C, h, w) to the kept pixels (L, H', W')."""
        return Enlargement(self.sensor, image)(image[: self.num_bands], kept)


class FusionRenderer(nn.Module):
    """Network of the coefficients of a batch: its results on parts with a halo are those on the whole.

    Args:
        pairs (Sequence[PairRenderer | PairInterpolation]): One for each image of the batch.
        halo (int): Low-resolution pixels that a pixel of the result depends on, to every side.
    """

    def __init__(self, pairs: Sequence[PairRenderer | PairInterpolation], halo: int) -> None:
        super().__init__()
        self.pairs, self.halo = tuple(pairs), halo

    def forward(self, lq: Tensor, rgb: Tensor) -> Tensor:
        """Render coefficients, block by block.

        Args:
            lq (Tensor): Packed coefficients in place of the cubes, (B, C, h, w).
            rgb (Tensor): Guides, (B, G, H, W).

        Returns:
            Tensor: (B, L, H, W).
        """
        result = lq.new_empty(len(lq), self.pairs[0].num_bands, *rgb.shape[2:])
        scale = rgb.shape[2] // lq.shape[2]
        for strip in self.strips(lq, scale):
            rows = strip[0].enlarged(scale).target[0]
            self.render(lq, rgb, strip, result[:, :, rows])
        return result

    def strips(self, lq: Tensor, scale: int, side: int | None = None) -> list[list[Block]]:
        """Cut coefficients (B, C, h, w) into rows of blocks, which are rendered one after the other.

        Args:
            lq (Tensor): Packed coefficients.
            scale (int): Super-resolution factor.
            side (int | None): Largest side of a block in pixels of the result. Default: None, 512, or fewer rows where
                a row of blocks would take more than 256 MB.
        """
        rows = columns = max(1, (side or _BLOCK_SIDE) // scale)
        if side is None:
            row = len(lq) * self.pairs[0].num_bands * lq.shape[3] * scale**2 * lq.element_size()
            rows, columns = max(_SMALLEST_BLOCK, min(rows, _STRIP_SIZE // row)), max(_SMALLEST_BLOCK, columns)
        parts = blocks((lq.shape[2], lq.shape[3]), (rows, columns), self.halo)
        return [list(strip) for _, strip in itertools.groupby(parts, key=lambda block: block.target[0].start)]

    def render(
        self,
        lq: Tensor,
        rgb: Tensor,
        strip: Sequence[Block],
        result: Tensor,
        part_done: Callable[[], None] | None = None,
    ) -> None:
        """Render a row of blocks into its rows of the result, (B, L, rows, W)."""
        scale = rgb.shape[2] // lq.shape[2]
        for block in strip:
            large = block.enlarged(scale)
            for number in range(len(lq)):
                image, guide = lq[number][(..., *block.window)], rgb[number][(..., *large.window)]
                result[number, ..., large.target[1]] = self.part(number, image, guide, large.kept)
            if part_done is not None:
                part_done()

    def part(self, number: int, image: Tensor, guide: Tensor, kept: tuple[slice, slice]) -> Tensor:
        """Render the kept pixels (L, H', W') of a part (C, h, w) of one image of the batch and of its guide."""
        with torch.autocast(image.device.type, enabled=False):
            return self.pairs[number](image, guide, kept)


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

    def __call__(self, images: Tensor, kept: tuple[slice, slice] = _ALL) -> Tensor:
        """Enlarge (..., h, w) to (..., H, W), or to some of these rows and columns."""
        return self._rows[kept[0]] @ images @ self._columns[kept[1]].T


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
