"""What the spectra of a scene are regressed on: the channels of the guide and products of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from mulsr_plugin.ops.windows import detail
from mulsr_plugin.sensor.agreement import strongest_channels

# Channels of the guide that are used, and that get products; of more, the strongest combinations.
_MOST_CHANNELS, _MOST_CURVED = 8, 3
_DARK = 0.05  # brightness below which products fade
SMALLEST_DETAIL = 1e-6
"""Mean square of the detail of a guide in [0, 1] below which it carries no information."""


@dataclass(frozen=True, eq=False)
class GuideFeatures:
    """Function of the pixels of a guide: its channels, and products of channels over brightness.

    The products are of degree one, so that shading scales them as it does the spectra. Their linear part is taken off.

    Attributes:
        unit (float): Value of the guide that counts as 1.
        channels (Tensor): (C, G) combinations of the guide's channels that are used.
        curved (Tensor): (M, G) combinations that get products.
        straight (Tensor): (Q, C) linear part of the products, Q = M (M + 1) / 2.
    """

    unit: float
    channels: Tensor
    curved: Tensor
    straight: Tensor

    @classmethod
    def of_pair(cls, guide: Tensor, reduce: Callable[[Callable[[Tensor], Tensor]], Tensor]) -> GuideFeatures:
        """Choose the features for a guide.

        Args:
            guide (Tensor): (G, H, W).
            reduce (Callable): Returns D f(guide), (F, h, w), for a function f of the pixels of the guide.
        """
        unit = float(guide.abs().amax().clamp(min=1e-12))
        reduced = reduce(lambda part: part) / unit
        channels, curved = (strongest_channels(reduced, most) for most in (_MOST_CHANNELS, _MOST_CURVED))
        count = len(curved)
        plain = cls(unit, channels, curved, reduced.new_zeros(count * (count + 1) // 2, len(channels)))
        z = detail(reduce(plain)).flatten(1)
        products = z @ z.T / z.shape[1]
        normal, cross = products[: len(channels), : len(channels)], products[: len(channels), len(channels) :]
        normal = normal + 1e-6 * (normal.diagonal().mean() + SMALLEST_DETAIL) * torch.eye(len(channels)).to(normal)
        return cls(unit, channels, curved, torch.linalg.solve(normal, cross).T)

    @property
    def num_channels(self) -> int:
        """Number C of the features that are channels of the guide; they come first."""
        return len(self.channels)

    def __call__(self, guide: Tensor) -> Tensor:
        """Turn a guide (G, H, W) into features (C + Q, H, W)."""
        guide = guide / self.unit
        used, mixed = (torch.einsum('cg,ghw->chw', weights, guide) for weights in (self.channels, self.curved))
        brightness = mixed.abs().sum(dim=0) + _DARK
        first, second = torch.triu_indices(len(mixed), len(mixed), device=guide.device)
        products = mixed[first] * mixed[second] / brightness
        return torch.cat([used, products - torch.einsum('qc,chw->qhw', self.straight, used)])
