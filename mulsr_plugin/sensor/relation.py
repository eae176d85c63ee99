"""Whether a guide says anything about a cube, judged on pixels that were held out."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.stats import wilcoxon
from torch import Tensor

from mulsr_plugin.ops.windows import DETAIL_POWER, detail
from mulsr_plugin.sensor.agreement import varying
from mulsr_plugin.sensor.spectral_basis import spectral_basis

_NUM_COMPONENTS = 4
_MOST_EXPLAINING = 25  # channels times slow waves
_BLOCK = 4  # side of the held-out blocks, in low-resolution pixels
_FOLDS = 4
_RIDGE = 1e-4
_SMALLEST_GAIN = 0.25  # below it the blur is too uncertain; guides of other scenes stay below 0.01
_LARGEST_P_VALUE = 0.01


class Relation(NamedTuple):
    """What regression on the guide predicts of held-out blocks of the cube that interpolation does not.

    Attributes:
        gain (float): Share of the energy of the cube's detail, beyond its noise, that the guide predicts; 1 for all of
            it, about 0 or below for an unrelated guide.
        p_value (float): Of the test that the held-out blocks gain nothing (Wilcoxon, signed ranks), which a few blocks
            with most of the energy do not decide.
    """

    gain: float
    p_value: float

    @property
    def is_related(self) -> bool:
        """Whether regression on the guide does better than interpolation."""
        return self.gain > _SMALLEST_GAIN and self.p_value < _LARGEST_P_VALUE


def held_out_relation(lq: Tensor, reduced_guide: Tensor, noise_sigma: Tensor) -> Relation:
    """Predict the detail of a cube from that of the guide in held-out blocks of pixels.

    Args:
        lq (Tensor): (L, h, w).
        reduced_guide (Tensor): (G, h, w), the guide after blur and downsampling.
        noise_sigma (Tensor): (L,) standard deviations of the noise of ``lq``.
    """
    basis = spectral_basis(lq, noise_sigma, _NUM_COMPONENTS)
    y, z = detail(basis.components(lq)), varying(detail(reduced_guide), _MOST_EXPLAINING)
    rows, columns = (torch.arange(n) // _BLOCK for n in lq.shape[1:])
    blocks = (rows[:, None] * (columns[-1] + 1) + columns).flatten()
    folds = ((rows[:, None] + 2 * columns) % _FOLDS).flatten()
    y, z = y.flatten(1).double(), z.flatten(1).double()
    predicted = _held_out_prediction(y, z, folds)
    better = (y.square() - (y - predicted).square()).sum(dim=0)
    of_block = torch.zeros(int(blocks[-1]) + 1, dtype=torch.float64).index_add_(0, blocks, better)
    energy = float(y.square().sum()) - DETAIL_POWER * float(basis.noise.sum()) * y.shape[1]
    p_value = float(wilcoxon(of_block.numpy(), alternative='greater').pvalue) if bool(of_block.any()) else 1.0
    return Relation(float(better.sum()) / energy if energy > 0 else 0.0, p_value)


def _held_out_prediction(y: Tensor, z: Tensor, folds: Tensor) -> Tensor:
    """Regress y (P, N) on z (G, N) without each fold (N,), and return what that predicts of it."""
    predicted = torch.zeros_like(y)
    for fold in range(_FOLDS):
        held = folds == fold
        known = z[:, ~held]
        normal = known @ known.T
        normal.diagonal().add_(_RIDGE * normal.diagonal().mean() + 1e-30)
        predicted[:, held] = torch.linalg.solve(normal, known @ y[:, ~held].T).T @ z[:, held]
    return predicted
