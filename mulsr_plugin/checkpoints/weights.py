"""State dicts out of checkpoints: which of them is meant, and why it does not fit a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mulsr_plugin.checkpoints.authors import recognise_release
from mulsr_plugin.checkpoints.description import with_defaults
from mulsr_plugin.checkpoints.recognition import recognise_network
from mulsr_plugin.checkpoints.wrappers import without_wrappers

StateDict = Mapping[str, Tensor]

PREFERRED = 'preferred'
"""Stands for the weights of :func:`preferred_key` where an option names no key."""

_KEYS = ('params_ema', 'params', 'model', 'state_dict')


def preferred_key(content: Any) -> str | None:
    """Return under which key the weights to use stand: averaged ones, which are validated, before the last ones.

    Args:
        content: What :func:`mulsr_plugin.checkpoints.files.load_safely` returned.

    Returns:
        ``params_ema`` or ``params`` of BasicSR, ``model`` or ``state_dict`` of others; None where the file is the state
        dict itself.
    """
    return next((key for key in _KEYS if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)), None)


def select_weights(content: Any, param_key: str | None, path: str) -> dict[str, Tensor]:
    """Pick the state dict out of a checkpoint; ``params`` stands in for a missing ``params_ema``, as in BasicSR.

    Args:
        content: What :func:`mulsr_plugin.checkpoints.files.load_safely` returned.
        param_key: ``path: param_key_g`` of the option file; ``PREFERRED`` for those of :func:`preferred_key`; None
            where the file is the state dict itself.
        path: Where the checkpoint comes from, for the message.

    Returns:
        The state dict by the names of the network, see
        :func:`mulsr_plugin.checkpoints.wrappers.without_wrappers`.

    Raises:
        ValueError: The checkpoint holds no such weights; the sentence says which it holds.
    """
    state = content
    if param_key == PREFERRED:
        param_key = preferred_key(content)
    if param_key is not None and isinstance(content, Mapping):
        state = content.get(param_key, content.get('params') if param_key == 'params_ema' else None)
    if not _is_state_dict(state):
        raise ValueError(f'{path} holds no network weights under {param_key!r}: {_what_it_holds(content)}')
    return without_wrappers(state)


def check_weights_fit(net: nn.Module, state: StateDict, path: str) -> None:
    """Refuse weights of another network in one sentence that names the first differences and the likely reason.

    Args:
        net: Network to load them into.
        state: State dict.
        path: Where the weights come from, for the message.

    Raises:
        ValueError: Names or shapes differ from those of ``net``.
    """
    own = net.state_dict()
    reshaped = [
        f'{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}'
        for name in own
        if name in state and own[name].shape != state[name].shape
    ]
    differences = {
        'missing': [name for name in own if name not in state],
        'unknown': [name for name in state if name not in own],
        'of other shape': reshaped,
    }
    problems = [f'{len(names)} {what} (first: {names[0]})' for what, names in differences.items() if names]
    if problems:
        raise ValueError(
            f'{path} does not fit network {type(net).__name__}: {", ".join(problems)}; {_likely_reason(own, state)}.'
        )


def check_weights_overlap(net: nn.Module, state: StateDict, path: str) -> None:
    """Refuse weights of which nothing fits, for ``strict_load_g: false``, which leaves out what does not.

    Args:
        net: Network to load them into.
        state: State dict.
        path: Where the weights come from, for the message.

    Raises:
        ValueError: No tensor has name and shape of one of ``net``.
    """
    own = net.state_dict()
    if not any(name in state and state[name].shape == value.shape for name, value in own.items()):
        raise ValueError(
            f'{path} has no weights that fit network {type(net).__name__}, so nothing would be loaded; '
            f'{_likely_reason(own, state)}.'
        )


def _is_state_dict(value: Any) -> bool:
    return isinstance(value, Mapping) and all(isinstance(tensor, Tensor) for tensor in value.values())


def _what_it_holds(content: Any) -> str:
    """Say what a file holds in place of the weights wanted, and what to do about it."""
    if not isinstance(content, Mapping):
        return f'it holds {type(content).__name__}; give a checkpoint in the form of BasicSR.'
    keys = [str(key) for key, value in content.items() if _is_state_dict(value)]
    if 'model' in keys:
        return "it looks like an authors' file; convert it with `mulsr convert`."
    if keys:
        return f'it has {" and ".join(keys)}; set path: param_key_g: {keys[0]}.'
    if {'optimizers', 'iter'} <= content.keys():
        return 'it is a training state; the weights are in the folder models beside it.'
    if _is_state_dict(content):
        return (
            "it is a bare state dict, as authors publish; convert an authors' file with "
            '`mulsr convert`, or set path: param_key_g: ~ for one of this network.'
        )
    return 'it is not a checkpoint in the form of BasicSR; give one, such as models/net_g_latest.pth.'


def _likely_reason(own: StateDict, state: StateDict) -> str:
    """Say why weights differ from those of a network, as far as names and shapes show it."""
    network = recognise_release(state)
    if network is not None:
        return f"these are names of the authors' {network}: convert the file with `mulsr convert`"
    try:
        theirs, ours = recognise_network(state), recognise_network(own)
    except ValueError:  # incomplete
        theirs = ours = None
    if theirs is not None and ours is not None:
        if theirs['type'] != ours['type']:
            return f'the file holds weights of {theirs["type"]}: set network_g: type: {theirs["type"]}'
        used = with_defaults(ours)
        different = [f'{key}: {value}' for key, value in with_defaults(theirs).items() if value != used[key]]
        if different:
            return f'the file was written with {", ".join(different)}: set network_g so'
    shared = len(own.keys() & state.keys())
    if shared < len(own) / 2:
        return (
            f'only {shared} of {len(own)} names agree, so it is of another network, or of this one with other options: '
            'set network_g as it was in the training that wrote the file'
        )
    return 'set network_g as it was in the training that wrote the file'
