"""One picture of several tests side by side, with their error maps below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.data import build_dataset

from mulsr_plugin.data.false_colour import results_panel
from mulsr_plugin.utils.options import read_option_file


def write_picture_of_tests(
    path: Path, option_file: Path, folders: Mapping[str, str], images: Sequence[str] | None = None
) -> None:
    """Write one picture of several tests that saved their cubes (``save_cube: npy``).

    Args:
        path: PNG file to write.
        option_file: Option file of a test, for its first data set.
        folders: Results of each test, ``results/NAME``, by the label to give it.
        images: Scenes to show. Default: None, the first two.

    Raises:
        FileNotFoundError: A test has no cube of a scene.
        ValueError: The data set has no such scene.
        OSError: The picture cannot be written.
    """
    picture = picture_of_results(open_dataset(option_file), folders, images)
    if not cv2.imwrite(str(path), picture[..., ::-1]):
        raise OSError(f'Cannot write {path}; check that its folder exists and has room.')


def open_dataset(option_file: Path) -> Any:
    """Build the first data set of an option file."""
    opt = read_option_file(option_file, 'datasets', 'scale')
    phase, dataset = sorted(opt['datasets'].items())[0]
    return build_dataset({**dataset, 'phase': phase.split('_')[0], 'scale': opt['scale']})


def picture_of_results(dataset: Any, folders: Mapping[str, str], images: Sequence[str] | None) -> np.ndarray:
    """Return one picture with two rows for every scene, (H, W, 3) RGB."""
    names = images or dataset.keys[:2]
    absent = [name for name in names if name not in dataset.keys]
    if absent:
        raise ValueError(f'The data set has no scene {absent[0]!r}; it has {", ".join(dataset.keys)}.')
    rows = []
    for name in names:
        sample = dataset[dataset.keys.index(name)]
        cubes = {label: np.load(find_cube(Path(folder), dataset, name)) for label, folder in folders.items()}
        lq, gt, guide = (sample[key].permute(1, 2, 0).numpy() for key in ('lq', 'gt', 'rgb'))
        rows.append(results_panel(cubes, gt, lq, dataset.wavelengths, guide))
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
