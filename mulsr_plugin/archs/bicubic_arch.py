"""Bicubic interpolation as a network, the baseline of every comparison."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from mulsr_plugin.archs.input_checks import check_positive


@ARCH_REGISTRY.register()
class BicubicUpsampler(nn.Module):
    """Enlarge each band by bicubic interpolation with half-pixel centres; there is nothing to train.

    Args:
        upscale (int): Scale factor. Default: 8.
    """

    def __init__(self, upscale: int = 8) -> None:
        super().__init__()
        check_positive('upscale', upscale)
        self.upscale = upscale

    def forward(self, lq: Tensor) -> Tensor:
        """Enlarge a low-resolution cube.

        Args:
            lq (Tensor): (B, L, h, w).

        Returns:
            Tensor: (B, L, upscale * h, upscale * w), not clamped.
        """
        return F.interpolate(lq, scale_factor=self.upscale, mode='bicubic', align_corners=False)
