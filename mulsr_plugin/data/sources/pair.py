"""Source reader: low-resolution cubes with registered high-resolution guides, of any sensor and readable format.

A guide may be RGB, panchromatic (one channel) or multispectral; its sides are a whole multiple of those of the cube.
Such pairs have no ground truth: they become ``lq.lmdb`` and ``rgb.lmdb``. By Wald's protocol
(:mod:`mulsr_plugin.data.sources.wald`) they also give scenes that have one, at the reduced resolution: the upper part
of a pair for training, the lower part for tests.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import NO_REFERENCE, Cube, SceneCubes, SourceScene
from mulsr_plugin.data.formats import read_cube, scene_key
from mulsr_plugin.data.registration import note_on_places
from mulsr_plugin.data.sources.wald import cut, reduced_resolution
from mulsr_plugin.utils.files import PathLike


@dataclass(frozen=True)
class PairFiles:
    """Where a pair lies and how its files are read.

    Attributes:
        key (str): Name of the scene in a store.
        cube (Path): Low-resolution cube.
        guide (Path): High-resolution guide; may be the same file.
        cube_options (Mapping): Arguments of ``read_cube`` for the cube. Default: none.
        guide_options (Mapping): Arguments of ``read_cube`` for the guide. Default: none.
    """

    key: str
    cube: Path
    guide: Path
    cube_options: Mapping[str, Any] = field(default_factory=dict)
    guide_options: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> tuple[Cube, Cube, int]:
        """Read cube and guide.

        Returns:
            tuple[Cube, Cube, int]: Cube, guide and their scale.

        Raises:
            ValueError: A file is damaged, or the sizes are not in a whole ratio.
        """
        cube = read_cube(self.cube, **self.cube_options)
        guide = read_cube(self.guide, is_guide=True, **self.guide_options)
        try:
            scale = scale_of_pair(cube.values.shape[:2], guide.values.shape[:2])
        except ValueError as error:
            raise ValueError(f'{self.cube} and {self.guide} are not a pair: {error}') from error
        note = f'scale {scale}, guide of {guide.num_bands} channel{"s" * (guide.num_bands > 1)}'
        if scale % 2:
            note += (
                '; an odd scale, which MulSR cannot take (it needs an even one): use another network, such as '
                'PZResNet, MoGDCN, UAL, PSRT or CoarseNet'
            )
        return replace(cube, notes=(*cube.notes, note)), guide, scale


def pair_scenes(
    pairs: Sequence[PairFiles],
    reduced: bool = False,
    test_part: float = 0.25,
    degradation: Mapping[str, Any] | str = 'noise_free',
) -> list[SourceScene]:
    """List pairs as scenes without ground truth and, where wanted, as scenes of the reduced resolution with one.

    Args:
        pairs (Sequence[PairFiles]): The pairs.
        reduced (bool): Add training and test scenes by Wald's protocol. Default: False.
        test_part (float): Share of the rows of every pair, from the bottom, that is for tests, in [0, 1]; with 0 all is
            for training, with 1 for tests. Default: 0.25.
        degradation (Mapping | str): What reduces the cubes, see ``build_degradation``. Default: 'noise_free'.

    Returns:
        list[SourceScene]: Scenes that know their phase.

    Raises:
        ValueError: Two pairs have the same name, or ``test_part`` is not in [0, 1].
    """
    check_names(pairs)
    if not 0 <= test_part <= 1:
        raise ValueError(f'test_part is {test_part}, expected a share of the rows from 0 to 1.')
    scenes = [SourceScene(pair.key, partial(_load_full, pair), NO_REFERENCE) for pair in pairs]
    if reduced:
        parts = {'train': (0.0, 1 - test_part), 'test': (1 - test_part, 1.0)}
        scenes += [
            SourceScene(pair.key, partial(_load_reduced, pair, rows, degradation), phase)
            for phase, rows in parts.items()
            for pair in pairs
            if rows[1] > rows[0]
        ]
    return scenes


def check_names(pairs: Sequence[PairFiles]) -> None:
    """Refuse pairs of the same name.

    Raises:
        ValueError: There are such.
    """
    twice = [key for key, count in Counter(pair.key for pair in pairs).items() if count > 1]
    if twice:
        raise ValueError(
            f'Several pairs give the same scene {min(twice)}: rename a file or name the scenes in the list.'
        )


def read_pair_list(
    path: PathLike, cube_options: Mapping[str, Any] | None = None, guide_options: Mapping[str, Any] | None = None
) -> list[PairFiles]:
    """Read a text file with one pair a line: ``cube, guide`` or ``cube, guide, name``.

    Separators are commas, semicolons or tabs; ``#`` begins a comment; relative paths start at the list's folder.

    Raises:
        FileNotFoundError: There is no such list.
        ValueError: It is not a text, a line has another number of entries, or there is none.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f'There is no file {path}.')
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except (IsADirectoryError, UnicodeDecodeError) as error:
        raise ValueError(
            f'{path} is not a text file with a list of pairs; of a single pair name the other image with --guide.'
        ) from error
    pairs = []
    for number, line in enumerate(lines, 1):
        parts = [part.strip() for part in re.split(r'[,;\t]', line.partition('#')[0])]
        if parts == ['']:
            continue
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(
                f'{path}, line {number}: expected "cube, guide" or "cube, guide, name", got {line.strip()!r}.'
            )
        cube, guide = (path.parent / Path(part).expanduser() for part in parts[:2])
        key = scene_key(parts[2] if len(parts) == 3 else cube)
        pairs.append(PairFiles(key, cube, guide, cube_options or {}, guide_options or {}))
    if not pairs:
        raise ValueError(f'{path} lists no pair; write one "cube, guide" a line.')
    return pairs


def scale_of_pair(cube_size: Sequence[int], guide_size: Sequence[int]) -> int:
    """Return the whole ratio, at least 2, of the sides of a guide and a cube.

    Args:
        cube_size (Sequence[int]): Rows and columns of the cube.
        guide_size (Sequence[int]): Rows and columns of the guide.

    Raises:
        ValueError: There is no such ratio.
    """
    (height, width), (full_height, full_width) = cube_size, guide_size
    scale = round(full_height / height)
    if scale >= 2 and (full_height, full_width) == (scale * height, scale * width):
        return scale
    what = f'The guide has {full_height}x{full_width} pixels and the cube {height}x{width}'
    if max(full_height / height, full_width / width) < 1.5:
        raise ValueError(f'{what}: the guide must be at least twice as large as the cube; are the two exchanged?')
    nearest = max(2, round(min(full_height / height, full_width / width)))
    rows, columns = min(height, full_height // nearest), min(width, full_width // nearest)
    raise ValueError(
        f'{what}, {full_height / height:.4g} and {full_width / width:.4g} times as many, expected one whole ratio; cut '
        f'both to the same ground, such as the cube to {rows}x{columns} and the guide to {nearest * rows}x'
        f'{nearest * columns} for scale {nearest}, or resample one.'
    )


def _load_full(pair: PairFiles) -> SceneCubes:
    cube, guide, _ = pair.load()
    note = note_on_places(cube, guide)
    return SceneCubes(lq=cube if note is None else replace(cube, notes=(*cube.notes, note)), rgb=guide)


def _load_reduced(pair: PairFiles, rows: tuple[float, float], degradation: Mapping[str, Any] | str) -> SceneCubes:
    """Read the part of a pair between two shares of its rows, at the reduced resolution."""
    cube, guide, scale = pair.load()
    height, width = cube.values.shape[:2]
    # Both parts begin where a reduced pixel begins.
    top, bottom = (int(np.floor(height * share / scale)) * scale for share in rows)
    if bottom - top < scale:
        raise ValueError(
            f'Scene {pair.key}: a part of {bottom - top} rows is smaller than one pixel at the reduced resolution '
            f'(scale {scale}); choose another share for tests.'
        )
    cube = cut(cube, top, 0, bottom - top, width)
    guide = cut(guide, scale * top, 0, scale * (bottom - top), scale * width)
    lq, guide, gt = reduced_resolution(cube, guide, scale, degradation)
    return SceneCubes(gt=gt, lq=replace(lq, notes=(), axes_from=''), rgb=guide)
