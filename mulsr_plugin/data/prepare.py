"""Turn a source of spectral scenes into the LMDB stores of a data set.

A prepared folder holds ``train.lmdb`` and ``test.lmdb``, with ``_rgb`` before the suffix the guides of the same scenes
and with ``_lq`` their low-resolution cubes where the source has them; ``lq.lmdb`` and ``rgb.lmdb`` hold scenes without
a ground truth. All of them appear together, complete and verified, or none does; a preparation that was killed or
interrupted is taken up where it stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mulsr_plugin import __version__
from mulsr_plugin.data.cube import Cube, Doubt, SceneCubes, SourceScene
from mulsr_plugin.data.scene_splits import PHASES, SceneSplit, SplitResult, apply_split, split_by_test_scenes
from mulsr_plugin.data.store.header import DATA_FILE, DESCRIPTION_FILE
from mulsr_plugin.data.store.reader import CubeStore, verify_store
from mulsr_plugin.data.store.writer import CubeStoreWriter, partial_store, preparation_of, refuse_unrelated
from mulsr_plugin.utils.files import PathLike

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


def check_outputs(output: PathLike, with_rgb: bool = False, resume: str | None = None) -> None:
    """Refuse an output folder that holds a store of a name that would be written.

    Raises:
        FileExistsError: Such a store exists, and is none of an interrupted preparation with this ``resume``.
    """
    kinds = ('gt', 'rgb') if with_rgb else ('gt',)
    _refuse_existing([store_path(output, phase, kind) for phase in PHASES for kind in kinds], resume)


def describe_preparation(options: Mapping[str, Any]) -> str:
    """Describe what the stores of a preparation follow from, for ``resume``.

    Args:
        options (Mapping[str, Any]): Everything that decides what is written. Of a value that names a file or folder,
            the names, sizes and times of all its files count too.

    Returns:
        str: The same text for the same options, files and release, another text for others.
    """
    described = [__version__, sorted((key, str(value), _files_of(value)) for key, value in options.items())]
    return f'sha256:{hashlib.sha256(json.dumps(described).encode()).hexdigest()}\n'


def kept_stores(output: PathLike) -> list[Path]:
    """Return the folders in which an interrupted preparation keeps its finished scenes."""
    return sorted(Path(output).glob('.*.lmdb.partial'))


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
    resume: str | None = None,
) -> Preparation:
    """Write the stores of a data set.

    Args:
        scenes (Sequence[SourceScene]): The source.
        output (str | PathLike): Folder for the stores.
        chosen (SplitResult): Scenes of each phase, from :func:`split_scenes`; a phase without scenes gets no store.
        with_rgb (bool): Write the colour pictures of the source as stores too. Default: False.
        progress (bool): Show a progress bar. Default: True.
        resume (str | None): Description of the preparation, see :func:`describe_preparation`. If it is interrupted,
            or fails for another reason than a wrong scene, its finished scenes are kept, and the next call with the
            same description leaves them out. Default: None, nothing is kept.

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
    outputs = {
        (phase, kind): store_path(output, phase, kind)
        for phase, scene in phased
        for kind in (SUFFIX_OF if scene.phase is not None else ('gt', 'rgb') if with_rgb else ('gt',))
    }
    _refuse_existing(list(outputs.values()), resume)
    if _lacks_tidying(list(outputs.values()), resume):
        return Preparation(_tidied(outputs.values()), chosen.missing, chosen.unlisted)
    with ExitStack() as stack:
        stores = _Stores(outputs, stack, resume)
        finished = stores.take_up([(phase, scene.key) for phase, scene in phased])
        left = [(phase, scene) for phase, scene in phased if (phase, scene.key) not in finished]
        bar = tqdm(left, 'Prepare', total=len(phased), initial=len(finished), unit='scene', disable=not progress)
        for phase, scene in bar:
            bar.set_postfix_str(scene.key)
            stores.add(phase, scene.key, scene.load(), with_rgb)
        _publish_together(list(stores.writers.values()))
    counts = {str(path): len(writer.headers) for path, writer in stores.writers.items()}
    return Preparation(counts, chosen.missing, chosen.unlisted, stores.notes())


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

    def __init__(self, outputs: Mapping[tuple[str, str], Path], stack: ExitStack, resume: str | None) -> None:
        self.writers: dict[Path, CubeStoreWriter] = {}
        self._outputs = outputs
        self._stack = stack
        self._resume = resume
        self._first: dict[str, tuple[str, int]] = {}
        self._notes: dict[str, set[str]] = {}

    def add(self, phase: str, key: str, scene: Cube | SceneCubes, with_rgb: bool) -> None:
        """Write the images of a scene into the stores of its phase."""
        if isinstance(scene, Cube):
            scene = SceneCubes(gt=scene, rgb=_picture_of(key, scene) if with_rgb else None)
        for kind in SUFFIX_OF:
            cube = getattr(scene, kind)
            if cube is not None:
                self._check_bands(kind, key, cube.values.shape[2])
        for kind in SUFFIX_OF:
            cube = getattr(scene, kind)
            if cube is None:
                continue
            writer = self._writer(self._outputs[phase, kind])
            writer.add(key, cube.values, cube.scale, cube.wavelengths, cube.source)
            for note in cube.notes:
                label = ('Warning: ' if isinstance(note, Doubt) else '') + ('guide: ' if kind == 'rgb' else '')
                self._notes.setdefault(f'{label}{note}', set()).add(key)

    def take_up(self, scenes: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
        """Open the stores that an interrupted preparation has left.

        Args:
            scenes (Sequence[tuple[str, str]]): Phase and key of all scenes in the order in which they are written.

        Returns:
            set[tuple[str, str]]: Scenes that need not be written again.
        """
        if self._resume is None:
            return set()
        finished_in = {phase: self._finished_in(phase) for phase in dict.fromkeys(phase for phase, _ in scenes)}
        finished = [(phase, key) for phase, key in scenes if key in finished_in[phase]]
        # the last one may lack cubes that there was no time for
        return set(finished[:-1])

    def _finished_in(self, phase: str) -> frozenset[str]:
        """Scenes that are in all stores of a phase that were begun before."""
        found = []
        for kind in SUFFIX_OF:
            path = self._outputs.get((phase, kind))
            if path is not None and (path.exists() or partial_store(path).exists()):
                writer = self._writer(path)
                for key in writer.finished:
                    self._check_bands(kind, key, writer.headers[key].shape[2])
                found.append(writer.finished)
        return frozenset.intersection(*found) if found else frozenset()

    def _writer(self, path: Path) -> CubeStoreWriter:
        if path not in self.writers:
            writer = CubeStoreWriter(path, self._resume)
            self._stack.push(writer)  # first, so that it is removed even if it is interrupted while it begins
            self.writers[path] = writer.__enter__()
        return self.writers[path]

    def notes(self) -> tuple[str, ...]:
        """Return the notes of all cubes, each once with its scenes."""
        return tuple(f'{_abridged(sorted(keys))}: {note}' for note, keys in self._notes.items())

    def _check_bands(self, kind: str, key: str, bands: int) -> None:
        what = ' of the guide' if kind == 'rgb' else ''
        first, expected = self._first.setdefault(what, (key, bands))
        if bands != expected:
            raise ValueError(
                f'Scene {key} has {bands} bands{what}, but {first} has {expected}; the scenes of a data set must have '
                'the same bands.'
            )


def _refuse_existing(paths: Sequence[Path], resume: str | None) -> None:
    if not _lacks_tidying(paths, resume):
        for path in paths:
            refuse_unrelated(path, resume)


def _lacks_tidying(paths: Sequence[Path], resume: str | None) -> bool:
    """Return whether a preparation with this description was killed when all of its stores had appeared.

    Their descriptions are removed when the last of them has: one store with and one without means that all are there.
    """
    described = [preparation_of(path) for path in paths if path.exists()]
    return resume is not None and resume in described and None in described


def _tidied(paths: Iterable[Path]) -> dict[str, int]:
    """Remove the descriptions from complete stores and count their scenes."""
    stores = [path for path in paths if path.exists()]
    for path in stores:
        (path / DESCRIPTION_FILE).unlink(missing_ok=True)
    return {str(path): len(CubeStore(path).keys()) for path in stores}


def _files_of(value: Any) -> list[tuple[str, int, int]]:
    """Return name, size and time of every file that an option names, be it by its folder."""
    if not isinstance(value, (str, os.PathLike)) or not os.path.exists(value):
        return []
    path = Path(value)
    files = sorted(path.rglob('*')) if path.is_dir() else [path]
    found = [(str(file.relative_to(path)), file.stat()) for file in files if not file.is_dir()]
    return [(name, status.st_size, status.st_mtime_ns) for name, status in found]


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
