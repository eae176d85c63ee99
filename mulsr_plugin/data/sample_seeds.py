"""Random generators of single samples, so that a sample depends on the epoch and its index only.

BasicSR's ``worker_init_fn`` seeds NumPy and ``random`` of each loader worker identically in every epoch, which would
repeat the same crops for ever. Nothing here reads those global generators.
"""

from __future__ import annotations

import zlib
from collections import Counter

import numpy as np
import torch
from torch.utils.data import get_worker_info

# First word of the entropy: keeps the four kinds of draw apart even where their numbers coincide.
_BY_EPOCH, _BY_WORKER_SEED, _BY_VISIT, _BY_KEY = range(4)


class SampleSeeds:
    """Give each training sample its own generator.

    Where the randomness comes from, first match first:

    1. after ``set_epoch``: a pure function of (seed, epoch, index), for any number of workers, none included;
    2. in a loader worker: a pure function of (base seed, index). The base seed is drawn by the loader from PyTorch's
       generator of the main process for every epoch, so crops differ between epochs, do not depend on the number of
       workers and follow from ``torch.manual_seed``. Workers that persist keep one base seed for all epochs; there a
       number from the worker's own PyTorch generator is mixed in, and the crops then depend on the number of workers;
    3. in the main process: a pure function of (``torch.initial_seed()``, how often this index was asked for, index).

    Args:
        persistent_workers: The loader keeps its workers between epochs.
    """

    def __init__(self, persistent_workers: bool = False) -> None:
        self.persistent_workers = persistent_workers
        self._visits: Counter[int] = Counter()
        self._epoch: torch.Tensor | None = None

    def set_epoch(self, epoch: int, seed: int) -> None:
        """Fix the randomness of the epoch that begins now; call it before the loader's iterator is made.

        Args:
            epoch: Number of the epoch.
            seed: Seed of the run; may be the same on all ranks, whose samplers hand out different indices.
        """
        if self._epoch is None:
            # Shared memory: workers that persist hold a copy of the data set but must see the next epoch too.
            self._epoch = torch.zeros(2, dtype=torch.int64).share_memory_()
        self._epoch.copy_(torch.tensor([epoch, seed]))

    def generator(self, index: int) -> np.random.Generator:
        """Return the generator of sample ``index`` in the current epoch."""
        if self._epoch is not None:
            epoch, seed = self._epoch.tolist()
            return _generator(_BY_EPOCH, seed, epoch, index)
        worker = get_worker_info()
        if worker is None:
            visit = self._visits[index]
            self._visits[index] += 1
            return _generator(_BY_VISIT, torch.initial_seed(), visit, index)
        advance = int(torch.empty((), dtype=torch.int64).random_()) if self.persistent_workers else 0
        return _generator(_BY_WORKER_SEED, worker.seed - worker.id, advance, index)


def key_generator(seed: int, key: str) -> np.random.Generator:
    """Return the generator of a test image: always the same one for the same seed and scene key."""
    return _generator(_BY_KEY, seed, zlib.crc32(key.encode()))


def _generator(*entropy: int) -> np.random.Generator:
    return np.random.default_rng([number % 2**64 for number in entropy])
