"""Trainings against the clock: quality on test scenes after so many minutes of training, ours and the release's."""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.models import build_model
from basicsr.utils.registry import MODEL_REGISTRY
from scipy.io import savemat
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, default_collate

from mulsr_plugin.cli.arguments import above_zero, whole_number
from mulsr_plugin.data.store.reader import CubeStore
from mulsr_plugin.metrics.ergas import calculate_ergas
from mulsr_plugin.metrics.psnr import calculate_hsi_psnr
from mulsr_plugin.metrics.rmse import calculate_rmse
from mulsr_plugin.metrics.sam import calculate_sam
from mulsr_plugin.metrics.ssim import calculate_hsi_ssim
from mulsr_plugin.models.inference import apply_network, is_guided
from mulsr_plugin.models.validation import central_crop
from mulsr_plugin.utils.options import Rule, read_option_file, require
from scripts.dev.speed.cases import Reference
from scripts.dev.speed.tables import describe_machine

METRICS = ('psnr', 'ssim', 'sam', 'rmse', 'ergas')


def add_arguments(parser: argparse.ArgumentParser, minutes: float, every: float, out: str) -> None:
    """Add what every script of timed trainings takes.

    Args:
        parser: Gets the arguments.
        minutes: Default length of a training.
        every: Default minutes between tests.
        out: Default folder of the results.
    """
    parser.add_argument('--data', type=Path, default=Path('datasets/cave'), help='LMDBs; default: %(default)s')
    parser.add_argument('--minutes', type=above_zero, default=minutes, help='of every training; default: %(default)s')
    parser.add_argument('--every', type=above_zero, default=every, help='minutes between tests; default: %(default)s')
    parser.add_argument('--crop-size', type=whole_number(1), help='test on central crops only')
    parser.add_argument('--bands', type=whole_number(0), nargs='+', help='test these bands only')
    devices = ['cuda', 'cpu'] if torch.cuda.is_available() else ['cpu']
    parser.add_argument('--device', choices=devices, default=devices[0], help='default: %(default)s')
    parser.add_argument('--out', type=Path, default=Path(out), help='default: %(default)s')


def read_training_options(path: Path, data: Path) -> dict[str, Any]:
    """Read an option file and let it train and test on the LMDBs of ``data``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is none of a training.
    """
    opt = read_option_file(path, 'datasets', 'network_g', 'train', 'val')
    for phase, store in (('train', 'train.lmdb'), ('val', 'test.lmdb')):
        require(opt['datasets'], [phase], f'datasets of {path}')
        opt['datasets'][phase]['dataroot_gt'] = str(data / store)
    return opt


class Training(Protocol):
    """A training that can be taken a batch at a time."""

    name: str
    iterations: int

    def step(self) -> None:
        """Train on the next batch."""

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that are to be tested, under the names of this package."""


@dataclass(frozen=True)
class Point:
    """Quality at one moment.

    Attributes:
        training: Name of the training.
        minutes: Minutes of training so far, tests not counted.
        iterations: Batches so far.
        values: Mean metrics over the test scenes.
    """

    training: str
    minutes: float
    iterations: int
    values: Mapping[str, float]


class OurTraining:
    """A training of this package as its option file has it, without logs and checkpoints.

    Args:
        name: Its name in the table.
        opt: Options as they are written in the file.
        device: CPU or GPU.

    Raises:
        ValueError: An option is wrong.
    """

    def __init__(self, name: str, opt: Mapping[str, Any], device: torch.device) -> None:
        self.name, self.iterations = name, 0
        self.opt = as_parsed(opt, device)
        torch.manual_seed(self.opt['manual_seed'])
        self.model = build_model(self.opt)
        self._batches = _endless_batches(self.opt)

    def step(self) -> None:
        """Train on the next batch."""
        self.iterations += 1
        self.model.update_learning_rate(self.iterations, warmup_iter=self.opt['train'].get('warmup_iter', -1))
        self.model.feed_data(next(self._batches))
        self.model.optimize_parameters(self.iterations)

    def weights(self) -> dict[str, Tensor]:
        """Return the averaged weights where they are kept, else the current ones."""
        return self.model.evaluation_network().state_dict()


class ReferenceTraining:
    """The training loop of the authors' release: its samples and network, an optimiser step for every band.

    Learning rate 1e-4, Adam as PyTorch has it, L1 loss, as in their ``train.py``.

    Args:
        reference: Their code.
        opt: Options of ours that it is compared with: modules, scale, size of crops and of batches, seed.
        folder: Folder of their training data, see :func:`write_mats`.
        workers: Processes that make their samples; their default is 12.
        device: CPU or GPU.
    """

    def __init__(
        self, reference: Reference, opt: Mapping[str, Any], folder: Path, workers: int, device: torch.device
    ) -> None:
        self.name, self.iterations = reference.name, 0
        data = opt['datasets']['train']
        torch.manual_seed(opt.get('manual_seed') or 0)
        self.reference, self.device = reference, device
        self.net = reference.network(opt['network_g']['num_modules'], opt['scale']).to(device)
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=1e-4)
        samples = reference.training_set(folder, opt['scale'], data['gt_size'])
        size = data['batch_size_per_gpu']
        # without end, so that no time goes into starting its processes anew
        sampler = RandomSampler(samples, replacement=True, num_samples=10**6 * size)
        self._batches = iter(DataLoader(samples, size, sampler=sampler, num_workers=workers))

    def step(self) -> None:
        """Train on the next batch."""
        self.iterations += 1
        gt, lq, rgb = (images.to(self.device) for images in next(self._batches))
        for band in range(gt.shape[1]):
            result = self.reference.run_band(self.net, lq, rgb, band)
            loss = nn.functional.l1_loss(result.squeeze(1), gt[:, band])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def weights(self) -> dict[str, Tensor]:
        """Return the weights of their network under our names."""
        return self.reference.weights(self.net)


class TestScenes:
    """Test scenes, and the mean quality of a network on them.

    Args:
        opt: Block of a validation data set, with ``scale``.
        device: CPU or GPU.
        crop_size: Side of the central crop that is used; None for whole scenes.
        bands: Bands that are computed; None for all.
        precision: ``fp32``, ``tf32`` or ``bf16``.
    """

    __test__ = False  # no test of pytest

    def __init__(
        self,
        opt: Mapping[str, Any],
        device: torch.device,
        crop_size: int | None = None,
        bands: Sequence[int] | None = None,
        precision: str = 'fp32',
    ) -> None:
        self.dataset = build_dataset({**opt, 'phase': 'val'})
        self.device, self.bands, self.precision = device, bands, precision
        scale = self.dataset.scale
        samples = (self.dataset[index] for index in range(len(self.dataset)))
        self.samples = [default_collate([central_crop(sample, crop_size, scale)]) for sample in samples]

    def describe(self) -> str:
        """Say in one line what the values are measured on."""
        parts = [self.dataset.describe(), '{2}x{3} pixels'.format(*self.samples[0]['gt'].shape)]
        return '; '.join([*parts, *([f'bands {list(self.bands)}'] if self.bands else [])])

    def measure(self, net: nn.Module) -> dict[str, float]:
        """Return the means of :data:`METRICS` over the scenes."""
        net = net.to(self.device).eval()
        rows = [self._measure(net, sample) for sample in self.samples]
        return {name: float(np.mean([row[name] for row in rows])) for name in METRICS}

    def _measure(self, net: nn.Module, sample: Mapping[str, Tensor]) -> dict[str, float]:
        lq, gt = sample['lq'].to(self.device), sample['gt'].to(self.device)
        bands = list(self.bands or range(gt.shape[1]))
        rgb = sample['rgb'].to(self.device) if is_guided(net) else None
        result = apply_network(net, lq, rgb, bands, precision=self.precision).clamp(0, 1)
        return cube_metrics(result[0].permute(1, 2, 0), gt[0, bands].permute(1, 2, 0), self.dataset.scale)


def load_scenes(opt: Mapping[str, Any], args: argparse.Namespace) -> tuple[TestScenes, str]:
    """Load the test scenes of an option file as the arguments say; return them and what machine this is."""
    device = torch.device(args.device)
    val = {**opt['datasets']['val'], 'scale': opt['scale']}
    scenes = TestScenes(val, device, args.crop_size, args.bands, 'tf32' if args.device == 'cuda' else 'fp32')
    return scenes, describe_machine(device, {}).split('; matrix')[0]


def cube_metrics(result: Tensor, gt: Tensor, scale: int) -> dict[str, float]:
    """Return :data:`METRICS` of one cube (H, W, L) in [0, 1]; SSIM needs 11 pixels a side and is NaN below."""
    ssim = calculate_hsi_ssim(result, gt) if min(gt.shape[:2]) >= 11 else float('nan')
    return {
        'psnr': calculate_hsi_psnr(result, gt),
        'ssim': ssim,
        'sam': calculate_sam(result, gt),
        'rmse': calculate_rmse(result, gt),
        'ergas': calculate_ergas(result, gt, scale=scale),
    }


def train_against_clock(
    training: Training, net: nn.Module, scenes: TestScenes, minutes: float, every: float
) -> Iterator[Point]:
    """Train for some minutes and test again and again; the clock stands still during tests.

    What a training does at its first batch, compiling included, counts. As in ``mulsr_plugin.train``, cuDNN tries out
    what is fastest for a shape of images when it first meets it.

    Args:
        training: What is trained.
        net: A network of this package for the weights.
        scenes: What it is tested on.
        minutes: Minutes of training.
        every: Minutes between tests.

    Yields:
        Quality before the training, after every ``every`` minutes, and at the end.
    """
    torch.backends.cudnn.benchmark = True
    spent = 0.0
    for number in count(1):
        net.load_state_dict(training.weights())
        yield Point(training.name, spent / 60, training.iterations, scenes.measure(net))
        if spent >= 60 * minutes:
            return
        start, until = time.perf_counter(), 60 * min(minutes, number * every)
        while spent + time.perf_counter() - start < until:
            training.step()
        if scenes.device.type == 'cuda':
            torch.cuda.synchronize()
        spent += time.perf_counter() - start


class PointTable:
    """Points in a CSV file, so that a comparison goes on with the trainings that are missing.

    Args:
        path: The file.
        protocol: Line above the table; a file with another one is refused.

    Raises:
        ValueError: The file holds points of another protocol.
    """

    def __init__(self, path: Path, protocol: str) -> None:
        self.path, self.head = path, f'# {protocol}\n'
        self.points = self._read() if path.exists() else []

    def _read(self) -> list[Point]:
        with open(self.path, encoding='utf-8', newline='') as file:
            if file.readline() != self.head:
                raise ValueError(f'{self.path} holds results of another protocol: name another folder.')
            rows = list(csv.DictReader(file))
        return [
            Point(
                row['training'],
                float(row['minutes']),
                int(row['iterations']),
                {name: float(row[name]) for name in METRICS},
            )
            for row in rows
        ]

    def is_complete(self, training: str, minutes: float) -> bool:
        """Tell whether the points of a training reach up to some minutes."""
        return any(point.training == training and point.minutes >= minutes for point in self.points)

    def of(self, training: str) -> list[Point]:
        """Points of one training."""
        return [point for point in self.points if point.training == training]

    def replace(self, training: str, points: Iterable[Point]) -> None:
        """Put the points of a training in the place of older ones, writing the file with each."""
        self.points = [point for point in self.points if point.training != training]
        for point in points:
            self.points.append(point)
            self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f'.{self.path.name}.partial')
        with open(temporary, 'w', encoding='utf-8', newline='') as file:
            file.write(self.head)
            writer = csv.writer(file, lineterminator='\n')
            writer.writerow(['training', 'minutes', 'iterations', *METRICS])
            for point in self.points:
                values = [f'{point.values[name]:.6f}' for name in METRICS]
                writer.writerow([point.training, f'{point.minutes:.5f}', point.iterations, *values])
        os.replace(temporary, self.path)


def minutes_to_reach(points: Sequence[Point], psnr: float) -> float | None:
    """Return the minutes of the first test that reached a PSNR; None if none did."""
    return next((point.minutes for point in points if point.values['psnr'] >= psnr), None)


def as_parsed(opt: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """Return options of a training with what BasicSR's parser adds, for one process on one device."""
    parsed: dict[str, Any] = deepcopy(dict(opt))
    for phase, data in parsed['datasets'].items():
        data.update(phase=phase.split('_')[0], scale=parsed['scale'])
    parsed.update(num_gpu=int(device.type == 'cuda'), manual_seed=parsed.get('manual_seed') or 0)
    parsed.update(dist=False, rank=0, world_size=1, is_train=True, auto_resume=False)
    return parsed


def training_rules(opt: Mapping[str, Any]) -> Mapping[str, Rule]:
    """Return the legal options of the ``train`` block of the model that options name."""
    return MODEL_REGISTRY.get(opt['model_type']).train_rules


def _endless_batches(opt: Mapping[str, Any]) -> Iterator[Any]:
    data, seed = opt['datasets']['train'], opt['manual_seed']
    dataset = build_dataset(data)
    sampler = EnlargedSampler(dataset, 1, 0, 1)
    loader = build_dataloader(dataset, data, opt['num_gpu'], dist=False, sampler=sampler, seed=seed)
    for epoch in count():
        sampler.set_epoch(epoch)
        dataset.set_epoch(epoch, seed)
        yield from loader


def write_mats(lmdb: Path, folder: Path) -> Path:
    """Write the scenes of a store as the release reads them: float32 in [0, 1] under ``hsi``, not compressed."""
    folder.mkdir(parents=True, exist_ok=True)
    store = CubeStore(lmdb)
    for key in list(store.keys()):
        if not (folder / f'{key}.mat').exists():
            # under a name that the release would read too, so elsewhere
            temporary = folder.with_name(f'{folder.name}.partial.mat')
            savemat(temporary, {'hsi': store.read(key) * np.float32(store.header(key).scale)})
            os.replace(temporary, folder / f'{key}.mat')
    store.close()
    return folder.resolve()  # the release reads it from its own folder
