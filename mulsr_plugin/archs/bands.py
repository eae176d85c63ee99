"""The band triples that a band-wise network sees: a band and two neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import torch

Bands = Sequence[int] | torch.Tensor | None


def neighbour_indices(num_bands: int) -> torch.Tensor:
    """Return the two neighbours A and B of every band.

    An inner band i has (i - 1, i + 1); the first band has (1, 2) and the last, n, has (n - 1, n - 2).

    Args:
        num_bands (int): Number of bands of the cube, at least 3.

    Returns:
        Tensor: int64, (num_bands, 2), columns A and B.

    Raises:
        ValueError: Fewer than 3 bands, so that a band has no two neighbours.

    Source: the released code of the MulSR and SFPN papers, which share the rule.
    """
    if num_bands < 3:
        raise ValueError(
            f'The cube has {num_bands} band(s), but a band and its two neighbours need at least 3: use a cube with '
            'more bands.'
        )
    band = torch.arange(num_bands)
    neighbours = torch.stack([band - 1, band + 1], dim=1)
    neighbours[0] = torch.tensor([1, 2])
    neighbours[-1] = torch.tensor([num_bands - 2, num_bands - 3])
    return neighbours


def select_bands(num_bands: int, bands: Bands = None) -> torch.Tensor:
    """Check a choice of bands.

    Args:
        num_bands (int): Number of bands of the cube.
        bands (Sequence[int] | Tensor | None): Band indices counted from 0, in any order, or None for all bands.

    Returns:
        Tensor: int64 indices on the CPU, (number of chosen bands,).

    Raises:
        ValueError: The choice is empty, not a list of integers, or names a band outside the cube.
    """
    if bands is None:
        return torch.arange(num_bands)
    chosen = bands.tolist() if isinstance(bands, torch.Tensor) else list(bands)
    if not isinstance(chosen, list) or not chosen or not all(isinstance(band, Integral) for band in chosen):
        raise ValueError(
            f'bands is {bands!r}, expected a non-empty list of band indices: give one, or None for all bands.'
        )
    outside = [int(band) for band in chosen if not 0 <= band < num_bands]
    if outside:
        raise ValueError(
            f'Band(s) {outside} were asked for, but the cube has bands 0 to {num_bands - 1}: name only those.'
        )
    return torch.tensor([int(band) for band in chosen])


def band_triples(lq: torch.Tensor, bands: Bands = None, current: str = 'last') -> torch.Tensor:
    """Gather each chosen band with its two neighbours, folded into the batch.

    Args:
        lq (Tensor): Cube, (B, L, h, w), L >= 3.
        bands (Sequence[int] | Tensor | None): Band indices, or None for all bands.
        current (str): Place of the band itself: 'last' gives [A, B, band] (MulSR), 'middle' gives [A, band, B]
            (CoarseNet). Default: 'last'.

    Returns:
        Tensor: (B * number of chosen bands, 3, h, w); all bands of the first image come first.

    Raises:
        ValueError: See :func:`neighbour_indices` and :func:`select_bands`; or `current` is neither place.
    """
    if current not in ('last', 'middle'):
        raise ValueError(
            f"current is {current!r}, expected 'last' or 'middle': use 'last' for MulSR, 'middle' for CoarseNet."
        )
    num_bands = lq.shape[1]
    neighbours = neighbour_indices(num_bands)
    chosen = select_bands(num_bands, bands)
    first, second = neighbours[chosen].unbind(1)
    order = [first, second, chosen] if current == 'last' else [first, chosen, second]
    index = torch.stack(order, dim=1).to(lq.device, non_blocking=True)
    return lq[:, index].flatten(0, 1)


def split_bands(bands: Sequence[int], bands_per_chunk: int | None) -> list[list[int]]:
    """Split a list of band indices into chunks of at most ``bands_per_chunk`` (None: one chunk)."""
    bands = list(bands)
    size = bands_per_chunk or len(bands)
    return [bands[start : start + size] for start in range(0, len(bands), size)]
