"""What the processes of a distributed run must agree on."""

from __future__ import annotations

from typing import Any, Callable, TypeVar

import torch
from basicsr.utils.dist_util import get_dist_info

Result = TypeVar('Result')


def share_seed(opt: dict[str, Any]) -> None:
    """Give every process the ``manual_seed`` of the first: BasicSR draws one per process where the file names none."""
    if get_dist_info()[1] > 1:
        seeds = [opt['manual_seed']]
        torch.distributed.broadcast_object_list(seeds)
        opt['manual_seed'] = seeds[0]


def wait_for_all() -> None:
    """Let every process of a distributed run arrive here before any goes on."""
    if get_dist_info()[1] > 1:
        torch.distributed.barrier()


def shared_by_first(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function in the first process alone and give every process what it returned."""
    rank, world_size = get_dist_info()
    results: list[Any] = [function(*arguments) if rank == 0 else None]
    if world_size > 1:
        torch.distributed.broadcast_object_list(results)
    return results[0]


def any_of(flag: bool, device: torch.device) -> bool:
    """Tell every process of a distributed run whether ``flag`` is set in at least one of them."""
    if get_dist_info()[1] == 1:
        return flag
    flags = torch.tensor(int(flag), device=device)
    torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
    return bool(flags.item())
