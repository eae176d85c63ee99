"""Trainings against the clock: quality on test scenes after so many minutes of training, ours and the release's."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataset
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.utils.data import default_collate
from torch.utils.flop_counter import FlopCounterMode

from mulsr_plugin.cli.arguments import above_zero, whole_number
from mulsr_plugin.metrics.ergas import calculate_ergas
from mulsr_plugin.metrics.psnr import calculate_hsi_psnr
from mulsr_plugin.metrics.rmse import calculate_rmse
from mulsr_plugin.metrics.sam import calculate_sam
from mulsr_plugin.metrics.ssim import calculate_hsi_ssim
from mulsr_plugin.models.inference import apply_network, is_guided
from mulsr_plugin.models.validation import central_crop
from mulsr_plugin.utils.options import Rule, read_option_file, require
from mulsr_plugin.utils.tables import read_csv_of, write_csv
from scripts.dev.speed.tables import describe_machine
from scripts.dev.trainings import Training

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

    def gflops(self, net: nn.Module) -> float:
        """Count the floating-point operations of a network on one scene in 10^9, a multiply-add as two."""
        with FlopCounterMode(display=False) as counter:
            self._result(net.to(self.device).eval(), self.samples[0])
        return counter.get_total_flops() / 1e9

    def _measure(self, net: nn.Module, sample: Mapping[str, Tensor]) -> dict[str, float]:
        result = self._result(net, sample).clamp(0, 1)
        gt = sample['gt'][0, self._chosen(sample)].to(self.device)
        return cube_metrics(result[0].permute(1, 2, 0), gt.permute(1, 2, 0), self.dataset.scale)

    def _result(self, net: nn.Module, sample: Mapping[str, Tensor]) -> Tensor:
        rgb = sample['rgb'].to(self.device) if is_guided(net) else None
        return apply_network(net, sample['lq'].to(self.device), rgb, self._chosen(sample), precision=self.precision)

    def _chosen(self, sample: Mapping[str, Tensor]) -> list[int]:
        return list(self.bands or range(sample['gt'].shape[1]))


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
    name: str, training: Training, net: nn.Module, scenes: TestScenes, minutes: float, every: float
) -> Iterator[Point]:
    """Train for some minutes and test again and again; the clock stands still during tests.

    What a training does at its first batch, compiling included, counts. As in ``mulsr_plugin.train``, cuDNN tries out
    what is fastest for a shape of images when it first meets it.

    Args:
        name: Name of the training in the table.
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
        yield Point(name, spent / 60, training.iterations, scenes.measure(net))
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
        protocol: Line above the table.

    Raises:
        ValueError: The file holds points of another protocol.
    """

    def __init__(self, path: Path, protocol: str) -> None:
        self.path, self.protocol = path, protocol
        self.points = [
            Point(
                row['training'],
                float(row['minutes']),
                int(row['iterations']),
                {name: float(row[name]) for name in METRICS},
            )
            for row in read_csv_of(path, protocol)
        ]

    def is_complete(self, training: str, minutes: float) -> bool:
        """Return whether the points of a training reach up to some minutes."""
        return any(point.training == training and point.minutes >= minutes for point in self.points)

    def of(self, training: str) -> list[Point]:
        """Return the points of one training."""
        return [point for point in self.points if point.training == training]

    def replace(self, training: str, points: Iterable[Point]) -> None:
        """Put the points of a training in the place of older ones, writing the file with each."""
        self.points = [point for point in self.points if point.training != training]
        for point in points:
            self.points.append(point)
            rows = [
                {
                    'training': point.training,
                    'minutes': f'{point.minutes:.5f}',
                    'iterations': point.iterations,
                    **{name: f'{point.values[name]:.6f}' for name in METRICS},
                }
                for point in self.points
            ]
            write_csv(self.path, ['training', 'minutes', 'iterations', *METRICS], rows, [self.protocol])


def minutes_to_reach(points: Sequence[Point], psnr: float) -> float | None:
    """Return the minutes of the first test that reached a PSNR; None if none did."""
    return next((point.minutes for point in points if point.values['psnr'] >= psnr), None)


def training_rules(opt: Mapping[str, Any]) -> Mapping[str, Rule]:
    """Return the legal options of the ``train`` block of the model that options name."""
    return MODEL_REGISTRY.get(opt['model_type']).train_rules
