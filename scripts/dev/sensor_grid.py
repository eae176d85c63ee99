"""How near the estimated sensor model comes to the true one, and what the difference costs the fusion.

    python -m scripts.dev.sensor_grid --lmdb datasets/cave/test.lmdb

One condition is changed at a time: the width, shape and place of the blur with and without noise, the registration of
the guide, the scale, the response and the number of bands. SensorFusion runs with nothing known and with the true blur;
bicubic interpolation and MTF-GLP with the true blur stand beside. Writes sensor_grid.csv and .md; a call goes on where
the one before was interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mulsr_plugin.archs.bicubic_arch import BicubicUpsampler
from mulsr_plugin.archs.mtfglp_arch import MTFGLP
from mulsr_plugin.archs.sensorfusion_arch import SensorFusion
from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.data.sample_seeds import key_generator
from mulsr_plugin.data.spectral_response import apply_spectral_response, load_spectral_response
from mulsr_plugin.data.store.reader import CubeStore
from mulsr_plugin.metrics.psnr import calculate_hsi_psnr
from mulsr_plugin.metrics.sam import calculate_sam
from mulsr_plugin.sensor.estimation import estimate_sensor
from mulsr_plugin.sensor.model import SensorModel
from scripts.dev.robustness import resample_bands
from scripts.dev.sweeps import Row, SweepTable, chosen_conditions, print_as_measured

COLUMNS = ['sweep', 'value', 'known', 'place', 'kernel', 'response', 'noise']
METHODS = ('bicubic', 'mtfglp', 'estimated', 'true')
COLUMNS += [f'{method}_{metric}' for method in METHODS for metric in ('psnr', 'sam')] + ['worst']
HEAD = ['condition', '', 'found', 'error of the place, pixels', 'error of the kernel', 'error of R lq', 'noise x 255']
HEAD += ['bicubic', 'MTF-GLP, true blur', 'SensorFusion, nothing known', 'SensorFusion, true blur', 'worst loss, dB']
TABLE = 'sensor_grid.csv'
LARGEST_MOVE = 8  # pixels that scenes are cut by on every side, so that a moved guide shows real ground
WIDTHS = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
PLACES = ((0, -2), (3, 3), (5, -6), (-8, 0), (8, 8), (2.5, -3.5))
SCALES = (2, 3, 4, 5, 8, 12, 16, 24, 32)
RESPONSES = ('worldview2_rgb', 'gaussian:650/60,550/60,450/60', 'gaussian:620/20,540/20,460/20', 'gaussian:550/80')


@dataclass(frozen=True)
class Condition:
    """How a pair is made of a scene.

    Attributes:
        sweep: What is varied.
        value: To what, for the table.
        sigma: Standard deviations of the Gaussian blur, in pixels.
        angle: Of its ellipse in degrees.
        move: Rows and columns by which the cube lies off the guide, in pixels of the guide.
        noise: Standard deviation of the noise, on [0, 1].
        scale: Scale factor.
        response: Of the guide's camera, see ``load_spectral_response``.
        bands: Number of bands the scene is resampled to; None for its own.
    """

    sweep: str
    value: str
    sigma: tuple[float, float] = (2.0, 2.0)
    angle: float = 0.0
    move: tuple[float, float] = (0.0, 0.0)
    noise: float = 0.0
    scale: int = 8
    response: str = 'nikon_d700'
    bands: int | None = None


def conditions() -> list[Condition]:
    """Return the conditions of the table."""
    clean = [
        *(Condition('width of the blur, pixels', f'{width:g}', (width, width)) for width in WIDTHS),
        Condition('width of the blur, pixels', '1.5 x 5 at 30 degrees', (1.5, 5.0), 30.0),
        *(Condition('place of the cube, pixels', f'{row:g}, {column:g}', move=(row, column)) for row, column in PLACES),
    ]
    noisy = [replace(one, sweep=f'{one.sweep}, noise 3/255', noise=3 / 255) for one in clean]
    return [
        *clean,
        *noisy,
        *(Condition('noise x 255', f'{sigma:g}', noise=sigma / 255) for sigma in (0.5, 1, 2, 5, 10)),
        *(Condition('scale', f'{scale}', (scale / 4, scale / 4), scale=scale) for scale in SCALES),
        *(Condition('response of the guide', name, response=name) for name in RESPONSES),
        *(Condition('number of bands', f'{bands}', bands=bands) for bands in (4, 8, 16, 61, 121, 224)),
    ]


@dataclass(frozen=True)
class Pair:
    """Tensors (L, H, W), (L, h, w) and (G, H, W) of one scene, with the model that made them."""

    gt: Tensor
    lq: Tensor
    guide: Tensor
    sensor: SensorModel


def make_pair(key: str, cube: np.ndarray, wavelengths: np.ndarray, condition: Condition) -> Pair:
    """Blur a scene (L, H, W) and cut cube and guide to the ground that both can show."""
    if condition.bands is not None:
        cube, wavelengths = resample_bands(cube, wavelengths, condition.bands)
    response = load_spectral_response(condition.response, len(cube), tuple(wavelengths))
    scale, move = condition.scale, condition.move
    whole = [int(np.floor(distance)) for distance in move]  # the rest moves the kernel
    rest = (move[0] - whole[0], move[1] - whole[1])
    blur = SensorModel.from_gaussian(scale, condition.sigma, condition.angle, rest)
    sensor = SensorModel.from_gaussian(scale, condition.sigma, condition.angle, move, response=response)
    side = (min(cube.shape[1:]) - 2 * LARGEST_MOVE) // scale * scale
    scene = torch.from_numpy(cube)
    top, left = LARGEST_MOVE + whole[0], LARGEST_MOVE + whole[1]
    lq = blur.blur(scene[None, :, top : top + side, left : left + side])[0]
    rng = key_generator(0, key)
    lq = (lq + condition.noise * torch.from_numpy(rng.standard_normal(lq.shape, np.float32))).clamp(0, 1)
    gt = scene[:, LARGEST_MOVE : LARGEST_MOVE + side, LARGEST_MOVE : LARGEST_MOVE + side].contiguous()
    return Pair(gt, lq, torch.from_numpy(apply_spectral_response(response, gt.numpy())), sensor)


def kernel_error(estimated: SensorModel, true: SensorModel) -> float:
    """Return the norm of the difference of two kernels, each in its place, over that of the true one."""
    canvas = 2 * max(*(max(step.kernel.shape) for step in (*estimated.steps, *true.steps))) + 4 * true.scale
    placed = []
    for model in (estimated, true):
        step, image = model.steps[-1], np.zeros((2 * canvas, 2 * canvas))
        rows, columns = (slice(canvas + first, canvas + first + n) for first, n in zip(step.offset, step.kernel.shape))
        image[rows, columns] = step.kernel / step.kernel.sum()
        placed.append(image)
    return float(np.linalg.norm(placed[0] - placed[1]) / np.linalg.norm(placed[1]))


def measure(pair: Pair) -> dict[str, float]:
    """Estimate the sensor model of a pair, and fuse with it and with the true one."""
    estimate, scale = estimate_sensor(pair.lq, pair.guide), pair.sensor.scale
    blur_alone = replace(pair.sensor, response=None)
    nets: dict[str, tuple[nn.Module, tuple]] = {
        'bicubic': (BicubicUpsampler(scale), (pair.lq[None],)),
        'mtfglp': (MTFGLP(scale), (pair.lq[None], pair.guide[None], blur_alone)),
        'estimated': (SensorFusion(scale), (pair.lq[None], pair.guide[None], estimate.sensor)),
        'true': (SensorFusion(scale), (pair.lq[None], pair.guide[None], blur_alone)),
    }
    if not estimate.related:  # which without a model given ends in interpolation
        nets['estimated'] = (SensorFusion(scale), (pair.lq[None], pair.guide[None]))
    row = {'known': float(estimate.known), **_errors(pair, estimate.sensor)}
    for name, (net, inputs) in nets.items():
        with torch.no_grad():
            image = net(*inputs)[0].clamp(0, 1).permute(1, 2, 0)
        row[f'{name}_psnr'] = calculate_hsi_psnr(image, pair.gt.permute(1, 2, 0))
        row[f'{name}_sam'] = calculate_sam(image, pair.gt.permute(1, 2, 0))
    return row


def _errors(pair: Pair, estimated: SensorModel) -> dict[str, float]:
    """Return how far an estimated model is from the true one."""
    place = float(np.hypot(*np.subtract(estimated.centre, pair.sensor.centre)))
    predicted = float('nan')
    if estimated.response is not None:  # single weights of bands that look alike say nothing, what they predict does
        true = pair.sensor.apply_response(pair.lq[None])
        predicted = float((estimated.apply_response(pair.lq[None]) - true).norm() / true.norm())
    return {
        'place': place,
        'kernel': kernel_error(estimated, pair.sensor),
        'response': predicted,
        'noise': 255 * float(estimated.noise_sigma.median()),
    }


def mean_of_scenes(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the means over the scenes, with the largest loss of one scene against the true blur."""
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    return {**means, 'worst': max(row['true_psnr'] - row['estimated_psnr'] for row in rows)}


def fill_table(args: argparse.Namespace) -> Iterator[Row]:
    """Measure the conditions that are missing; yield each row, and write the tables with it."""
    store = CubeStore(args.lmdb)
    keys = list(store.keys())[: args.max_scenes]
    protocol = f'{len(keys)} scenes ({", ".join(keys)}) without a rim of {LARGEST_MOVE} pixels; PSNR / SAM'

    def measured(condition: Condition) -> dict[str, float]:
        return mean_of_scenes([measure(make_pair(*scene, condition)) for scene in _scenes(store, keys)])

    chosen = chosen_conditions(conditions(), args.sweeps)
    yield from SweepTable(args.out / TABLE, protocol, COLUMNS, HEAD, _cells).fill(chosen, measured)


def _scenes(store: CubeStore, keys: Sequence[str]) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for key in keys:
        header = store.header(key)
        if header.wavelengths is None:
            raise ValueError(f'{key} has no wavelengths, which other bands and responses need: prepare it with them.')
        cube = np.ascontiguousarray((store.read(key) * np.float32(header.scale)).transpose(2, 0, 1), np.float32)
        yield key, cube, np.asarray(header.wavelengths, float)


def _cells(row: Row) -> list[str]:
    """Return a row of the Markdown table."""
    shares = [f'{float(row[column]):.1%}' for column in ('kernel', 'response')]
    errors = [f'{float(row["known"]):.0%}', f'{float(row["place"]):.2f}', *shares]
    quality = [f'{float(row[f"{m}_psnr"]):.2f} / {float(row[f"{m}_sam"]):.2f}' for m in METHODS]
    return [row['sweep'], row['value'], *errors, f'{float(row["noise"]):.1f}', *quality, f'{float(row["worst"]):.2f}']


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--lmdb', type=Path, required=True, help='store of scenes with wavelengths')
    parser.add_argument('--sweeps', nargs='+', default=[''], help='only sweeps whose names begin so')
    parser.add_argument('--max-scenes', type=whole_number(1), help='the first scenes only')
    parser.add_argument('--out', type=Path, default=Path('results/sensor_grid'), help='default: %(default)s')
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; a user's mistake ends the program with one line."""
    args = build_parser().parse_args(argv)
    return print_as_measured(fill_table(args), args.out / TABLE)


if __name__ == '__main__':
    sys.exit(main())
