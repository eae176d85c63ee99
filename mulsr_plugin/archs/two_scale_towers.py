"""Two towers of convolutions at full and half size that exchange their features: the network within MulSRCube."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

GRID = 2
"""Sides of images must be multiples of it."""


class TwoScaleTowers(nn.Module):
    """Small and large tower side by side, as in MulSR; after every stage each is given what the other has found.

    The last layer begins at zero.

    Args:
        num_in_ch (int): Channels of the input.
        num_out_ch (int): Channels of the result.
        num_feat (int): Features of the tower at full size; that at half size has twice as many. Default: 40.
        num_stages (int): Stages, each followed by an exchange. Default: 3.
    """

    def __init__(self, num_in_ch: int, num_out_ch: int, num_feat: int = 40, num_stages: int = 3) -> None:
        super().__init__()
        wide = 2 * num_feat
        self.num_stages = num_stages
        self.head = nn.Conv2d(num_in_ch, num_feat, 1)
        self.low = nn.Conv2d(num_feat, wide, 2, 2)
        self.fine = nn.ModuleList(nn.Sequential(_Block(num_feat), _Block(num_feat)) for _ in range(num_stages))
        self.coarse = nn.ModuleList(nn.Sequential(_Block(wide)) for _ in range(num_stages))
        self.up = nn.ModuleList(nn.ConvTranspose2d(wide, num_feat, 2, 2) for _ in range(num_stages))
        self.down = nn.ModuleList(nn.Conv2d(num_feat, wide, 2, 2) for _ in range(num_stages - 1))
        self.tail = nn.Conv2d(num_feat, num_out_ch, 1)
        for parameter in self.tail.parameters():
            nn.init.zeros_(parameter)

    @property
    def reach(self) -> int:
        """Pixels of the input, to any side, that a pixel of the result depends on at most."""
        # four convolutions at full size or two at half size a stage, and the way down and up again
        return self.num_stages * (4 + GRID) + GRID

    def forward(self, x: Tensor) -> Tensor:
        """Turn (B, num_in_ch, H, W) into (B, num_out_ch, H, W); H and W are even."""
        fine = self.head(x)
        coarse = self.low(fine)
        for number in range(self.num_stages):
            found, small = self.fine[number](fine), self.coarse[number](coarse)
            fine = found + self.up[number](small)
            if number < self.num_stages - 1:
                coarse = small + self.down[number](found)
        return self.tail(fine)


class _Block(nn.Module):
    """Residual block of two convolutions."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.a = nn.Conv2d(num_feat, num_feat, 3, padding=1)
        self.b = nn.Conv2d(num_feat, num_feat, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x and what is found beyond it."""
        return x + self.b(F.gelu(self.a(x)))
