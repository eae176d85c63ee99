"""MulSR, the multiscale band-wise network for hyperspectral super-resolution guided by an RGB image.

Paper: Q. Li, Y. Yuan, Q. Wang, Multiscale Factor Joint Learning for Hyperspectral Image Super-Resolution, IEEE TGRS 61,
    2023, article 5523110.
Original: https://github.com/qianngli/MulSR, revision 49bf0b3; written anew, no code taken over.

Identical to the release: every layer, its initialisation and its name, so that converted weights give the authors'
output up to float32 rounding (`mulsr convert`).
Different: the number of modules is an option (the release fixes 4; the paper's choice is 2); bands are folded into the
batch; 3-D convolutions are computed in 2-D; the unused layer `down` is absent without the interaction of scales; an
optional head gives the image at half the scale, which the release never forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mulsr_plugin.archs.bands import Bands, band_triples
from mulsr_plugin.archs.input_checks import accepted_scales, check_inputs, check_positive
from mulsr_plugin.archs.mulsr_blocks import GuidedEncoder, GuideFeatures, ResidualUnit, SubPixelUp, conv
from mulsr_plugin.ops.fused_conv import FusedConv2d, is_channels_last
from mulsr_plugin.ops.scans import LineScan


@ARCH_REGISTRY.register()
class MulSR(nn.Module):
    """Super-resolve a hyperspectral cube band by band with the help of an RGB image.

    Each band enters with its two neighbours, enlarged to the nearest pixel. A small tower works at half the output
    size, a large one at the full size; they exchange features through the multiscale interaction (MII), whose
    direction-aware spatial context aggregation (DSCA) scans rows and columns, and through the learnable feedback
    compensation correction (LFCC).

    The weights depend neither on the scale nor on the number of bands. Parameters at 64 features and 3 guide channels:
    1,446,218 / 2,509,328 / 3,572,438 / 4,635,548 for 1 to 4 modules; at 2 modules 2,389,710 without MII (the published
    2,426,638 counts the layer `down`, which is then never used and is left out here), 2,451,854 without DSCA, 2,381,456
    without LFCC, 1,186,696 with a single scale.

    For channels_last computation pass `rgb` in that memory format; all features then follow. The memory format of the
    weights makes no difference.

    Under autocast the image is float32: the last layer is kept out of it. For inference, `fold_weight_norm` works out
    once what the weights are computed from.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s), even. The scale of a call follows from its image sizes
            and must be one of these. Default: 8.
        num_feat (int): Channels of the features, a multiple of 8. Default: 64.
        num_guide_ch (int): Channels of the guide image. Default: 3.
        num_modules (int): Symmetric guided encoders per tower. Default: 2.
        use_mii (bool): Multiscale interaction. Default: True.
        use_dsca (bool): Direction-aware scans inside the interaction; without effect when there is none. Default: True.
        use_lfcc (bool): Feedback correction. Default: True.
        multi_scale (bool): False keeps the large tower only; the three switches above then have no effect.
            Default: True.
        small_scale_head (bool): Add a head that forms the image at half the scale. Default: False.

    Raises:
        ValueError: An option is out of its range, or the options leave the small tower without effect.
    """

    def __init__(
        self,
        upscale: int | Sequence[int] = 8,
        num_feat: int = 64,
        num_guide_ch: int = 3,
        num_modules: int = 2,
        use_mii: bool = True,
        use_dsca: bool = True,
        use_lfcc: bool = True,
        multi_scale: bool = True,
        small_scale_head: bool = False,
    ) -> None:
        super().__init__()
        self.upscale = _check_upscale(upscale)
        check_positive('num_feat', num_feat, multiple_of=8)
        check_positive('num_guide_ch', num_guide_ch)
        check_positive('num_modules', num_modules)
        if small_scale_head and not multi_scale:
            raise ValueError(
                'small_scale_head is on, but multi_scale is off, so there is no small tower: change one of them.'
            )
        if multi_scale and not (use_mii or use_lfcc or small_scale_head):
            raise ValueError(
                'use_mii and use_lfcc are both off, so the small tower has no effect on the result: turn one of them '
                'or small_scale_head on, or set multi_scale to false.'
            )
        self.num_guide_ch = num_guide_ch
        self.multi_scale = multi_scale
        self.use_mii = use_mii and multi_scale
        self.use_dsca = use_dsca and self.use_mii
        self.use_lfcc = use_lfcc and multi_scale
        self.small_scale_head = small_scale_head
        self._build_large_tower(num_feat, num_modules)
        if multi_scale:
            self._build_small_tower(num_feat, num_modules)

    def _build_large_tower(self, num_feat: int, num_modules: int) -> None:
        self.hsi_head_x2 = conv(3, num_feat, 3)
        self.rgb_head_x2 = conv(self.num_guide_ch, num_feat, 3)
        self.inter_body_x2 = nn.ModuleList(GuidedEncoder(num_feat) for _ in range(num_modules))
        self.reduce_x2 = conv(2 * num_feat, num_feat, 1)
        self.uint_x2 = ResidualUnit(num_feat)
        self.end_x2 = nn.Sequential(conv(num_feat, num_feat, 3), conv(num_feat, 1, 3))

    def _build_small_tower(self, num_feat: int, num_modules: int) -> None:
        self.hsi_head = conv(3, num_feat, 3)
        self.rgb_head = conv(self.num_guide_ch, num_feat, 3)
        self.inter_body = nn.ModuleList(GuidedEncoder(num_feat) for _ in range(num_modules))
        self.reduce = conv(2 * num_feat, num_feat, 1)
        if self.use_mii:
            self.down = FusedConv2d(num_feat, num_feat, 3, stride=2, padding=1)
            self.cross_reduce = conv(2 * num_feat, num_feat, 1)
            self.up = SubPixelUp(num_feat)
        if self.use_dsca:
            self.DULR = nn.Sequential(LineScan(num_feat, 'rows'), LineScan(num_feat, 'columns'))
        if self.use_lfcc:
            self.uint = ResidualUnit(num_feat)
            self.optimize_down = conv(num_feat, num_feat, 3, stride=2)
            self.optimize_up = SubPixelUp(num_feat)
        if self.small_scale_head:
            self.end_small = nn.Sequential(conv(num_feat, num_feat, 3), conv(num_feat, 1, 3))

    def forward(
        self,
        lq: Tensor,
        rgb: Tensor,
        bands: Bands = None,
        return_small_scale: bool = False,
        guide: Sequence[GuideFeatures] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Super-resolve the cube, or some of its bands.

        All asked bands are computed at once, so memory grows with their number; ask for a few at a time to bound it,
        and give what :meth:`encode_guide` made of `rgb` to spare its part of the work after the first time.

        Args:
            lq (Tensor): Low-resolution cube, (B, L, h, w), L >= 3, values around [0, 1].
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), H = scale * h and W = scale * w, values around [0, 1].
            bands (Sequence[int] | Tensor | None): Bands to compute, counted from 0. Default: None, all of them.
            return_small_scale (bool): Also return the image at half the scale; needs `small_scale_head`.
                Default: False.
            guide (Sequence[GuideFeatures] | None): `encode_guide(rgb)`. Default: None, computed here.

        Returns:
            Tensor: (B, number of bands, H, W), not clamped. With `return_small_scale` a tuple of this and
            (B, number of bands, H / 2, W / 2).

        Raises:
            ValueError: The inputs fit neither each other nor the options of the network.
        """
        if return_small_scale and not self.small_scale_head:
            raise ValueError(
                'The image at half the scale was asked for, but the network has no head for it: build it with '
                'small_scale_head: true.'
            )
        check_inputs(lq, rgb, self.upscale, self.num_guide_ch)
        large, small = self.forward_triples(band_triples(lq, bands), rgb, return_small_scale, guide)
        large = large.unflatten(0, (len(lq), -1)).squeeze(2)
        if small is None:
            return large
        return large, small.unflatten(0, (len(lq), -1)).squeeze(2)

    def encode_guide(self, rgb: Tensor) -> tuple[GuideFeatures, ...]:
        """Do all the work that depends on the guide image alone, for :meth:`forward`.

        About a tenth of the work of one band at 2 modules, and 250 numbers per pixel of the image at 64 features.

        Args:
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), values around [0, 1].

        Returns:
            tuple[GuideFeatures, ...]: Features for the large and, if there is one, the small tower.
        """
        large = self._first_encoder(self.inter_body_x2).encode_guide(self.rgb_head_x2(rgb))
        if not self.multi_scale:
            return (large,)
        return large, self._first_encoder(self.inter_body).encode_guide(self.rgb_head(rgb[..., ::2, ::2]))

    @staticmethod
    def _first_encoder(encoders: nn.ModuleList) -> GuidedEncoder:
        return cast(GuidedEncoder, encoders[0])

    def forward_triples(
        self,
        triples: Tensor,
        rgb: Tensor,
        return_small_scale: bool = False,
        guide: Sequence[GuideFeatures] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Super-resolve the last band of each triple.

        Args:
            triples (Tensor): Neighbour A, neighbour B and the band, (B * bands, 3, h, w), images one after the other.
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W).
            return_small_scale (bool): Also form the image at half the scale. Default: False.
            guide (Sequence[GuideFeatures] | None): `encode_guide(rgb)`. Default: None, computed here.

        Returns:
            tuple[Tensor, Tensor | None]: (B * bands, 1, H, W), and (B * bands, 1, H / 2, W / 2) if asked for.
        """
        if is_channels_last(rgb):
            triples = triples.contiguous(memory_format=torch.channels_last)
        scale = rgb.shape[-1] // triples.shape[-1]
        guide = self.encode_guide(rgb) if guide is None else guide
        large = self.hsi_head_x2(_enlarge(triples, scale))
        large = self._encode(large, guide[0], self.inter_body_x2, self.reduce_x2)
        if not self.multi_scale:
            return self._form_image(self.uint_x2(large), self.end_x2), None
        small = self.hsi_head(_enlarge(triples, scale // 2))
        small = self._encode(small, guide[1], self.inter_body, self.reduce)
        if self.use_mii:
            large, small = self._interact(large, small)
        large, small = self._correct(large, small)
        image = self._form_image(large, self.end_x2)
        return image, self._form_image(small, self.end_small) if return_small_scale else None

    @staticmethod
    def _encode(hsi: Tensor, guide: GuideFeatures, encoders: nn.ModuleList, reduce: nn.Module) -> Tensor:
        """Run one tower from the features of its heads to the features of all bands."""
        rgb: Tensor | GuideFeatures = guide
        for encoder in encoders:
            hsi, rgb = encoder(hsi, rgb)
        return reduce(torch.cat([hsi, cast(Tensor, rgb)], dim=1))

    def _interact(self, large: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """Let both towers share their features, gathered along rows and columns (MII with DSCA)."""
        shared = self.cross_reduce(torch.cat([self.down(large), small], dim=1))
        if self.use_dsca:
            shared = self.DULR(shared)
        return self.up(shared).add_(large), small + shared

    def _correct(self, large: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
        """Refine both towers and feed their difference back to the large one (LFCC)."""
        large = self.uint_x2(large)
        if self.use_lfcc:
            small = self.uint(small)
            large = self.optimize_up(self.optimize_down(large).sub_(small)).add_(large)
        return large, small

    @staticmethod
    def _form_image(features: Tensor, end: nn.Sequential) -> Tensor:
        """Form the image; under autocast the last layer stays in float32, since bf16 has but 8 bits for an image."""
        first, last = end
        features = first(features)
        device_type = features.device.type
        if not torch.is_autocast_enabled(device_type):
            return last(features)
        with torch.autocast(device_type, enabled=False):
            return last(features.float())

    @staticmethod
    def options_of_weights(state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """Return the options that weights were built with, but for the scale; None for weights of other networks.

        Switches that are at their defaults are absent.

        Args:
            state (Mapping[str, Tensor]): State dict.

        Raises:
            LookupError: Some of the weights are missing, or of too few dimensions.
            ValueError: Likewise.
        """
        head = 'rgb_head_x2.parametrizations.weight.original1'
        if head not in state:
            return None
        num_feat, num_guide_ch = state[head].shape[:2]
        num_modules = len({name.split('.')[1] for name in state if name.startswith('inter_body_x2.')})
        options = {'num_feat': num_feat, 'num_guide_ch': num_guide_ch, 'num_modules': num_modules}
        if 'hsi_head.bias' not in state:
            return {**options, 'multi_scale': False}
        parts = {'use_mii': 'down.weight', 'use_dsca': 'DULR.0.conv.0.weight', 'use_lfcc': 'optimize_down.bias'}
        options.update({switch: False for switch, name in parts.items() if name not in state})
        return {**options, 'small_scale_head': True} if 'end_small.0.bias' in state else options


def _enlarge(triples: Tensor, scale: int) -> Tensor:
    """Enlarge to the nearest pixel by a whole factor."""
    # torch.export passes symbols, which interpolate does not take as factors
    return F.interpolate(triples, scale_factor=int(scale), mode='nearest') if scale > 1 else triples


def _check_upscale(upscale: int | Sequence[int]) -> tuple[int, ...]:
    """Return the accepted scales as a sorted tuple, and refuse odd ones."""
    scales = accepted_scales(upscale)
    if any(scale % 2 for scale in scales):
        raise ValueError(
            f'upscale is {upscale!r}, expected an even whole number or a list of them, because the small tower works '
            'at half the scale: use for example 8 or [4, 8, 16].'
        )
    return scales
