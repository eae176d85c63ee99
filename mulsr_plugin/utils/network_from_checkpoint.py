"""The network that a checkpoint belongs to: as it describes it, else told by the names and shapes of its tensors."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Callable

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mulsr_plugin.archs.author_checkpoint import recognise_network
from mulsr_plugin.utils.checkpoint import load_safely
from mulsr_plugin.utils.description import description_in, scales_text, without_defaults
from mulsr_plugin.utils.option_files import read_option_file
from mulsr_plugin.utils.options import building, check_constructor_options, require
from mulsr_plugin.utils.weights import check_weights_fit, select_weights

StateDict = Mapping[str, Tensor]

_PARAM_KEYS = ('params_ema', 'params')  # averaged weights are those that are validated


def load_network(
    weights: str | os.PathLike[str], scale: int, option_file: str | os.PathLike[str] | None = None
) -> tuple[nn.Module, dict[str, Any]]:
    """Build the network of a checkpoint in BasicSR's form and load its weights, the averaged ones where it has them.

    No code from the file is run.

    Args:
        weights (str | PathLike): The checkpoint.
        scale (int): Scale factor that the network will work at.
        option_file (str | PathLike | None): Option file with the block `network_g`, for a network whose weights do not
            tell what it is, or for another use than they describe. Default: None, told by the weights.

    Returns:
        tuple[nn.Module, dict[str, Any]]: The network on the CPU in evaluation mode, and its block `network_g`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged, holds the weights of an unknown network or of another one than it or the option
            file describes, or the network does not work at this scale or was not trained for it.
    """
    state, description = read_weights(weights)
    if option_file is not None:
        options = read_network_options(option_file, scale)
    elif description is not None:
        options = described_options(description, scale, str(weights))
    else:
        options = network_options(state, scale, str(weights))
    with building(f'The network of {weights}'):
        arguments = {key: deepcopy(value) for key, value in without_defaults(options).items() if key != 'type'}
        net = ARCH_REGISTRY.get(options['type'])(**arguments)
    try:
        check_weights_fit(net, state, str(weights))
    except ValueError as error:
        if option_file is not None or description is None:
            raise
        raise ValueError(f'{weights} is not what it says it is, so it was changed since: {error}') from error
    net.load_state_dict(state)
    return net.eval(), options


def read_weights(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Read the weights of a checkpoint in BasicSR's form: `params_ema`, else `params`, else the file itself.

    Args:
        path (str | PathLike): The checkpoint.

    Returns:
        tuple[dict[str, Tensor], dict[str, Any] | None]: State dict, without the prefix `module.`, and the description
            that the file has of it, see :func:`mulsr_plugin.utils.description.describe_weights`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is damaged or holds no weights, or those of an authors' release.
    """
    content = load_safely(path)
    if not isinstance(content, Mapping):
        raise ValueError(f'{path} holds {type(content).__name__}, no network weights: give a checkpoint of BasicSR.')
    key = next((key for key in _PARAM_KEYS if key in content), None)
    if key is not None:
        return select_weights(content, key, str(path)), description_in(content)
    state = content.get('model', content)
    if isinstance(state, Mapping) and state and all(isinstance(value, Tensor) for value in state.values()):
        return {str(name).removeprefix('module.'): value for name, value in state.items()}, None
    raise ValueError(f'{path} holds no network weights: give a checkpoint of BasicSR, such as models/net_g_latest.pth.')


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


def network_options(state: StateDict, scale: int, source: str = 'The checkpoint') -> dict[str, Any]:
    """Tell the network of a state dict.

    What weights do not tell is taken as the network's default: CoarseNet's `legacy`.

    Args:
        state (Mapping[str, Tensor]): State dict by our names.
        scale (int): Scale factor that the network will work at; the weights do not tell theirs.
        source (str): Where the weights come from, for messages.

    Returns:
        dict[str, Any]: Block `network_g`.

    Raises:
        ValueError: The weights are of an unknown network, or are an authors' release in its own form.
    """
    for name, (marker, options) in _NETWORKS.items():
        if marker in state:
            if name == 'MulSR' and scale % 2:
                raise ValueError(
                    f'{source} holds a MulSR, which works at even scales only, but the images are given at x{scale}: '
                    'resample the guide image to an even scale, or train another network, such as PZResNet or UAL.'
                )
            try:
                return {'type': name, 'upscale': scale, **options(state)}
            except (KeyError, IndexError, ValueError) as error:
                raise ValueError(
                    f'{source} looks like weights of {name} but lacks some ({error}): give a complete checkpoint.'
                ) from error
    raise ValueError(_unknown_network(state, source))


def read_network_options(path: str | os.PathLike[str], scale: int) -> dict[str, Any]:
    """Read the block `network_g` of an option file.

    Args:
        path (str | PathLike): YAML file as BasicSR takes it.
        scale (int): Scale factor that the network will work at.

    Returns:
        dict[str, Any]: The block.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no YAML, has no such block, or its network is unknown or works at another scale.
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


def _unknown_network(state: StateDict, source: str) -> str:
    try:
        network = recognise_network(dict(state))
    except ValueError:
        known = ', '.join(_NETWORKS)
        first = next(iter(state), 'nothing')
        return (
            f'{source} holds weights of none of {known} (its first is {first}): give --opt with the option file that '
            'they were trained with.'
        )
    return (
        f"{source} holds the authors' own weights of {network}: convert them with "
        f'"python scripts/convert_author_checkpoint.py {source} NEW.pth" first.'
    )


def _mulsr_options(state: StateDict) -> dict[str, Any]:
    num_feat, num_guide_ch = state['rgb_head_x2.parametrizations.weight.original1'].shape[:2]
    multi_scale = 'hsi_head.bias' in state
    return {
        'num_feat': num_feat,
        'num_guide_ch': num_guide_ch,
        'num_modules': _count(state, 'inter_body_x2.'),
        'multi_scale': multi_scale,
        # without the small tower these three have no effect
        'use_mii': 'down.weight' in state or not multi_scale,
        'use_dsca': 'DULR.0.conv.0.weight' in state or not multi_scale,
        'use_lfcc': 'optimize_down.bias' in state or not multi_scale,
        'small_scale_head': 'end_small.0.bias' in state,
    }


def _coarsenet_options(state: StateDict) -> dict[str, Any]:
    num_feat, num_guide_ch = state['rgb_head.weight'].shape[:2]
    return {'num_feat': num_feat, 'num_guide_ch': num_guide_ch, 'num_units': _count(state, 'inter_body.')}


def _pzresnet_options(state: StateDict) -> dict[str, Any]:
    num_bands, num_guide_ch = state['refine.compress.weight'].shape[0], state['stages.0.entry.weight'].shape[1]
    return {'num_bands': num_bands, 'num_guide_ch': num_guide_ch}


def _mogdcn_options(state: StateDict) -> dict[str, Any]:
    num_guide_ch, num_bands = state['to_guide.weight'].shape[:2]
    return {'num_bands': num_bands, 'num_guide_ch': num_guide_ch}


def _ual_options(state: StateDict) -> dict[str, Any]:
    return {'num_bands': state['heads.2.0.weight'].shape[1], 'num_guide_ch': state['heads.0.0.weight'].shape[1]}


def _count(state: StateDict, prefix: str) -> int:
    """Count the numbers that follow a prefix."""
    return len({name[len(prefix) :].split('.')[0] for name in state if name.startswith(prefix)})


# by name: a tensor that no other network has, and what reads the options off the tensors
_NETWORKS: dict[str, tuple[str, Callable[[StateDict], dict[str, Any]]]] = {
    'MulSR': ('rgb_head_x2.parametrizations.weight.original1', _mulsr_options),
    'CoarseNet': ('feaFusion.parametrizations.weight.original1', _coarsenet_options),
    'PZResNet': ('refine.compress.weight', _pzresnet_options),
    'MoGDCN': ('to_guide.weight', _mogdcn_options),
    'UAL': ('exchange.gates.0.weight', _ual_options),
}
