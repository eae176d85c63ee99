"""The sources of scenes that ``scripts/prepare_dataset.py`` knows.

A source is a function that lists the scenes of a folder or file, with what the command line needs to offer it: to add
one, write the function in its own module and give it an entry in :data:`SOURCES`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mulsr_plugin.cli.reading import (
    add_cube_arguments,
    add_reading_arguments,
    cube_options,
    parse_degradation,
    reading_options,
)
from mulsr_plugin.data.cube import SourceScene, check_key
from mulsr_plugin.data.formats import scene_key
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.data.sources.colosseum import colosseum_scenes
from mulsr_plugin.data.sources.cubes import cube_scenes
from mulsr_plugin.data.sources.harvard import MASK_TREATMENTS, NORMALISATIONS, harvard_scenes
from mulsr_plugin.data.sources.pair import PairFiles, pair_scenes, read_pair_list


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


@dataclass(frozen=True)
class Source:
    """A kind of source data.

    Attributes:
        help (str): What it is, one line.
        input_help (str): What ``--input`` names.
        scenes (Callable): Function of the input path and the parsed arguments that lists the scenes.
        add_arguments (Callable): Adds the options of this source alone to its parser. Default: none.
        splits (bool): Whether the user chooses training and test scenes; False for sources that decide themselves
            (``SourceScene.phase``). Default: True.
        default_split (str | None): Split list used when the user gives none; None makes all scenes training scenes.
            Default: None.
        has_pictures (bool): Whether its cubes come with a colour picture, offered as ``--with-rgb``. Default: False.
    """

    help: str
    input_help: str
    scenes: Callable[[str, argparse.Namespace], list[SourceScene]]
    add_arguments: Callable[[argparse.ArgumentParser], None] = _no_arguments
    splits: bool = True
    default_split: str | None = None
    has_pictures: bool = False


def _cave(path: str, args: argparse.Namespace) -> list[SourceScene]:
    return cave_scenes(path, args.with_rgb)


def _mat(path: str, args: argparse.Namespace) -> list[SourceScene]:
    return cube_scenes(path, '.mat', **cube_options(args))


def _cubes(path: str, args: argparse.Namespace) -> list[SourceScene]:
    return cube_scenes(path, **cube_options(args))


def _harvard(path: str, args: argparse.Namespace) -> list[SourceScene]:
    return harvard_scenes(path, args.normalise, args.masked, args.calibrate)


def _colosseum(path: str, args: argparse.Namespace) -> list[SourceScene]:
    of_cube, of_guide = reading_options(args), reading_options(args, 'guide_')
    return colosseum_scenes(path, args.guide, args.test_part, of_cube, of_guide)


def _pair(path: str, args: argparse.Namespace) -> list[SourceScene]:
    of_cube, of_guide = cube_options(args), reading_options(args, 'guide_')
    reduction = {'test_part': args.test_part, 'degradation': args.degradation}
    reduction = {name: value for name, value in reduction.items() if value is not None}
    if reduction and not args.reduced:
        raise ValueError('--test-part and --degradation say how pairs are reduced: add --reduced, or leave them out.')
    if args.guide is None:
        if args.name is not None:
            raise ValueError('--name names a single pair; the names of a list stand in its lines.')
        pairs = read_pair_list(path, of_cube, of_guide)
    else:
        key = scene_key(path) if args.name is None else check_key(args.name)
        pairs = [PairFiles(key, Path(path), Path(args.guide), of_cube, of_guide)]
    return pair_scenes(pairs, args.reduced, **reduction)


def _add_harvard_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--normalise',
        choices=NORMALISATIONS,
        default='scene',
        help='divide each scene by its own maximum, or all by the common one; default: scene',
    )
    parser.add_argument(
        '--masked',
        choices=MASK_TREATMENTS,
        default='keep',
        help='keep pixels that moved during the recording, or make them zero; default: keep',
    )
    parser.add_argument(
        '--calibrate', action='store_true', help="divide the bands by the camera's sensitivity of calib.txt"
    )


def _add_colosseum_arguments(parser: argparse.ArgumentParser) -> None:
    add_reading_arguments(parser)
    parser.add_argument('--guide', help='file with the RGB or panchromatic image; default: the same file')
    add_reading_arguments(parser, 'guide-', 'guide')
    parser.add_argument(
        '--test-part', type=float, default=0.5, help='share of the rows, from the bottom, for tests; default: 0.5'
    )


def _add_pair_arguments(parser: argparse.ArgumentParser) -> None:
    add_cube_arguments(parser)
    parser.add_argument(
        '--guide', help='high-resolution guide: RGB, panchromatic or multispectral; may be the same file'
    )
    add_reading_arguments(parser, 'guide-', 'guide')
    parser.add_argument('--name', help='name of the scene; default: that of the cube file')
    parser.add_argument(
        '--reduced',
        action='store_true',
        help="also write the pair reduced by its own scale (Wald's protocol), with the cube itself as ground truth: "
        'train.lmdb, train_lq.lmdb, train_rgb.lmdb from the upper rows, test*.lmdb from the lower ones',
    )
    parser.add_argument('--test-part', type=float, help='share of the rows for tests, with --reduced; default: 0.25')
    parser.add_argument(
        '--degradation',
        type=parse_degradation,
        help="preset that reduces the cube, with --reduced, or one with options such as '{preset: sensor_mtf, "
        "nyquist_gain: 0.3}'; default: noise_free",
    )


SOURCES: dict[str, Source] = {
    'cave': Source(
        help='the CAVE data set: complete_ms_data.zip or the unpacked folder',
        input_help='complete_ms_data.zip (read without unpacking) or its folder',
        scenes=_cave,
        default_split='cave_80_20',
        has_pictures=True,
    ),
    'harvard': Source(
        help='the Harvard real-world hyperspectral images: CZ_hsdb, CZ_hsdbi or both, unpacked',
        input_help='folder of one archive, or a folder above both',
        scenes=_harvard,
        add_arguments=_add_harvard_arguments,
        default_split='harvard_80_20',
    ),
    'colosseum': Source(
        help='the WorldView-2 sample of the Roman Colosseum, or another WorldView-2 pair',
        input_help='the multispectral image, GeoTIFF or .mat',
        scenes=_colosseum,
        add_arguments=_add_colosseum_arguments,
        splits=False,
    ),
    'cubes': Source(
        help='a folder of cubes: .mat, .npy, .npz, ENVI, TIFF, sub-folders of band PNGs',
        input_help='folder with one file (or sub-folder of PNGs) for each cube',
        scenes=_cubes,
        add_arguments=add_cube_arguments,
    ),
    'mat': Source(
        help='a folder of MATLAB files (v5 or v7.3), one cube (height, width, bands) each',
        input_help='folder with *.mat files',
        scenes=_mat,
        add_arguments=add_cube_arguments,
    ),
    'pair': Source(
        help='low-resolution cubes with high-resolution guides and no ground truth, of any sensor',
        input_help='the cube, with --guide; or a text file with one "cube, guide" or "cube, guide, name" a line',
        scenes=_pair,
        add_arguments=_add_pair_arguments,
        splits=False,
    ),
}
