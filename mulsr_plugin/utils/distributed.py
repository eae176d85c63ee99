"""What the processes of a distributed run must agree on."""

from __future__ import annotations

from typing import Any

import torch
from basicsr.utils.dist_util import get_dist_info


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
