"""Turn a source of spectral scenes into the LMDB stores of a data set.

A prepared folder holds ``train.lmdb`` and ``test.lmdb``, with ``_rgb`` before the suffix the guides of the same scenes
and with ``_lq`` their low-resolution cubes where the source has them; ``lq.lmdb`` and ``rgb.lmdb`` hold scenes without
a ground truth. All of them appear together, complete and verified, or none does.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mulsr_plugin.data.cube import Cube, SceneCubes, SourceScene
from mulsr_plugin.data.cube_store import DATA_FILE, CubeStoreWriter, PathLike, refuse_existing, verify_store
from mulsr_plugin.data.scene_splits import PHASES, SceneSplit, SplitResult, apply_split, split_by_test_scenes

# What a store holds, and how its name ends.
SUFFIX_OF = {'gt': '', 'lq': 'lq', 'rgb': 'rgb'}
RGB_SCALE = 1 / 255


@dataclass(frozen=True)
class Preparation:
    """What :func:`prepare_dataset` has written.

    Attributes:
        stores (dict[str, int]): Path of every store and its number of scenes.
        missing (tuple[str]): Listed scenes that the source does not have.
        unlisted (tuple[str]): Scenes of the source that no list names; they are in no store.
        notes (tuple[str]): What the readers have assumed or converted, with the number of scenes.
    """

    stores: dict[str, int]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]
    notes: tuple[str, ...] = ()


def check_outputs(output: PathLike, with_rgb: bool = False) -> None:
    """Refuse an output folder that holds a store of a name that would be written.

    Raises:
        FileExistsError: Such a store exists.
    """
    for phase in PHASES:
        for kind in ('gt', 'rgb') if with_rgb else ('gt',):
            refuse_existing(store_path(output, phase, kind))


def store_path(output: PathLike, phase: str, kind: str = 'gt') -> Path:
    """Return the path of a store in a prepared folder.

    Args:
        output (str | PathLike): The prepared folder.
        phase (str): 'train', 'test', or ``NO_REFERENCE`` for scenes without a ground truth.
        kind (str): 'gt' (``train.lmdb``), 'lq' (``train_lq.lmdb``, without a reference ``lq.lmdb``) or 'rgb'.
            Default: 'gt'.
    """
    return Path(output) / f'{"_".join(part for part in (phase, SUFFIX_OF[kind]) if part) or kind}.lmdb'


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
    phase_of = {key: phase for phase in PHASES for key in getattr(chosen.present, phase)}
    phased = [
        (phase, scene)
        for scene in scenes
        for phase in [phase_of.get(scene.key) if scene.phase is None else scene.phase]
        if phase is not None
    ]
    for phase, scene in phased:
        for kind in SUFFIX_OF if scene.phase is not None else ('gt', 'rgb') if with_rgb else ('gt',):
            refuse_existing(store_path(output, phase, kind))
    with ExitStack() as stack:
        stores = _Stores(output, stack)
        bar = tqdm(phased, 'Prepare', unit='scene', disable=not progress)
        for phase, scene in bar:
            bar.set_postfix_str(scene.key)
            stores.add(phase, scene.key, scene.load(), with_rgb)
        _publish_together(list(stores.writers.values()))
    counts = {str(path): stores.counts[path] for path in stores.writers}
    return Preparation(counts, chosen.missing, chosen.unlisted, stores.told())


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


class _Stores:
    """The stores of a data set being written; each is begun when its first cube comes."""

    def __init__(self, output: PathLike, stack: ExitStack) -> None:
        self.writers: dict[Path, CubeStoreWriter] = {}
        self.counts: dict[Path, int] = {}
        self._output = output
        self._stack = stack
        self._first: dict[str, tuple[str, int]] = {}
        self._notes: dict[str, set[str]] = {}

    def add(self, phase: str, key: str, scene: Cube | SceneCubes, with_rgb: bool) -> None:
        """Write the images of a scene into the stores of its phase."""
        if isinstance(scene, Cube):
            scene = SceneCubes(gt=scene, rgb=_picture_of(key, scene) if with_rgb else None)
        self._check_bands('', key, scene.gt or scene.lq)
        self._check_bands(' of the guide', key, scene.rgb)
        for kind in SUFFIX_OF:
            cube = getattr(scene, kind)
            if cube is None:
                continue
            path = store_path(self._output, phase, kind)
            if path not in self.writers:
                writer = CubeStoreWriter(path)
                self._stack.push(writer)  # first, so that it is removed even if it is interrupted while it begins
                self.writers[path] = writer.__enter__()
            self.writers[path].add(key, cube.values, cube.scale, cube.wavelengths, cube.source)
            self.counts[path] = self.counts.get(path, 0) + 1
            for note in cube.notes:
                self._notes.setdefault(f'guide: {note}' if kind == 'rgb' else note, set()).add(key)

    def told(self) -> tuple[str, ...]:
        """Return the notes of all cubes, each once with its scenes."""
        return tuple(f'{_abridged(sorted(keys))}: {note}' for note, keys in self._notes.items())

    def _check_bands(self, what: str, key: str, cube: Cube | None) -> None:
        if cube is None:
            return
        first, bands = self._first.setdefault(what, (key, cube.values.shape[2]))
        if cube.values.shape[2] != bands:
            raise ValueError(
                f'Scene {key} has {cube.values.shape[2]} bands{what}, but {first} has {bands}; the scenes of a data '
                'set must have the same bands.'
            )


def _abridged(keys: Sequence[str]) -> str:
    return ', '.join(keys[:3]) + (f' and {len(keys) - 3} more' if len(keys) > 3 else '')


def _picture_of(key: str, cube: Cube) -> Cube:
    if cube.rgb is None:
        raise ValueError(f'Scene {key} has no colour picture; prepare without the RGB.')
    return Cube(cube.rgb, RGB_SCALE, source=cube.source)


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
