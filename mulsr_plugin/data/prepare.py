"""Turn a source of spectral scenes into the LMDB stores of a data set.

A prepared folder holds ``train.lmdb`` and ``test.lmdb`` (and ``train_rgb.lmdb``, ``test_rgb.lmdb`` where the source
has colour pictures and they are wanted). All of them appear together, complete and verified, or none does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from mulsr_plugin.data.cube import Cube, SourceScene
from mulsr_plugin.data.cube_store import DATA_FILE, CubeStoreWriter, PathLike, refuse_existing, verify_store
from mulsr_plugin.data.scene_splits import PHASES, SceneSplit, SplitResult, apply_split, split_by_test_scenes

RGB_SUFFIX = '_rgb'
RGB_SCALE = 1 / 255


@dataclass(frozen=True)
class Preparation:
    """What :func:`prepare_dataset` has written.

    Attributes:
        stores (dict[str, int]): Path of every store and its number of scenes.
        missing (tuple[str]): Listed scenes that the source does not have.
        unlisted (tuple[str]): Scenes of the source that no list names; they are in no store.
    """

    stores: dict[str, int]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]


def check_outputs(output: PathLike, with_rgb: bool = False) -> None:
    """Refuse an output folder that holds a store of a name that would be written.

    Raises:
        FileExistsError: Such a store exists.
    """
    suffixes = ('', RGB_SUFFIX) if with_rgb else ('',)
    for phase in PHASES:
        for suffix in suffixes:
            refuse_existing(store_path(output, phase, suffix))


def store_path(output: PathLike, phase: str, suffix: str = '') -> Path:
    """Return the path of the store of a phase in a prepared folder."""
    return Path(output) / f'{phase}{suffix}.lmdb'


def split_scenes(
    scenes: Sequence[SourceScene],
    split: SceneSplit | None = None,
    test_scenes: Sequence[str] = (),
    allow_missing: bool = False,
) -> SplitResult:
    """Choose the scenes of each phase by a list, or by the names of the test scenes.

    Args:
        scenes (Sequence[SourceScene]): What the source has.
        split (SceneSplit | None): List of both phases; None makes all but ``test_scenes`` training scenes.
            Default: None.
        test_scenes (Sequence[str]): Test scenes where there is no list. Default: ().
        allow_missing (bool): Go on without listed scenes that the source lacks. Default: False.

    Raises:
        ValueError: Scenes are missing and that is not allowed.
    """
    names = [scene.key for scene in scenes]
    return apply_split(names, split or split_by_test_scenes(names, test_scenes), allow_missing)


def prepare_dataset(
    scenes: Sequence[SourceScene],
    output: PathLike,
    chosen: SplitResult,
    with_rgb: bool = False,
    progress: bool = True,
) -> Preparation:
    """Write the stores of a data set.

    Args:
        scenes (Sequence[SourceScene]): The source.
        output (str | PathLike): Folder for the stores.
        chosen (SplitResult): Scenes of each phase, from :func:`split_scenes`; a phase without scenes gets no store.
        with_rgb (bool): Write the colour pictures of the source as stores too. Default: False.
        progress (bool): Show a progress bar. Default: True.

    Returns:
        Preparation: What was written.

    Raises:
        FileExistsError: One of the stores exists; nothing was read or written.
        ValueError: A scene is damaged, has another number of bands than the others, or lacks the wanted picture.
        OSError: The disk is full or refuses.
    """
    check_outputs(output, with_rgb)
    phase_of = {key: phase for phase in PHASES for key in getattr(chosen.present, phase)}
    suffixes = ('', RGB_SUFFIX) if with_rgb else ('',)
    counts: dict[str, int] = {}
    with ExitStack() as stack:
        writers = {
            (phase, suffix): stack.enter_context(CubeStoreWriter(store_path(output, phase, suffix)))
            for phase in dict.fromkeys(phase_of.values())
            for suffix in suffixes
        }
        bands: tuple[str, int] | None = None
        bar = tqdm([scene for scene in scenes if scene.key in phase_of], 'Prepare', unit='scene', disable=not progress)
        for scene in bar:
            bar.set_postfix_str(scene.key)
            cube = scene.load()
            bands = bands or (scene.key, cube.values.shape[2])
            _check_bands(scene.key, cube, bands)
            phase = phase_of[scene.key]
            writers[phase, ''].add(scene.key, cube.values, cube.scale, cube.wavelengths, cube.source)
            if with_rgb:
                writers[phase, RGB_SUFFIX].add(scene.key, _rgb_of(scene.key, cube), RGB_SCALE, None, cube.source)
            for suffix in suffixes:
                path = str(store_path(output, phase, suffix))
                counts[path] = counts.get(path, 0) + 1
        _publish_together(list(writers.values()))
    return Preparation(counts, chosen.missing, chosen.unlisted)


def verify_dataset(path: PathLike) -> dict[str, list[str]]:
    """Read everything in a prepared folder, or in one store, against the checksums.

    Args:
        path (str | PathLike): A folder with ``*.lmdb`` stores, or a store.

    Returns:
        dict[str, list[str]]: Problems of every store, by its path; an empty list is a sound store.

    Raises:
        FileNotFoundError: There is no store.
    """
    path = Path(path)
    stores = [path] if (path / DATA_FILE).exists() or path.suffix == '.lmdb' else sorted(path.glob('*.lmdb'))
    if not stores:
        raise FileNotFoundError(f'There is no *.lmdb store in {path}.')
    return {str(store): verify_store(store) for store in stores}


def _check_bands(key: str, cube: Cube, first: tuple[str, int]) -> None:
    if cube.values.shape[2] != first[1]:
        raise ValueError(
            f'Scene {key} has {cube.values.shape[2]} bands, but {first[0]} has {first[1]}; the scenes of a data set '
            'must have the same bands.'
        )


def _rgb_of(key: str, cube: Cube) -> np.ndarray:
    if cube.rgb is None:
        raise ValueError(f'Scene {key} has no colour picture; prepare without the RGB.')
    return cube.rgb


def _publish_together(writers: Sequence[CubeStoreWriter]) -> None:
    """Rename all stores into place, or none."""
    for writer in writers:
        writer.finish()
    try:
        for writer in writers:
            writer.publish()
    except BaseException:
        for writer in writers:
            writer.withdraw()
        raise
