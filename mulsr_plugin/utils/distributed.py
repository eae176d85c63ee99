"""What the processes of a distributed run must agree on."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch

Result = TypeVar('Result')


def world_size() -> int:
    """Return the number of processes of a run, 1 for one that is not distributed.

    BasicSR's ``get_dist_info`` returns the same, but importing it registers the models, which need this module.
    """
    return torch.distributed.get_world_size() if _is_distributed() else 1


def share_seed(opt: dict[str, Any]) -> None:
    """Give every process the ``manual_seed`` of the first: BasicSR draws one per process where the file names none."""
    if world_size() > 1:
        seeds = [opt['manual_seed']]
        torch.distributed.broadcast_object_list(seeds)
        opt['manual_seed'] = seeds[0]


def wait_for_all() -> None:
    """Let every process of a distributed run arrive here before any goes on."""
    if world_size() > 1:
        torch.distributed.barrier()


def wait_for_independent() -> None:
    """Let processes of torchrun that had nothing to do with each other arrive at their end together.

    torchrun stops all processes as soon as one ends with an error, which must not cut the work of the others short.
    """
    if 'TORCHELASTIC_RUN_ID' in os.environ and not _is_distributed():
        torch.distributed.init_process_group('gloo', timeout=timedelta(days=30))
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def shared_by_first(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in the first process alone and give every process what it returned."""
    is_first = world_size() == 1 or torch.distributed.get_rank() == 0
    results: list[Any] = [function(*arguments) if is_first else None]
    if world_size() > 1:
        torch.distributed.broadcast_object_list(results)
    return results[0]


def any_of(flag: bool, device: torch.device) -> bool:
    """Return to every process of a distributed run whether ``flag`` is set in at least one of them."""
    if world_size() == 1:
        return flag
    flags = torch.tensor(int(flag), device=device)
    torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
    return bool(flags.item())


def leave_process_group() -> None:
    """End a distributed run, as its last step: the caller must hold neither model nor loaders any more.

    A network wrapped for distributed training holds the group. Were it the last to let go of it, it would wait for the
    group's threads with Python's global lock in hand, which one of them may need: PyTorch 2.5 then hangs.
    """
    if _is_distributed():
        gc.collect()  # models are part of reference cycles
        torch.distributed.destroy_process_group()


def _is_distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()
