"""What weights lose where the images are not those they were trained for: kernel, noise, registration, bands, response.

    python -m scripts.dev.robustness --weights mulsr_cave_x8_small --lmdb datasets/cave/test.lmdb

One condition is changed at a time, around --preset. Writes robustness.csv and .md; a call goes on where the one before
was interrupted. Bicubic interpolation of the same images stands beside.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import interp1d
from scipy.ndimage import shift as shift_by_spline
from torch import Tensor, nn

from mulsr_plugin.archs.bicubic_arch import BicubicUpsampler
from mulsr_plugin.checkpoints.networks import network_from_weights, read_weights
from mulsr_plugin.checkpoints.shipped import find_weights
from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.sample_seeds import key_generator
from mulsr_plugin.data.spectral_response import apply_spectral_response, load_spectral_response
from mulsr_plugin.data.store.reader import CubeStore
from mulsr_plugin.models.inference import apply_network, is_guided
from mulsr_plugin.models.precision import PRECISIONS
from mulsr_plugin.models.validation import central_crop
from scripts.dev.sweeps import Row, SweepTable, chosen_conditions, print_as_measured
from scripts.dev.timed.training import METRICS, cube_metrics

COLUMNS = ['sweep', 'value', *METRICS, 'bicubic_psnr']
HEAD = ['condition', '', 'PSNR', 'SSIM', 'SAM', 'RMSE', 'ERGAS', 'PSNR of bicubic']
TABLE = 'robustness.csv'
KERNELS = (0.5, 1, 2, 3, 4, 6)
RESPONSES = ('worldview2_rgb', 'gaussian:650/60,550/60,450/60', 'gaussian:620/20,540/20,460/20')
Scene = tuple[str, np.ndarray, np.ndarray]  # key, cube (L, H, W) in [0, 1], wavelengths


@dataclass(frozen=True)
class Condition:
    """How test images are made of a scene.

    Attributes:
        sweep: What is varied.
        value: To what, for the table.
        degradation: Block of options, see :func:`mulsr_plugin.data.degradation.build_degradation`.
        response: Spectral response of the guide, see ``load_spectral_response``. Default: 'nikon_d700'.
        shift: Rows and columns that the guide is moved by against the cube, in its pixels. Default: none.
        bands: Number of bands the scene is resampled to over its wavelengths; None for its own.
    """

    sweep: str
    value: str
    degradation: Mapping[str, Any]
    response: str = 'nikon_d700'
    shift: tuple[float, float] = (0.0, 0.0)
    bands: int | None = None


def sweeps(base: Mapping[str, Any]) -> list[Condition]:
    """Return the conditions of the table around a degradation.

    Args:
        base: Block ``degradation`` that the network was trained or is tested for; kernels are varied as centred
            Gaussians with its noise.
    """
    plain = Condition('as tested', str(base['preset']), base)
    noise = {'noise_sigma': 3 / 255} if base['preset'] == 'authors_fixed' else {}
    kernels = [('centred Gaussian, std in pixels', f'{s:g}', {'preset': 'gaussian', 'sigma': s}) for s in KERNELS]
    kernels += [('resizing alone', preset, {'preset': preset}) for preset in ('average', 'bicubic', 'strided')]
    return [
        plain,
        *(Condition(sweep, value, {**block, **noise}) for sweep, value, block in kernels),
        *(Condition('noise std x 255', str(n), {**base, 'noise_sigma': n / 255}) for n in (0, 1, 2, 3, 4, 6, 10)),
        *(replace(plain, sweep='guide moved right, pixels', value=f'{d:g}', shift=(0, d)) for d in (0.5, 1, 2, 4, 8)),
        *(replace(plain, sweep='guide moved down, pixels', value=f'{d:g}', shift=(d, 0)) for d in (1, 4)),
        *(replace(plain, sweep='number of bands', value=str(n), bands=n) for n in (8, 16, 61, 121)),
        *(replace(plain, sweep='response of the guide', value=name, response=name) for name in RESPONSES),
    ]


def read_scenes(lmdb: Path, scale: int, crop_size: int | None, max_scenes: int | None) -> list[Scene]:
    """Read the scenes of a store, cut to whole low-resolution pixels and to a central crop."""
    store, scenes = CubeStore(lmdb), []
    for key in list(store.keys())[:max_scenes]:
        header = store.header(key)
        if header.wavelengths is None:
            raise ValueError(f'{key} has no wavelengths, which other bands and responses need: prepare it with them.')
        cube = torch.from_numpy(store.read(key) * np.float32(header.scale)).permute(2, 0, 1)
        height, width = (side // scale for side in cube.shape[1:])
        sample = {'gt': cube[:, : height * scale, : width * scale], 'lq': cube[:, :height, :width], 'lq_path': key}
        gt = central_crop(sample, crop_size, scale)['gt']
        scenes.append((key, np.ascontiguousarray(gt, np.float32), np.asarray(header.wavelengths, float)))
    return scenes


def measure(
    net: nn.Module, scenes: Sequence[Scene], scale: int, condition: Condition, precision: str = 'fp32'
) -> dict[str, float]:
    """Return the mean metrics over the scenes, and as ``bicubic_psnr`` that of bicubic interpolation."""
    device, bicubic = next(net.parameters()).device, BicubicUpsampler(scale)
    rows = []
    for key, cube, wavelengths in scenes:
        if condition.bands is not None:
            cube, wavelengths = resample_bands(cube, wavelengths, condition.bands)
        response = load_spectral_response(condition.response, len(cube), tuple(wavelengths))
        guide = torch.from_numpy(shift_image(apply_spectral_response(response, cube), condition.shift))[None]
        degradation = build_degradation(dict(condition.degradation), scale)
        lq = torch.from_numpy(degradation(cube, key_generator(degradation.seed, key)))[None].to(device)
        result = apply_network(net, lq, guide.to(device) if is_guided(net) else None, precision=precision)
        gt = torch.from_numpy(cube).to(device).permute(1, 2, 0)
        ours, interpolated = (cube_metrics(_image(batch), gt, scale) for batch in (result, bicubic(lq)))
        rows.append({**ours, 'bicubic_psnr': interpolated['psnr']})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _image(batch: Tensor) -> Tensor:
    return batch.clamp(0, 1)[0].permute(1, 2, 0)


def resample_bands(cube: np.ndarray, wavelengths: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate the spectra of a cube linearly at other, evenly spaced wavelengths of the same range.

    Args:
        cube: (L, H, W).
        wavelengths: L ascending band centres.
        number: Bands wanted, at least 2.

    Returns:
        The cube (number, H, W) float32 and its wavelengths.
    """
    wanted = np.linspace(wavelengths[0], wavelengths[-1], number)
    return interp1d(wavelengths, cube, axis=0)(wanted).astype(np.float32), wanted


def shift_image(image: np.ndarray, shift: tuple[float, float]) -> np.ndarray:
    """Move an image (C, H, W) down and right by pixels, also parts of them (bilinear); edges are repeated."""
    return shift_by_spline(image, (0, *shift), order=1, mode='nearest')


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='checkpoint, or the name of weights of the package')
    parser.add_argument('--lmdb', type=Path, required=True, help='store of the test scenes')
    parser.add_argument('--scale', type=whole_number(2), default=8, help='default: %(default)s')
    parser.add_argument(
        '--preset', choices=['authors_fixed', 'noise_free'], default='authors_fixed', help='default: %(default)s'
    )
    parser.add_argument('--centering', choices=['legacy', 'aligned'], help='of authors_fixed; default: legacy')
    parser.add_argument('--sweeps', nargs='+', default=[''], help='only sweeps whose names begin so')
    parser.add_argument('--crop-size', type=whole_number(1), help='central crops only, a multiple of the scale')
    parser.add_argument('--max-scenes', type=whole_number(1), help='the first scenes only')
    devices = ['cuda', 'cpu'] if torch.cuda.is_available() else ['cpu']
    parser.add_argument('--device', choices=devices, default=devices[0], help='default: %(default)s')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32', help='default: %(default)s')
    parser.add_argument('--out', type=Path, default=Path('results/robustness'), help='default: %(default)s')
    return parser


def fill_table(args: argparse.Namespace) -> Iterator[Row]:
    """Measure the conditions that are missing; yield each row, and write the tables with it."""
    base = {'preset': args.preset, **({'kernel_centering': args.centering} if args.centering else {})}
    conditions = chosen_conditions(sweeps(base), args.sweeps)
    net, network = network_from_weights(read_weights(find_weights(args.weights)), args.scale)
    net.to(args.device).eval()
    scenes = read_scenes(args.lmdb, args.scale, args.crop_size, args.max_scenes)
    size = f'central {args.crop_size}x{args.crop_size} crops' if args.crop_size else 'whole scenes'
    protocol = (
        f'{args.weights}: {network["type"]}; x{args.scale}, {" ".join(base.values())}, '
        f'{len(scenes)} scenes ({", ".join(key for key, _, _ in scenes)}), {size}, {args.precision}'
    )

    def measured(condition: Condition) -> dict[str, float]:
        return measure(net, scenes, args.scale, condition, args.precision)

    table = SweepTable(args.out / TABLE, protocol, COLUMNS, HEAD, lambda row: [row[column] for column in COLUMNS])
    yield from table.fill(conditions, measured)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; a user's mistake ends the program with one line."""
    args = build_parser().parse_args(argv)
    return print_as_measured(fill_table(args), args.out / TABLE)


if __name__ == '__main__':
    sys.exit(main())
