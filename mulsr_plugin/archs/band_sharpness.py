"""How sharp the bands of a camera are beside each other: a linear correction that is learned in closed form.

Lenses focus no two wavelengths alike, so that the bands of one cube differ in sharpness. A band that is predicted from
a guide inherits the sharpness of the guide instead. What is missing is, to first order, in the Laplacians of the bands:
a narrow symmetric blur h of variance v adds v / 2 times the Laplacian.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REACH = 2
"""Pixels, to any side, that a pixel of the correction depends on."""
_RIDGE = 0.03  # in units of the energy of each Laplacian; chosen on scenes left out one by one


def laplacian(images: Tensor) -> Tensor:
    """Return the sum of the four neighbours less four times each pixel of (C, H, W), continued by its edge pixels."""
    padded = F.pad(images[None], (1, 1, 1, 1), mode='replicate')[0]
    result = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    result += padded[:, 1:-1, :-2]
    result += padded[:, 1:-1, 2:]
    return result.sub_(images, alpha=4)


class BandSharpness(nn.Module):
    """Correct every band by the Laplacians of all bands, and by the Laplacians of these.

    Untrained the correction is zero. It is learned by ridge regression, not by steps of an optimiser: :meth:`observe`
    adds the normal equations of a scene, and :meth:`solve` those of all scenes seen so far.

    Args:
        num_bands (int): L.

    Example:
        >>> import torch
        >>> from mulsr_plugin.archs.band_sharpness import BandSharpness, laplacian
        >>> sharp = torch.rand(4, 32, 32)
        >>> seen = sharp + 0.1 * laplacian(sharp)
        >>> sharpness = BandSharpness(4)
        >>> sharpness.observe(torch.cat([laplacian(sharp), laplacian(laplacian(sharp))]), seen - sharp)
        >>> sharpness.solve()
        >>> bool((sharp + sharpness(sharp) - seen).square().mean() < 0.01 * (sharp - seen).square().mean())
        True
    """

    def __init__(self, num_bands: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(2, num_bands, num_bands), requires_grad=False)
        self.register_buffer('normal', torch.zeros(2 * num_bands, 2 * num_bands, dtype=torch.float64))
        self.register_buffer('cross', torch.zeros(2 * num_bands, num_bands, dtype=torch.float64))
        self.normal: Tensor
        self.cross: Tensor

    def forward(self, cube: Tensor) -> Tensor:
        """Return the correction of a cube (L, H, W)."""
        first, second = (torch.einsum('ml,mhw->lhw', weight, cube) for weight in self.weight)
        return laplacian(first + laplacian(second))

    def observe(self, laplacians: Tensor, missing: Tensor) -> None:
        """Add the equations of a scene, which counts as much as every other one.

        Args:
            laplacians (Tensor): (2 L, H, W) those of all bands, then those of these.
            missing (Tensor): (L, H, W) what the correction should be.
        """
        x, y = laplacians.flatten(1).double(), missing.flatten(1).double()
        weight = 1 / y.square().sum().clamp(min=1e-30)
        self.normal += weight * (x @ x.T)
        self.cross += weight * (x @ y.T)

    def solve(self) -> None:
        """Set the weights to the ridge regression over all scenes observed."""
        ridge = torch.diag(_RIDGE * self.normal.diagonal() + 1e-30)
        solution = torch.linalg.solve(self.normal + ridge, self.cross)
        self.weight.copy_(solution.view_as(self.weight))
