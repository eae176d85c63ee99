"""PZRes-Net, progressive zero-centric residual learning for hyperspectral super-resolution guided by an RGB image.

Paper: Z. Zhu, J. Hou, J. Chen, H. Zeng, J. Zhou, Hyperspectral Image Super-Resolution via Deep Progressive Zero-Centric
    Residual Learning, IEEE TIP, 2020, arXiv 2006.10300.
Original: https://github.com/zbzhzhy/PZRes-Net, revision 39f103a; written anew, no code taken over.

Identical to the release: every operation, so that converted weights give the authors' output
(`mulsr convert`); also the extra output channel of the last stage that nothing reads.
Different: the cube is enlarged inside, so that all networks take the same inputs; the numbers of bands and of guide
channels are options; the four layers of `scale_learning`, 194,783 parameters which the release builds and never calls,
are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.archs.input_checks import accepted_scales, check_inputs, check_positive

NUM_DENSE_LAYERS = 8


@ARCH_REGISTRY.register()
class PZResNet(nn.Module):
    """Super-resolve a cube by residuals from three stages of densely connected zero-centred convolutions.

    The stages see every fourth, every second and every band of the enlarged cube, and the guide image. Their result is
    added to the enlarged cube, which gives the coarse cube; one more dense layer refines it.

    517,852 parameters at 31 bands and 3 guide channels, at any scale; published for x8.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s); the scale of a call follows from its image sizes and
            must be one of these. Default: 8.
        num_bands (int): Bands of the cube. Default: 31.
        num_guide_ch (int): Channels of the guide image. Default: 3.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(self, upscale: int | Sequence[int] = 8, num_bands: int = 31, num_guide_ch: int = 3) -> None:
        super().__init__()
        check_positive('num_bands', num_bands)
        check_positive('num_guide_ch', num_guide_ch)
        self.upscale = accepted_scales(upscale)
        self.num_bands = num_bands
        self.num_guide_ch = num_guide_ch
        self.subsets = [every_nth_band(num_bands, step) for step in (4, 2, 1)]
        sizes = [len(subset) for subset in self.subsets]
        inputs = [num_guide_ch, sizes[0] + num_guide_ch, sizes[1] + num_guide_ch]
        # the release gives the last stage a channel more, for a branch that was given up
        extra = [0, 0, 1]
        self.stages = nn.ModuleList(Stage(*channels) for channels in zip(inputs, sizes, extra))
        self.refine = DenseLayer(num_bands, num_bands)

    def forward(
        self, lq: torch.Tensor, rgb: torch.Tensor, return_coarse: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Super-resolve the cube.

        Args:
            lq (Tensor): Low-resolution cube, (B, num_bands, h, w), values around [0, 1].
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), H = scale * h and W = scale * w, values around [0, 1].
            return_coarse (bool): Also return the cube before refinement; the authors train with the mean absolute
                error of both. Default: False.

        Returns:
            Tensor: The refined cube, (B, num_bands, H, W), not clamped. With `return_coarse` a tuple of this and of the
            coarse cube of the same shape.

        Raises:
            ValueError: The inputs fit neither each other nor the options of the network.
        """
        scale = check_inputs(lq, rgb, self.upscale, self.num_guide_ch, self.num_bands)
        enlarged = F.interpolate(lq, scale_factor=scale, mode='bilinear', align_corners=False)
        centred = guided = zero_centred(rgb)
        residual = enlarged
        for stage, subset in zip(self.stages, self.subsets):
            residual = stage(enlarged[:, subset], guided)
            guided = torch.cat([residual, centred], dim=1)
        coarse = residual + enlarged
        refined = coarse + self.refine(coarse)
        return (refined, coarse) if return_coarse else refined

    @staticmethod
    def options_of_weights(state: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the options that weights were built with, but for the scale; None for weights of other networks.

        Args:
            state (Mapping[str, Tensor]): State dict.

        Raises:
            LookupError: Some of the weights are missing, or of too few dimensions.
            ValueError: Likewise.
        """
        if 'refine.compress.weight' not in state:
            return None
        num_bands = state['refine.compress.weight'].shape[0]
        return {'num_bands': num_bands, 'num_guide_ch': state['stages.0.entry.weight'].shape[1]}


class Stage(nn.Module):
    """Eight densely connected layers on some bands of the cube and on the guiding features.

    Args:
        guide_feat (int): Channels of the guiding features.
        num_feat (int): Bands, and channels of the result.
        extra_channels (int): Channels of the last layer that are computed and not used. Default: 0.
    """

    def __init__(self, guide_feat: int, num_feat: int, extra_channels: int = 0) -> None:
        super().__init__()
        self.num_feat = num_feat
        self.entry = nn.Conv2d(guide_feat, num_feat, 3, padding=1)
        growing = [DenseLayer(2 * num_feat * i, 2 * num_feat) for i in range(1, NUM_DENSE_LAYERS)]
        last = DenseLayer(2 * num_feat * NUM_DENSE_LAYERS, num_feat + extra_channels, final_relu=False)
        self.dense_layers = nn.ModuleList([*growing, last])

    def forward(self, bands: torch.Tensor, guide: torch.Tensor) -> torch.Tensor:
        """Map (B, num_feat, H, W) bands and (B, guide_feat, H, W) features to a residual like the bands."""
        base = F.relu(self.entry(guide))
        features = torch.cat([bands, base], dim=1)
        for layer in self.dense_layers[:-1]:
            features = torch.cat([features, layer(features)], dim=1)
        return torch.tanh(self.dense_layers[-1](features)[:, : self.num_feat]) + base


class DenseLayer(nn.Module):
    """A 1x1 and a 3x3 convolution, each on zero-centred channels and followed by a ReLU.

    Args:
        in_feat (int): Input channels.
        out_feat (int): Output channels.
        final_relu (bool): Whether the second ReLU is there. Default: True.
    """

    def __init__(self, in_feat: int, out_feat: int, final_relu: bool = True) -> None:
        super().__init__()
        self.final_relu = final_relu
        self.compress = nn.Conv2d(in_feat, out_feat, 1)
        self.conv = nn.Conv2d(out_feat, out_feat, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_feat, H, W) to (B, out_feat, H, W)."""
        x = F.relu(self.compress(zero_centred(x)))
        x = self.conv(zero_centred(x))
        return F.relu(x) if self.final_relu else x


def zero_centred(x: torch.Tensor) -> torch.Tensor:
    """Subtract from each channel of each image its mean over the pixels.

    Args:
        x (Tensor): (B, C, H, W).

    Returns:
        Tensor: Same shape.
    """
    return x - x.mean(dim=(2, 3), keepdim=True)


def every_nth_band(num_bands: int, step: int) -> list[int]:
    """Return every step-th band from the first on, with the last entry moved to the last band.

    Args:
        num_bands (int): Bands of the cube.
        step (int): Distance of the bands.

    Returns:
        list[int]: ceil(num_bands / step) indices.
    """
    return [*range(0, num_bands, step)[:-1], num_bands - 1]
