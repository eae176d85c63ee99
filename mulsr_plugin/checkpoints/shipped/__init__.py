"""Trained weights that come with the package: which there are, what they were trained for, and loading them."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from basicsr.archs import build_network
from torch import nn

from mulsr_plugin.checkpoints.networks import read_weights
from mulsr_plugin.checkpoints.weights import check_weights_fit

FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class ShippedWeights:
    """One entry of the registry ``registry.json``.

    Attributes:
        name: What option files and ``--weights`` call it.
        file: File in this folder, in BasicSR's form with the weights under ``params``.
        sha256: Checksum of the file.
        scale: Scale factor that it was trained for.
        network_g: Block ``network_g`` of the network.
        data: What it was trained on.
        protocol: What it was trained for, in one line.
        figures: Mean metrics over the test scenes by protocol, as ``metrics_<data set>.csv`` has them.
        licence: Licence of the weights.
    """

    name: str
    file: str
    sha256: str
    scale: int
    network_g: dict[str, Any]
    data: str
    protocol: str
    licence: str
    figures: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return FOLDER / self.file


@lru_cache(maxsize=1)
def shipped_weights() -> dict[str, ShippedWeights]:
    """Return the weights that come with the package, by name.

    Example:
        >>> from mulsr_plugin.checkpoints.shipped import shipped_weights
        >>> for name, weights in shipped_weights().items():
        ...     print(f'{name}: x{weights.scale}, {weights.network_g["type"]}')
        mulsr_cave_x8_small: x8, MulSR
        ...
    """
    entries = json.loads((FOLDER / 'registry.json').read_text(encoding='utf-8'))
    return {name: ShippedWeights(name=name, **entry) for name, entry in entries.items()}


def find_weights(weights: str | os.PathLike[str]) -> Path:
    """Return the file of shipped weights for their name; anything else is the path of a file and returned as it is.

    A file of that name in the working directory comes first.

    Args:
        weights: Name of shipped weights, or a path.

    Raises:
        ValueError: The shipped file differs from its checksum.
        FileNotFoundError: Neither such weights nor such a file exist, and it looks like a name.

    Example:
        >>> from mulsr_plugin.checkpoints.shipped import find_weights
        >>> find_weights('mulsr_cave_x8_small').name
        'mulsr_cave_x8_small.pth'
    """
    path = Path(weights)
    if path.exists() or path.suffix or len(path.parts) > 1:
        return path
    shipped = shipped_weights().get(str(weights))
    if shipped is None:
        known = ', '.join(shipped_weights())
        raise FileNotFoundError(f'{path} is neither a file nor the name of shipped weights, which are {known}.')
    if hashlib.sha256(shipped.path.read_bytes()).hexdigest() != shipped.sha256:
        raise ValueError(f'{shipped.path} is not the file that was shipped: install mulsr-plugin again.')
    return shipped.path


def load_pretrained(name: str) -> nn.Module:
    """Build a network and load shipped weights.

    Args:
        name: One of :func:`shipped_weights`.

    Returns:
        The network on the CPU in evaluation mode.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: The file differs from its checksum.

    Example:
        >>> import torch
        >>> from mulsr_plugin import load_pretrained
        >>> net = load_pretrained('mulsr_cave_x8_small')
        >>> lq, rgb = torch.rand(1, 31, 4, 4), torch.rand(1, 3, 32, 32)  # (B, L, h, w) and (B, 3, 8 h, 8 w) in [0, 1]
        >>> with torch.no_grad():
        ...     net(lq, rgb).shape
        torch.Size([1, 31, 32, 32])
    """
    path = find_weights(name)
    if name not in shipped_weights():
        raise FileNotFoundError(f'No weights {name} come with the package, only {", ".join(shipped_weights())}.')
    net = build_network(dict(shipped_weights()[name].network_g))
    weights = read_weights(path)
    check_weights_fit(net, weights.state, str(path))
    net.load_state_dict(weights.state)
    return net.eval()
