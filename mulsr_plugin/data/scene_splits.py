"""Which scenes of a data set are for training and which for testing.

A split list is a text file with the sections ``[train]`` and ``[test]``, one scene name per line; ``#`` begins a
comment. Lists that come with the package lie in ``mulsr_plugin/data/splits`` and are named without their suffix.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mulsr_plugin.utils.files import PathLike, read_lines

SPLITS_FOLDER = Path(__file__).parent / 'splits'
PHASES = ('train', 'test')
ALL = 'all'


@dataclass(frozen=True)
class SceneSplit:
    """Scene names by phase.

    Attributes:
        train (tuple[str]): Training scenes.
        test (tuple[str]): Test scenes.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class SplitResult:
    """How a split list meets the scenes that are there.

    Attributes:
        present (SceneSplit): The scenes to use.
        missing (tuple[str]): Listed scenes that are not there.
        unlisted (tuple[str]): Scenes that are there and in no list.
    """

    present: SceneSplit
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]


def shipped_splits() -> list[str]:
    """Return the names of the split lists in the package."""
    return sorted(path.stem for path in SPLITS_FOLDER.glob('*.txt'))


def read_split(name_or_path: PathLike) -> SceneSplit:
    """Read a split list of the package by name, or one of your own by path.

    Raises:
        FileNotFoundError: There is neither such a list nor such a file.
        ValueError: A line outside the two sections, an unknown section, or a scene listed twice.
    """
    path = SPLITS_FOLDER / f'{name_or_path}.txt'
    if str(name_or_path) not in shipped_splits():
        path = Path(name_or_path)
        if not path.is_file():
            names = ', '.join(shipped_splits())
            raise FileNotFoundError(f'There is no split list {name_or_path}: give a text file, or one of {names}.')
    phases: dict[str, list[str]] = {phase: [] for phase in PHASES}
    section = None
    for number, line in enumerate(read_lines(path), 1):
        text = line.partition('#')[0].strip()
        if text.startswith('['):
            section = text.strip('[] ')
            if section not in phases:
                raise ValueError(f'{path}, line {number}: section {text} is unknown; there are [train] and [test].')
        elif text and section is None:
            raise ValueError(f'{path}, line {number}: scene {text} stands before the first section [train] or [test].')
        elif text and section:
            if any(text in names for names in phases.values()):
                raise ValueError(f'{path}, line {number}: scene {text} is listed twice.')
            phases[section].append(text)
    return SceneSplit(tuple(phases['train']), tuple(phases['test']))


def split_by_test_scenes(scenes: Sequence[str], test_scenes: Iterable[str]) -> SceneSplit:
    """Make the named scenes the test set and all others the training set; ``all`` names every scene."""
    names = [name.strip() for name in test_scenes if name.strip()]
    test = tuple(scenes) if names == [ALL] else tuple(dict.fromkeys(names))
    return SceneSplit(tuple(name for name in scenes if name not in test), test)


def apply_split(scenes: Sequence[str], split: SceneSplit, allow_missing: bool = False) -> SplitResult:
    """Match a split with the scenes that are there.

    Args:
        scenes (Sequence[str]): Scenes that are there.
        split (SceneSplit): Scenes that should be there.
        allow_missing (bool): Go on without scenes that are not. Default: False.

    Raises:
        ValueError: Listed scenes are missing and that is not allowed, or no listed scene is there at all.
    """
    missing = tuple(name for name in (*split.train, *split.test) if name not in scenes)
    if missing and not allow_missing:
        raise ValueError(
            f'{len(missing)} of the {len(split.train) + len(split.test)} listed scenes are missing: '
            f'{", ".join(missing)}; add them, or go on without them by --allow-missing.'
        )
    present = SceneSplit(*(tuple(name for name in getattr(split, phase) if name in scenes) for phase in PHASES))
    if not (present.train or present.test):
        raise ValueError(f'None of the listed scenes is there; there are {", ".join(scenes)}.')
    unlisted = tuple(name for name in scenes if name not in split.train and name not in split.test)
    return SplitResult(present, missing, unlisted)
