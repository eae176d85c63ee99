#!/usr/bin/env python3
"""Show the results of several tests side by side, with their error maps below.

python scripts/plot_results.py -opt options/demo_test_mulsr_x8.yml --out demo_result.png \
    Bicubic=results/demo_bicubic_x8 MulSR=results/demo_mulsr_x8

The tests must have been run with `save_cube: npy`; the option file names the data set with input and reference.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import basicsr  # noqa: F401  (loads the registries)
import cv2
import numpy as np
import yaml
from basicsr.data import build_dataset

from mulsr_plugin.utils.figures import results_panel


def main() -> int:
    """Parse, plot, and tell a user's mistake in one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('results', nargs='+', metavar='LABEL=FOLDER', help='label and results/NAME of a test')
    parser.add_argument('-opt', required=True, help='option file of a test, for its first data set')
    parser.add_argument('--images', help='scenes to show, separated by commas (default: the first two)')
    parser.add_argument('--out', required=True, type=Path, help='PNG file to write')
    args = parser.parse_args()
    try:
        picture = plot(open_dataset(args.opt), dict(entry.split('=', 1) for entry in args.results), args.images)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    cv2.imwrite(str(args.out), picture[..., ::-1])
    print(f'{args.out}: {picture.shape[1]}x{picture.shape[0]} pixels')
    return 0


def open_dataset(option_file: str) -> Any:
    """Build the first data set of an option file."""
    opt = yaml.safe_load(Path(option_file).read_text())
    phase, dataset = sorted(opt['datasets'].items())[0]
    return build_dataset({**dataset, 'phase': phase.split('_')[0], 'scale': opt['scale']})


def plot(dataset: Any, folders: dict[str, str], images: str | None) -> np.ndarray:
    """Return one picture with two rows for every scene, (H, W, 3) RGB."""
    names = images.split(',') if images else dataset.keys[:2]
    rows = []
    for name in names:
        sample = dataset[dataset.keys.index(name)]
        cubes = {label: np.load(find_cube(Path(folder), name)) for label, folder in folders.items()}
        lq, gt = (sample[key].permute(1, 2, 0).numpy() for key in ('lq', 'gt'))
        rows.append(results_panel(cubes, gt, lq, dataset.wavelengths))
    return np.concatenate(rows)


def find_cube(folder: Path, name: str) -> Path:
    """Find the cube that a test has saved for a scene."""
    found = sorted(folder.glob(f'visualization/*/{name}_*.npy'))
    if not found:
        raise FileNotFoundError(f'{folder} has no cube of {name}; run the test with "save_cube: npy" in its val block.')
    return found[0]


if __name__ == '__main__':
    sys.exit(main())
