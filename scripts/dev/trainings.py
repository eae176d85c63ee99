"""Trainings that are taken a batch at a time, ours and that of other code, for the speed and time-to-quality tools."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.models import build_model
from scipy.io import savemat
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler

from mulsr_plugin.data.store.reader import CubeStore


class Reference(Protocol):
    """Code to compare with: the authors' release, or the literal form of the tests."""

    name: str

    def network(self, num_modules: int, scale: int) -> nn.Module:
        """Build its network."""

    def run_band(self, net: nn.Module, lq: Tensor, rgb: Tensor, band: int) -> Tensor:
        """Run its network on one band of cubes (B, L, h, w) with guides; return (B, 1, H, W)."""

    def weights(self, net: nn.Module) -> dict[str, Tensor]:
        """Return the weights of its network under our names."""

    def training_set(self, folder: Path, scale: int, size: int) -> Any:
        """Training samples of a folder of .mat files with the cube under ``hsi``."""

    def metrics(self, result: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        """PSNR, SSIM, SAM and RMSE of two cubes (L, H, W)."""


class Training(Protocol):
    """A training that is taken a batch at a time."""

    iterations: int

    def step(self) -> None:
        """Train on the next batch."""

    def loss(self) -> float:
        """Return the mean loss of the last batch; waits for a GPU."""

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that are to be tested, under the names of this package."""


class OurTraining:
    """A training of this package as its option file has it, without logs and checkpoints.

    Args:
        opt: Options as they are written in the file.
        device: CPU or GPU.
        batches: Batches ``{'lq', 'rgb', 'gt'}`` without end; None for those of ``datasets: train``.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(self, opt: Mapping[str, Any], device: torch.device, batches: Iterable[Any] | None = None) -> None:
        self.iterations = 0
        self.opt = as_parsed(opt, device)
        torch.manual_seed(self.opt['manual_seed'])
        self.model = build_model(self.opt)
        self._batches = iter(_endless_batches(self.opt) if batches is None else batches)

    def step(self) -> None:
        """Train on the next batch."""
        self.iterations += 1
        # schedules of BasicSR have no rates beyond their last iteration; the clock may
        if self.iterations <= self.opt['train'].get('total_iter', self.iterations):
            self.model.update_learning_rate(self.iterations, warmup_iter=self.opt['train'].get('warmup_iter', -1))
        self.model.feed_data(next(self._batches))
        self.model.optimize_parameters(self.iterations)

    def loss(self) -> float:
        """Return the pixel loss of the last batch."""
        return float(self.model.log_dict['l_pix'])

    def weights(self) -> dict[str, Tensor]:
        """Return the averaged weights where they are kept, else the current ones."""
        return self.model.evaluation_network().state_dict()


class ReferenceTraining:
    """The training loop of the authors' release: an optimiser step for every band, Adam at 1e-4, L1 loss.

    Args:
        reference: Their code.
        net: Their network, on the device to train on.
        batches: Batches (gt, lq, rgb) without end.
    """

    def __init__(self, reference: Reference, net: nn.Module, batches: Iterable[Any]) -> None:
        self.iterations = 0
        self.reference, self.net, self._batches = reference, net, iter(batches)
        self.device = next(net.parameters()).device
        self.optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
        self._losses: list[Tensor] = []

    def step(self) -> None:
        """Train on the next batch."""
        self.iterations += 1
        gt, lq, rgb = (images.to(self.device) for images in next(self._batches))
        self._losses = []
        for band in range(gt.shape[1]):
            result = self.reference.run_band(self.net, lq, rgb, band)
            loss = nn.functional.l1_loss(result.squeeze(1), gt[:, band])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self._losses.append(loss.detach())

    def loss(self) -> float:
        """Return the mean loss of the bands of the last batch."""
        return float(torch.stack(self._losses).mean())

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of their network under our names."""
        return self.reference.weights(self.net)


def as_parsed(opt: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return options of a training with what BasicSR's parser adds, for one process on one device."""
    parsed: dict[str, Any] = deepcopy(dict(opt))
    for phase, data in parsed['datasets'].items():
        data.update(phase=phase.split('_')[0], scale=parsed['scale'])
    parsed.update(num_gpu=int(device.type == 'cuda'), manual_seed=parsed.get('manual_seed') or 0)
    parsed.update(dist=False, rank=0, world_size=1, is_train=True, auto_resume=False)
    return parsed


def _endless_batches(opt: Mapping[str, Any]) -> Iterator[Any]:
    data, seed = opt['datasets']['train'], opt['manual_seed']
    dataset = build_dataset(data)
    sampler = EnlargedSampler(dataset, 1, 0, 1)
    loader = build_dataloader(dataset, data, opt['num_gpu'], dist=False, sampler=sampler, seed=seed)
    for epoch in count():
        sampler.set_epoch(epoch)
        dataset.set_epoch(epoch, seed)
        yield from loader


def reference_batches(samples: Any, batch_size: int, workers: int) -> Iterator[Any]:
    """Load random batches of another training set without end, so that no time goes into starting processes anew."""
    sampler = RandomSampler(samples, replacement=True, num_samples=10**6 * batch_size)
    return iter(DataLoader(samples, batch_size, sampler=sampler, num_workers=workers))


def write_mats(lmdb: Path, folder: Path, number: int | None = None, as_matlab: bool = False) -> Path:
    """Write scenes of a store as the release reads them: .mat files with the cube, in [0, 1], under ``hsi``.

    Args:
        lmdb: The store.
        folder: For the files; those that are there already are kept.
        number: The first scenes only; None for all.
        as_matlab: Double precision, compressed, as MATLAB writes by default; else float32, not compressed.

    Returns:
        The folder, from the root: the release reads it from its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = CubeStore(lmdb)
    for key in list(store.keys())[:number]:
        if not (folder / f'{key}.mat').exists():
            # under a name that the release would read too, so elsewhere
            temporary = folder.with_name(f'{folder.name}.partial.mat')
            cube = store.read(key) * (np.float64 if as_matlab else np.float32)(store.header(key).scale)
            savemat(temporary, {'hsi': cube}, do_compression=as_matlab)
            os.replace(temporary, folder / f'{key}.mat')
    store.close()
    return folder.resolve()
