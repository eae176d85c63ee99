"""The sources of scenes that ``mulsr prepare`` knows.

A source is a function that lists the scenes of a folder or file, with what the command line needs to offer it: to add
one, write the function in its own module and give it an entry in :data:`SOURCES`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulsr_plugin.cli.choices import MASK_TREATMENTS, NORMALISATIONS
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.reading import (
    accept_old_scale,
    add_cube_arguments,
    add_guide_arguments,
    add_reading_arguments,
    cube_options,
    reading_options,
)

if TYPE_CHECKING:
    from mulsr_plugin.data.cube import SourceScene


def _no_arguments(parser: CommandParser) -> None:
    pass


def _no_check(args: argparse.Namespace) -> None:
    pass


@dataclass(frozen=True)
class Source:
    """A kind of source data.

    Attributes:
        help (str): What it is, one line.
        input_help (str): What ``--input`` names.
        scenes (Callable): Function of the input path and the parsed arguments that lists the scenes.
        add_arguments (Callable): Adds the options of this source alone to its parser. Default: none.
        check (Callable): Refuses options of this source that contradict each other, with a ValueError. Default: none
            do.
        splits (bool): Whether the user chooses training and test scenes; False for sources that decide themselves
            (``SourceScene.phase``). Default: True.
        default_split (str | None): Split list used when the user gives none; None makes all scenes training scenes.
            Default: None.
        has_pictures (bool): Whether its cubes come with a colour picture, offered as ``--with-rgb``. Default: False.
    """

    help: str
    input_help: str
    scenes: Callable[[str, argparse.Namespace], list[SourceScene]]
    add_arguments: Callable[[CommandParser], None] = _no_arguments
    check: Callable[[argparse.Namespace], None] = _no_check
    splits: bool = True
    default_split: str | None = None
    has_pictures: bool = False


def _cave(path: str, args: argparse.Namespace) -> list[SourceScene]:
    from mulsr_plugin.data.sources.cave import cave_scenes

    return cave_scenes(path, args.with_rgb)


def _mat(path: str, args: argparse.Namespace) -> list[SourceScene]:
    from mulsr_plugin.data.sources.cubes import cube_scenes

    return cube_scenes(path, '.mat', **cube_options(args))


def _cubes(path: str, args: argparse.Namespace) -> list[SourceScene]:
    from mulsr_plugin.data.sources.cubes import cube_scenes

    return cube_scenes(path, **cube_options(args))


def _harvard(path: str, args: argparse.Namespace) -> list[SourceScene]:
    from mulsr_plugin.data.sources.harvard import harvard_scenes

    return harvard_scenes(path, args.normalise, args.masked, args.calibrate)


def _colosseum(path: str, args: argparse.Namespace) -> list[SourceScene]:
    from mulsr_plugin.data.sources.colosseum import colosseum_scenes

    of_cube, of_guide = reading_options(args), reading_options(args, 'guide-')
    return colosseum_scenes(path, args.guide, args.test_part, of_cube, of_guide)


def _pair(path: str, args: argparse.Namespace) -> list[SourceScene]:
    from mulsr_plugin.data.cube import check_key
    from mulsr_plugin.data.formats import scene_key
    from mulsr_plugin.data.sources.pair import PairFiles, pair_scenes, read_pair_list

    of_cube, of_guide = cube_options(args), reading_options(args, 'guide-')
    if args.guide is None:
        pairs = read_pair_list(path, of_cube, of_guide)
    else:
        key = scene_key(path) if args.name is None else check_key(args.name)
        pairs = [PairFiles(key, Path(path), Path(args.guide), of_cube, of_guide)]
    return pair_scenes(pairs, args.reduced, **_reduction(args))


def _reduction(args: argparse.Namespace) -> dict[str, Any]:
    options = {'test_part': args.test_part, 'degradation': args.degradation}
    return {name: value for name, value in options.items() if value is not None}


def _check_pair(args: argparse.Namespace) -> None:
    if _reduction(args) and not args.reduced:
        raise ValueError('--test-part and --degradation say how pairs are reduced: add --reduced, or leave them out.')
    if args.guide is None and args.name is not None:
        raise ValueError('--name names a single pair; the names of a list stand in its lines.')


def _add_cube_arguments(parser: CommandParser) -> None:
    add_cube_arguments(parser)
    accept_old_scale(parser)


def _add_harvard_arguments(parser: CommandParser) -> None:
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


def _add_colosseum_arguments(parser: CommandParser) -> None:
    add_reading_arguments(parser)
    accept_old_scale(parser)
    add_guide_arguments(parser, 'file with the RGB or panchromatic image; default: the same file')
    parser.add_argument(
        '--test-part', type=float, default=0.5, help='share of the rows, from the bottom, for tests; default: 0.5'
    )


def _add_pair_arguments(parser: CommandParser) -> None:
    _add_cube_arguments(parser)
    add_guide_arguments(parser, 'high-resolution guide: RGB, panchromatic or multispectral; may be the same file')
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


def parse_degradation(text: str) -> str | dict[str, Any]:
    """Read the name of a preset, or a preset with its options in YAML's short form, ``{preset: average, seed: 3}``.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    import yaml

    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = None
    if not isinstance(content, (str, dict)):
        raise argparse.ArgumentTypeError(
            f"{text} is neither a preset nor a preset with options such as '{{preset: gaussian, sigma: 2}}'"
        )
    return content


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
        help='a folder of cubes: .mat, .npy, .npz, HDF5, NetCDF, ENVI, TIFF, sub-folders of band PNGs',
        input_help='folder with one file (or sub-folder of PNGs) for each cube',
        scenes=_cubes,
        add_arguments=_add_cube_arguments,
    ),
    'mat': Source(
        help='a folder of MATLAB files (v5 or v7.3), one cube (height, width, bands) each',
        input_help='folder with *.mat files',
        scenes=_mat,
        add_arguments=_add_cube_arguments,
    ),
    'pair': Source(
        help='low-resolution cubes with high-resolution guides and no ground truth, of any sensor',
        input_help='the cube, with --guide; or a text file with one "cube, guide" or "cube, guide, name" a line',
        scenes=_pair,
        add_arguments=_add_pair_arguments,
        check=_check_pair,
        splits=False,
    ),
}
