"""L1 loss with the spectral angle."""

from __future__ import annotations

from typing import Any

import torch
from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

_SMALLEST_SINE = 1e-3  # of an angle: the arc cosine has no finite slope at 1


@LOSS_REGISTRY.register()
class L1SAMLoss(nn.Module):
    """Mean absolute error plus a weight times the mean spectral angle in radians.

    The angle needs the whole spectrum, so a training must compute all bands at a time: ``band_update: joint`` and no
    ``bands_per_chunk``. Pixels where either spectrum is zero have no angle and are left out; angles below 0.06 degrees
    count as that and have no gradient.

    Args:
        loss_weight: Weight of the sum. Default: 1.
        sam_weight: Weight of the angle within it. Default: 0.1.
        reduction: ``mean``, the only form. Default: mean.

    Raises:
        ValueError: Another reduction is asked for.

    Example:
        >>> import torch
        >>> from mulsr_plugin.losses.l1_sam_loss import L1SAMLoss
        >>> pred, target = torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1), torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)
        >>> round(float(L1SAMLoss()(pred, target)), 4)  # orthogonal spectra: 1 + 0.1 * pi / 2
        1.1571
    """

    needs_all_bands = True

    def __init__(self, loss_weight: float = 1.0, sam_weight: float = 0.1, reduction: str = 'mean') -> None:
        super().__init__()
        if reduction != 'mean':
            raise ValueError(f'reduction is {reduction!r}; L1SAMLoss has the mean alone.')
        self.loss_weight, self.sam_weight = loss_weight, sam_weight

    def forward(self, pred: Tensor, target: Tensor, weight: Any = None, **kwargs: Any) -> Tensor:
        """Return the loss of images (B, L, H, W); ``weight`` is of BasicSR's interface and not used."""
        error = (pred - target).abs().mean()
        return self.loss_weight * (error + self.sam_weight * mean_spectral_angle(pred, target))


def mean_spectral_angle(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean angle in radians between the spectra of images (B, L, H, W), with finite gradients everywhere.

    Example:
        >>> import torch
        >>> from mulsr_plugin.losses.l1_sam_loss import mean_spectral_angle
        >>> pred, target = torch.tensor([1.0, 1.0]).reshape(1, 2, 1, 1), torch.tensor([0.0, 1.0]).reshape(1, 2, 1, 1)
        >>> round(float(mean_spectral_angle(pred, target).rad2deg()), 3)
        45.0
    """
    energy = pred.square().sum(1) * target.square().sum(1)
    defined = energy > 0
    norms = torch.where(defined, energy, 1.0).sqrt()  # not chosen after the root, whose slope at 0 would be infinite
    limit = (1 - _SMALLEST_SINE**2) ** 0.5
    cosines = ((pred * target).sum(1) / norms).clamp(-limit, limit)
    return torch.where(defined, cosines.acos(), 0.0).sum() / defined.sum().clamp(min=1)
