"""Exact resume: where in the epoch a run stood, and the state of every random generator."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler


class ResumableSampler(EnlargedSampler):
    """BasicSR's EnlargedSampler that can leave out the samples an interrupted epoch has already used.

    Attributes:
        start: Number of samples to leave out at the beginning of the next pass; the caller resets it.
    """

    start = 0

    def __iter__(self) -> Iterator[int]:
        return iter(list(super().__iter__())[self.start :])

    def __len__(self) -> int:
        return self.num_samples - self.start


def generator_states() -> dict[str, Any]:
    """Return the state of every random generator of this process, as tensors and plain values."""
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        'numpy': (name, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        'python': random.getstate(),
    }


def set_generator_states(states: dict[str, Any]) -> None:
    """Put back what :func:`generator_states` returned."""
    torch.set_rng_state(states['torch'])
    if torch.cuda.is_available() and len(states['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states['cuda'])
    name, keys, position, has_gauss, gauss = states['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    version, internal, next_gauss = states['python']
    random.setstate((version, tuple(internal), next_gauss))
