"""CoarseNet, the coarse stage of SFPN: band by band, guided by an RGB image and by the band before.

Paper: Q. Li, M. Gong, Y. Yuan, Q. Wang, Symmetrical Feature Propagation Network for Hyperspectral Image
    Super-Resolution, IEEE TGRS 60, 2022.
Original: https://github.com/qianngli/SFPN, revision 31a7014, `noDU_model.py` and `patch.py`; written anew, no code
    taken over.

Identical to the release: every layer and its name, so that converted weights give the authors' output
(`mulsr convert`); also three values per unit that nothing uses, because the published parameter
counts include them. They are frozen, so that neither optimisers nor distributed training wait for their gradient.
Corrected: the similarity of the neighbour straight below a patch, in place of which the release takes that of the one
below left (`legacy: true` restores it; released weights were trained with it); the output that the next band sees is
clamped in a copy, not in place before the loss, which hid how far it was outside [0, 1]; the padding of some
convolutions, given as true where a number is expected, at which current PyTorch stops.
Different: the numbers of features, of units and of guide channels are options. The second stage of SFPN, which is
optimised on every test image, is not part of the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.archs.bands import Bands, band_triples, select_bands
from mulsr_plugin.archs.input_checks import accepted_scales, check_inputs, check_positive
from mulsr_plugin.archs.mulsr_blocks import ResidualUnit, conv
from mulsr_plugin.ops.patch_neighbours import NUM_CHOSEN, PatchNeighbours, find_neighbours

PATCH_SIDE = 3  # pixels of the low-resolution cube


class Context(NamedTuple):
    """What a band hands to the next one, without gradient: its image in [0, 1] and its features."""

    image: torch.Tensor
    features: torch.Tensor


@ARCH_REGISTRY.register()
class CoarseNet(nn.Module):
    """Super-resolve a hyperspectral cube one band after the other with the help of an RGB image.

    Each band enters with its two neighbours, enlarged to the nearest pixel, and with the image and the features of the
    band before. Features are gathered from patches that the guide image shows to be alike; a patch covers 3x3 pixels of
    the low-resolution cube, which therefore needs at least 4x4.

    The weights depend neither on the scale nor on the number of bands. Parameters at 64 features and 3 guide channels:
    629,581 / 1,163,602 / 1,697,623 / 2,231,644 for 1 to 4 units, of which three per unit are frozen.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s); the scale of a call follows from its image sizes and
            must be one of these. Default: 8.
        num_feat (int): Channels of the features, even. Default: 64.
        num_guide_ch (int): Channels of the guide image. Default: 3.
        num_units (int): Symmetric units. Default: 2.
        legacy (bool): Search similar patches as the release does, with its fault; for released weights.
            Default: False.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        upscale: int | Sequence[int] = 8,
        num_feat: int = 64,
        num_guide_ch: int = 3,
        num_units: int = 2,
        legacy: bool = False,
    ) -> None:
        super().__init__()
        check_positive('num_feat', num_feat, multiple_of=2)
        check_positive('num_guide_ch', num_guide_ch)
        check_positive('num_units', num_units)
        self.upscale = accepted_scales(upscale)
        self.num_guide_ch = num_guide_ch
        self.legacy = legacy
        self.gamma_speContext = nn.Parameter(torch.ones(2))
        self.gamma_hsi = nn.Parameter(torch.ones(num_units))
        self.gamma_rgb = nn.Parameter(torch.ones(num_units))
        self.gamma_feaContext = nn.Parameter(torch.ones(2))
        self.hsi_head = nn.Conv2d(3, num_feat, 3, padding=1)
        self.rgb_head = nn.Conv2d(num_guide_ch, num_feat, 3, padding=1)
        self.spe_head = nn.Conv2d(1, num_feat, 3, padding=1)
        self.speFusion = conv(2 * num_feat, num_feat, 1)
        self.inter_body = nn.ModuleList(SymmetricUnit(num_feat) for _ in range(num_units))
        self.bottleneck = Bottleneck(num_feat, num_units)
        self.feaFusion = conv(2 * num_feat, num_feat, 1)
        self.hsi_rgb_end = nn.Sequential(conv(num_feat, 1, 3))

    def forward(self, lq: torch.Tensor, rgb: torch.Tensor, bands: Bands = None) -> torch.Tensor:
        """Super-resolve the cube, or some of its bands.

        A band needs all bands before it, so asking for some computes all up to the last of them. The result is exactly
        that of the whole cube, and so are the gradients: no gradient flows from a band into the one before, and bands
        that are not asked for are computed without. Asking for a few bands at a time bounds the memory of training, at
        the price of computing the earlier bands again. Without gradients, memory does not grow with the bands.

        Band 0 alone gives no gradient to the layers that take up the band before (`spe_head`, `speFusion`, `feaFusion`
        and their weights): distributed training that takes a step for it needs `find_unused_parameters: true`.

        Args:
            lq (Tensor): Low-resolution cube, (B, L, h, w), L >= 3, h and w >= 4, values around [0, 1].
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), H = scale * h and W = scale * w, values around [0, 1].
            bands (Sequence[int] | Tensor | None): Bands to return, counted from 0. Default: None, all of them.

        Returns:
            Tensor: (B, number of bands, H, W), not clamped.

        Raises:
            ValueError: The inputs fit neither each other nor the options of the network.
        """
        scale = check_inputs(lq, rgb, self.upscale, self.num_guide_ch)
        neighbours = find_neighbours(rgb, PATCH_SIDE * scale, self.legacy)
        chosen = select_bands(lq.shape[1], bands).tolist()
        triples = band_triples(lq, range(max(chosen) + 1), current='middle').unflatten(0, (len(lq), -1))
        guide = self.rgb_head(rgb)
        images, context = {}, None
        for band, triple in enumerate(triples.unbind(1)):
            with torch.set_grad_enabled(torch.is_grad_enabled() and band in chosen):
                enlarged = F.interpolate(triple, scale_factor=scale, mode='nearest')
                image, features = self.forward_band(enlarged, guide, neighbours, context)
            context = Context(image.detach().clamp(0, 1), features.detach())
            if band in chosen:
                images[band] = image
        return torch.cat([images[band] for band in chosen], dim=1)

    def forward_band(
        self, triple: torch.Tensor, guide: torch.Tensor, neighbours: PatchNeighbours, context: Context | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Super-resolve the middle band of a triple.

        Args:
            triple (Tensor): Neighbour A, the band and neighbour B, enlarged, (B, 3, H, W).
            guide (Tensor): Features of the guide image, (B, num_feat, H, W).
            neighbours (PatchNeighbours): Patches of the guide image that are alike.
            context (Context | None): What the band before handed over; None for the first band.

        Returns:
            tuple[Tensor, Tensor]: Image, (B, 1, H, W), not clamped, and features, (B, num_feat, H, W).
        """
        hsi_start = hsi = self.hsi_head(triple)
        rgb = guide
        if context is not None:
            hsi = self.speFusion(_weighted(self.gamma_speContext, hsi, self.spe_head(context.image)))
        hsi_all, rgb_all = [], []
        for unit in self.inter_body:
            hsi, rgb = unit(hsi, rgb, neighbours)
            hsi_all.append(hsi)
            rgb_all.append(rgb)
        features = self.bottleneck(
            _weighted(self.gamma_hsi, *hsi_all), _weighted(self.gamma_rgb, *rgb_all), hsi_start, guide
        )
        if context is not None:
            features = self.feaFusion(_weighted(self.gamma_feaContext, features, context.features))
        return self.hsi_rgb_end(features + guide), features

    @staticmethod
    def options_of_weights(state: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the options that weights were built with, but for the scale; None for weights of other networks.

        Weights do not show `legacy`, which is absent.

        Args:
            state (Mapping[str, Tensor]): State dict.

        Raises:
            LookupError: Some of the weights are missing, or of too few dimensions.
            ValueError: Likewise.
        """
        if 'feaFusion.parametrizations.weight.original1' not in state:
            return None
        num_feat, num_guide_ch = state['rgb_head.weight'].shape[:2]
        num_units = len({name.split('.')[1] for name in state if name.startswith('inter_body.')})
        return {'num_feat': num_feat, 'num_guide_ch': num_guide_ch, 'num_units': num_units}


class SymmetricUnit(nn.Module):
    """Let the streams of the cube and of the guide image exchange features, each between two residual units.

    Args:
        num_feat (int): Channels, even.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.unit_hsi_1 = ResidualUnit(num_feat)
        self.unit_rgb_1 = ResidualUnit(num_feat)
        self.unit_hsi_2 = ResidualUnit(num_feat)
        self.unit_rgb_2 = ResidualUnit(num_feat)
        self.fusion = SplitFusion(num_feat)

    def forward(
        self, hsi: torch.Tensor, rgb: torch.Tensor, neighbours: PatchNeighbours
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Map two (B, num_feat, H, W) tensors to two of the same shape."""
        hsi_mid, rgb_mid = self.unit_hsi_1(hsi), self.unit_rgb_1(rgb)
        common = self.fusion(hsi_mid, rgb_mid, neighbours)
        return self.unit_hsi_2(hsi_mid + common) + hsi, self.unit_rgb_2(rgb_mid + common) + rgb


class SplitFusion(nn.Module):
    """Fuse the first halves of the channels of both streams, and the second halves, and gather similar patches.

    Args:
        num_feat (int): Channels, even.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.unit_hsi = conv(num_feat, num_feat, 3)
        self.unit_rgb = conv(num_feat, num_feat, 3)
        self.reduce = conv(2 * num_feat, num_feat, 1)
        self.aggregate = PatchAggregation(num_feat)

    def forward(self, hsi: torch.Tensor, rgb: torch.Tensor, neighbours: PatchNeighbours) -> torch.Tensor:
        """Map two (B, num_feat, H, W) tensors to one of the same shape."""
        (hsi_first, hsi_second), (rgb_first, rgb_second) = hsi.chunk(2, dim=1), rgb.chunk(2, dim=1)
        first = self.unit_hsi(torch.cat([hsi_first, rgb_first], dim=1))
        second = self.unit_rgb(torch.cat([hsi_second, rgb_second], dim=1))
        return self.aggregate(self.reduce(torch.cat([first, second], dim=1)), neighbours)


class PatchAggregation(nn.Module):
    """Convolve features together with those of the three most similar neighbouring patches.

    Args:
        num_feat (int): Channels.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(NUM_CHOSEN), requires_grad=False)  # unused, see the top of the file
        self.speFusion = conv((1 + NUM_CHOSEN) * num_feat, num_feat, 3)

    def forward(self, x: torch.Tensor, neighbours: PatchNeighbours) -> torch.Tensor:
        """Map (B, num_feat, H, W) to the same shape."""
        return self.speFusion(neighbours.gather(x))


class Bottleneck(nn.Module):
    """Fuse the results of all units of both streams.

    Args:
        num_feat (int): Channels of one result.
        num_units (int): Number of units.
    """

    def __init__(self, num_feat: int, num_units: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(2))
        self.hsi_fusion = conv(num_units * num_feat, num_feat, 1)
        self.rgb_fusion = conv(num_units * num_feat, num_feat, 1)
        self.fusion = conv(2 * num_feat, num_feat, 3)

    def forward(
        self, hsi_all: torch.Tensor, rgb_all: torch.Tensor, hsi_start: torch.Tensor, rgb_start: torch.Tensor
    ) -> torch.Tensor:
        """Map the stacked results, (B, num_units * num_feat, H, W), and the heads' features to (B, num_feat, H, W)."""
        hsi = self.hsi_fusion(hsi_all) + hsi_start
        rgb = self.rgb_fusion(rgb_all) + rgb_start
        return self.fusion(_weighted(self.gamma, hsi, rgb))


def _weighted(weights: torch.Tensor, *features: torch.Tensor) -> torch.Tensor:
    """Stack features along the channels, each times its learned weight."""
    return torch.cat([weight * each for weight, each in zip(weights, features)], dim=1)
