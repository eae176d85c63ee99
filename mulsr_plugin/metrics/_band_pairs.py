"""Universal image quality index (Q) of every pair of bands, for the no-reference metrics."""

from __future__ import annotations

from typing import NamedTuple

import torch

from mulsr_plugin.metrics._cubes import check_window, strip_budget
from mulsr_plugin.metrics._windows import GAUSSIAN_SIDE, box_filter, gaussian_filter

# A window whose relative contrast is below 3e-7, the rounding of single precision, counts as flat.
_FLAT = 1e-13
# Small against every variance that is not flat, so that it decides only where both are.
_TINY = 1e-200


class _Bands(NamedTuple):
    """Bands of a strip, float64, (n, rows, W), and their moments per window, (n, rows - side + 1, W - side + 1).

    Attributes:
        values (Tensor): The bands.
        mean (Tensor): Mean.
        contrasting_mean (Tensor): The same, but 0 in flat windows, where rounding would pass for covariance.
        variance (Tensor): Variance; ``_TINY`` in flat windows.
        energy (Tensor): Squared mean.
    """

    values: torch.Tensor
    mean: torch.Tensor
    contrasting_mean: torch.Tensor
    variance: torch.Tensor
    energy: torch.Tensor

    def select(self, bands: slice) -> _Bands:
        return _Bands(*(field[bands] for field in self))


def check_window_option(window: int | str) -> None:
    """Refuse a ``window`` that is neither a power of two nor ``gaussian``.

    Raises:
        ValueError: It is not.
    """
    powers = (2, 4, 8, 16, 32, 64, 128)
    if window != 'gaussian' and (isinstance(window, bool) or window not in powers):
        raise ValueError(
            f"window is {window!r}; expected the side of a uniform window, a power of two from 2 to 128, or 'gaussian'."
        )


def pair_qualities(first: torch.Tensor, second: torch.Tensor | None, window: int | str) -> torch.Tensor:
    """Return Q of pairs of bands, mean over all positions of a sliding window inside the image.

    The moments of every band are computed once and shared by all its pairs; a pair costs one product and one filtered
    field. Memory is bounded by strips of rows and chunks of pairs, whatever the number of bands.

    Args:
        first (Tensor): Bands (H, W, n).
        second (Tensor): Bands (H, W, m), same size and device; None for the pairs i < j of ``first``.
        window (int | str): Side of a uniform window, or ``gaussian``.

    Returns:
        Tensor: float64, (n, m); without ``second`` (n, n), 0 where not i < j.

    Raises:
        ValueError: The image is smaller than the window.
    """
    height, width, num_bands = first.shape
    side = GAUSSIAN_SIDE if window == 'gaussian' else int(window)
    check_window(height, width, side)
    num_others = num_bands if second is None else second.shape[2]
    total = torch.zeros(num_bands, num_others, dtype=torch.float64, device=first.device)
    # On a CPU a chunk of pairs fits the cache; strips are larger, so that their halos hardly count.
    chunk_budget = strip_budget(first.device)
    strip_values = 32 * chunk_budget if first.device.type == 'cpu' else 2 * chunk_budget
    num_fields = num_bands if second is None else num_bands + num_others
    rows = max(strip_values // (width * num_fields) - side + 1, side)
    for top in range(0, height - side + 1, rows):
        strip = slice(top, top + rows + side - 1)
        bands = _moments(first[strip], window)
        others = bands if second is None else _moments(second[strip], window)
        pairs_per_chunk = max(chunk_budget // bands.values[0].numel(), 1)
        for band in range(num_bands):
            start = band + 1 if second is None else 0
            for begin in range(start, num_others, pairs_per_chunk):
                chunk = slice(begin, min(begin + pairs_per_chunk, num_others))
                one = bands.select(slice(band, band + 1))
                total[band, chunk] += _quality_sums(one, others.select(chunk), window)
    return total / ((height - side + 1) * (width - side + 1))


def _moments(strip: torch.Tensor, window: int | str) -> _Bands:
    values = strip.permute(2, 0, 1).double().contiguous()
    mean, square = _windowed(values, window), _windowed(values.square(), window)
    energy = mean.square()
    variance = square - energy
    flat = variance <= _FLAT * square
    return _Bands(values, mean, mean.masked_fill(flat, 0.0), variance.masked_fill_(flat, _TINY), energy)


def _quality_sums(one: _Bands, others: _Bands, window: int | str) -> torch.Tensor:
    """Return the sum over windows of Q of one band with each of others, (number of others,).

    Q = 4 cov m_i m_j / ((v_i + v_j) (m_i^2 + m_j^2)), where a pair of flat windows compares the means only, and one of
    two zero means counts 1.
    """
    quality = _windowed(one.values * others.values, window)
    quality.addcmul_(one.mean, others.mean, value=-1.0)
    quality.mul_(one.contrasting_mean).mul_(others.contrasting_mean)
    quality.addcmul_(one.mean * _TINY, others.mean)
    quality.div_((one.variance + others.variance).mul_(one.energy + others.energy))
    return quality.nan_to_num_(nan=0.25).sum((1, 2)) * 4.0


def _windowed(fields: torch.Tensor, window: int | str) -> torch.Tensor:
    if window == 'gaussian':
        return gaussian_filter(gaussian_filter(fields, 1), 2)
    return box_filter(box_filter(fields, 1, int(window)), 2, int(window))
