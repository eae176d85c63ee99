"""Networks for images of three channels, BasicSR's own above all, put to work on cubes with or without a guide image.

Both adapters build any registered network unchanged and supply what its forward pass leaves out: channels, scale,
size and mean. Which of BasicSR 1.4.2's networks fit, at L bands and G guide channels:

- EDSR and RCAN take ``num_in_ch`` and ``num_out_ch``, but subtract a mean of three channels: set to zero here, as
  SwinIR does by itself for any other number. They enlarge by 1, 2, 4, 8 or 16.
- SwinIR has one ``in_chans`` for input and output: with a guide give it L + G, the last G channels of its output are
  dropped. It needs sizes that are multiples of its window: ``size_multiple``.
- RRDBNet enlarges by 1, 2 or 4: for x8 the cube is enlarged twofold first (``network_scale: 4``). At scale 1 it begins
  with groups of 4 x 4 pixels: ``size_multiple: 4``.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.archs.input_checks import check_inputs, check_positive
from mulsr_plugin.utils.options import building, check_constructor_options


@ARCH_REGISTRY.register()
class Unguided(nn.Module):
    """Super-resolve a cube by a registered network that sees the low-resolution cube only.

    Args:
        network (dict): ``type`` and options of the network, with L input and output channels.
        upscale (int): Scale factor. Default: 8.
        network_scale (int | None): Factor by which the network itself enlarges; the rest is done first, bicubically.
            Default: None, all of it.
        num_bands (int): Bands of the cube, L. Default: 31.
        size_multiple (int): Height and width that the network is given are padded by reflection to multiples of this,
            and its result cut. Default: 1.

    Raises:
        ValueError: An option is out of its range, or the network is unknown or takes no such options.
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        upscale: int = 8,
        network_scale: int | None = None,
        num_bands: int = 31,
        size_multiple: int = 1,
    ) -> None:
        super().__init__()
        self.network_scale = upscale if network_scale is None else network_scale
        check_positive('network_scale', self.network_scale)
        check_positive('upscale', upscale, multiple_of=self.network_scale)
        check_positive('size_multiple', size_multiple)
        self.upscale = upscale
        self.num_bands = num_bands
        self.size_multiple = size_multiple
        self.network = build_without_mean(network)

    def forward(self, lq: torch.Tensor) -> torch.Tensor:
        """Super-resolve the cube.

        Args:
            lq (Tensor): Low-resolution cube, (B, num_bands, h, w), values around [0, 1].

        Returns:
            Tensor: (B, num_bands, upscale * h, upscale * w), not clamped.

        Raises:
            ValueError: The cube has another number of bands.
        """
        if lq.shape[1] != self.num_bands:
            raise ValueError(
                f'The cube has {lq.shape[1]} band(s), but the network was built for {self.num_bands}: give such a cube '
                'or set num_bands and the channels of the network.'
            )
        enlarged = enlarge(lq, self.upscale // self.network_scale)
        return run_padded(self.network, enlarged, self.network_scale, self.size_multiple)[:, : self.num_bands]


@ARCH_REGISTRY.register()
class StackedGuide(nn.Module):
    """Super-resolve a cube by a registered network of scale 1 on the enlarged cube and the guide image, stacked.

    Args:
        network (dict): ``type`` and options of the network, with L + G input channels and at least L output channels.
        upscale (int): Scale factor. Default: 8.
        num_bands (int): Bands of the cube, L. Default: 31.
        num_guide_ch (int): Channels of the guide image, G. Default: 3.
        size_multiple (int): As for ``Unguided``. Default: 1.

    Raises:
        ValueError: An option is out of its range, or the network is unknown or takes no such options.
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        upscale: int = 8,
        num_bands: int = 31,
        num_guide_ch: int = 3,
        size_multiple: int = 1,
    ) -> None:
        super().__init__()
        check_positive('upscale', upscale)
        check_positive('size_multiple', size_multiple)
        self.upscale = upscale
        self.num_bands = num_bands
        self.num_guide_ch = num_guide_ch
        self.size_multiple = size_multiple
        self.network = build_without_mean(network)

    def forward(self, lq: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
        """Super-resolve the cube.

        Args:
            lq (Tensor): Low-resolution cube, (B, num_bands, h, w), values around [0, 1].
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), H = upscale * h and W = upscale * w.

        Returns:
            Tensor: (B, num_bands, H, W), not clamped.

        Raises:
            ValueError: The inputs fit neither each other nor the options of the network.
        """
        scale = check_inputs(lq, rgb, (self.upscale,), self.num_guide_ch, self.num_bands)
        stacked = torch.cat([enlarge(lq, scale), rgb], dim=1)
        return run_padded(self.network, stacked, 1, self.size_multiple)[:, : self.num_bands]


def build_without_mean(options: Mapping[str, Any]) -> nn.Module:
    """Build a registered network; where it subtracts the mean colour of photographs, let it subtract zero.

    Args:
        options (dict): ``type`` and options.

    Returns:
        nn.Module: The network.

    Raises:
        ValueError: The network is unknown or takes no such options.
    """
    name = options.get('type') if isinstance(options, Mapping) else options
    if not isinstance(name, str) or name not in ARCH_REGISTRY:
        raise ValueError(f'No network named {name!r} is registered: correct network_g: network: type.')
    constructor = ARCH_REGISTRY.get(name)
    where = f'network_g: network ({name})'
    check_constructor_options(options, constructor, where)
    with building(where):
        network = constructor(**{key: deepcopy(value) for key, value in options.items() if key != 'type'})
    if isinstance(getattr(network, 'mean', None), torch.Tensor):
        network.mean = torch.zeros(1, 1, 1, 1)
    return network


def enlarge(cube: torch.Tensor, scale: int) -> torch.Tensor:
    """Enlarge (B, L, h, w) bicubically with half-pixel centres."""
    return cube if scale == 1 else F.interpolate(cube, scale_factor=scale, mode='bicubic', align_corners=False)


def run_padded(network: nn.Module, x: torch.Tensor, scale: int, multiple: int) -> torch.Tensor:
    """Run ``network`` on ``x`` padded at the bottom and right to multiples of ``multiple``; cut its result to fit.

    Args:
        network (nn.Module): Enlarges by ``scale``.
        x (Tensor): (B, C, h, w).
        scale (int): Factor between the output and ``x``.
        multiple (int): What must divide the height and width that the network sees.

    Returns:
        Tensor: (B, C', scale * h, scale * w).
    """
    height, width = x.shape[2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom or right:
        # reflection needs more pixels than it adds; the smallest images repeat their border instead
        mode = 'reflect' if bottom < height and right < width else 'replicate'
        x = F.pad(x, (0, right, 0, bottom), mode=mode)
    return network(x)[..., : scale * height, : scale * width]
