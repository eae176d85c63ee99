"""MulSR written out as it is defined, one band at a time and slowly: the reference of every fast path.

3-D convolutions on a volume of three slices, concatenations, scans line by line, everything computed for every band.
Takes the options and the state dict of `MulSR`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.parametrizations import weight_norm


def _conv(in_channels, out_channels, kernel_size, stride=1):
    return weight_norm(nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2))


class _Unit(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.m = nn.Sequential(_conv(n, n, 3), nn.ReLU(), _conv(n, n, 3))

    def forward(self, x):
        return x + self.m(x)


class LiteralCrossFusion(nn.Module):
    def __init__(self, n):
        super().__init__()
        c = n * 3 // 4
        self.gamma = nn.Parameter(torch.ones(3))
        self.conv3D = nn.Sequential(
            weight_norm(nn.Conv3d(c, c, (1, 3, 3), padding=(0, 1, 1))),
            weight_norm(nn.Conv3d(c, c, (3, 1, 1), padding=(1, 0, 0))),
        )
        self.conv_diff = _conv(n, n * 9 // 8, 3)
        self.reduce_D = _conv(2 * n, n * 9 // 8, 3)
        self.conv = _conv(3 * c, n, 3)

    def forward(self, hsi, rgb):
        n = hsi.shape[1]
        fused, difference = self.reduce_D(torch.cat([hsi, rgb], 1)), self.conv_diff(hsi - rgb)
        slices = [
            self.gamma[0] * fused[:, : n * 3 // 4],
            self.gamma[1] * torch.cat([fused[:, n * 3 // 4 :], difference[:, : n * 3 // 8]], 1),
            self.gamma[2] * difference[:, n * 3 // 8 :],
        ]
        volume = torch.stack(slices, dim=2)
        volume = volume + self.conv3D(volume)
        return self.conv(torch.cat(volume.unbind(2), dim=1))


class _Encoder(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.crossFusion = LiteralCrossFusion(n)
        self.rgb_first, self.hsi_first, self.rgb_end, self.hsi_end = (_Unit(n) for _ in range(4))

    def forward(self, hsi, rgb):
        hsi_mid, rgb_mid = self.hsi_first(hsi), self.rgb_first(rgb)
        common = self.crossFusion(hsi_mid, rgb_mid)
        return self.hsi_end(hsi_mid + common) + hsi, self.rgb_end(rgb_mid + common) + rgb


class _Scan(nn.Module):
    """Down and up the rows, or right and left through the columns."""

    def __init__(self, n, dim):
        super().__init__()
        self.dim = dim
        size = (1, 7) if dim == 2 else (7, 1)
        self.conv = nn.Sequential(nn.Conv2d(n, n, size, padding=(size[0] // 2, size[1] // 2)), nn.PReLU())

    def forward(self, x):
        lines = list(x.split(1, self.dim))
        for i in range(1, len(lines)):
            lines[i] = self.conv(lines[i - 1]) + lines[i]
        for i in reversed(range(len(lines) - 1)):
            lines[i] = self.conv(lines[i + 1]) + lines[i]
        return torch.cat(lines, self.dim)


class LiteralMulSR(nn.Module):
    """See `MulSR` for the arguments; `forward` takes the same inputs and gives the same outputs."""

    def __init__(
        self,
        upscale=8,
        num_feat=64,
        num_guide_ch=3,
        num_modules=2,
        use_mii=True,
        use_dsca=True,
        use_lfcc=True,
        multi_scale=True,
        small_scale_head=False,
    ):
        super().__init__()
        n = num_feat
        self.multi_scale, self.use_mii, self.use_dsca, self.use_lfcc = multi_scale, use_mii, use_dsca, use_lfcc
        for suffix in ('_x2', '') if multi_scale else ('_x2',):
            self.add_module(f'hsi_head{suffix}', _conv(3, n, 3))
            self.add_module(f'rgb_head{suffix}', _conv(num_guide_ch, n, 3))
            self.add_module(f'inter_body{suffix}', nn.ModuleList(_Encoder(n) for _ in range(num_modules)))
            self.add_module(f'reduce{suffix}', _conv(2 * n, n, 1))
        self.uint_x2 = _Unit(n)
        self.end_x2 = nn.Sequential(_conv(n, n, 3), _conv(n, 1, 3))
        if multi_scale and use_mii:
            self.down = nn.Conv2d(n, n, 3, stride=2, padding=1)
            self.cross_reduce = _conv(2 * n, n, 1)
            self.up = nn.Sequential(_conv(n, 4 * n, 1), nn.PixelShuffle(2))
            if use_dsca:
                self.DULR = nn.Sequential(_Scan(n, 2), _Scan(n, 3))
        if multi_scale and use_lfcc:
            self.uint = _Unit(n)
            self.optimize_down = _conv(n, n, 3, stride=2)
            self.optimize_up = nn.Sequential(_conv(n, 4 * n, 1), nn.PixelShuffle(2))
        if small_scale_head:
            self.end_small = nn.Sequential(_conv(n, n, 3), _conv(n, 1, 3))

    def forward(self, lq, rgb, bands=None, return_small_scale=False):
        pairs = [self.forward_band(lq, rgb, band) for band in (range(lq.shape[1]) if bands is None else bands)]
        large = torch.cat([self.end_x2(large) for large, _ in pairs], dim=1)
        if not return_small_scale:
            return large
        return large, torch.cat([self.end_small(small) for _, small in pairs], dim=1)

    def forward_band(self, lq, rgb, band):
        last = lq.shape[1] - 1
        a, b = {0: (1, 2), last: (last - 1, last - 2)}.get(band, (band - 1, band + 1))
        triple = torch.stack([lq[:, a], lq[:, b], lq[:, band]], dim=1)
        large = self.encode(triple, rgb, '_x2')
        if not self.multi_scale:
            return self.uint_x2(large), None
        small = self.encode(triple, F.interpolate(rgb, scale_factor=0.5, mode='nearest'), '')
        if self.use_mii:
            shared = self.cross_reduce(torch.cat([self.down(large), small], 1))
            shared = self.DULR(shared) if self.use_dsca else shared
            large, small = large + self.up(shared), small + shared
        large = self.uint_x2(large)
        if self.use_lfcc:
            small = self.uint(small)
            large = large + self.optimize_up(self.optimize_down(large) - small)
        return large, small

    def encode(self, triple, rgb, suffix):
        hsi = F.interpolate(triple, size=rgb.shape[2:], mode='nearest')
        hsi, rgb = getattr(self, f'hsi_head{suffix}')(hsi), getattr(self, f'rgb_head{suffix}')(rgb)
        for encoder in getattr(self, f'inter_body{suffix}'):
            hsi, rgb = encoder(hsi, rgb)
        return getattr(self, f'reduce{suffix}')(torch.cat([hsi, rgb], 1))
