"""Names of tensors in state dicts of wrapped networks: compiled, distributed, averaged, or part of a larger module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

# torch.compile, FSDP and activation checkpointing put these names in wherever they wrap a module
_ANYWHERE = {'_orig_mod', '_fsdp_wrapped_module', '_checkpoint_wrapped_module'}
_FIRST = 'module'  # DataParallel, DistributedDataParallel and AveragedModel, around the whole network
_COUNTER = 'n_averaged'  # buffer of AveragedModel beside the network


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict by the names of the network itself, without those of PyTorch's wrappers around it.

    Args:
        state (Mapping[str, Tensor]): State dict; returned as it is where two names would become one.

    Example:
        >>> import torch
        >>> list(without_wrappers({'module._orig_mod.head.weight': torch.ones(1), 'n_averaged': torch.tensor(5)}))
        ['head.weight']
    """
    is_averaged = _COUNTER in state and all(name.split('.')[0] == _FIRST for name in state if name != _COUNTER)
    named = {_unwrapped(name): value for name, value in state.items() if not (is_averaged and name == _COUNTER)}
    return named if len(named) == len(state) - is_averaged else dict(state)


def named_as(state: Mapping[str, Tensor], names: Iterable[str]) -> Mapping[str, Tensor]:
    """Return the part of a state dict that belongs to a network, by the names of the network.

    A network saved as part of a larger module, as training frameworks do, has all its names behind that of its place
    there: ``model.head.weight``.

    Args:
        state (Mapping[str, Tensor]): State dict; returned as it is where no such prefix leads to all ``names``.
        names (Iterable[str]): Of the network.
    """
    names = list(names)
    if not names or names[0] in state:
        return state
    for name in state:
        prefix = name.removesuffix(names[0])
        if prefix.endswith('.') and all(prefix + other in state for other in names):
            return {other: state[prefix + other] for other in names}
    return state


def without_shared_prefix(state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return a state dict without the first part of its names; None where they do not share it."""
    parts = {name.partition('.')[0] for name in state}
    if len(parts) != 1 or any('.' not in name for name in state):
        return None
    return {name.partition('.')[2]: value for name, value in state.items()}


def _unwrapped(name: str) -> str:
    parts = [part for part in name.split('.') if part not in _ANYWHERE]
    while len(parts) > 1 and parts[0] == _FIRST:
        del parts[0]
    return '.'.join(parts)
