"""What MulSRCube's towers are given of a scene, and what their outputs do to its bands."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mulsr_plugin.archs.axial_strength import axial_strength
from mulsr_plugin.archs.chromatic_aberration import ChromaticAberration, laplacian, places_in
from mulsr_plugin.archs.fusion_rendering import Coefficients, Enlargement, PairRenderer, continued_outside
from mulsr_plugin.data.degradation.correlation import continued
from mulsr_plugin.ops.windows import box_mean
from mulsr_plugin.sensor.model import SensorModel

MARGIN = 2
"""Low-resolution pixels around a part that the images of low resolution go on for."""
_NUM_SHADES = 3  # combinations of the guide's channels that the towers see
_CHROMA_GAIN, _DETAIL_GAIN, _INJECTED_GAIN = 4.0, 10.0, 4.0  # bring inputs to about 1
# So much of an output counts: an optimiser moves all outputs about equally far, and corrections are small.
_ADDITION_STEP, _GAIN_STEP = 0.02, 0.1


def num_in_ch(num_bands: int) -> int:
    """Return how many channels the towers see: see :meth:`CubeStart.inputs`."""
    return 4 * num_bands + 2 * _NUM_SHADES + 2


def num_out_ch(num_bands: int) -> int:
    """Return how many channels the towers predict: see :meth:`CubeStart.finished`."""
    return 2 * num_bands


@dataclass(frozen=True, eq=False)
class SceneUnits:
    """What is measured of a whole scene for its correction.

    Attributes:
        brightness (float): Root mean square of the cube.
        shades (Tensor): (3, C) combinations of the guide's channels: brightness, then what differs from it most.
        level (Tensor): (2, 1, 1) noise and scale.
        size (tuple[int, int]): Rows and columns of the guide.
        axial_strength (float): Strength of the axial chromatic aberration, see ``axial_strength``.
    """

    brightness: float
    shades: Tensor
    level: Tensor
    size: tuple[int, int]
    axial_strength: float

    @classmethod
    def of_scene(
        cls, renderer: PairRenderer, lq: Tensor, parts: Coefficients, guide: Tensor, lens: ChromaticAberration
    ) -> SceneUnits:
        """Measure a scene on its cube (L, h, w), all its coefficients and its guide (G, H, W)."""
        basis = renderer.basis
        total = parts.y.flatten(1).var(dim=1).sum().sqrt()
        noise = torch.log2(1e-3 + basis.noise.mean().sqrt() / (total + 1e-12)) / 4 + 1.5
        scale = torch.full_like(noise, math.log2(renderer.sensor.scale) / 2 - 1.5)
        shades = _shades(parts.z[: renderer.features.num_channels].flatten(1))
        brightness = float(basis.spectra(parts.y).square().mean().sqrt()) + 1e-12
        return cls(
            brightness,
            shades,
            torch.stack([noise, scale])[:, None, None],
            (guide.shape[1], guide.shape[2]),
            axial_strength(renderer, lq, parts, guide, lens.profile()),
        )


def _shades(z: Tensor) -> Tensor:
    """Return the principal combinations (3, C) of reduced channels (C, N), with a sign by their third moment."""
    weights = torch.linalg.eigh(z @ z.T)[1].flip(1)[:, :_NUM_SHADES].T
    values = weights @ z
    sign = torch.where(values.pow(3).mean(dim=1) < 0, -1.0, 1.0)
    weights = weights * sign[:, None] / (values[0].square().mean().sqrt() + 1e-12)
    weights = torch.cat([weights[:1], _CHROMA_GAIN * weights[1:]])
    return F.pad(weights, (0, 0, 0, _NUM_SHADES - len(weights)))


class LowImages(NamedTuple):
    """What is known at low resolution of a part and ``MARGIN`` pixels around it, both (P, h, w).

    Attributes:
        y (Tensor): Components of the cube, free of noise.
        misfit (Tensor): y less what D makes of the start.
    """

    y: Tensor
    misfit: Tensor

    def with_margin(self) -> LowImages:
        """Continue images without a margin by reflection, as enlarging them does."""
        rows, columns = (
            torch.from_numpy(continued(np.arange(-MARGIN, length + MARGIN), length, 'symmetric')).to(self.y.device)
            for length in self.y.shape[1:]
        )
        return LowImages(*(image[..., rows[:, None], columns] for image in self))

    def cut(self, rows: slice, columns: slice) -> LowImages:
        """Return rows and columns, counted without the margin, and the margin around them."""
        rows, columns = (slice(part.start, part.stop + 2 * MARGIN) for part in (rows, columns))
        return LowImages(*(image[..., rows, columns] for image in self))


@dataclass(frozen=True, eq=False)
class CubeStart:
    """Start of a scene or of a part of it, ready to be corrected.

    Attributes:
        renderer (PairRenderer): Of the scene.
        units (SceneUnits): Of the scene.
        guide (Tensor): (G, H, W).
        cube (Tensor): (L, H, W) to correct.
        places (Tensor): (2, H, W) of the pixels, from the axis of the lens.
        low (LowImages): The same part at low resolution.
    """

    renderer: PairRenderer
    units: SceneUnits
    guide: Tensor
    cube: Tensor
    places: Tensor
    low: LowImages

    @classmethod
    @torch.no_grad()
    def of_part(
        cls, renderer: PairRenderer, units: SceneUnits, image: Tensor, guide: Tensor, corner: tuple[int, int] = (0, 0)
    ) -> CubeStart:
        """Render the start for packed coefficients (C, h, w) and the guide (G, H, W) from a corner of the scene on."""
        parts, sensor, enlarge = renderer.unpacked(image), renderer.sensor, Enlargement(renderer.sensor, image)
        components = renderer.components(parts, guide, enlarge)
        # pixels that have seen ground beyond the guide contradict the start without a reason that could be corrected
        misfit = continued_outside(parts.y - sensor.blur(components[None])[0], parts.covered[0] > 0)
        cube = renderer.finished(components, enlarge(parts.left_out), guide)
        top, left = corner
        window = slice(top, top + guide.shape[1]), slice(left, left + guide.shape[2])
        places = places_in(units.size, guide, window)
        return cls(renderer, units, guide, cube, places, LowImages(parts.y, misfit).with_margin())

    def cut(self, rows: slice, columns: slice) -> CubeStart:
        """Return a part, in low-resolution pixels."""
        tall, wide = (slice(self.scale * part.start, self.scale * part.stop) for part in (rows, columns))
        guide, cube, places = (image[..., tall, wide] for image in (self.guide, self.cube, self.places))
        return CubeStart(self.renderer, self.units, guide, cube, places, self.low.cut(rows, columns))

    @property
    def sensor(self) -> SensorModel:
        """Model of the pair."""
        return self.renderer.sensor

    @property
    def scale(self) -> int:
        """Factor between the two images."""
        return self.sensor.scale

    def unseen(self, images: Tensor) -> Tensor:
        """Return what D does not see of images (C, H, W): one back-projection takes the rest off."""
        low = self.sensor.blur(images[None])[0]
        return images - Enlargement(self.sensor, low)(low)

    def seen_through(self, lens: ChromaticAberration) -> Tensor:
        """Return the cube (L, H, W) with every band as the lens of its camera makes it."""
        return self.cube + self.unseen(lens(self.cube, self.places, self.units.axial_strength))

    def observe(self, gt: Tensor, lens: ChromaticAberration) -> None:
        """Let ``lens`` learn from what the start lacks of the ground truth (L, H, W)."""
        edge = slice(self.scale, -self.scale)  # where the start itself is less certain
        derivatives = torch.stack([self.unseen(each) for each in lens.derivatives(self.cube, self.places)])
        missing = (gt - self.cube)[..., edge, edge]
        lens.observe(derivatives[..., edge, edge], missing, self.units.axial_strength)

    def inputs(self, cube: Tensor) -> Tensor:
        """Return what the towers see with a cube (L, H, W) seen through the lens: (num_in_ch, H, W).

        That is the cube, its detail, what has been injected into it beyond interpolation, what D of the start leaves
        unexplained, three combinations of the guide's channels and their detail, noise and scale.
        """
        basis, unit = self.renderer.basis, 1 / self.units.brightness
        enlarge, margin = Enlargement(self.sensor, self.low.y), MARGIN * self.scale
        y, misfit = (enlarge(image)[:, margin:-margin, margin:-margin] for image in self.low)
        features = self.renderer.features(self.guide)[: self.units.shades.shape[1]]
        shades = torch.einsum('kc,chw->khw', self.units.shades, features)
        return torch.cat(
            [
                unit * cube,
                _DETAIL_GAIN * unit * (cube - box_mean(cube, 1)),
                _INJECTED_GAIN * unit * (cube - basis.spectra(y)),
                _DETAIL_GAIN * unit * (basis.spectra(misfit) - basis.mean[:, :, None]),
                shades,
                _DETAIL_GAIN * (shades - box_mean(shades, 1)),
                self.units.level.expand(2, *cube.shape[1:]),
            ]
        )

    def finished(self, cube: Tensor, outputs: Tensor) -> Tensor:
        """Apply outputs (num_out_ch, H, W) of the towers to a cube (L, H, W) seen through the lens; 0 changes nothing.

        An addition for every band, and one times its Laplacian, as far as D does not see them. Then the response that
        may be given is fulfilled, and values below zero are cut off, as ``SensorFusion`` does.
        """
        added, gains = outputs.chunk(2)
        change = _ADDITION_STEP * self.units.brightness * added + _GAIN_STEP * gains * laplacian(cube)
        return self.renderer.constrained(cube + self.unseen(change), self.guide)
