"""Print how many training samples one CPU core reads, augments and degrades per second, and where the time goes.

Usage: python -m scripts.dev.speed.loader [--lmdb datasets/cave/train.lmdb] [--scale 8] [--samples 600]
Without --lmdb a store of three made-up scenes of CAVE's size (512x512x31, 16 bits) is written to a temporary folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.data.augmentation import augment, draw_augmentation
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.spectral_response import apply_spectral_response
from mulsr_plugin.data.store.writer import CubeStoreWriter


def main() -> None:
    """Parse, measure, and tell a user's mistake in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lmdb', help='store made by `mulsr prepare`')
    parser.add_argument(
        '--scale', type=whole_number(2), default=8, help='scale factor; crops are 12 times as wide (default: 8)'
    )
    parser.add_argument('--samples', type=whole_number(1), default=600, help='samples to time (default: 600)')
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        try:
            benchmark(args.lmdb or write_made_up_scenes(Path(folder) / 'train.lmdb'), args.scale, args.samples)
        except (ValueError, OSError) as error:
            sys.exit(f'error: {error}')


def write_made_up_scenes(path: Path) -> Path:
    rng = np.random.default_rng(0)
    with CubeStoreWriter(path) as writer:
        for number in range(3):
            writer.add(f'scene_{number}', rng.integers(0, 65536, (512, 512, 31), dtype=np.uint16), 1 / 65535)
    return path


def benchmark(lmdb: str | Path, scale: int, samples: int) -> None:
    opt: dict[str, Any] = {
        'name': 'benchmark',
        'phase': 'train',
        'scale': scale,
        'gt_size': 12 * scale,
        'dataroot_gt': str(lmdb),
        'io_backend': {'type': 'lmdb'},
        'batch_size_per_gpu': 1,
        'num_worker_per_gpu': 0,
    }
    dataset = PairedHSIRGBDataset(opt)
    for index in range(len(dataset.keys)):
        dataset[index]  # reads every scene once: checksums, page cache
    cpu_start = time.process_time()
    total = time_per_call(lambda index: dataset[index], samples)
    cpu = (time.process_time() - cpu_start) / samples
    print(
        f'{12 * scale}x{12 * scale}x{dataset.num_bands} crops at x{scale}, one thread: {1 / total:.0f} samples/s '
        f'({1 / cpu:.0f} per second of CPU time, which other programs disturb less)'
    )
    print(f'{"whole sample":<30}{1e3 * total:8.3f} ms')
    for name, seconds in stages(dataset, samples).items():
        print(f'  {name:<28}{1e3 * seconds:8.3f} ms')


def stages(dataset: PairedHSIRGBDataset, samples: int) -> dict[str, float]:
    """Time the steps of a sample one by one."""
    size, rng = dataset.opt['gt_size'], np.random.default_rng(0)
    key, cubes = dataset.keys[0], dataset.cubes['gt']
    gt = dataset[0]['gt'].numpy()
    height, width, _ = cubes.header(key).shape

    def read(_: int) -> np.ndarray:
        top, left = rng.integers(0, height - size + 1), rng.integers(0, width - size + 1)
        return cubes.read_window(key, int(top), int(left), size, size)

    values = read(0)

    def augment_and_convert(_: int) -> np.ndarray:
        moved = augment(values.transpose(2, 0, 1), draw_augmentation(rng))
        return np.multiply(moved, np.float32(1 / 65535), dtype=np.float32, order='C', casting='unsafe')

    assert dataset.degradation is not None and dataset.response is not None
    degradation, response = dataset.degradation, dataset.response
    return {
        'read the window': time_per_call(read, samples),
        'check the range': time_per_call(lambda _: (values.min(), values.max()), samples),
        'augment, convert to float': time_per_call(augment_and_convert, samples),
        'make the guide': time_per_call(lambda _: apply_spectral_response(response, gt), samples),
        'blur, downsample, add noise': time_per_call(lambda _: degradation(gt, rng), samples),
    }


def time_per_call(function: Callable[[int], Any], count: int) -> float:
    start = time.perf_counter()
    for index in range(count):
        function(index)
    return (time.perf_counter() - start) / count


if __name__ == '__main__':
    main()
