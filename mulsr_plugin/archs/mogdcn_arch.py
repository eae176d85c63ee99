"""MoG-DCN, a model-guided deep convolutional network for hyperspectral super-resolution guided by an RGB image.

Paper: W. Dong, C. Zhou, F. Wu, J. Wu, G. Shi, X. Li, Model-Guided Deep Hyperspectral Image Super-Resolution, IEEE TIP
    30, 2021.
Original: https://github.com/chengerr/Model-Guided-Deep-Hyperspectral-Image-Super-resolution, revision 35eef37, the
    network of `sf_8_CAVE/network_31.py`; written anew, no code taken over.

Identical to the release: every operation and the initial values, so that converted weights give the authors' output
(`mulsr convert`); also the sign of the spatial term, which is opposite to a gradient step and
which the learned operator absorbs.
Different: left out are the 105 parameters that the release builds and never uses (its spectral response of 93 values,
10 of 14 step sizes, two slopes); the stride of the two spatial operators is the scale factor (the release has x8 only);
the numbers of bands and of guide channels are options.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.archs.input_checks import check_inputs, check_positive

NUM_STAGES = 4
NUM_FEAT = 64
SKIP_FEAT = 128


@ARCH_REGISTRY.register()
class MoGDCN(nn.Module):
    """Super-resolve a cube by four unrolled iterations with one learned denoiser and learned degradations.

    7,070,824 parameters at 31 bands and 3 guide channels, at any scale. The release has 7,070,929, of which 105 are
    without effect.

    Args:
        upscale (int): Scale factor, the stride of the spatial operators; published for 8. Default: 8.
        num_bands (int): Bands of the cube. Default: 31.
        num_guide_ch (int): Channels of the guide image. Default: 3.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(self, upscale: int = 8, num_bands: int = 31, num_guide_ch: int = 3) -> None:
        super().__init__()
        check_positive('upscale', upscale)
        check_positive('num_bands', num_bands)
        check_positive('num_guide_ch', num_guide_ch)
        self.upscale = upscale
        self.num_bands = num_bands
        self.num_guide_ch = num_guide_ch
        self.inner_step, self.inner_weight = (nn.Parameter(torch.tensor(value)) for value in (0.1, 0.9))
        self.outer_step, self.outer_weight = (nn.Parameter(torch.tensor(value)) for value in (0.1, 0.9))
        self.denoiser = Denoiser(num_bands)
        self.features = _conv(num_bands, NUM_FEAT)
        self.memory_adaptors = nn.ModuleList(
            _conv(NUM_FEAT + SKIP_FEAT * stage, NUM_FEAT) for stage in range(1, NUM_STAGES)
        )
        self.stage_adaptors = nn.ModuleList(_conv(NUM_FEAT + SKIP_FEAT, NUM_FEAT) for _ in range(NUM_STAGES))
        self.to_guide = _conv(num_bands, num_guide_ch)
        self.from_guide = _conv(num_guide_ch, num_bands)
        self.degrade = nn.Conv2d(num_bands, num_bands, 13, stride=upscale, padding=6)
        self.restore = nn.ConvTranspose2d(
            num_bands, num_bands, 13, stride=upscale, padding=6, output_padding=upscale - 1
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_normal_(module.weight)

    def forward(self, lq: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
        """Super-resolve the cube.

        Args:
            lq (Tensor): Low-resolution cube, (B, num_bands, h, w), values around [0, 1].
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), H = upscale * h and W = upscale * w, values around
                [0, 1].

        Returns:
            Tensor: (B, num_bands, H, W), not clamped.

        Raises:
            ValueError: The inputs fit neither each other nor the options of the network.
        """
        check_inputs(lq, rgb, [self.upscale], self.num_guide_ch, self.num_bands)
        cube = F.interpolate(lq, scale_factor=self.upscale, mode='bicubic', align_corners=False)
        memory: list[torch.Tensor] = []
        for stage in range(NUM_STAGES):
            prior, own_memory = self._recall(cube, memory)
            inner = self._inner_update(cube, prior, rgb)
            estimate, _ = self.denoiser(self.stage_adaptors[stage](self._joint_features(inner, [own_memory])))
            estimate = estimate + inner
            if stage < NUM_STAGES - 1:
                memory.append(own_memory)
                cube = self._outer_update(cube, estimate, lq, rgb)
        return estimate

    def _recall(self, cube: torch.Tensor, memory: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Denoise the cube with what earlier stages remember; return also what this stage remembers."""
        features = self._joint_features(cube, memory)
        if memory:
            features = self.memory_adaptors[len(memory) - 1](features)
        residual, own_memory = self.denoiser(features)
        return residual + cube, own_memory

    def _joint_features(self, cube: torch.Tensor, memory: list[torch.Tensor]) -> torch.Tensor:
        return torch.cat([self.features(cube), *memory], dim=1)

    def _inner_update(self, cube: torch.Tensor, prior: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
        """Move the cube towards agreement with the guide image and with the prior."""
        step, weight = self.inner_step, self.inner_weight
        spectral = self.from_guide(rgb - self.to_guide(cube))
        return (1 - step - step * weight) * cube + step * spectral + step * (cube - weight * prior)

    def _outer_update(
        self, cube: torch.Tensor, estimate: torch.Tensor, lq: torch.Tensor, rgb: torch.Tensor
    ) -> torch.Tensor:
        """Move the cube towards agreement with both observations and with the estimate of the stage."""
        step, weight = self.outer_step, self.outer_weight
        spectral = self.from_guide(rgb - self.to_guide(cube))
        spatial = self.restore(self.degrade(cube) - lq)
        return (1 - step * weight) * cube + step * (spectral + spatial) + step * weight * estimate

    @staticmethod
    def options_of_weights(state: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the options that weights were built with, but for the scale; None for weights of other networks.

        Args:
            state (Mapping[str, Tensor]): State dict.

        Raises:
            LookupError: Some of the weights are missing, or of too few dimensions.
            ValueError: Likewise.
        """
        if 'to_guide.weight' not in state:
            return None
        num_guide_ch, num_bands = state['to_guide.weight'].shape[:2]
        return {'num_bands': num_bands, 'num_guide_ch': num_guide_ch}


class Denoiser(nn.Module):
    """U-Net of four levels that also returns its first features.

    Each upsampling takes its size from the skip, so images of any size fit.

    Args:
        num_bands (int): Bands of the result.
    """

    def __init__(self, num_bands: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleList(EncodingBlock() for _ in range(4))
        self.bottom = EncodingBlock(has_down=False)
        inputs = (SKIP_FEAT, 4 * SKIP_FEAT, 4 * SKIP_FEAT, 4 * SKIP_FEAT)
        outputs = [nn.Conv2d(SKIP_FEAT, 4 * SKIP_FEAT, 1) for _ in range(3)]
        self.decoders = nn.ModuleList(
            DecodingBlock(in_feat, out) for in_feat, out in zip(inputs, [*outputs, _conv(SKIP_FEAT, num_bands)])
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (B, 64, H, W) features to a (B, num_bands, H, W) residual and (B, 128, H, W) features."""
        skips = []
        for encoder in self.encoders:
            x, skip = encoder(x)
            skips.append(skip)
        x, _ = self.bottom(x)
        for decoder, skip in zip(self.decoders, reversed(skips)):
            x = decoder(x, skip)
        return x, skips[0]


class EncodingBlock(nn.Module):
    """Three convolutions, a fourth without activation for the skip, one that halves; one PReLU slope for the block.

    Args:
        has_down (bool): Whether the block halves the size at its end. Default: True.
    """

    def __init__(self, has_down: bool = True) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(NUM_FEAT, NUM_FEAT) for _ in range(3))
        self.skip = _conv(NUM_FEAT, SKIP_FEAT)
        self.down = nn.Conv2d(SKIP_FEAT, NUM_FEAT, 3, stride=2, padding=1) if has_down else None
        self.act = nn.PReLU()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Map (B, 64, H, W) to (B, 64, H / 2, W / 2), halves rounded up, and the skip, (B, 128, H, W).

        Without the last convolution the skip is returned twice.
        """
        for conv in self.convs:
            x = self.act(conv(x))
        skip = self.skip(x)
        return skip if self.down is None else self.act(self.down(skip)), skip


class DecodingBlock(nn.Module):
    """Double the size, join the skip, convolve; one PReLU slope for the block.

    Args:
        in_feat (int): Input channels.
        out (nn.Module): Last convolution, from 128 channels.
    """

    def __init__(self, in_feat: int, out: nn.Module) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(in_feat, SKIP_FEAT, 3, stride=2, padding=1)
        self.convs = nn.ModuleList(
            [_conv(2 * SKIP_FEAT, SKIP_FEAT), _conv(SKIP_FEAT, SKIP_FEAT), _conv(SKIP_FEAT, SKIP_FEAT)]
        )
        self.out = out
        self.act = nn.PReLU()

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Map (B, in_feat, h, w) and the skip, (B, 128, H, W), to the output channels at (H, W)."""
        x = torch.cat([self.up(x, output_size=skip.shape[2:]), skip], dim=1)
        for conv in self.convs:
            x = self.act(conv(x))
        return self.out(x)


def _conv(in_feat: int, out_feat: int) -> nn.Conv2d:
    return nn.Conv2d(in_feat, out_feat, 3, padding=1)
