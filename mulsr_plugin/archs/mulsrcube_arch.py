"""MulSRCube, a learned correction of SensorFusion for whole cubes: MulSR's two scales, exchange and feedback.

Method of this project. MulSR (J. Li, Q. Yuan, Z. Wang, Multiscale Factor Joint Learning for Hyperspectral Image
Super-Resolution, IEEE Transactions on Geoscience and Remote Sensing, 2023) learns two scales jointly, lets them
exchange features and feeds the difference back. Here this corrects a start that the two images determine alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mulsr_plugin.archs.component_correction import (
    MARGIN,
    NUM_IN_CH,
    NUM_OUT_CH,
    SceneStart,
    SceneUnits,
)
from mulsr_plugin.archs.fusion_rendering import FusionRenderer, PairRenderer
from mulsr_plugin.archs.input_checks import check_positive
from mulsr_plugin.archs.sensorfusion_arch import Prepared, SensorFusion
from mulsr_plugin.archs.two_scale_towers import GRID, TwoScaleTowers
from mulsr_plugin.sensor.model import SensorModel


@ARCH_REGISTRY.register()
class MulSRCube(nn.Module):
    """Correct the result of ``SensorFusion`` by two towers of convolutions at half and quarter size.

    The towers see the strongest eight spectral components of the start, what D leaves unexplained of the cube, the
    guide and its detail, the noise and the scale. They predict weights of the 5x5 neighbouring low-resolution pixels
    that are the same for all bands, gains of the guide's detail and additions for the components seen, and how much of
    the correction D must not see. So one set of weights takes any number of bands and guide channels, any scale, and
    any blur, which is estimated or given as for ``SensorFusion``. Untrained it returns the result of that.

    Pairs whose guide says nothing about the cube are interpolated, as there. Every image of a batch is treated on its
    own. Gradients reach the towers, not the inputs.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        num_feat (int): Features of the tower at half size; that at quarter size has twice as many. Default: 48.
        num_stages (int): Stages of the towers. Default: 3.
        degradation (str | Mapping | None): See ``SensorFusion``. Default: None, estimated from each pair.
        response (str | None): See ``SensorFusion``. Default: None, unknown.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An option is out of its range, or a sensor file is for another scale.
    """

    def __init__(
        self,
        upscale: int | Sequence[int] = 8,
        num_feat: int = 48,
        num_stages: int = 3,
        degradation: str | Mapping[str, Any] | None = None,
        response: str | None = None,
    ) -> None:
        super().__init__()
        for name, value in (('num_feat', num_feat), ('num_stages', num_stages)):
            check_positive(name, value)
        self.start = SensorFusion(upscale, degradation, response)
        self.upscale = self.start.upscale
        self.towers = TwoScaleTowers(NUM_IN_CH, NUM_OUT_CH, num_feat, num_stages)

    def forward(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> Tensor:
        """Fuse cubes and guides.

        Args:
            lq (Tensor): Low-resolution cubes of any number of bands, (B, L, h, w), values around [0, 1].
            rgb (Tensor): Guide images of any number of channels, (B, G, H, W), H = scale * h and W = scale * w.
            sensor (SensorModel | None): Model of the pairs, instead of that of the options. Default: None.

        Returns:
            Tensor: (B, L, H, W), not below 0 where no value of the cube is.

        Raises:
            ValueError: The inputs fit neither each other nor the options, or the sensor model is for another scale.
        """
        net, coefficients = self.prepared(lq, rgb, sensor)
        return net(coefficients, rgb)

    @torch.no_grad()
    def starts(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> list[SceneStart | None]:
        """Return the starts of a batch, for training on parts of them; None where the guide says nothing."""
        start, coefficients = self.start.prepared(lq, rgb, sensor)
        return [
            SceneStart.of_part(pair, SceneUnits.of_scene(pair, pair.unpacked(image)), image, guide)
            if isinstance(pair, PairRenderer)
            else None
            for pair, image, guide in zip(start.pairs, coefficients, rgb)
        ]

    def corrected(self, starts: Sequence[SceneStart]) -> list[Tensor]:
        """Correct starts, see :func:`corrected`."""
        return corrected(self.towers, starts)

    def prepared(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> Prepared:
        """Do all that needs the whole images, so that the rest may be done part by part; see :meth:`forward`."""
        start, coefficients = self.start.prepared(lq, rgb, sensor)
        net = CorrectedRenderer(start, coefficients, self.towers)
        return Prepared(net, torch.cat([coefficients, _places(coefficients)], dim=1))

    @staticmethod
    def options_of_weights(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Return the options that weights of this network show, ``upscale`` not among them; None for other weights."""
        stages = {key.split('.')[2] for key in state if key.startswith('towers.fine.')}
        return {'num_feat': len(state['towers.head.weight']), 'num_stages': len(stages)} if stages else None


class CorrectedRenderer(FusionRenderer):
    """Network of the coefficients of a batch: its results on parts with a halo are those on the whole.

    Args:
        start (FusionRenderer): Renders the start.
        coefficients (Tensor): Those of the whole images, packed, (B, C, h, w).
        towers (TwoScaleTowers): Predict the correction.
    """

    def __init__(self, start: FusionRenderer, coefficients: Tensor, towers: TwoScaleTowers) -> None:
        scale = start.pairs[0].sensor.scale
        # the start and D of it, then what the towers see, then D of the correction and its enlargement
        reach = max(pair.sensor.reach for pair in start.pairs)
        halo = start.halo + reach + MARGIN + -(-(towers.reach + GRID) // scale) + MARGIN + reach + 4
        super().__init__(start.pairs, halo)
        self.towers = towers
        self.units = [
            SceneUnits.of_scene(pair, pair.unpacked(image)) if isinstance(pair, PairRenderer) else None
            for pair, image in zip(start.pairs, coefficients)
        ]

    def part(self, number: int, image: Tensor, guide: Tensor, kept: tuple[slice, slice]) -> Tensor:
        """Render the kept pixels (L, H', W') of a part (C, h, w) of one image of the batch and of its guide."""
        pair, units = self.pairs[number], self.units[number]
        if units is None or not isinstance(pair, PairRenderer):
            return super().part(number, image, guide, kept)
        with torch.autocast(image.device.type, enabled=False):
            start = SceneStart.of_part(pair, units, image, guide)
        top, left = (int(place) * pair.sensor.scale % GRID for place in image[-2:, 0, 0])
        return corrected(self.towers, [start], top, left)[0][(..., *kept)]


def corrected(towers: TwoScaleTowers, starts: Sequence[SceneStart], top: int = 0, left: int = 0) -> list[Tensor]:
    """Correct starts of one size in pixels of the guide.

    Args:
        towers (TwoScaleTowers): Predict the correction.
        starts (Sequence[SceneStart]): Scenes or parts of scenes, which may differ in everything but their size.
        top (int): Row of the first pixel within the grid of the towers. Default: 0.
        left (int): Column of it. Default: 0.

    Returns:
        list[Tensor]: Cubes (L, H, W).
    """
    device_type = starts[0].guide.device.type
    with torch.autocast(device_type, enabled=False):
        inputs = torch.stack([start.inputs() for start in starts])
    height, width = inputs.shape[2:]
    after = (-(width + left) % GRID, -(height + top) % GRID)
    padded = F.pad(inputs, (left, after[0], top, after[1]), mode='replicate')
    outputs = towers(padded.contiguous(memory_format=torch.channels_last))[..., top : top + height, left : left + width]
    with torch.autocast(device_type, enabled=False):
        return [start.finished(start.corrected(output)) for start, output in zip(starts, outputs.float())]


def _places(images: Tensor) -> Tensor:
    """Return the row and column of every pixel of (B, C, h, w), (B, 2, h, w)."""
    rows, columns = (torch.arange(n).to(images) for n in images.shape[2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing='ij')).expand(len(images), -1, -1, -1)
