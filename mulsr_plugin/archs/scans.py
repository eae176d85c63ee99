"""Direction-aware line scans over a feature map."""

from __future__ import annotations

import torch
from torch import nn


class LineScan(nn.Module):
    """Pass information through a map line by line, forth and back.

    With lines l_0 ... l_n and phi = PReLU(convolution along the line), the first pass sets
    l_i <- phi(l_(i-1)) + l_i for i = 1 ... n, the second l_i <- phi(l_(i+1)) + l_i for i = n-1 ... 0 on the lines
    that the first pass has updated. Both passes share one convolution and one PReLU slope.

    The n dependent steps are small, so fold as much as possible (images, bands) into the batch.

    Args:
        num_feat (int): Channels of the map.
        lines (str): 'rows' scans down and up the rows, 'columns' scans right and left through the columns.
        kernel_size (int): Extent of the convolution along the line, odd. Default: 7.
    """

    def __init__(self, num_feat: int, lines: str, kernel_size: int = 7) -> None:
        super().__init__()
        if lines not in ('rows', 'columns'):
            raise ValueError(f"lines is {lines!r}, expected 'rows' or 'columns': choose the direction of the scan.")
        self.dim = 2 if lines == 'rows' else 3
        size = (1, kernel_size) if lines == 'rows' else (kernel_size, 1)
        self.conv = nn.Sequential(nn.Conv2d(num_feat, num_feat, size, padding=(size[0] // 2, size[1] // 2)), nn.PReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scan the map.

        Args:
            x (Tensor): Features, (B, num_feat, H, W).

        Returns:
            Tensor: Scanned features, (B, num_feat, H, W).
        """
        # one split and one concatenation: slicing line by line would cost a whole map per line in the backward pass
        lines = list(x.split(1, dim=self.dim))
        for i in range(1, len(lines)):
            lines[i] = lines[i] + self.conv(lines[i - 1])
        for i in range(len(lines) - 2, -1, -1):
            lines[i] = lines[i] + self.conv(lines[i + 1])
        return torch.cat(lines, dim=self.dim)
