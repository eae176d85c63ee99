"""Logarithms of mean square error and spectral angle: every image counts alike, however large its error."""

from __future__ import annotations

from typing import Any

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn

_SMALLEST_ERROR = 1e-8  # mean square
_SMALLEST_ANGLE = 0.01  # radians


@LOSS_REGISTRY.register()
class LogErrorLoss(nn.Module):
    """Mean over images of log(mean square error + floor), plus a weight times the same of the spectral angle.

    A decibel then counts alike in easy and hard images. The angle needs the whole spectrum, so a training must compute
    all bands at a time: no ``bands_per_chunk``.

    Args:
        loss_weight: Weight of the sum. Default: 1.
        sam_weight: Weight of log(mean sine of the angle + 0.01) within it. Default: 0.2.
        floor_share: Share of ``reference``, where it is given, that is added to the error, so that parts of an image
            that are nearly right already count less than the others. Default: 0.3.
        reduction: ``mean``, the only form. Default: mean.

    Raises:
        ValueError: Another reduction is asked for.

    Example:
        >>> import torch
        >>> from mulsr_plugin.losses.log_error_loss import LogErrorLoss
        >>> target = torch.full((1, 31, 4, 4), 0.5)
        >>> loss = LogErrorLoss(sam_weight=0)
        >>> round(float(loss(target + 0.1, target) - loss(target + 0.01, target)), 2)  # 20 dB: log(100)
        4.61
    """

    needs_all_bands = True

    def __init__(
        self, loss_weight: float = 1.0, sam_weight: float = 0.2, floor_share: float = 0.3, reduction: str = 'mean'
    ) -> None:
        super().__init__()
        if reduction != 'mean':
            raise ValueError(f'reduction is {reduction!r}; LogErrorLoss has the mean alone.')
        self.loss_weight, self.sam_weight, self.floor_share = loss_weight, sam_weight, floor_share

    def forward(
        self, pred: Tensor, target: Tensor, weight: Any = None, reference: float | Tensor = 0.0, **kwargs: Any
    ) -> Tensor:
        """Return the loss of images (B, L, H, W).

        ``reference`` is a mean square error that images of the kind have, one or (B,); ``weight`` is of BasicSR's
        interface and not used.
        """
        error = (pred - target).square().mean(dim=(1, 2, 3))
        loss = (error + self.floor_share * reference + _SMALLEST_ERROR).log().mean()
        if self.sam_weight:
            loss = loss + self.sam_weight * (_mean_sine(pred, target) + _SMALLEST_ANGLE).log().mean()
        return self.loss_weight * loss


def _mean_sine(pred: Tensor, target: Tensor) -> Tensor:
    """Return the mean sine (B,) of the angle between the spectra of images, whose gradient is finite everywhere."""
    norms = (pred.square().sum(1) * target.square().sum(1) + 1e-12).sqrt()
    cosines = ((pred * target).sum(1) / norms).clamp(max=1)
    return (1 - cosines.square() + 1e-6).sqrt().mean(dim=(1, 2))
