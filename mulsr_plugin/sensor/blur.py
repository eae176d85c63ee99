"""Blur and downsampling as a linear operator D of tensors, with its exact adjoint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mulsr_plugin.data.degradation.correlation import Correlation, continued

BOUNDARIES = ('edge', 'symmetric', 'circular')


@dataclass(frozen=True, eq=False)
class StridedBlur:
    """Correlation of every ``stride``-th pixel with a kernel: y[i, j] = sum k[a, b] x[s i + row + a, s j + column + b].

    Attributes:
        kernel (ndarray): k, (kh, kw) float64.
        offset (tuple[int, int]): Row and column of its first entry relative to the first pixel of each block of
            ``stride`` x ``stride`` pixels; may be negative.
        stride (int): s, step from pixel to pixel.
        boundary (str): What continues the image: 'edge' pixel, 'symmetric' reflection or 'circular' repetition.

    Raises:
        ValueError: The kernel is not a matrix of finite numbers, the stride is not positive, or the boundary is
            unknown.
    """

    kernel: np.ndarray
    offset: tuple[int, int]
    stride: int
    boundary: str

    def __post_init__(self) -> None:
        if self.kernel.ndim != 2 or self.kernel.size == 0 or not np.isfinite(self.kernel).all():
            raise ValueError(
                f'The kernel has shape {self.kernel.shape}, expected a matrix (kh, kw) of finite numbers; correct it.'
            )
        if self.stride < 1:
            raise ValueError(f'The stride is {self.stride}, expected a positive whole number; correct it.')
        if self.boundary not in BOUNDARIES:
            raise ValueError(f'boundary is {self.boundary!r}, expected one of {", ".join(BOUNDARIES)}; correct it.')

    @classmethod
    def from_correlation(cls, correlation: Correlation) -> StridedBlur:
        """Take over a correlation of a degradation."""
        kernel, offset, stride, boundary = correlation
        return cls(np.asarray(kernel, dtype=np.float64), (offset, offset), stride, boundary)

    @property
    def centre(self) -> tuple[float, float]:
        """Centroid of the kernel of the first output pixel, in pixels of the input (row, column)."""
        total = self.kernel.sum()
        row, column = (
            float(self.kernel.sum(axis=1 - axis) @ np.arange(self.kernel.shape[axis]) / total) for axis in (0, 1)
        )
        return row + self.offset[0], column + self.offset[1]

    def forward(self, x: Tensor) -> Tensor:
        """Apply D.

        Args:
            x (Tensor): (B, L, H, W), floating point; H and W are multiples of the stride.

        Returns:
            Tensor: (B, L, H / stride, W / stride).

        Raises:
            ValueError: The size is not such a multiple.
        """
        if x.dim() != 4 or x.shape[2] % self.stride or x.shape[3] % self.stride:
            raise ValueError(
                f'The image has shape {tuple(x.shape)}, expected (B, L, H, W) with sides that are multiples of '
                f'{self.stride}; crop it.'
            )
        height, width = x.shape[2:]
        for dim, positions in self._positions((height, width)):
            x = _extend(x, dim, positions, self.boundary)
        weight = self._weight(x).expand(x.shape[0] * x.shape[1], 1, -1, -1)
        # All planes as groups of one convolution: several times as fast on CPUs as planes as a batch, and for kernels
        # of up to about 30 pixels a side no slower than two passes of a separable kernel.
        planes = x.reshape(1, -1, *x.shape[2:])
        return F.conv2d(planes, weight, stride=self.stride, groups=len(weight)).unflatten(1, x.shape[:2])[0]

    def adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose of D, so that <D x, y> = <x, D^T y> for all x and y.

        Args:
            y (Tensor): (B, L, h, w), floating point.

        Returns:
            Tensor: (B, L, stride * h, stride * w).
        """
        size = (y.shape[2] * self.stride, y.shape[3] * self.stride)
        weight = self._weight(y).expand(y.shape[0] * y.shape[1], 1, -1, -1)
        planes = y.reshape(1, -1, *y.shape[2:])
        x = F.conv_transpose2d(planes, weight, stride=self.stride, groups=len(weight)).unflatten(1, y.shape[:2])[0]
        for dim, positions in self._positions(size):
            x = _fold(x, dim, positions, size[dim - 2], self.boundary)
        return x

    def transfer(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Return the transfer function of the correlation without its stride, for circular images.

        Args:
            size (tuple[int, int]): H and W of the images.
            like (Tensor): Tensor whose device and type the result is for.

        Returns:
            Tensor: (H, W // 2 + 1), complex: what multiplies ``torch.fft.rfft2`` of an image.
        """
        response = torch.zeros(size, dtype=torch.float64)
        rows, columns = (
            torch.from_numpy((-np.arange(first, first + count)) % side)
            for first, count, side in zip(self.offset, self.kernel.shape, size)
        )
        places = rows[:, None] * size[1] + columns
        response.view(-1).index_add_(0, places.flatten(), torch.from_numpy(self.kernel).flatten())
        return torch.fft.rfft2(response.to(like.device, like.dtype))

    def _weight(self, like: Tensor) -> Tensor:
        return torch.from_numpy(self.kernel).to(like.device, like.dtype)

    def _positions(self, size: tuple[int, int]) -> list[tuple[int, np.ndarray]]:
        """Rows and columns, also beyond the image, that the kernel meets; with the dimension of a (B, L, H, W)."""
        return [
            (dim, np.arange(first, first + side - self.stride + count))
            for dim, first, side, count in zip((2, 3), self.offset, size, self.kernel.shape)
        ]


def _parts(positions: np.ndarray, size: int, boundary: str) -> tuple[np.ndarray, slice, np.ndarray]:
    """Split consecutive positions into the pixels read before the image, the span within it, and those read after."""
    inside = positions[(positions >= 0) & (positions < size)]
    span = slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)
    before, after = positions[positions < 0], positions[positions >= size]
    return continued(before, size, boundary), span, continued(after, size, boundary)


def _extend(x: Tensor, dim: int, positions: np.ndarray, boundary: str) -> Tensor:
    """Read an image at consecutive positions, with what continues it beyond its ends."""
    before, span, after = _parts(positions, x.shape[dim], boundary)
    inside = x.narrow(dim, span.start, span.stop - span.start)
    if not len(before) and not len(after):
        return inside
    # selecting pixels one by one is slow on CPUs, so that only those outside are
    first, last = (x.index_select(dim, torch.from_numpy(part).to(x.device)) for part in (before, after))
    return torch.cat([first, inside, last], dim)


def _fold(z: Tensor, dim: int, positions: np.ndarray, size: int, boundary: str) -> Tensor:
    """Apply the transpose of ``_extend``: add what lies beyond the ends to the pixels that it was read from."""
    before, span, after = _parts(positions, size, boundary)
    shape = list(z.shape)
    shape[dim] = size
    x = z.new_zeros(shape)
    first, inside, last = z.split([len(before), span.stop - span.start, len(after)], dim)
    x.narrow(dim, span.start, span.stop - span.start).copy_(inside)
    for part, values in ((before, first), (after, last)):
        if len(part):
            x = x.index_add(dim, torch.from_numpy(part).to(z.device), values)
    return x
