"""SSR-NET, a spatial-spectral reconstruction network of three convolutions for fusing a cube with a guide.

Paper: X. Zhang, W. Huang, Q. Wang, X. Li, SSR-NET: Spatial-Spectral Reconstruction Network for Hyperspectral and
    Multispectral Image Fusion, IEEE TGRS 59, 2021.
Original: https://github.com/hw2hwei/SSRNET, revision 9727896; written anew, no code taken over.

Identical to the release: every operation, so that its weights give its output, and the bands that the guide replaces,
but for a few pairs of numbers (such as 102 bands and 43 channels) where the release rounds a band's place down by one.
Different: the scalar that the release builds and never uses is left out; a guide of one channel, with which the release
divides by zero, replaces the last band; the edges of the loss are made by the training and not by the network.
The design takes the guide's channels for bands of the cube. Channels of a wide response, as of a camera, are put into
such bands all the same; the first convolution, which mixes all bands, has to make up for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.archs.input_checks import accepted_scales, check_inputs, check_positive


@ARCH_REGISTRY.register()
class SSRNet(nn.Module):
    """Put the guide into bands of the enlarged cube, and reconstruct space and spectrum by a residual layer each.

    26,040 parameters at 31 bands with any guide, at any scale. The release has 26,041, of which one is without effect.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s); the scale of a call follows from its image sizes and
            must be one of these. Default: 8.
        num_bands (int): Bands of the cube, at least 2. Default: 31.
        num_guide_ch (int): Channels of the guide image, at most num_bands. Default: 3.

    Raises:
        ValueError: An option is out of its range.
    """

    guide_bands: torch.Tensor

    def __init__(self, upscale: int | Sequence[int] = 8, num_bands: int = 31, num_guide_ch: int = 3) -> None:
        super().__init__()
        check_positive('num_bands', num_bands)
        check_positive('num_guide_ch', num_guide_ch)
        if num_bands < 2:
            raise ValueError('num_bands is 1, expected at least 2: a spectrum of one band has no edges to train on.')
        if num_guide_ch > num_bands:
            raise ValueError(
                f'num_guide_ch is {num_guide_ch} and num_bands {num_bands}, but every guide channel replaces a band: '
                'use another network, such as PSRT or UAL.'
            )
        self.upscale = accepted_scales(upscale)
        self.num_bands = num_bands
        self.num_guide_ch = num_guide_ch
        # part of the weights, whose shapes would not show the number of guide channels
        self.register_buffer('guide_bands', torch.tensor(replaced_bands(num_bands, num_guide_ch)))
        self.fuse, self.spatial, self.spectral = (nn.Conv2d(num_bands, num_bands, 3, padding=1) for _ in range(3))

    def forward(
        self, lq: torch.Tensor, rgb: torch.Tensor, return_spatial: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Super-resolve the cube.

        Args:
            lq (Tensor): Low-resolution cube, (B, num_bands, h, w), values around [0, 1].
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), H = scale * h and W = scale * w, values around [0, 1].
            return_spatial (bool): Also return the cube before the spectral layer; the authors train its spatial edges.
                Default: False.

        Returns:
            Tensor: (B, num_bands, H, W), not clamped. With `return_spatial` a tuple of this and of the other cube of
            the same shape.

        Raises:
            ValueError: The inputs fit neither each other nor the options of the network.
        """
        scale = check_inputs(lq, rgb, self.upscale, self.num_guide_ch, self.num_bands)
        enlarged = F.interpolate(lq, scale_factor=scale, mode='bilinear', align_corners=False)
        fused = F.relu(self.fuse(enlarged.index_copy(1, self.guide_bands, rgb)))
        spatial = fused + F.relu(self.spatial(fused))
        result = spatial + F.relu(self.spectral(spatial))
        return (result, spatial) if return_spatial else result

    @staticmethod
    def options_of_weights(state: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the options that weights were built with, but for the scale; None for weights of other networks.

        Args:
            state (Mapping[str, Tensor]): State dict.

        Raises:
            LookupError: Some of the weights are missing, or of too few dimensions.
            ValueError: Likewise.
        """
        if 'guide_bands' not in state:
            return None
        return {'num_bands': state['fuse.weight'].shape[0], 'num_guide_ch': state['guide_bands'].shape[0]}


def replaced_bands(num_bands: int, num_guide_ch: int) -> list[int]:
    """Return the band that every channel of the guide replaces: evenly spaced ones, the last band for the last channel.

    Args:
        num_bands (int): Bands of the cube.
        num_guide_ch (int): Channels of the guide, at most num_bands.

    Returns:
        list[int]: num_guide_ch different indices, ascending.

    Example:
        >>> from mulsr_plugin.archs.ssrnet_arch import replaced_bands
        >>> replaced_bands(31, 3)
        [0, 15, 30]
    """
    return [*(num_bands * channel // (num_guide_ch - 1) for channel in range(num_guide_ch - 1)), num_bands - 1]
