"""PSRT, a pyramid shuffle-and-reshuffle transformer for fusing a cube with a guide.

Paper: S.-Q. Deng, L.-J. Deng, X. Wu, R. Ran, D. Hong, G. Vivone, PSRT: Pyramid Shuffle-and-Reshuffle Transformer for
    Multispectral and Hyperspectral Image Fusion, IEEE TGRS 61, 2023.
Original: https://github.com/Deng-shangqi/PSRT, revision 9c2be90; written anew, no code taken over.

Identical to the release: every operation and the initial values, so that converted weights give the authors' output
(`mulsr convert`); also the factor of 4 on the products of queries and keys, where the usual 1 / sqrt(width of a head)
would be 1/2.
Different: the cube is enlarged inside, bicubic, where the release reads an enlarged one from its files; sides that the
windows do not divide are extended by repeating the border, and the result is cut (the release stops); the numbers of
bands and of guide channels are options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.archs.input_checks import accepted_scales, check_inputs, check_positive

NUM_FEAT = 32
NUM_HEADS = 8
QUERY_FACTOR = 4.0
WINDOWS = (8, 4, 2)
NUM_PYRAMIDS = 2


@ARCH_REGISTRY.register()
class PSRT(nn.Module):
    """Add to the enlarged cube what window attention makes of it and of the guide, with windows of 8, 4 and 2 pixels.

    247,455 parameters at 31 bands and 3 guide channels, at any scale; published for x4 and x8.

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
        self.entry = nn.Conv2d(num_bands + num_guide_ch, NUM_FEAT, 3, padding=1)
        self.blocks = nn.ModuleList(ShuffleBlock(window) for window in WINDOWS * NUM_PYRAMIDS)
        self.exit = nn.Conv2d(NUM_FEAT, num_bands, 3, padding=1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(self, lq: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
        """Super-resolve the cube.

        Args:
            lq (Tensor): Low-resolution cube, (B, num_bands, h, w), values around [0, 1].
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), H = scale * h and W = scale * w, values around [0, 1].

        Returns:
            Tensor: (B, num_bands, H, W), not clamped.

        Raises:
            ValueError: The inputs fit neither each other nor the options of the network.
        """
        scale = check_inputs(lq, rgb, self.upscale, self.num_guide_ch, self.num_bands)
        enlarged = F.interpolate(lq, scale_factor=scale, mode='bicubic', align_corners=False)
        height, width = enlarged.shape[2:]
        joint = torch.cat([enlarged, rgb], dim=1)
        joint = F.pad(joint, (0, -width % max(WINDOWS), 0, -height % max(WINDOWS)), mode='replicate')
        features = self.entry(joint).permute(0, 2, 3, 1)
        for block in self.blocks:
            features = block(features)
        residual = F.leaky_relu(self.exit(features.permute(0, 3, 1, 2)), 0.2)
        return enlarged + residual[..., :height, :width]

    @staticmethod
    def options_of_weights(state: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the options that weights were built with, but for the scale; None for weights of other networks.

        Args:
            state (Mapping[str, Tensor]): State dict.

        Raises:
            LookupError: Some of the weights are missing, or of too few dimensions.
            ValueError: Likewise.
        """
        if 'blocks.0.layers.0.qkv.weight' not in state:
            return None
        num_bands = state['exit.weight'].shape[0]
        return {'num_bands': num_bands, 'num_guide_ch': state['entry.weight'].shape[1] - num_bands}


class ShuffleBlock(nn.Module):
    """Attention within windows, within windows of shuffled pixels, and within windows again; a skip around the three.

    Args:
        window (int): Side of the windows in pixels, even.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.side = window // 2
        self.layers = nn.ModuleList(WindowAttention(window) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, H, W, 32) to the same shape; H and W are multiples of the window."""
        first, shuffled, last = self.layers
        return x + last(reshuffle(shuffled(shuffle(first(x), self.side)), self.side))


class WindowAttention(nn.Module):
    """Self-attention of the pixels of every window, then a perceptron for every pixel, each with norm and skip.

    Args:
        window (int): Side of the windows in pixels.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(NUM_FEAT)
        self.qkv = nn.Linear(NUM_FEAT, 3 * NUM_FEAT)
        self.project = nn.Linear(NUM_FEAT, NUM_FEAT)
        self.mlp = nn.Sequential(
            nn.LayerNorm(NUM_FEAT), nn.Linear(NUM_FEAT, 4 * NUM_FEAT), nn.GELU(), nn.Linear(4 * NUM_FEAT, NUM_FEAT)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, H, W, 32) to the same shape; H and W are multiples of the window."""
        x = x + self.project(self._attend(self.qkv(self.norm(x))))
        return x + self.mlp(x)

    def _attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """Map queries, keys and values, (B, H, W, 3 * 32), to (B, H, W, 32)."""
        batch, height, width, _ = qkv.shape
        rows, columns, side = height // self.window, width // self.window, self.window
        parts = qkv.reshape(batch, rows, side, columns, side, 3, NUM_HEADS, -1).permute(5, 0, 1, 3, 6, 2, 4, 7)
        queries, keys, values = parts.reshape(3, batch * rows * columns, NUM_HEADS, side**2, -1)
        # PyTorch's fused attention is no faster for heads of 4 channels, and in bfloat16 on a CPU half as fast
        mixed = (QUERY_FACTOR * queries @ keys.transpose(-2, -1)).softmax(-1) @ values
        mixed = mixed.reshape(batch, rows, columns, NUM_HEADS, side, side, -1).permute(0, 1, 4, 2, 5, 3, 6)
        return mixed.reshape(batch, height, width, -1)


def shuffle(x: torch.Tensor, side: int) -> torch.Tensor:
    """Gather the blocks of even and of odd places, so that windows over them reach twice as far.

    Args:
        x (Tensor): (B, H, W, C), H and W multiples of 2 * side.
        side (int): Side of the blocks in pixels.

    Returns:
        Tensor: Same shape: blocks of even rows above those of odd rows, even columns left of odd columns.
    """
    batch, height, width, _ = x.shape
    blocks = x.reshape(batch, height // (2 * side), 2, side, width // (2 * side), 2, side, -1)
    return blocks.transpose(1, 2).transpose(4, 5).reshape(x.shape)


def reshuffle(x: torch.Tensor, side: int) -> torch.Tensor:
    """Undo :func:`shuffle`.

    Args:
        x (Tensor): (B, H, W, C), H and W multiples of 2 * side.
        side (int): Side of the blocks in pixels.

    Returns:
        Tensor: Same shape.
    """
    batch, height, width, _ = x.shape
    blocks = x.reshape(batch, 2, height // (2 * side), side, 2, width // (2 * side), side, -1)
    return blocks.transpose(1, 2).transpose(4, 5).reshape(x.shape)
