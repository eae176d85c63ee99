"""Detect which network weights belong to, and its options, from the tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable

from torch import Tensor

from mulsr_plugin.checkpoints.authors import recognise_network

StateDict = Mapping[str, Tensor]


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
        f'"mulsr convert {source} NEW.pth" first.'
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
