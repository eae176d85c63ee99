"""Building blocks of MulSR: residual unit, cross fusion, symmetric guided encoder.

Attribute names are the authors' (hence the mixed case), so that their weights fit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from mulsr_plugin.ops.fused_conv import FusedConv2d, fused_conv2d


class Kernel(NamedTuple):
    """Weight, (O, C, k, k), and bias, (O,), of a convolution."""

    weight: Tensor
    bias: Tensor | None


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
    return weight_norm(FusedConv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2))


def add_per_image(x: Tensor, of_image: Tensor, alpha: int = 1) -> Tensor:
    """Add what was computed once per image to the features of all its bands.

    Args:
        x (Tensor): Features of all bands, (B * bands, C, H, W), those of an image side by side.
        of_image (Tensor): Features of the images, (B, C, H, W).
        alpha (int): Factor of the second. Default: 1.

    Returns:
        Tensor: x + alpha * of_image, (B * bands, C, H, W), in the memory format of `x`.
    """
    if len(x) == len(of_image):
        return torch.add(x, of_image, alpha=alpha)
    return torch.add(x.unflatten(0, (len(of_image), -1)), of_image[:, None], alpha=alpha).flatten(0, 1)


class ResidualUnit(nn.Module):
    """Residual unit: x + conv(ReLU(conv(x))).

    Args:
        num_feat (int): Channels.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.m = nn.Sequential(conv(num_feat, num_feat, 3), nn.ReLU(inplace=True), conv(num_feat, num_feat, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, num_feat, H, W) to the same shape."""
        first, _, second = self.m
        return second(first(x, relu=True), add=x)


class SubPixelUp(nn.Sequential):
    """Double the size: 1x1 convolution to four times the channels, then pixel shuffle.

    Args:
        num_feat (int): Channels.
    """

    def __init__(self, num_feat: int) -> None:
        super().__init__(conv(num_feat, 4 * num_feat, 1), nn.PixelShuffle(2))


class DepthConvolutions(nn.Sequential):
    """Two 3-D convolutions on a volume of depth three, kernels (1, 3, 3) and (3, 1, 1), and their 2-D form.

    Called, it convolves (B, slice_feat, 3, H, W) in 3-D. In 2-D, with the channels of the three slices one after the
    other, the first is a convolution in three groups with the same weights, the second a 1x1 convolution of all
    channels, which mixes the slices of a pixel. On the CPU the 2-D form is many times faster.

    Args:
        slice_feat (int): Channels of one slice.
    """

    def __init__(self, slice_feat: int) -> None:
        super().__init__(
            weight_norm(nn.Conv3d(slice_feat, slice_feat, (1, 3, 3), padding=(0, 1, 1))),
            weight_norm(nn.Conv3d(slice_feat, slice_feat, (3, 1, 1), padding=(1, 0, 0))),
        )

    def kernels_2d(self) -> tuple[Kernel, Kernel]:
        """Return the kernel within the slices, to be used in three groups, and the 1x1 kernel across them."""
        within, across = cast('list[Any]', list(self))
        kernel = within.weight.squeeze(2).repeat(3, 1, 1, 1)
        return Kernel(kernel, within.bias.repeat(3)), Kernel(self._slice_mix(across.weight), across.bias.repeat(3))

    @staticmethod
    def _slice_mix(weight: Tensor) -> Tensor:
        """Arrange a (C, C, 3, 1, 1) kernel as the (3C, 3C, 1, 1) matrix of the zero-padded convolution over depth."""
        above, same, below = weight.flatten(2).unbind(2)
        zero = torch.zeros_like(same)
        rows = [[same, below, zero], [above, same, below], [zero, above, same]]
        return torch.cat([torch.cat(row, dim=1) for row in rows])[:, :, None, None]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DepthConvolutions:
        """Show the 5-D weights as 4-D ones, so that `net.to(memory_format=torch.channels_last)` takes them."""

        def apply_in_4d(value: Tensor) -> Tensor:
            return fn(value.flatten(2, 3)).unflatten(2, value.shape[2:4]) if value.dim() == 5 else fn(value)

        return cast(DepthConvolutions, super()._apply(apply_in_4d, recurse))


class FusionKernels(NamedTuple):
    """The cross fusion of h (hyperspectral) and g (guide) as plain convolutions.

    The learned weight of a slice is part of the kernels that fill it. Both the fused features,
    F * [h; g] = F_h * (h - g) + (F_h + F_g) * g, and the difference features, D * (h - g), come from one convolution of
    h - g, and a convolution of g is added to the fused ones. This takes no more operations than the definition, no
    concatenation, and the part of g is shared by all bands for which g is the same.
    """

    difference: Kernel  # of h - g, to all channels of the volume
    guide: Kernel  # of g, to the fused features, the first half of the channels
    within: Kernel  # in three groups
    across: Kernel
    out: Kernel


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

    def kernels(self) -> FusionKernels:
        """Work the plain convolutions out from the parameters; gradients flow through."""
        fused, difference, out = (cast(Any, layer) for layer in (self.reduce_D, self.conv_diff, self.conv))
        slice_weights = self.gamma.repeat_interleave(self.slice_feat)
        of_hsi, of_guide = fused.weight.chunk(2, dim=1)
        weight = torch.cat([of_hsi, difference.weight]) * slice_weights[:, None, None, None]
        bias = torch.cat([fused.bias, difference.bias]) * slice_weights
        guide = (of_hsi + of_guide) * slice_weights[: len(of_guide), None, None, None]
        return FusionKernels(
            Kernel(weight, bias), Kernel(guide, None), *self.conv3D.kernels_2d(), Kernel(out.weight, out.bias)
        )

    def folded(self) -> FoldedCrossFusion:
        """Return the same module for inference, its plain convolutions worked out once."""
        return FoldedCrossFusion(self.kernels())

    def encode_guide(self, rgb: Tensor) -> Tensor:
        """Compute what the guide features, (B, num_feat, H, W), add to the volume, (B, 9/8 * num_feat, H, W)."""
        return fused_conv2d(rgb, *self.kernels().guide, padding=1)

    def forward(self, hsi: Tensor, rgb: Tensor, encoded: Tensor | None = None) -> Tensor:
        """Fuse two maps of features.

        Args:
            hsi (Tensor): Hyperspectral features, (B * bands, num_feat, H, W).
            rgb (Tensor): Guide features, (B, num_feat, H, W).
            encoded (Tensor | None): What `encode_guide` made of `rgb`, if it is known. Default: None.

        Returns:
            Tensor: Common features, (B * bands, num_feat, H, W).
        """
        kernels = self.kernels()
        if encoded is None:
            encoded = fused_conv2d(rgb, *kernels.guide, padding=1)
        volume = fused_conv2d(add_per_image(hsi, rgb, alpha=-1), *kernels.difference, padding=1)
        volume.unflatten(0, (len(encoded), -1))[:, :, : encoded.shape[1]].add_(encoded[:, None])
        inner = fused_conv2d(volume, *kernels.within, padding=1, groups=3)
        return fused_conv2d(fused_conv2d(inner, *kernels.across, add=volume), *kernels.out, padding=1)


class FoldedCrossFusion(CrossFusion):
    """CrossFusion for inference: holds its plain convolutions in place of the parameters they come from.

    Args:
        kernels (FusionKernels): The convolutions.
    """

    def __init__(self, kernels: FusionKernels) -> None:
        nn.Module.__init__(self)
        for name, kernel in kernels._asdict().items():
            for part, value in kernel._asdict().items():
                value = None if value is None else nn.Parameter(value.detach(), requires_grad=False)
                self.register_parameter(f'{name}_{part}', value)

    def kernels(self) -> FusionKernels:
        """Return the convolutions."""
        names = FusionKernels._fields
        return FusionKernels(*(Kernel(getattr(self, f'{n}_weight'), getattr(self, f'{n}_bias')) for n in names))


class GuideFeatures(NamedTuple):
    """What the first encoder of a tower needs of the guide image; the same for all bands."""

    rgb: Tensor  # (B, num_feat, H, W)
    mid: Tensor  # (B, num_feat, H, W), after the first residual unit
    encoded: Tensor  # (B, 9/8 * num_feat, H, W), see CrossFusion.encode_guide


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

    def encode_guide(self, rgb: Tensor) -> GuideFeatures:
        """Do all the work that depends on the guide features, (B, num_feat, H, W), alone."""
        mid = self.rgb_first(rgb)
        return GuideFeatures(rgb, mid, self.crossFusion.encode_guide(mid))

    def forward(self, hsi: Tensor, guide: Tensor | GuideFeatures) -> tuple[Tensor, Tensor]:
        """Encode both streams.

        Args:
            hsi (Tensor): Features of all bands, (B * bands, num_feat, H, W).
            guide (Tensor | GuideFeatures): Guide features, (B * bands, num_feat, H, W), or (B, num_feat, H, W) while
                they are the same for all bands of an image, which saves work; or what `encode_guide` made of them.

        Returns:
            tuple[Tensor, Tensor]: Both streams, (B * bands, num_feat, H, W) each.
        """
        rgb, rgb_mid, encoded = guide if isinstance(guide, GuideFeatures) else (guide, self.rgb_first(guide), None)
        hsi_mid = self.hsi_first(hsi)
        common = self.crossFusion(hsi_mid, rgb_mid, encoded)
        rgb_end = self.rgb_end(add_per_image(common, rgb_mid))
        rgb_end = rgb_end.add_(rgb) if len(rgb) == len(hsi) else add_per_image(rgb_end, rgb)
        return self.hsi_end(common.add_(hsi_mid)).add_(hsi), rgb_end
