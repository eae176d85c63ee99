"""Detect which network weights belong to, and its options, from the tensors.

Every network that can be detected says how beside itself: its class has a method ``options_of_weights``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from mulsr_plugin.checkpoints.authors import recognise_release
from mulsr_plugin.checkpoints.wrappers import without_shared_prefix


def recognise_network(state: Mapping[str, Tensor], source: str = 'The checkpoint') -> dict[str, Any] | None:
    """Return the block ``network_g`` of the network that weights belong to; None for an unknown network.

    What weights do not show is absent: the scale, and options without effect on names and shapes.

    Args:
        state (Mapping[str, Tensor]): State dict with the names of this package.
        source (str): Where the weights come from, for messages.

    Raises:
        ValueError: The weights are incomplete.
    """
    for name, network in ARCH_REGISTRY:
        try:
            options = network.options_of_weights(state) if hasattr(network, 'options_of_weights') else None
        except (LookupError, ValueError) as error:
            raise ValueError(
                f'{source} looks like weights of {name} but lacks some ({error}): give a complete checkpoint.'
            ) from error
        if options is not None:
            return {'type': name, **options}
    inner = without_shared_prefix(state)  # saved as part of a larger module
    return None if inner is None else recognise_network(inner, source)


def network_options(state: Mapping[str, Tensor], scale: int, source: str = 'The checkpoint') -> dict[str, Any]:
    """Return the block ``network_g`` for weights that do not describe themselves.

    Args:
        state (Mapping[str, Tensor]): State dict with the names of this package.
        scale (int): Scale factor that the network will work at; the weights do not show theirs.
        source (str): Where the weights come from, for messages.

    Raises:
        ValueError: The weights are incomplete, of an unknown network or of one that does not work at this scale, or are
            an authors' release in its own form.
    """
    found = recognise_network(state, source)
    if found is None:
        raise ValueError(_unknown_network(state, source))
    if found['type'] == 'MulSR' and scale % 2:
        raise ValueError(
            f'{source} holds a MulSR, which works at even scales only, but the images are given at x{scale}: '
            'resample the guide image to an even scale, or train another network, such as PZResNet or UAL.'
        )
    return {**found, 'upscale': scale}


def _unknown_network(state: Mapping[str, Tensor], source: str) -> str:
    network = recognise_release(state)
    if network is not None:
        return (
            f"{source} holds the authors' own weights of {network}: convert them with "
            f'"mulsr convert {source} NEW.pth" first.'
        )
    known = ', '.join(name for name, entry in ARCH_REGISTRY if hasattr(entry, 'options_of_weights'))
    return (
        f'{source} holds weights of none of {known} (its first is {next(iter(state), "nothing")}): give --opt with the '
        'option file that they were trained with.'
    )
