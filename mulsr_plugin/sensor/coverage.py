"""Which low-resolution pixels have seen nothing but ground that the guide shows."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mulsr_plugin.ops.least_squares import least_squares
from mulsr_plugin.sensor.model import SensorModel

_SMALLEST_SHARE = 0.99  # of the kernel, that lies within the guide
_FEWEST = 8  # rows or columns that are worth fusing
# A continuation of the guide is believed if the mean square misfit of the pixels that need it is at most so many times
# that of the others: wrong equations then do no more harm than the right ones.
_LARGEST_RATIO = 4.0


def covered(sensor: SensorModel, lq: Tensor, reduced_guide: Tensor) -> tuple[slice, slice]:
    """Find the rows and columns of a cube whose pixels have equations in terms of the guide.

    Those are the ones whose kernel lies within the guide, to 99 %. Where the others agree as well with the guide as
    these, the guide goes on as the sensor model says (as in simulations), and all have.

    Args:
        sensor (SensorModel): Model of the pair.
        lq (Tensor): (K, h, w), the cube or components of it; K is well below the number of pixels.
        reduced_guide (Tensor): (G, h, w), the guide after the blur of the model.

    Returns:
        tuple[slice, slice]: Rows and columns; all of them if fewer than eight would be left.
    """
    span = within_guide(sensor, lq.shape[1:])
    everything = (slice(0, lq.shape[1]), slice(0, lq.shape[2]))
    return everything if misfit_ratio(lq, reduced_guide, span) <= _LARGEST_RATIO else span


def within_guide(sensor: SensorModel, size: Sequence[int]) -> tuple[slice, slice]:
    """Find the rows and columns of a cube of h x w pixels whose kernel lies within the guide; all if too few."""
    share = _share_within(sensor, size)
    rows, columns = (_span(share.amax(dim=axis) >= _SMALLEST_SHARE) for axis in (1, 0))
    if min(rows.stop - rows.start, columns.stop - columns.start) < _FEWEST:
        return slice(0, size[0]), slice(0, size[1])
    return rows, columns


def misfit_ratio(lq: Tensor, reduced_guide: Tensor, span: tuple[slice, slice]) -> float:
    """Compare how far pixels outside and within a rectangle are from the linear relation between cube and guide there.

    Args:
        lq (Tensor): (K, h, w), see :func:`covered`.
        reduced_guide (Tensor): (G, h, w).
        span (tuple[slice, slice]): Rows and columns of the rectangle.

    Returns:
        float: Mean square misfit outside over that within; 0 where nothing is outside.
    """
    outside = torch.ones(lq.shape[1:], dtype=torch.bool, device=lq.device)
    outside[span] = False
    if not outside.any():
        return 0.0
    known = torch.cat([lq.flatten(1), torch.ones_like(lq[:1]).flatten(1)]).T.double()
    guide, outside = reduced_guide.flatten(1).T.double(), outside.flatten()
    misfit = (guide - known @ least_squares(known[~outside], guide[~outside])).square().sum(dim=1)
    return float(misfit[outside].mean() / misfit[~outside].mean().clamp(min=1e-30))


def _share_within(sensor: SensorModel, size: Sequence[int]) -> Tensor:
    """Return the share of the kernel of every low-resolution pixel that lies within the guide, (h, w)."""
    margin = sensor.reach + 1
    ones = torch.ones(1, 1, *(n * sensor.scale for n in size))
    surrounded = F.pad(ones, (margin * sensor.scale,) * 4)
    return sensor.blur(surrounded)[0, 0, margin : margin + size[0], margin : margin + size[1]]


def _span(usable: Tensor) -> slice:
    places = usable.nonzero()[:, 0]
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
