#!/usr/bin/env python3
r"""Draw the figures of a benchmark, or one picture of several tests.

Figures of a benchmark (needs Matplotlib), as PNG and PDF in results/NAME/figures/: results with an enlarged area and
error maps, spectra, PSNR per band, PSNR against cost. Its cubes must be saved (`save_cubes: true`).

    python scripts/plot_results.py results/NAME --images balloons,feathers --pixels "100,200;300,40"

One picture of several tests side by side, with their error maps below (without Matplotlib). The tests must have been
run with `save_cube: npy`; the option file names the data set with input and reference.

    python scripts/plot_results.py -opt options/demo_test_mulsr_x8.yml --out demo_result.png \
        Bicubic=results/demo_bicubic_x8 MulSR=results/demo_mulsr_x8
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.data import build_dataset

from mulsr_plugin.apps.benchmark.drawing import Area, Pixel
from mulsr_plugin.apps.benchmark.figures import write_benchmark_figures
from mulsr_plugin.data.false_colour import results_panel
from mulsr_plugin.utils.options import read_option_file


def main() -> int:
    """Parse, plot, and tell a user's mistake in one line."""
    args = parse_arguments()
    try:
        files = [picture_of_tests(args)] if args.opt else figures_of_benchmarks(args)
    except (ImportError, ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print('\n'.join(map(str, files)))
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', nargs='+', help='results/NAME of a benchmark; with -opt: LABEL=FOLDER for each test')
    parser.add_argument('--images', type=split_names, help='scenes to show, separated by commas (default: two)')
    figures = parser.add_argument_group('benchmark')
    figures.add_argument('--entries', type=split_names, help='entries to show, separated by commas (default: all)')
    figures.add_argument('--pixels', type=split_pixels, help='ROW,COLUMN;ROW,COLUMN of the spectra (default: chosen)')
    figures.add_argument('--area', type=split_area, help='TOP,LEFT,HEIGHT,WIDTH to enlarge (default: most detail)')
    picture = parser.add_argument_group('tests')
    picture.add_argument('-opt', help='option file of a test, for its first data set')
    picture.add_argument('--out', type=Path, help='PNG file to write')
    args = parser.parse_args()
    if bool(args.opt) != bool(args.out):
        parser.error('-opt and --out belong together: they make one picture of several tests')
    if args.opt and not all('=' in entry for entry in args.results):
        parser.error('with -opt, name each test as LABEL=FOLDER')
    return args


def split_names(text: str) -> list[str]:
    return [name.strip() for name in text.split(',') if name.strip()]


def split_pixels(text: str) -> list[Pixel]:
    pixels = [tuple(map(int, pair.split(','))) for pair in text.split(';')]
    if any(len(pixel) != 2 for pixel in pixels):
        raise ValueError
    return [(pixel[0], pixel[1]) for pixel in pixels]


def split_area(text: str) -> Area:
    top, left, height, width = map(int, text.split(','))
    return top, left, height, width


def figures_of_benchmarks(args: argparse.Namespace) -> list[Path]:
    """Write the figures of every benchmark named."""
    return [
        file
        for folder in args.results
        for file in write_benchmark_figures(folder, args.images, args.entries, args.pixels, args.area)
    ]


def picture_of_tests(args: argparse.Namespace) -> Path:
    """Write one picture of several tests."""
    picture = plot(open_dataset(args.opt), dict(entry.split('=', 1) for entry in args.results), args.images)
    if not cv2.imwrite(str(args.out), picture[..., ::-1]):
        raise OSError(f'Cannot write {args.out}; check that its folder exists and has room.')
    return args.out


def open_dataset(option_file: str) -> Any:
    """Build the first data set of an option file."""
    opt = read_option_file(option_file, 'datasets', 'scale')
    phase, dataset = sorted(opt['datasets'].items())[0]
    return build_dataset({**dataset, 'phase': phase.split('_')[0], 'scale': opt['scale']})


def plot(dataset: Any, folders: dict[str, str], images: list[str] | None) -> np.ndarray:
    """Return one picture with two rows for every scene, (H, W, 3) RGB."""
    names = images or dataset.keys[:2]
    absent = [name for name in names if name not in dataset.keys]
    if absent:
        raise ValueError(f'The data set has no scene {absent[0]!r}; it has {", ".join(dataset.keys)}.')
    rows = []
    for name in names:
        sample = dataset[dataset.keys.index(name)]
        cubes = {label: np.load(find_cube(Path(folder), dataset, name)) for label, folder in folders.items()}
        lq, gt = (sample[key].permute(1, 2, 0).numpy() for key in ('lq', 'gt'))
        rows.append(results_panel(cubes, gt, lq, dataset.wavelengths))
    return np.concatenate(rows)


def find_cube(folder: Path, dataset: Any, name: str) -> Path:
    """Find the cube that a test has saved for a scene of the data set."""
    # a scene's name may begin another's: a and a_b are both followed by an underscore
    others = tuple(f'{key}_' for key in dataset.keys if key.startswith(f'{name}_'))
    found = sorted((folder / 'visualization' / dataset.opt['name']).glob(f'{name}_*.npy'))
    found = [path for path in found if not path.name.startswith(others)]
    if not found:
        raise FileNotFoundError(
            f'{folder} has no cube of {name} in data set {dataset.opt["name"]}; run the test with "save_cube: npy" '
            'in its val block.'
        )
    return found[0]


if __name__ == '__main__':
    sys.exit(main())
