"""Source reader: the Harvard real-world hyperspectral images.

77 scenes of 1040 x 1392 pixels, 31 bands from 420 to 720 nm in steps of 10 nm, taken with a Nuance FX camera and a
tunable filter: the archive CZ_hsdb has 50 scenes under daylight, most of them outdoors, CZ_hsdbi 27 indoors under
artificial and mixed light. A scene is a file ``img*.mat`` with ``ref`` (the cube, no fixed range) and ``lbl`` (0 where
something moved between the bands, so that the spectra are void); ``calib.txt`` beside the files has the camera's
relative sensitivity in the 31 bands, by which ``ref`` is not divided.

Reference: Chakrabarti and Zickler, "Statistics of Real-World Hyperspectral Images", CVPR 2011.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np

from mulsr_plugin.data.cube import Cube, SourceScene, check_cube
from mulsr_plugin.data.formats import FormatError, ReadOptions, scene_key
from mulsr_plugin.data.formats.mat import read_companion, read_mat
from mulsr_plugin.utils.files import PathLike

NUM_BANDS = 31
WAVELENGTHS = tuple(float(nm) for nm in range(420, 721, 10))
SCENE_FILE = re.compile(r'img\w+\.mat', re.IGNORECASE)
CALIBRATION_FILE = 'calib.txt'
NORMALISATIONS = ('scene', 'common')
MASK_TREATMENTS = ('keep', 'zero')


def harvard_scenes(
    folder: PathLike, normalise: str = 'scene', masked: str = 'keep', calibrate: bool = False
) -> list[SourceScene]:
    """List the scenes of the unpacked archives, sorted by name.

    Args:
        folder (str | PathLike): CZ_hsdb, CZ_hsdbi, or a folder above them.
        normalise (str): How values come to [0, 1]: ``scene`` divides every scene by its own maximum, as most papers
            do; ``common`` divides all by the largest value of all of them, which keeps their brightness comparable
            but leaves most scenes dark, and reads every file twice. Default: scene.
        masked (str): Pixels with ``lbl`` 0: ``keep`` leaves them as they are, as most papers do; ``zero`` makes their
            spectra 0 and leaves them out of the maximum. Default: keep.
        calibrate (bool): Divide the bands by calib.txt first. Default: False.

    Returns:
        list[SourceScene]: Keys are the file names without suffix. Cubes are float32; their ``source`` says what was
        done.

    Raises:
        FileNotFoundError: No such folder, no scene in it, or no calib.txt where it is needed.
        ValueError: An option is none of its choices, a scene comes twice, or calib.txt is damaged.
    """
    for name, value, choices in (('normalise', normalise, NORMALISATIONS), ('masked', masked, MASK_TREATMENTS)):
        if value not in choices:
            raise ValueError(f'{name} is {value!r}, expected one of {", ".join(choices)}.')
    files = _scene_files(Path(folder).expanduser())
    read = partial(_read, masked=masked, calibrate=calibrate)
    if calibrate:
        for parent in {path.parent for path in files.values()}:
            _calibration(parent)
    common = cache(lambda: max(float(read(path)[0].max()) for path in files.values()))
    maximum = common if normalise == 'common' else None
    return [SourceScene(key, partial(_load, path, read, maximum)) for key, path in sorted(files.items())]


def _scene_files(folder: Path) -> dict[str, Path]:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f'{folder} is a file; unpack CZ_hsdb.tgz and CZ_hsdbi.tgz and name their folder.')
    if not folder.exists():
        raise FileNotFoundError(f'There is no folder {folder}; unpack CZ_hsdb.tgz and CZ_hsdbi.tgz and name theirs.')
    found = [Path(parent) / name for parent, _, names in os.walk(folder, followlinks=True) for name in names]
    files: dict[str, Path] = {}
    for path in sorted(path for path in found if SCENE_FILE.fullmatch(path.name)):
        key = scene_key(path)
        if key in files:
            raise ValueError(f'Scene {key} comes twice, as {files[key]} and {path}: remove one.')
        files[key] = path
    if not files:
        raise FileNotFoundError(f'There is no Harvard scene in {folder}: no file is named img*.mat.')
    return files


def _load(path: Path, read: Callable[[Path], tuple[np.ndarray, str]], maximum: Callable[[], float] | None) -> Cube:
    values, history = read(path)
    largest = float(values.max()) if maximum is None else maximum()
    if not largest > 0:
        raise ValueError(f'{path}: ref has no value above 0; get the file again from its source.')
    of_what = 'the scene' if maximum is None else 'all scenes'
    source = f'Harvard {path.parent.name}/{path.name}: {history}, divided by the maximum of {of_what}, {largest:.6g}'
    check_cube(path.stem, values, 1 / largest, WAVELENGTHS)
    return Cube(values, 1 / largest, WAVELENGTHS, source=source)


def _read(path: Path, masked: str, calibrate: bool) -> tuple[np.ndarray, str]:
    """Return the cube of a file, float32 without negative values, and what was done with it."""
    values = read_mat(path, ReadOptions(key='ref')).values
    if values.ndim != 3 or values.shape[2] != NUM_BANDS:
        raise FormatError(f'{path}: ref is {values.shape}, expected (height, width, {NUM_BANDS}).')
    if not np.isfinite(values).all():
        raise FormatError(f'{path}: ref holds NaN or infinite values; get the file again from its source.')
    void = _void_pixels(path, values.shape[:2])
    # Dark noise below zero, if any, is not a light.
    values = np.maximum(values, 0, dtype=np.float32, casting='unsafe')
    share = f'{100 * void.mean():.3g}% masked pixels'
    history = f'ref, {share} {"set to 0" if masked == "zero" else "kept"}'
    if masked == 'zero':
        values[void] = 0
    if calibrate:
        values /= _calibration(path.parent)
        history += f', divided by {CALIBRATION_FILE}'
    return values, history


def _void_pixels(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return where ``lbl`` is 0."""
    labels = read_companion(path, 'lbl')
    if labels is None or labels.shape != shape:
        found = 'no lbl' if labels is None else f'lbl of {labels.shape}'
        raise FormatError(f'{path} has {found}, expected a mask of {shape}; get the file again from its source.')
    return labels == 0


def _calibration(folder: Path) -> np.ndarray:
    """Read the camera's sensitivity in every band, float32."""
    path = folder / CALIBRATION_FILE
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path}, which calibrating needs; copy it from the archive.')
    try:
        sensitivity = np.array(path.read_text(encoding='utf-8').split(), dtype=np.float32)
    except ValueError as error:
        raise ValueError(f'{path} is not a list of numbers ({error}); copy it from the archive.') from error
    if sensitivity.shape != (NUM_BANDS,) or not (sensitivity > 0).all():
        raise ValueError(f'{path} holds {sensitivity.size} values, expected {NUM_BANDS} above 0; copy it again.')
    return sensitivity
