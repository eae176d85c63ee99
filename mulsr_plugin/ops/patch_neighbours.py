"""Patches of an image and their most similar neighbours, on which CoarseNet gathers its features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

NUM_CHOSEN = 3

# rows and columns to the eight neighbours of a patch, row by row
OFFSETS = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1) if (row, column) != (0, 0)]
_BELOW_LEFT, _BELOW = OFFSETS.index((1, -1)), OFFSETS.index((1, 0))


@dataclass(frozen=True)
class PatchGrid:
    """Cut an image into square patches, zero-padded evenly on all sides, an odd pixel at the bottom or right.

    Attributes:
        height (int): Rows of the image.
        width (int): Columns of the image.
        side (int): Rows and columns of a patch.
    """

    height: int
    width: int
    side: int

    @property
    def rows(self) -> int:
        """Patches in a column of the grid."""
        return -(-self.height // self.side)

    @property
    def columns(self) -> int:
        """Patches in a row of the grid."""
        return -(-self.width // self.side)

    def cut(self, image: torch.Tensor) -> torch.Tensor:
        """Cut (B, C, height, width) into patches (B, rows * columns, C, side, side), numbered row by row."""
        down, right = self.rows * self.side - self.height, self.columns * self.side - self.width
        padded = F.pad(image, (right // 2, right - right // 2, down // 2, down - down // 2))
        tiles = padded.unflatten(3, (self.columns, self.side)).unflatten(2, (self.rows, self.side))
        return tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)

    def join(self, patches: torch.Tensor) -> torch.Tensor:
        """Put patches (B, rows * columns, C, side, side) back into an image (B, C, height, width)."""
        tiles = patches.unflatten(1, (self.rows, self.columns)).permute(0, 3, 1, 4, 2, 5)
        padded = tiles.flatten(4, 5).flatten(2, 3)
        top, left = (padded.shape[2] - self.height) // 2, (padded.shape[3] - self.width) // 2
        return padded[:, :, top : top + self.height, left : left + self.width]


@dataclass(frozen=True)
class PatchNeighbours:
    """The three neighbours of every patch that are most like it, the most similar first.

    Attributes:
        grid (PatchGrid): The patches.
        indices (Tensor): Numbers of the neighbours, int64, (B, patches, 3).
        similarities (Tensor): Cosine similarities to them, (B, patches, 3).
    """

    grid: PatchGrid
    indices: torch.Tensor
    similarities: torch.Tensor

    def gather(self, features: torch.Tensor) -> torch.Tensor:
        """Put beside each patch of some features its neighbours, times their similarities.

        Args:
            features (Tensor): (B, C, height, width).

        Returns:
            Tensor: (B, 4 * C, height, width): the features themselves and those of the three neighbours in order.
        """
        patches = self.grid.cut(features)
        image = torch.arange(len(patches), device=patches.device)[:, None, None]
        weights = self.similarities.to(patches.dtype)[..., None, None, None]
        neighbours = (patches[image, self.indices] * weights).flatten(2, 3)
        return self.grid.join(torch.cat([patches, neighbours], dim=2))


@torch.no_grad()
def find_neighbours(image: torch.Tensor, side: int, legacy: bool = False) -> PatchNeighbours:
    """Choose among the up to eight neighbours of each patch the three with the largest cosine similarity.

    Args:
        image (Tensor): Guide image, (B, G, H, W).
        side (int): Rows and columns of a patch.
        legacy (bool): Reproduce the released code of SFPN, which gives the neighbour straight below an interior patch
            the similarity of the one below left. Default: False.

    Returns:
        PatchNeighbours: The choice; no gradient flows through it.

    Raises:
        ValueError: The image has fewer than two rows or columns of patches.
    """
    height, width = image.shape[2:]
    grid = PatchGrid(height, width, side)
    if grid.rows < 2 or grid.columns < 2:
        raise ValueError(
            f'The guide image of {height}x{width} pixels has {grid.rows}x{grid.columns} patches of {side}x{side}, '
            f'expected at least 2x2: give one of more than {side} pixels on either side.'
        )
    table, exists = (each.to(image.device) for each in _neighbour_table(grid))
    patches = grid.cut(image).flatten(2)
    similarities = F.cosine_similarity(patches[:, :, None], patches[:, table], dim=-1)
    if legacy:
        interior = exists.all(dim=1)
        similarities[:, interior, _BELOW] = similarities[:, interior, _BELOW_LEFT]
    chosen = similarities.masked_fill(~exists, -torch.inf).topk(NUM_CHOSEN)
    return PatchNeighbours(grid, table.expand(len(image), -1, -1).gather(2, chosen.indices), chosen.values)


def _neighbour_table(grid: PatchGrid) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the numbers of the eight neighbours, (patches, 8), 0 for those outside the grid, and which are inside."""
    number = torch.arange(grid.rows * grid.columns)[:, None]
    row_offset, column_offset = torch.tensor(OFFSETS).unbind(1)
    row, column = number // grid.columns + row_offset, number % grid.columns + column_offset
    exists = (row >= 0) & (row < grid.rows) & (column >= 0) & (column < grid.columns)
    return torch.where(exists, row * grid.columns + column, 0), exists
