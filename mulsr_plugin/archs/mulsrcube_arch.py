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

from mulsr_plugin.archs.band_correction import MARGIN, CubeStart, SceneUnits, num_in_ch, num_out_ch
from mulsr_plugin.archs.chromatic_aberration import REACH, ChromaticAberration
from mulsr_plugin.archs.fusion_rendering import FusionRenderer, PairRenderer
from mulsr_plugin.archs.input_checks import check_positive
from mulsr_plugin.archs.sensorfusion_arch import Prepared, SensorFusion
from mulsr_plugin.archs.two_scale_towers import GRID, TwoScaleTowers
from mulsr_plugin.sensor.model import SensorModel


@ARCH_REGISTRY.register()
class MulSRCube(nn.Module):
    """Correct the result of ``SensorFusion`` by what is learned of the camera: its lens, and two towers.

    1. ``ChromaticAberration`` makes every band as sharp and as large as the lens of the camera does; it is learned in
       closed form, and is most of what there is to gain.
    2. Two towers of convolutions at full and half size see the result, its detail, what D leaves unexplained of the
       cube, the guide, the noise and the scale. They predict additions for every band and for its sharpness.

    D does not see either correction, so that one set of weights takes any scale and any blur, which is estimated or
    given as for ``SensorFusion``. It is the bands of one camera that are learned: cubes with another number of bands,
    and guides with another number of channels, get the result of ``SensorFusion``, and so do pairs whose guide says
    nothing about the cube. Untrained, all do. Every image of a batch is treated on its own. Gradients reach the towers,
    not the inputs.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        num_bands (int): Bands of the cubes that are corrected, L. Default: 31.
        num_guide_ch (int): Channels of their guides. Default: 3.
        num_feat (int): Features of the tower at full size; that at half size has twice as many. Default: 40.
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
        num_bands: int = 31,
        num_guide_ch: int = 3,
        num_feat: int = 40,
        num_stages: int = 3,
        degradation: str | Mapping[str, Any] | None = None,
        response: str | None = None,
    ) -> None:
        super().__init__()
        numbers = {'num_bands': num_bands, 'num_guide_ch': num_guide_ch, 'num_feat': num_feat, 'num_stages': num_stages}
        for name, value in numbers.items():
            check_positive(name, value)
        self.start = SensorFusion(upscale, degradation, response)
        self.upscale, self.num_bands, self.num_guide_ch = self.start.upscale, num_bands, num_guide_ch
        self.lens = ChromaticAberration(num_bands)
        self.towers = TwoScaleTowers(num_in_ch(num_bands), num_out_ch(num_bands), num_feat, num_stages)

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
    def starts(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> list[CubeStart | None]:
        """Return the starts of a batch, for training on parts of them; None where nothing will be corrected."""
        start, coefficients = self.start.prepared(lq, rgb, sensor)
        units = self._units(start, lq, coefficients, rgb)
        return [
            CubeStart.of_part(pair, unit, image, guide) if unit is not None and isinstance(pair, PairRenderer) else None
            for pair, unit, image, guide in zip(start.pairs, units, coefficients, rgb)
        ]

    @torch.no_grad()
    def observe(self, start: CubeStart, gt: Tensor) -> None:
        """Learn the aberration of the lens from a whole start and its ground truth (L, H, W), and from those before."""
        start.observe(gt, self.lens)
        self.lens.solve()

    def corrected(self, starts: Sequence[CubeStart], top: int = 0, left: int = 0) -> list[Tensor]:
        """Correct starts of one size in pixels of the guide.

        Args:
            starts (Sequence[CubeStart]): Scenes or parts of scenes, which may differ in everything but their size.
            top (int): Row of the first pixel within the grid of the towers. Default: 0.
            left (int): Column of it. Default: 0.

        Returns:
            list[Tensor]: Cubes (L, H, W).
        """
        device_type = starts[0].guide.device.type
        with torch.autocast(device_type, enabled=False):
            cubes = [start.seen_through(self.lens) for start in starts]
            inputs = torch.stack([start.inputs(cube) for start, cube in zip(starts, cubes)])
        height, width = inputs.shape[2:]
        after = (-(width + left) % GRID, -(height + top) % GRID)
        padded = F.pad(inputs, (left, after[0], top, after[1]), mode='replicate')
        outputs = self.towers(padded.contiguous(memory_format=torch.channels_last))
        outputs = outputs[..., top : top + height, left : left + width].float()
        with torch.autocast(device_type, enabled=False):
            return [start.finished(cube, output) for start, cube, output in zip(starts, cubes, outputs)]

    def prepared(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> Prepared:
        """Do all that needs the whole images, so that the rest may be done part by part; see :meth:`forward`."""
        start, coefficients = self.start.prepared(lq, rgb, sensor)
        net = CorrectedRenderer(start, self, self._units(start, lq, coefficients, rgb))
        return Prepared(net, torch.cat([coefficients, _places(coefficients)], dim=1))

    def _units(self, start: FusionRenderer, lq: Tensor, coefficients: Tensor, rgb: Tensor) -> list[SceneUnits | None]:
        """Measure the scenes of a batch that will be corrected."""
        known = (start.pairs[0].num_bands, rgb.shape[1]) == (self.num_bands, self.num_guide_ch)
        return [
            SceneUnits.of_scene(pair, cube, pair.unpacked(image), guide, self.lens)
            if known and isinstance(pair, PairRenderer)
            else None
            for pair, cube, image, guide in zip(start.pairs, lq, coefficients, rgb)
        ]

    @staticmethod
    def options_of_weights(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Return the options that weights of this network show; None for other weights.

        ``upscale`` and ``num_guide_ch`` are not among them.
        """
        stages = {key.split('.')[2] for key in state if key.startswith('towers.fine.')}
        if not stages or 'lens.weight' not in state:
            return None
        num_feat, num_bands = len(state['towers.head.weight']), state['lens.weight'].shape[1]
        return {'num_bands': num_bands, 'num_feat': num_feat, 'num_stages': len(stages)}


class CorrectedRenderer(FusionRenderer):
    """Network of the coefficients of a batch: its results on parts with a halo are those on the whole.

    Args:
        start (FusionRenderer): Renders the start.
        net (MulSRCube): Corrects it.
        units (Sequence[SceneUnits | None]): Of the images of the batch; None for those that are left as they are.
    """

    net: MulSRCube

    def __init__(self, start: FusionRenderer, net: MulSRCube, units: Sequence[SceneUnits | None]) -> None:
        scale = start.pairs[0].sensor.scale
        # D and its enlargement of the start and of both corrections; pixels that lens, detail and towers reach
        seen = 3 * (max(pair.sensor.reach for pair in start.pairs) + MARGIN)
        super().__init__(start.pairs, start.halo + seen + -(-(net.towers.reach + GRID + 2 * REACH) // scale) + 2)
        # not a submodule: the renderer is a part of the network, not the reverse
        self.__dict__['net'], self.units = net, units

    def part(self, number: int, image: Tensor, guide: Tensor, kept: tuple[slice, slice]) -> Tensor:
        """Render the kept pixels (L, H', W') of a part (C, h, w) of one image of the batch and of its guide."""
        pair, units = self.pairs[number], self.units[number]
        if units is None or not isinstance(pair, PairRenderer):
            return super().part(number, image, guide, kept)
        with torch.autocast(image.device.type, enabled=False):
            top, left = (int(place) * pair.sensor.scale for place in image[-2:, 0, 0])
            start = CubeStart.of_part(pair, units, image, guide, (top, left))
        return self.net.corrected([start], top % GRID, left % GRID)[0][(..., *kept)]


def _places(images: Tensor) -> Tensor:
    """Return the row and column of every pixel of (B, C, h, w), (B, 2, h, w)."""
    rows, columns = (torch.arange(n).to(images) for n in images.shape[2:])
    return torch.stack(torch.meshgrid(rows, columns, indexing='ij')).expand(len(images), -1, -1, -1)
