"""UAL, the fusion network of unsupervised adaptation learning for hyperspectral super-resolution.

Paper: L. Zhang, J. Nie, W. Wei, Y. Zhang, S. Liao, L. Shao, Unsupervised Adaptation Learning for Hyperspectral Imagery
    Super-resolution, CVPR 2020.
Original: https://github.com/JiangtaoNie/UAL-CVPR2020, revision 488dce1; written anew, no code taken over.

Identical to the release: every operation of the fusion network, its first stage, so that converted weights give the
authors' output (`mulsr convert`).
Different: the cube is enlarged inside, so that all networks take the same inputs; the masks are made on the device of
the inputs (the release needs a GPU); the numbers of bands and of guide channels are options. The second stage, an
adaptor that is optimised on every test image, is not part of the network; comparisons commonly leave it out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import nn

from mulsr_plugin.archs.input_checks import accepted_scales, check_inputs, check_positive

NUM_BRANCHES = 3
NUM_FEAT = 128


@ARCH_REGISTRY.register()
class UAL(nn.Module):
    """Fuse a cube and a guide image in three branches that exchange their features twice.

    The branches see the guide image, the enlarged cube with the guide image, and the enlarged cube. There is no skip
    from the input to the output.

    7,097,695 parameters at 31 bands and 3 guide channels, at any scale; published for x8.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s); the scale of a call follows from its image sizes and
            must be one of these. Default: 8.
        num_bands (int): Bands of the cube. Default: 31.
        num_guide_ch (int): Channels of the guide image. Default: 3.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(self, upscale: int | Sequence[int] = 8, num_bands: int = 31, num_guide_ch: int = 3) -> None:
        super().__init__()
        check_positive('num_bands', num_bands)
        check_positive('num_guide_ch', num_guide_ch)
        self.upscale = accepted_scales(upscale)
        self.num_bands = num_bands
        self.num_guide_ch = num_guide_ch
        inputs = (num_guide_ch, num_bands + num_guide_ch, num_bands)
        self.heads = nn.ModuleList(conv_stack(channels, 64, NUM_FEAT) for channels in inputs)
        self.first_bodies = nn.ModuleList(body() for _ in inputs)
        self.second_bodies = nn.ModuleList(body() for _ in inputs)
        self.exchange = Exchange()
        self.tail = conv_stack(NUM_BRANCHES * NUM_FEAT, 2 * NUM_FEAT, NUM_FEAT, num_bands)

    def forward(self, lq: torch.Tensor, rgb: torch.Tensor) -> torch.Tensor:
        """Super-resolve the cube.

        Args:
            lq (Tensor): Low-resolution cube, (B, num_bands, h, w), values around [0, 1].
            rgb (Tensor): Guide image, (B, num_guide_ch, H, W), H = scale * h and W = scale * w, values around [0, 1].

        Returns:
            Tensor: (B, num_bands, H, W), not clamped.

        Raises:
            ValueError: The inputs fit neither each other nor the options of the network.
        """
        scale = check_inputs(lq, rgb, self.upscale, self.num_guide_ch, self.num_bands)
        enlarged = F.interpolate(lq, scale_factor=scale, mode='bilinear', align_corners=False)
        inputs = [rgb, torch.cat([enlarged, rgb], dim=1), enlarged]
        shallow = [head(x) for head, x in zip(self.heads, inputs)]
        branches = self.exchange([layers(x) for layers, x in zip(self.first_bodies, shallow)])
        branches = self.exchange([layers(x) for layers, x in zip(self.second_bodies, branches)])
        return self.tail(torch.cat([x + skip for x, skip in zip(branches, shallow)], dim=1))

    @staticmethod
    def options_of_weights(state: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
        """Return the options that weights were built with, but for the scale; None for weights of other networks.

        Args:
            state (Mapping[str, Tensor]): State dict.

        Raises:
            LookupError: Some of the weights are missing, or of too few dimensions.
            ValueError: Likewise.
        """
        if 'exchange.gates.0.weight' not in state:
            return None
        return {'num_bands': state['heads.2.0.weight'].shape[1], 'num_guide_ch': state['heads.0.0.weight'].shape[1]}


class Exchange(nn.Module):
    """Let every branch take from all branches what a gate lets in; used twice with the same weights.

    A branch knows which one it is by three constant channels: ones, except zeros for itself.
    """

    def __init__(self) -> None:
        super().__init__()
        joint_feat = NUM_BRANCHES * NUM_FEAT + NUM_BRANCHES
        self.information = conv_stack(joint_feat, NUM_FEAT, NUM_FEAT, NUM_FEAT)
        self.gates = nn.ModuleList(nn.Conv2d(joint_feat, NUM_FEAT, 3, padding=1) for _ in range(NUM_BRANCHES))
        self.factors = nn.ModuleList(nn.Conv2d(NUM_FEAT, NUM_FEAT, 3, padding=1) for _ in range(NUM_BRANCHES))
        self.offsets = nn.ModuleList(nn.Conv2d(NUM_FEAT, NUM_FEAT, 3, padding=1) for _ in range(NUM_BRANCHES))

    def forward(self, branches: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Map three (B, 128, H, W) tensors to three of the same shape."""
        layers = zip(branches, self.gates, self.factors, self.offsets)
        results = []
        for number, (own, gate, factor, offset) in enumerate(layers):
            mask = torch.ones_like(own[:, :NUM_BRANCHES])
            mask[:, number] = 0
            joint = torch.cat([*branches, mask], dim=1)
            information = self.information(joint)
            kept = torch.sigmoid(gate(joint))
            results.append(kept * own + (1 - kept) * (own * factor(information) + offset(information)))
        return results


def conv_stack(*channels: int) -> nn.Sequential:
    """Build 3x3 convolutions with a ReLU between each two.

    Args:
        channels (int): Channels of the input and after every convolution.

    Returns:
        nn.Sequential: The layers.
    """
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


def body() -> nn.Sequential:
    """Build the three convolutions, a ReLU after each, that a branch has before an exchange.

    Returns:
        nn.Sequential: The layers.
    """
    return conv_stack(*[NUM_FEAT] * 4).append(nn.ReLU(inplace=True))
