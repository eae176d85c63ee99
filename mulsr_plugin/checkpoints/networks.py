"""The network that a checkpoint belongs to: as it describes it, else as detected by its tensors."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mulsr_plugin.checkpoints.description import description_in, scales_text, without_defaults
from mulsr_plugin.checkpoints.files import load_safely
from mulsr_plugin.checkpoints.recognition import network_options
from mulsr_plugin.checkpoints.weights import PREFERRED, check_weights_fit, preferred_key, select_weights
from mulsr_plugin.checkpoints.wrappers import named_as
from mulsr_plugin.utils.options import building, check_constructor_options, read_option_file, require


@dataclass(frozen=True)
class WeightsFile:
    """What a checkpoint in BasicSR's form holds of a network, read by :func:`read_weights`.

    Attributes:
        path (Path): The file.
        state (dict[str, Tensor]): State dict, without the names of PyTorch's wrappers.
        description (dict[str, Any] | None): What the file says of it, see
            :func:`mulsr_plugin.checkpoints.description.describe_weights`; None where it says nothing.
    """

    path: Path
    state: dict[str, Tensor]
    description: dict[str, Any] | None = None


def read_weights(path: str | os.PathLike[str]) -> WeightsFile:
    """Read the weights of a checkpoint: `params_ema`, else `params`, else what others name so, else the file itself.

    No code from the file is run.

    Args:
        path (str | PathLike): The checkpoint.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds no weights.
    """
    path = Path(path)
    content = load_safely(path)
    if not isinstance(content, Mapping):
        raise ValueError(f'{path} holds {type(content).__name__}, no network weights: give a checkpoint of BasicSR.')
    try:
        state = select_weights(content, PREFERRED, str(path))
    except ValueError as error:
        raise ValueError(
            f'{path} holds no network weights: give a checkpoint of BasicSR, such as models/net_g_latest.pth.'
        ) from error
    if not state and preferred_key(content) is None:
        raise ValueError(f'{path} is empty, so it holds no network weights: give a checkpoint of BasicSR.')
    return WeightsFile(path, state, description_in(content))


def network_from_weights(
    weights: WeightsFile, scale: int, option_file: str | os.PathLike[str] | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network that weights belong to, and load them.

    Args:
        weights (WeightsFile): The weights.
        scale (int): Scale factor that the network will work at.
        option_file (str | PathLike | None): Option file with the block `network_g`, for a network that can be detected
            neither by the description of its weights nor by their names, or for another use than they describe.
            Default: None, as they describe it, else as detected.

    Returns:
        tuple[nn.Module, dict[str, Any]]: The network on the CPU in evaluation mode, and its block `network_g`.

    Raises:
        FileNotFoundError: There is no such option file.
        ValueError: The weights are of an unknown network or of another one than they or the option file describe, or
            the network does not work at this scale or was not trained for it.
    """
    source, description = str(weights.path), weights.description
    if option_file is not None:
        options = read_network_options(option_file, scale)
    elif description is not None:
        options = described_options(description, scale, source)
    else:
        options = network_options(weights.state, scale, source)
    with building(f'The network of {source}'):
        arguments = {key: deepcopy(value) for key, value in without_defaults(options).items() if key != 'type'}
        net = ARCH_REGISTRY.get(options['type'])(**arguments)
    state = named_as(weights.state, net.state_dict())
    try:
        check_weights_fit(net, state, source)
    except ValueError as error:
        if option_file is not None or description is None:
            raise
        raise ValueError(f'{source} is not what it says it is, so it was changed since: {error}') from error
    net.load_state_dict(state)
    return net.eval(), options


def described_options(description: Mapping[str, Any], scale: int, source: str) -> dict[str, Any]:
    """Return the block `network_g` of weights that describe themselves.

    Args:
        description (Mapping[str, Any]): Of the weights.
        scale (int): Scale factor that the network will work at.
        source (str): Where the weights come from, for messages.

    Returns:
        dict[str, Any]: The block.

    Raises:
        ValueError: The weights were not trained for this scale, their network is not registered, it does not take these
            options, or they name a file, which BasicSR's networks may load with code in it, or one to be fetched.
    """
    options, scales = dict(description['network_g']), description['scales']
    if scale not in scales:
        raise ValueError(
            f'{source} was trained for {scales_text(scales)}, not for x{scale}: give images or weights of the same '
            'scale, or --opt with an option file to use it all the same.'
        )
    if options['type'] not in ARCH_REGISTRY:
        raise ValueError(
            f'{source} was written for the network {options["type"]!r}, which is not registered: install the package '
            'that it comes from.'
        )
    text = json.dumps(options, default=str)
    if '"VGGFeatureExtractor"' in text:
        raise ValueError(
            f'{source} names VGGFeatureExtractor, which makes no images and would be fetched over the network: give '
            'the weights of a network for super-resolution.'
        )
    paths = re.findall(r'"(\w*path)": "', text)
    if paths:
        raise ValueError(
            f'{source} names a file for its network to load ({paths[0]}), which may hold code: give --opt with an '
            'option file that you trust.'
        )
    check_constructor_options(options, ARCH_REGISTRY.get(options['type']), f'the description in {source}')
    return options


def read_network_options(path: str | os.PathLike[str], scale: int) -> dict[str, Any]:
    """Read the block `network_g` of an option file.

    Args:
        path (str | PathLike): YAML file as BasicSR takes it.
        scale (int): Scale factor that the network will work at.

    Returns:
        dict[str, Any]: The block.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is not YAML, has no such block, or its network is unknown or works at another scale.
    """
    block = read_option_file(path).get('network_g')
    if not isinstance(block, Mapping):
        raise ValueError(f'{path} has no block network_g: give the option file that the weights were trained with.')
    require(block, ['type'], f'network_g of {path}')
    if block['type'] not in ARCH_REGISTRY:
        raise ValueError(f'{path} names the network {block["type"]!r}, which is not registered: correct its name.')
    check_constructor_options(block, ARCH_REGISTRY.get(block['type']), f'network_g of {path}')
    upscale = block.get('upscale', scale)
    scales = upscale if isinstance(upscale, list) else [upscale]
    if scale not in scales:
        raise ValueError(
            f'{path} describes a network for {scales_text(scales)}, but the images are given at x{scale}: give images, '
            'or weights with their option file, of the same scale.'
        )
    return dict(block)
