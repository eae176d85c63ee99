"""Building blocks of MulSR: residual unit, cross fusion, symmetric guided encoder.

Attribute names are the authors' (hence the mixed case), so that their weights fit.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Module:
    """Build a weight-normalised 2-D convolution that keeps the size (at stride 1).

    Args:
        in_channels (int): Input channels.
        out_channels (int): Output channels.
        kernel_size (int): Odd kernel size; zero padding is half of it.
        stride (int): Stride. Default: 1.

    Returns:
        nn.Module: The convolution, normalised over its output channels.
    """
    return weight_norm(nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2))


def is_channels_last(x: torch.Tensor) -> bool:
    """Tell whether the channels of a pixel lie side by side in memory.

    Unlike `is_contiguous(memory_format=torch.channels_last)` this is False for an ordinary one-channel image.

    Args:
        x (Tensor): Images or features, (B, C, H, W).

    Returns:
        bool: True for the channels_last memory format.
    """
    return x.stride(1) == 1


def expand_to_bands(x: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Repeat what was computed once per image for all bands of the image.

    Args:
        x (Tensor): Features of the images, (B, C, H, W).
        batch_size (int): Images times bands, a multiple of B.

    Returns:
        Tensor: (batch_size, C, H, W), the repetitions of an image side by side.
    """
    repeats = batch_size // x.shape[0]
    if repeats == 1:
        return x
    if is_channels_last(x):  # repeat_interleave alone would lose the memory format
        return x.permute(0, 2, 3, 1).repeat_interleave(repeats, dim=0).permute(0, 3, 1, 2)
    return x.repeat_interleave(repeats, dim=0)


class ResidualUnit(nn.Module):
    """Residual unit: x + conv(ReLU(conv(x))).

    Args:
        num_feat (int): Channels.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.m = nn.Sequential(conv(num_feat, num_feat, 3), nn.ReLU(inplace=True), conv(num_feat, num_feat, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, num_feat, H, W) to the same shape."""
        return x + self.m(x)


class SubPixelUp(nn.Sequential):
    """Double the size: 1x1 convolution to four times the channels, then pixel shuffle.

    Args:
        num_feat (int): Channels.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__(conv(num_feat, 4 * num_feat, 1), nn.PixelShuffle(2))


class DepthConvolutions(nn.Sequential):
    """Two 3-D convolutions on a volume of depth three, kernels (1, 3, 3) and (3, 1, 1), computed in 2-D.

    The parameters are those of the 3-D convolutions. The first treats the three slices alike, which is a convolution
    in three groups with the same weights; the second mixes the slices of a pixel, which is a 1x1 convolution of all
    channels. On the CPU the 2-D form is many times faster.

    Args:
        slice_feat (int): Channels of one slice.
    """

    def __init__(self, slice_feat: int) -> None:
        super().__init__(
            weight_norm(nn.Conv3d(slice_feat, slice_feat, (1, 3, 3), padding=(0, 1, 1))),
            weight_norm(nn.Conv3d(slice_feat, slice_feat, (3, 1, 1), padding=(1, 0, 0))),
        )

    def forward(self, volume: torch.Tensor) -> torch.Tensor:
        """Convolve the volume.

        Args:
            volume (Tensor): The three slices one after the other, (B, 3 * slice_feat, H, W).

        Returns:
            Tensor: Same shape and order.
        """
        within, across = cast('list[Any]', list(self))
        kernel = within.weight.squeeze(2).repeat(3, 1, 1, 1)
        volume = F.conv2d(volume, kernel, within.bias.repeat(3), padding=1, groups=3)
        return F.conv2d(volume, self._slice_mix(across.weight), across.bias.repeat(3))

    @staticmethod
    def _slice_mix(weight: torch.Tensor) -> torch.Tensor:
        """Arrange a (C, C, 3, 1, 1) kernel as the (3C, 3C, 1, 1) matrix of the zero-padded convolution over depth."""
        above, same, below = weight.flatten(2).unbind(2)
        zero = torch.zeros_like(same)
        rows = [[same, below, zero], [above, same, below], [zero, above, same]]
        return torch.cat([torch.cat(row, dim=1) for row in rows])[:, :, None, None]


class CrossFusion(nn.Module):
    """Fuse hyperspectral and guide features with their difference in a volume of three slices.

    The fused and the difference features (9/8 of the channels each) are cut into three slices of 3/4 of the channels:
    fused only, half fused and half difference, difference only. Each slice has a learned weight.

    Args:
        num_feat (int): Channels, a multiple of 8.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        part_feat, self.slice_feat = 9 * num_feat // 8, 3 * num_feat // 4
        self.gamma = nn.Parameter(torch.ones(3))
        self.conv3D = DepthConvolutions(self.slice_feat)
        self.conv_diff = conv(num_feat, part_feat, 3)
        self.reduce_D = conv(2 * num_feat, part_feat, 3)
        self.conv = conv(3 * self.slice_feat, num_feat, 3)

    def forward(self, hsi: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
        """Map two (B, num_feat, H, W) tensors to one of the same shape."""
        fused = self.reduce_D(torch.cat([hsi, rgb], dim=1))
        difference = self.conv_diff(hsi - rgb)
        slice_weights = self.gamma.repeat_interleave(self.slice_feat)[:, None, None]
        volume = torch.cat([fused, difference], dim=1) * slice_weights
        return self.conv(volume + self.conv3D(volume))


class GuidedEncoder(nn.Module):
    """Symmetric guided encoder: both streams exchange their cross-fused features.

    Args:
        num_feat (int): Channels, a multiple of 8.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.crossFusion = CrossFusion(num_feat)
        self.rgb_first = ResidualUnit(num_feat)
        self.hsi_first = ResidualUnit(num_feat)
        self.rgb_end = ResidualUnit(num_feat)
        self.hsi_end = ResidualUnit(num_feat)

    def forward(self, hsi: torch.Tensor, rgb: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode both streams.

        Args:
            hsi (Tensor): Features of all bands, (B * bands, num_feat, H, W).
            rgb (Tensor): Guide features, (B * bands, num_feat, H, W), or (B, num_feat, H, W) while they are the same
                for all bands of an image, which saves work.

        Returns:
            tuple[Tensor, Tensor]: Both streams, (B * bands, num_feat, H, W) each.
        """
        hsi_mid = self.hsi_first(hsi)
        rgb_mid = expand_to_bands(self.rgb_first(rgb), len(hsi))
        rgb = expand_to_bands(rgb, len(hsi))
        common = self.crossFusion(hsi_mid, rgb_mid)
        return self.hsi_end(hsi_mid + common) + hsi, self.rgb_end(rgb_mid + common) + rgb
