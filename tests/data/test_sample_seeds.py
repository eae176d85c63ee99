"""The law of the draws: what a sample depends on, and what it must not depend on."""

from __future__ import annotations

import pickle
import random
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from mulsr_plugin.data.sample_seeds import SampleSeeds

LENGTH = 12


class Draws(Dataset):
    """Sample i is the first 64-bit word of its generator."""

    def __init__(self, persistent_workers: bool = False) -> None:
        self.seeds = SampleSeeds(persistent_workers)

    def __len__(self) -> int:
        return LENGTH

    def __getitem__(self, index: int) -> tuple[int, int]:
        return index, int(self.seeds.generator(index).integers(2**62))


def seed_identically(worker_id: int) -> None:
    """What BasicSR does in every worker of every epoch."""
    np.random.seed(worker_id)
    random.seed(worker_id)


def epochs(dataset: Draws, workers: int, count: int = 2, numbered: Sequence[int] = (), **kwargs: object) -> list[dict]:
    """Draws of ``count`` epochs by index; with ``numbered`` epochs ``set_epoch`` announces each."""
    loader = DataLoader(
        dataset, batch_size=2, shuffle=True, num_workers=workers, worker_init_fn=seed_identically, **kwargs
    )
    result = []
    for number in numbered or range(count):
        if numbered:
            dataset.seeds.set_epoch(number, seed=5)
        result.append({int(i): int(v) for indices, values in loader for i, v in zip(indices, values)})
    return result


def assert_all_different(*draws: dict) -> None:
    values = [value for epoch in draws for value in epoch.values()]
    assert len(set(values)) == len(values) == LENGTH * len(draws)


def test_draws_follow_from_manual_seed_and_not_from_the_number_of_workers() -> None:
    results = []
    for workers in (1, 2, 3):
        torch.manual_seed(3)
        results.append(epochs(Draws(), workers))
    assert_all_different(*results[0])
    assert results[0] == results[1] == results[2]
    torch.manual_seed(4)
    assert_all_different(*results[0], *epochs(Draws(), 2))


def test_without_workers_epochs_differ_and_follow_from_manual_seed() -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        np.random.seed(len(results))
        results.append(epochs(Draws(), 0))
    assert results[0] == results[1]
    assert_all_different(*results[0])


def test_persistent_workers_draw_anew_in_every_epoch() -> None:
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(epochs(Draws(persistent_workers=True), 2, count=3, persistent_workers=True))
    assert_all_different(*results[0])
    assert results[0] == results[1]


def test_set_epoch_fixes_the_draws_for_any_loader() -> None:
    torch.manual_seed(0)
    reference = epochs(Draws(), 0, numbered=[7, 8])
    assert_all_different(*reference)
    assert epochs(Draws(), 2, numbered=[7, 8]) == reference
    assert epochs(Draws(), 0, numbered=[8]) == reference[1:]
    kwargs = {'persistent_workers': True, 'multiprocessing_context': 'fork'}
    assert epochs(Draws(persistent_workers=True), 2, numbered=[7, 8], **kwargs) == reference


def test_set_epoch_reaches_spawned_workers_that_persist() -> None:
    reference = epochs(Draws(), 0, numbered=[7, 8])
    kwargs = {'persistent_workers': True, 'multiprocessing_context': 'spawn'}
    assert epochs(Draws(), 1, numbered=[7, 8], **kwargs) == reference


def test_seed_of_set_epoch_matters() -> None:
    values = []
    for seed in (0, 1, 2**40):
        seeds = SampleSeeds()
        seeds.set_epoch(0, seed)
        values.append(seeds.generator(0).random())
    assert len(set(values)) == 3


@pytest.mark.parametrize('numbered', [False, True])
def test_can_be_pickled(numbered: bool) -> None:
    seeds = SampleSeeds()
    if numbered:
        seeds.set_epoch(2, 3)
    copy = pickle.loads(pickle.dumps(seeds))
    assert copy.generator(4).random() == seeds.generator(4).random()


def test_global_generators_are_neither_read_nor_moved() -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    SampleSeeds().generator(0).random()
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all()
    assert states[2] == random.getstate()
