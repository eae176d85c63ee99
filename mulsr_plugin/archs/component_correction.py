"""What MulSRCube's towers are given of a scene, and what their outputs do to its spectral components.

Both are the same for any number of bands, guide channels and any scale: components are ordered by strength, divided by
their deviation and given a sign by their skewness, and most outputs are weights that act on all components alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mulsr_plugin.archs.fusion_rendering import Coefficients, Enlargement, PairRenderer, continued_outside
from mulsr_plugin.data.degradation.correlation import continued
from mulsr_plugin.sensor.model import SensorModel

NUM_SEEN = 8
"""Components that the towers see and correct one by one; the weights act on all."""
NUM_GUIDE = 3
"""Combinations of the guide's channels that the towers see."""
WINDOW = 5
"""Side of the neighbourhood of low-resolution pixels that weights are for."""
MARGIN = WINDOW // 2
"""Low-resolution pixels around a part that the images of low resolution go on for."""
NUM_IN_CH = 3 * NUM_SEEN + 1 + 2 * NUM_GUIDE + 2
NUM_OUT_CH = 2 * WINDOW**2 + NUM_SEEN * NUM_GUIDE + NUM_SEEN + 2

_SMALLEST_UNIT = 0.01  # of a component, in deviations of all of them together
_DARKEST = 0.1  # brightness, in root mean squares, below which ratios of brightness are not believed
_CHROMA_GAIN, _MISFIT_GAIN = 4.0, 10.0  # bring inputs to about 1
# So much of an output counts: an optimiser moves all outputs about equally far, and weights must be precise.
_WEIGHT_STEP, _COMPONENT_STEP = 0.05, 0.1
_MOST_NEIGHBOURS = 2**26  # numbers that are gathered at a time


@dataclass(frozen=True, eq=False)
class SceneUnits:
    """Units in which the towers see a scene.

    Attributes:
        component (Tensor): (P, 1, 1) signed deviation of each component.
        origin (Tensor): (P, 1, 1) what turns components into those of spectra whose mean is not taken off.
        guide (Tensor): (3, C) combinations of the guide's channels: brightness, then what differs from it most.
        level (Tensor): (2, 1, 1) noise and scale.
    """

    component: Tensor
    origin: Tensor
    guide: Tensor
    level: Tensor

    @classmethod
    def of_scene(cls, renderer: PairRenderer, parts: Coefficients) -> SceneUnits:
        """Measure a scene on all its coefficients."""
        y, basis = parts.y, renderer.basis
        total = y.flatten(1).var(dim=1).sum().sqrt()
        centred = y - y.mean(dim=(1, 2), keepdim=True)
        component = y.flatten(1).std(dim=1).clamp(min=_SMALLEST_UNIT * total + 1e-12) * _sign(centred.flatten(1))
        noise = torch.log2(1e-3 + basis.noise.mean().sqrt() / (total + 1e-12)) / 4 + 1.5
        scale = torch.full_like(noise, math.log2(renderer.sensor.scale) / 2 - 1.5)
        origin = (basis.analysis @ basis.mean)[:, 0]
        guide = _guide_combinations(parts.z[: renderer.features.num_channels].flatten(1))
        return cls(component[:, None, None], origin[:, None, None], guide, torch.stack([noise, scale])[:, None, None])


def _sign(values: Tensor) -> Tensor:
    """Return 1 or -1 for every row, that of its third moment."""
    return torch.where(values.pow(3).mean(dim=1) < 0, -1.0, 1.0)


def _guide_combinations(z: Tensor) -> Tensor:
    weights = torch.linalg.eigh(z @ z.T)[1].flip(1)[:, :NUM_GUIDE].T
    values = weights @ z
    weights = weights * _sign(values)[:, None] / (values[0].square().mean().sqrt() + 1e-12)
    weights = torch.cat([weights[:1], _CHROMA_GAIN * weights[1:]])
    return F.pad(weights, (0, 0, 0, NUM_GUIDE - len(weights)))


class LowImages(NamedTuple):
    """What is known at low resolution of a part and ``MARGIN`` pixels around it.

    Attributes:
        y (Tensor): (P, h, w) components of the cube, free of noise.
        z (Tensor): (F, h, w) reduced features of the guide.
        gain (Tensor): (P, F, h, w) gains of components on features.
        misfit (Tensor): (P, h, w) y less what D makes of the start.
        left_out (Tensor): (L, h, w) what the components leave out of the cube.
    """

    y: Tensor
    z: Tensor
    gain: Tensor
    misfit: Tensor
    left_out: Tensor

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
class SceneStart:
    """Start of a scene or of a part of it, ready to be corrected.

    Attributes:
        renderer (PairRenderer): Of the scene.
        units (SceneUnits): Of the scene.
        guide (Tensor): (G, H, W).
        start (Tensor): (P, H, W) components to correct.
        low (LowImages): The same part at low resolution.
    """

    renderer: PairRenderer
    units: SceneUnits
    guide: Tensor
    start: Tensor
    low: LowImages

    @classmethod
    @torch.no_grad()
    def of_part(cls, renderer: PairRenderer, units: SceneUnits, image: Tensor, guide: Tensor) -> SceneStart:
        """Render the start for packed coefficients (C, h, w) and the guide (G, H, W)."""
        parts, sensor = renderer.unpacked(image), renderer.sensor
        start = renderer.components(parts, guide, Enlargement(sensor, image))
        # pixels that have seen ground beyond the guide contradict the start without a reason that could be corrected
        misfit = continued_outside(parts.y - sensor.blur(start[None])[0], parts.covered[0] > 0)
        gain = parts.gain + renderer.regression.gain[:, :, None, None]
        low = LowImages(parts.y, parts.z, gain, misfit, parts.left_out).with_margin()
        return cls(renderer, units, guide, start, low)

    def cut(self, rows: slice, columns: slice) -> SceneStart:
        """Return a part, in low-resolution pixels."""
        scale = self.sensor.scale
        tall, wide = (slice(scale * part.start, scale * part.stop) for part in (rows, columns))
        images = self.guide[..., tall, wide], self.start[..., tall, wide]
        return SceneStart(self.renderer, self.units, *images, self.low.cut(rows, columns))

    @property
    def sensor(self) -> SensorModel:
        """Model of the pair."""
        return self.renderer.sensor

    @property
    def scale(self) -> int:
        """Factor between the two images."""
        return self.sensor.scale

    @property
    def cube(self) -> Tensor:
        """What is to be corrected, (L, H, W)."""
        return self.finished(self.start)

    @cached_property
    def _features(self) -> Tensor:
        return self.renderer.features(self.guide)

    def finished(self, components: Tensor) -> Tensor:
        """Make a cube (L, H, W) of components (P, H, W)."""
        return self.renderer.finished(components, self._enlarge()(self.low.left_out), self.guide)

    def inputs(self) -> Tensor:
        """Return what the towers see, (NUM_IN_CH, H, W)."""
        units, low = self.units, self.low
        enlarge = self._enlarge()
        seen = units.component[:NUM_SEEN]
        misfit = _MISFIT_GAIN * enlarge(low.misfit)
        components = (
            self.start[:NUM_SEEN] / seen,
            (self.start[:NUM_SEEN] - enlarge(low.y[:NUM_SEEN])) / seen,
            misfit[:NUM_SEEN] / seen,
        )
        missing = (0, 0, 0, 0, 0, NUM_SEEN - len(seen))
        energy = misfit.square().sum(dim=0, keepdim=True).sqrt() / units.component.square().sum().sqrt()
        guide, detail = self._guide(enlarge)
        level = units.level.expand(2, *self.start.shape[1:])
        return torch.cat([*(F.pad(image, missing) for image in components), energy, guide, detail, level])

    def corrected(self, outputs: Tensor) -> Tensor:
        """Return corrected components (P, H, W) for outputs (NUM_OUT_CH, H, W) of the towers; zeros change nothing.

        1. Weights of 5x5 low-resolution pixels move every component towards what the local regression there predicts.
        2. Further weights move it towards the spectra there, scaled to the brightness of the pixel.
        3. Gains of the guide's detail, and additions, for the strongest components.
        4. Of all this, D is taken back, and what D of the start lacks is added, as far as two more outputs say.
        """
        count = WINDOW**2
        models, copies, gains, added, gates = outputs.split([count, count, NUM_SEEN * NUM_GUIDE, NUM_SEEN, 2])
        enlarge = self._enlarge()
        change = self._towards_models(_WEIGHT_STEP * models)
        change = change + self._towards_copies(_WEIGHT_STEP * copies)
        change = change + self._of_components(gains.unflatten(0, (NUM_SEEN, NUM_GUIDE)), added, enlarge)
        reduced = self.sensor.blur(change[None])[0]
        taken_back = Enlargement(self.sensor, reduced)(reduced)
        return self.start + change - taken_back * (1 + gates[:1]) + enlarge(self.low.misfit) * gates[1:]

    def _towards_models(self, weights: Tensor) -> Tensor:
        low = self.low
        base = low.y - torch.einsum('pfhw,fhw->phw', low.gain, low.z)
        mixed = self._mixed(weights, torch.cat([base, low.gain.flatten(0, 1)]))
        base, gain = mixed[: len(base)], mixed[len(base) :].unflatten(0, low.gain.shape[:2])
        predicted = base + torch.einsum('pfhw,fhw->phw', gain, self._features)
        return predicted - weights.sum(dim=0) * self.start

    def _towards_copies(self, weights: Tensor) -> Tensor:
        low, origin = self.low, self.units.origin
        brightness = self._combined(low.z)[:1].clamp(min=_DARKEST)
        mixed = self._mixed(weights, (low.y + origin) / brightness)
        return mixed * self._combined(self._features)[:1] - weights.sum(dim=0) * (self.start + origin)

    def _of_components(self, gains: Tensor, added: Tensor, enlarge: Callable[[Tensor], Tensor]) -> Tensor:
        seen = self.units.component[:NUM_SEEN]
        detail = self._guide(enlarge)[1]
        count = len(seen)
        by_gains = torch.einsum('kghw,ghw->khw', gains[:count], detail)
        change = _COMPONENT_STEP * seen * (added[:count] + by_gains)
        return F.pad(change, (0, 0, 0, 0, 0, len(self.start) - count))

    def _guide(self, enlarge: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """Return the combinations of the guide's channels, and their detail."""
        guide = self._combined(self._features)
        return guide, guide - enlarge(self._combined(self.low.z))

    def _combined(self, features: Tensor) -> Tensor:
        return torch.einsum('kc,chw->khw', self.units.guide, features[: self.units.guide.shape[1]])

    def _enlarge(self) -> Callable[[Tensor], Tensor]:
        """Return a function that enlarges low-resolution images and cuts their margin off."""
        enlarge, margin = Enlargement(self.sensor, self.low.y), MARGIN * self.sensor.scale
        return lambda images: enlarge(images)[..., margin:-margin, margin:-margin]

    def _mixed(self, weights: Tensor, images: Tensor) -> Tensor:
        """Sum images (C, h, w) of the neighbouring low-resolution pixels by weights (25, H, W): (C, H, W)."""
        scale, (height, width) = self.sensor.scale, (images.shape[1] - 2 * MARGIN, images.shape[2] - 2 * MARGIN)
        near = images.unfold(1, WINDOW, 1).unfold(2, WINDOW, 1)  # (C, h, w, 5, 5), a view
        weights = weights.reshape(-1, height, scale, width, scale).permute(1, 3, 2, 4, 0)
        rows = max(1, _MOST_NEIGHBOURS // (len(images) * width * WINDOW**2))
        parts = [
            _products(weights[first : first + rows], near[:, first : first + rows]) for first in range(0, height, rows)
        ]
        return torch.cat(parts, dim=1).flatten(3, 4).flatten(1, 2)


def _products(weights: Tensor, near: Tensor) -> Tensor:
    """Multiply weights (h, w, s, s, 25) by neighbours (C, h, w, 5, 5): (C, h, s, w, s)."""
    height, width, scale = weights.shape[:3]
    values = near.permute(1, 2, 3, 4, 0).reshape(height * width, WINDOW**2, -1)
    result = torch.bmm(weights.reshape(height * width, scale**2, -1), values)
    return result.view(height, width, scale, scale, -1).permute(4, 0, 2, 1, 3)
