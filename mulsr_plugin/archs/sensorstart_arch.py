"""SensorStart, any registered network put on top of SensorFusion, so that it need not learn what that already knows."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mulsr_plugin.archs.adapters_arch import build_without_mean, enlarge
from mulsr_plugin.archs.bands import split_bands
from mulsr_plugin.archs.fusion_rendering import PairRenderer
from mulsr_plugin.archs.input_checks import check_inputs, check_positive
from mulsr_plugin.archs.sensorfusion_arch import SensorFusion
from mulsr_plugin.sensor.model import SensorModel

_BANDS_AT_A_TIME = 4  # of a band-wise network on whole images outside a training


@dataclass(frozen=True, eq=False)
class PairStart:
    """Start of a pair or of a part of it, ready to be corrected.

    Attributes:
        lq (Tensor): (L, h, w).
        stacked (Tensor): (G + L + 1, H, W): guide, start, and 1 where the guide belongs to the cube, see
            :class:`StartCorrection`.
    """

    lq: Tensor
    stacked: Tensor

    @property
    def scale(self) -> int:
        """Factor between the two images."""
        return self.stacked.shape[1] // self.lq.shape[1]

    @property
    def cube(self) -> Tensor:
        """What is to be corrected, (L, H, W)."""
        return self.stacked[-len(self.lq) - 1 : -1]

    def cut(self, rows: slice, columns: slice) -> PairStart:
        """Return a part, in low-resolution pixels."""
        tall, wide = (slice(self.scale * part.start, self.scale * part.stop) for part in (rows, columns))
        return PairStart(self.lq[:, rows, columns], self.stacked[:, tall, wide])


class StartCorrection(nn.Module):
    """A guided network whose guide has the start stacked to it, and whose result is the corrected start.

    It needs no whole images: parts of them will do, as far as they do for the network in it.

    Args:
        network (nn.Module): The network.
        num_bands (int): Bands of the cube, L.
        on_start (bool): Whether the network is given the start in the place of the cube.
        adds_input (bool): See ``SensorStart``.
    """

    def __init__(self, network: nn.Module, num_bands: int, on_start: bool, adds_input: bool) -> None:
        super().__init__()
        self.network, self.num_bands, self.on_start, self.adds_input = network, num_bands, on_start, adds_input
        self.is_guided = 'rgb' in inspect.signature(network.forward).parameters
        self.gain = nn.Parameter(torch.zeros(num_bands, 1, 1))

    def forward(self, lq: Tensor, rgb: Tensor) -> Tensor:
        """Correct the start.

        Args:
            lq (Tensor): Low-resolution cube, (B, L, h, w).
            rgb (Tensor): (B, G + L + 1, H, W): guide; start; 1, or 0 where the guide says nothing and the start stays.

        Returns:
            Tensor: (B, L, H, W), not clamped.
        """
        return self._corrected(lq, rgb, None)

    def _corrected(self, lq: Tensor, rgb: Tensor, bands: Sequence[int] | None) -> Tensor:
        guide, start, related = rgb.split([rgb.shape[1] - self.num_bands - 1, self.num_bands, 1], dim=1)
        cube, guide = (start, guide) if self.on_start else (lq, rgb[:, :-1])
        chosen = slice(None) if bands is None else list(bands)
        added = self.network(
            *([cube, guide] if self.is_guided else [cube]), **({} if bands is None else {'bands': chosen})
        ).float()
        if self.adds_input:
            added = added - enlarge(cube[:, chosen], rgb.shape[2] // cube.shape[2])
        return start[:, chosen] + self.gain[chosen] * related * added


class BandwiseStartCorrection(StartCorrection):
    """StartCorrection by a network that can be asked for some bands only."""

    def forward(self, lq: Tensor, rgb: Tensor, bands: Sequence[int] | None = None) -> Tensor:
        """Correct the start, or some bands of it; see ``StartCorrection``."""
        return self._corrected(lq, rgb, bands)


@ARCH_REGISTRY.register()
class SensorStart(nn.Module):
    """Add what a registered network finds to the result of ``SensorFusion``, the start.

    The result is start + gain * addition, with a learned gain for each band that begins at 0: untrained it is exactly
    that of ``SensorFusion``. How the network is put in follows from its ``upscale``:

    - Of scale 1, without a guide, it is given the start; with a guide, the start and the guide.
    - Of the scale of the pair, it is given the low-resolution cube, and the guide with the start stacked to it:
      ``num_guide_ch`` of the network is G + L. It must take a guide, since else it could not know the start.

    Some networks return their input, enlarged bicubically, plus what they have learned. Say so by ``adds_input``: the
    input is taken off, so that the addition is what they have learned. The blocks of four networks, at 31 bands and 3
    channels of the guide:

    - MulSR forms its image of features alone::

        {type: SensorStart, network: {type: MulSR, upscale: 8, num_guide_ch: 34}}

    - MoG-DCN moves the enlarged cube in steps::

        {type: SensorStart, adds_input: true, network: {type: MoGDCN, upscale: 8, num_bands: 31, num_guide_ch: 34}}

    - EDSR (and RCAN) return features alone. With the guide::

        {type: SensorStart, network: {type: StackedGuide, upscale: 1, network: {type: EDSR, num_in_ch: 34,
         num_out_ch: 31, upscale: 1, img_range: 1.}}}

      and without: ``network: {type: EDSR, num_in_ch: 31, num_out_ch: 31, upscale: 1, img_range: 1.}``
    - SwinIR adds its input at scale 1::

        {type: SensorStart, adds_input: true, network: {type: StackedGuide, upscale: 1, size_multiple: 8, network:
         {type: SwinIR, in_chans: 34, window_size: 8, upscale: 1, upsampler: '', img_range: 1.}}}

    Pairs whose guide says nothing about the cube get what ``SensorFusion`` gives them. Every image of a batch has a
    start of its own, of the whole image: ``mulsr_plugin.models.inference`` cuts nothing but the work of the network
    into tiles, and ``SensorStartModel`` trains on parts of whole scenes. What is added may leave a ``response`` that
    the start fulfils, and values below 0. Gradients reach the network, not the inputs.

    Args:
        network (dict): ``type`` and options of the network.
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        num_bands (int): Bands of the cube, L. Default: 31.
        num_guide_ch (int): Channels of the guide image, G. Default: 3.
        adds_input (bool): The network returns its input, enlarged, plus what it has learned. Default: False.
        degradation (str | Mapping | None): See ``SensorFusion``. Default: None, estimated from each pair.
        response (str | None): See ``SensorFusion``. Default: None, unknown.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An option is out of its range, the network is unknown or takes no such options, or could not know
            the start.

    Example:
        >>> import torch
        >>> from mulsr_plugin.archs.sensorfusion_arch import SensorFusion
        >>> from mulsr_plugin.archs.sensorstart_arch import SensorStart
        >>> edsr = {'type': 'EDSR', 'num_in_ch': 5, 'num_out_ch': 5, 'num_feat': 8, 'num_block': 1, 'upscale': 1}
        >>> lq, rgb = torch.rand(1, 5, 8, 8), torch.rand(1, 3, 32, 32)
        >>> result = SensorStart(edsr, upscale=4, num_bands=5)(lq, rgb)
        >>> bool(torch.equal(result, SensorFusion(4)(lq, rgb)))
        True
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        upscale: int | Sequence[int] = 8,
        num_bands: int = 31,
        num_guide_ch: int = 3,
        adds_input: bool = False,
        degradation: str | Mapping[str, Any] | None = None,
        response: str | None = None,
    ) -> None:
        super().__init__()
        check_positive('num_bands', num_bands)
        check_positive('num_guide_ch', num_guide_ch)
        self.start = SensorFusion(upscale, degradation, response)
        self.upscale, self.num_bands, self.num_guide_ch = self.start.upscale, num_bands, num_guide_ch
        built = build_without_mean(network)
        on_start = network.get('upscale') == 1
        self.is_bandwise = 'bands' in inspect.signature(built.forward).parameters
        kind = BandwiseStartCorrection if self.is_bandwise else StartCorrection
        self.correction = kind(built, num_bands, on_start, adds_input)
        _check_network(self.correction, network['type'], num_guide_ch if on_start else num_guide_ch + num_bands)

    def forward(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> Tensor:
        """Fuse cubes and guides.

        Args:
            lq (Tensor): Low-resolution cubes, (B, num_bands, h, w), values around [0, 1].
            rgb (Tensor): Guide images, (B, num_guide_ch, H, W), H = scale * h and W = scale * w.
            sensor (SensorModel | None): Model of the pairs, instead of that of the options. Default: None.

        Returns:
            Tensor: (B, num_bands, H, W), not clamped.

        Raises:
            ValueError: The inputs fit neither each other nor the options, or the sensor model is for another scale.
        """
        correction, lq, stacked = self.started(lq, rgb, sensor)
        if torch.is_grad_enabled() or not self.is_bandwise:
            return correction(lq, stacked)
        # no gradient needs the work on all bands together, which takes much memory on whole images
        chunks = split_bands(range(self.num_bands), _BANDS_AT_A_TIME)
        return torch.cat([correction(lq, stacked, bands=chunk) for chunk in chunks], dim=1)

    @torch.no_grad()
    def started(
        self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None
    ) -> tuple[StartCorrection, Tensor, Tensor]:
        """Do all that needs the whole images: return a network for the rest, and its inputs, which can be cut."""
        check_inputs(lq, rgb, self.upscale, self.num_guide_ch, self.num_bands)
        net, coefficients = self.start.prepared(lq, rgb, sensor)
        related = [float(isinstance(pair, PairRenderer)) for pair in net.pairs]
        plane = rgb.new_tensor(related)[:, None, None, None].expand(-1, 1, *rgb.shape[2:])
        return self.correction, lq, torch.cat([rgb, net(coefficients, rgb), plane], dim=1)

    @torch.no_grad()
    def starts(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> list[PairStart | None]:
        """Return the starts of a batch, for training on parts of them; None where the guide says nothing."""
        stacked = self.started(lq, rgb, sensor)[2]
        return [PairStart(cube, images) if images[-1].all() else None for cube, images in zip(lq, stacked)]

    def corrected(self, starts: Sequence[PairStart], bands: Sequence[int] | None = None) -> list[Tensor]:
        """Correct starts of one size in pixels of the guide: cubes (number of bands, H, W).

        Args:
            starts (Sequence[PairStart]): Scenes or parts of scenes, also of several scales.
            bands (Sequence[int] | None): Bands wanted, for a band-wise network alone. Default: None, all of them.
        """
        if len({start.lq.shape for start in starts}) > 1:
            return [self.corrected([start], bands)[0] for start in starts]
        images = torch.stack([start.lq for start in starts]), torch.stack([start.stacked for start in starts])
        return list(self.correction(*images, **({} if bands is None else {'bands': bands})))


def _check_network(correction: StartCorrection, name: str, num_guide_ch: int) -> None:
    """Refuse a network that cannot know the start, or was built for another guide than it will get."""
    if not (correction.is_guided or correction.on_start):
        raise ValueError(
            f'network: {name} takes no guide, so that it could not know the start: give it upscale: 1, so that it is '
            'given the start in the place of the cube.'
        )
    channels = getattr(correction.network, 'num_guide_ch', num_guide_ch)
    if correction.is_guided and channels != num_guide_ch:
        raise ValueError(
            f'network: {name} is built for a guide of {channels} channel(s), but will be given {num_guide_ch}: set its '
            f'num_guide_ch to {num_guide_ch}.'
        )
