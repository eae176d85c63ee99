"""The sources of scenes that ``scripts/prepare_dataset.py`` knows.

A source is a function that lists the scenes of a folder or file, with what the command line needs to offer it: to add
one, write the function in its own module and give it an entry in :data:`SOURCES`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from mulsr_plugin.data.cave import cave_scenes
from mulsr_plugin.data.cube import SourceScene
from mulsr_plugin.data.mat import mat_scenes


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


def parse_scale(text: str) -> float:
    """Read a positive number or fraction.

    Raises:
        argparse.ArgumentTypeError: It is neither.
    """
    try:
        value = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        value = 0.0
    if value <= 0:
        raise argparse.ArgumentTypeError(f'{text} is no positive number or fraction such as 0.5 or 1/4095')
    return value


def _cave(path: str, args: argparse.Namespace) -> list[SourceScene]:
    return cave_scenes(path, args.with_rgb)


def _mat(path: str, args: argparse.Namespace) -> list[SourceScene]:
    return mat_scenes(path, args.key, args.scale)


def _add_mat_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--key', help='variable that holds the cube; default: the only 3-D numeric one')
    parser.add_argument(
        '--scale',
        type=parse_scale,
        help='factor that brings values to [0, 1], such as 1/4095; default: 1 for floats, '
        '1 / largest value of the type for integers',
    )


SOURCES: dict[str, Source] = {
    'cave': Source(
        help='the CAVE data set: complete_ms_data.zip or the unpacked folder',
        input_help='complete_ms_data.zip (read without unpacking) or its folder',
        scenes=_cave,
        default_split='cave_80_20',
        has_pictures=True,
    ),
    'mat': Source(
        help='a folder of MATLAB files (v5 or v7.3), one cube (height, width, bands) each',
        input_help='folder with *.mat files',
        scenes=_mat,
        add_arguments=_add_mat_arguments,
    ),
}
