"""What the lens of a camera does to the bands of its cubes: a linear correction that is learned in closed form.

Lenses focus no two wavelengths alike (axial chromatic aberration) and magnify no two alike (lateral). A band that is
predicted from a guide inherits the sharpness and the size of the guide instead. To first order what is missing is in
the derivatives of the bands: a narrow symmetric blur of variance v adds v / 2 times the Laplacian, and a magnification
of 1 + m takes off m times the derivative along the radius, times the distance from the axis.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mulsr_plugin.ops.windows import box_mean

REACH = 2
"""Pixels, to any side, that a pixel of the correction depends on."""
_RIDGE = 0.03  # in units of the energy of each derivative; chosen on scenes left out one by one
_WIDE = 2  # radius of the mean that stands for blurs wider than the Laplacians reach
_NUM_DERIVATIVES = 5
_BY_STRENGTH = (0, 3)  # Laplacian and derivative along the radius
_UNIT = 256  # pixels from the axis that count as 1


def laplacian(images: Tensor) -> Tensor:
    """Return the sum of the four neighbours less four times each pixel of (C, H, W), continued by its edge pixels."""
    padded = F.pad(images[None], (1, 1, 1, 1), mode='replicate')[0]
    result = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    result += padded[:, 1:-1, :-2]
    result += padded[:, 1:-1, 2:]
    return result.sub_(images, alpha=4)


def places_in(size: tuple[int, int], like: Tensor, window: tuple[slice, slice] = (slice(None), slice(None))) -> Tensor:
    """Return row and column of the pixels of a window, (2, H, W), from the centre of the image, in units of 256 pixels.

    Args:
        size (tuple[int, int]): Rows and columns of the whole image.
        like (Tensor): Of the type and on the device that are wanted.
        window (tuple[slice, slice]): Rows and columns. Default: all.
    """
    rows, columns = (((torch.arange(n) - (n - 1) / 2) / _UNIT)[part] for n, part in zip(size, window))
    return torch.stack(torch.meshgrid(rows, columns, indexing='ij')).to(like)


def along_radius(images: Tensor, places: Tensor) -> Tensor:
    """Return the derivative of (C, H, W) in the direction of ``places`` (2, H, W), times their length."""
    padded = F.pad(images[None], (1, 1, 1, 1), mode='replicate')[0]
    result = (padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]) * (0.5 * places[0])
    return result.addcmul_(padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], 0.5 * places[1])


class ChromaticAberration(nn.Module):
    """Correct every band by derivatives of all bands: two orders of the Laplacian, a wider blur, two along the radius.

    A scene that shows more or less of the axial aberration than others, by its focus, has the share of each band's own
    Laplacian and derivative along the radius changed in proportion, see ``axial_strength``. The axis of the lens is
    taken to be at the centre of the image, which should be the whole frame.

    Untrained the correction is zero. It is learned by ridge regression, not by steps of an optimiser: :meth:`observe`
    adds the normal equations of a scene, and :meth:`solve` those of all scenes seen so far.

    Args:
        num_bands (int): L.

    Example:
        >>> import torch
        >>> from mulsr_plugin.archs.chromatic_aberration import ChromaticAberration, laplacian, places_in
        >>> sharp = torch.rand(4, 32, 32)
        >>> places = places_in((32, 32), sharp)
        >>> seen = sharp + 0.1 * laplacian(sharp)
        >>> aberration = ChromaticAberration(4)
        >>> aberration.observe(aberration.derivatives(sharp, places), seen - sharp)
        >>> aberration.solve()
        >>> bool((sharp + aberration(sharp, places) - seen).square().mean() < 0.01 * (sharp - seen).square().mean())
        True
    """

    def __init__(self, num_bands: int) -> None:
        super().__init__()
        self.num_bands = num_bands
        self.weight = nn.Parameter(torch.zeros(_NUM_DERIVATIVES, num_bands, num_bands), requires_grad=False)
        self.strength_weight = nn.Parameter(torch.zeros(len(_BY_STRENGTH), num_bands), requires_grad=False)
        count = (_NUM_DERIVATIVES + len(_BY_STRENGTH)) * num_bands
        self.register_buffer('normal', torch.zeros(count, count, dtype=torch.float64))
        self.register_buffer('cross', torch.zeros(count, num_bands, dtype=torch.float64))
        self.normal: Tensor
        self.cross: Tensor

    def forward(self, cube: Tensor, places: Tensor, strength: float = 0.0) -> Tensor:
        """Return the correction of a cube.

        Args:
            cube (Tensor): (L, H, W).
            places (Tensor): (2, H, W), see :func:`places_in`.
            strength (float): Axial strength of the scene, beyond the mean of others. Default: 0.

        Returns:
            Tensor: (L, H, W).
        """
        weight = self.weight.clone()
        weight[list(_BY_STRENGTH)] += torch.diag_embed(strength * self.strength_weight)
        first, second, wide, radial, second_radial = (torch.einsum('ml,lhw->mhw', each, cube) for each in weight)
        result = laplacian(first + laplacian(second))
        result += box_mean(wide, _WIDE) - wide
        return result + along_radius(radial + laplacian(second_radial), places)

    @staticmethod
    def derivatives(cube: Tensor, places: Tensor) -> Tensor:
        """Return the images that a correction is composed of, (5, L, H, W)."""
        first = laplacian(cube)
        wide = box_mean(cube, _WIDE) - cube
        return torch.stack([first, laplacian(first), wide, along_radius(cube, places), along_radius(first, places)])

    def observe(self, derivatives: Tensor, missing: Tensor, strength: float = 0.0) -> None:
        """Add the equations of a scene, which counts as much as every other one.

        Args:
            derivatives (Tensor): (5, L, H, W), see :meth:`derivatives`, as far as the correction may use them.
            missing (Tensor): (L, H, W) what the correction should be.
            strength (float): See :meth:`forward`. Default: 0.
        """
        x, y = derivatives.flatten(2).flatten(0, 1), missing.flatten(1)
        weight = 1 / float(y.double().square().sum().clamp(min=1e-30))
        own = [kind * self.num_bands + band for kind in _BY_STRENGTH for band in range(self.num_bands)]
        rows = [*range(len(x)), *own]
        factors = torch.tensor([1.0] * len(x) + [strength] * len(own)).to(self.normal)
        normal, cross = (x @ x.T).to(self.normal), (x @ y.T).to(self.normal)
        self.normal += weight * factors[:, None] * factors * normal[rows][:, rows]
        self.cross += weight * factors[:, None] * cross[rows]

    def solve(self) -> None:
        """Set the weights to the ridge regression over all scenes observed."""
        common = _NUM_DERIVATIVES * self.num_bands
        ridge = _RIDGE * self.normal.diagonal() + 1e-30
        for band in range(self.num_bands):
            rows = [*range(common), common + band, common + self.num_bands + band]
            normal = self.normal[rows][:, rows] + torch.diag(ridge[rows])
            solution = torch.linalg.solve(normal, self.cross[rows, band])
            self.weight[:, band] = solution[:common].view(_NUM_DERIVATIVES, self.num_bands).to(self.weight)
            self.strength_weight[:, band] = solution[common:].to(self.weight)

    def profile(self) -> Tensor:
        """Return what the scenes observed lack in the mean, by each band's own Laplacian and radial derivative, (2, L).

        Zero as long as none was observed.
        """
        own = torch.tensor(_BY_STRENGTH)[:, None] * self.num_bands + torch.arange(self.num_bands)
        normal = self.normal[own[:, None], own[None]].permute(2, 0, 1)
        cross = self.cross[own, torch.arange(self.num_bands)].T
        ridge = torch.diag_embed(1e-6 * normal.diagonal(dim1=1, dim2=2) + 1e-30)
        return torch.linalg.solve(normal + ridge, cross[..., None])[..., 0].T.float()
