"""How well a blur of the guide agrees with the cube of a pair."""

from __future__ import annotations

import math
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from mulsr_plugin.ops.windows import detail
from mulsr_plugin.sensor.blur import StridedBlur
from mulsr_plugin.sensor.spectral_basis import spectral_basis

# Channels of the guide that the blur is estimated from; the strongest combinations of more.
_MOST_CHANNELS = 4
# Components of the cube that may explain the guide where the response is unknown.
_MOST_COMPONENTS = 8
# What may explain it where there are fewer components, for they may then be weighted otherwise in every region.
_MOST_EXPLAINING = 20
# Low-resolution pixels along the border that are left out, where the kernel may leave the guide.
_BORDER = 3
_SMALLEST_DETAIL = 1e-12


class Agreement:
    """Distance of D guide from what the cube says of it, for any blur D, at the pixels away from the border.

    With a response R the distance is D guide - R lq. Without one it is what the components of the cube do not explain
    of D guide by linear regression, relative to the deviation of D guide.

    Args:
        lq (Tensor): (L, h, w) float32.
        guide (Tensor): (G, h * scale, w * scale) float32.
        response (Tensor | None): R, (G, L), or None where it is unknown.
        noise_sigma (Tensor): (L,) standard deviations of the noise of ``lq``.
        of_details (bool): Compare the details of both: better where the cube explains little of the guide, worse where
            noise is all that differs. Default: False.

    Attributes:
        pixels: (N,) numbers of the pixels that count, row by row.
        strongest: (N,) places in ``pixels``, those with the most detail in the guide first.
        informative: Whether the guide has any detail.
    """

    def __init__(
        self, lq: Tensor, guide: Tensor, response: Tensor | None, noise_sigma: Tensor, of_details: bool = False
    ) -> None:
        self.of_details = of_details
        self.size, self.scale = lq.shape[1:], guide.shape[1] // lq.shape[1]
        mix = strongest_channels(F.avg_pool2d(guide, self.scale), _MOST_CHANNELS)
        self.guide = guide if len(mix) == len(guide) else torch.einsum('cg,ghw->chw', mix, guide)
        self.pixels = _inner_pixels(self.size)
        power = detail(F.avg_pool2d(self.guide, self.scale)).square().sum(0).flatten()[self.pixels]
        self.informative = bool(power.mean() > _SMALLEST_DETAIL * guide.square().mean())
        self.strongest = power.argsort(descending=True)
        self.target = None
        if response is not None:
            self.target = self._compared(torch.einsum('gl,lhw->ghw', mix @ response, lq))
        self._explaining = self._explaining_images(lq, noise_sigma)

    @property
    def response_known(self) -> bool:
        """Whether the distance is that of a known response."""
        return self.target is not None

    def blurred(self, blur: StridedBlur) -> Tensor:
        """Return D guide, (G, N)."""
        return self._compared(blur.forward(self.guide[None])[0])

    def _compared(self, images: Tensor) -> Tensor:
        """Take the pixels that count from images (C, h, w), or from their details, (C, N)."""
        return (detail(images) if self.of_details else images).flatten(1)[:, self.pixels]

    def _explaining_images(self, lq: Tensor, noise_sigma: Tensor) -> Tensor:
        """Return the components that stand out of the noise, and a constant, which few of may vary, (K, N)."""
        basis = spectral_basis(lq, noise_sigma, _MOST_COMPONENTS)
        values = basis.components(lq)
        values = values[values.square().mean(dim=(1, 2)) > 4 * basis.noise]
        if self.of_details and len(values):  # of a cube of noise none stands out
            values = detail(values)
        images = torch.cat([torch.ones_like(lq[:1]), values])
        return varying(images, min(_MOST_EXPLAINING, len(self.pixels) // 20)).flatten(1)[:, self.pixels]

    def distance(self, blurred: Tensor, chosen: Tensor | None = None) -> Tensor:
        """Return the distance of a blurred guide at all pixels or at the chosen ones, (G, N) to (G, N)."""
        if self.target is not None:
            return blurred - (self.target if chosen is None else self.target[:, chosen])
        basis = self._basis if chosen is None else self.basis(chosen)
        blurred = blurred - blurred.mean(dim=1, keepdim=True)
        left = blurred - (blurred @ basis) @ basis.T
        return left / blurred.norm(dim=1, keepdim=True).clamp(min=1e-20)

    def misfit(self, blur: StridedBlur) -> float:
        """Return the root mean square of the distance over the standard deviation of D guide."""
        blurred = self.blurred(blur)
        distance = self.distance(blurred)
        if self.target is None:
            return float(distance.square().sum(dim=1).mean().sqrt())
        power = (blurred - blurred.mean(dim=1, keepdim=True)).square().mean()
        return float((distance.square().mean() / power.clamp(min=1e-20)).sqrt())

    def basis(self, chosen: Tensor) -> Tensor:
        """Return an orthonormal basis (N, K) of what the cube explains at the chosen pixels."""
        return torch.linalg.qr(self._explaining[:, chosen].T.double())[0].to(self._explaining)

    @cached_property
    def _basis(self) -> Tensor:
        return self.basis(torch.arange(len(self.pixels)))


def strongest_channels(channels: Tensor, most: int) -> Tensor:
    """Return (C, G) weights of channels (G, h, w): their own, or the strongest combinations of more than ``most``."""
    if len(channels) <= most:
        return torch.eye(len(channels)).to(channels)
    values = channels.flatten(1)
    return torch.linalg.eigh(values @ values.T)[1].flip(1)[:, :most].T


def varying(images: Tensor, most: int) -> Tensor:
    """Multiply images by slow waves, so that regression on them may change over the scene where there are few.

    Args:
        images (Tensor): (K, h, w).
        most (int): Images that the result may have; at least K are returned.

    Returns:
        Tensor: (K * q * q, h, w) with q the largest number that ``most`` allows; the images themselves come first.
    """
    order = max(1, math.isqrt(most // len(images)))
    rows, columns = (
        torch.cos(math.pi * torch.arange(order)[:, None] * (torch.arange(n) + 0.5) / n).to(images)
        for n in images.shape[1:]
    )
    waves = torch.einsum('ah,bw->abhw', rows, columns).flatten(0, 1)
    return (waves[:, None] * images).flatten(0, 1)


def _inner_pixels(size: torch.Size) -> Tensor:
    border = min(_BORDER, min(size) // 4)
    inner = torch.zeros(size, dtype=torch.bool)
    inner[border : size[0] - border, border : size[1] - border] = True
    return inner.flatten().nonzero()[:, 0]
