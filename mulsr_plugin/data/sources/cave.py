"""Source reader: the CAVE multispectral image database, as its ``complete_ms_data.zip`` or unpacked.

32 indoor scenes, 512 x 512 pixels, 31 bands from 400 to 700 nm in steps of 10 nm. A scene is a folder
``<scene>_ms``, usually nested once in itself, with ``<scene>_ms_01.png`` to ``<scene>_ms_31.png`` (16-bit grey, full
scale 65535) and the colour rendering ``<scene>_RGB.bmp``. The scene ``watercolors`` alone has 8-bit RGBA PNGs (three
equal channels, full scale 255). Whatever else lies there (``Thumbs.db``, ``__MACOSX``) is skipped.

Reference: Yasuma et al., "Generalized Assorted Pixel Camera", IEEE Transactions on Image Processing, 2010.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from mulsr_plugin.data.cube import Cube, SourceScene, check_key
from mulsr_plugin.data.formats.pictures import bmp_is_short, png_fault
from mulsr_plugin.utils.files import PathLike

NUM_BANDS = 31
WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))
BAND_FILE = re.compile(r'(?P<scene>.+)_ms_(?P<band>\d+)\.png', re.IGNORECASE)
RGB_FILE = re.compile(r'(?P<scene>.+)_RGB\.bmp', re.IGNORECASE)
Opener = Callable[[], 'AbstractContextManager[Callable[[str], bytes]]']


def cave_scenes(path: PathLike, with_rgb: bool = False) -> list[SourceScene]:
    """List the scenes of a CAVE folder or zip file, sorted by name.

    A zip file is read member by member and never unpacked to disk.

    Args:
        path (str | PathLike): ``complete_ms_data`` (or any folder above the scene folders) or ``complete_ms_data.zip``.
        with_rgb (bool): Load the BMP of every scene too. Default: False.

    Returns:
        list[SourceScene]: Keys are the scene names without ``_ms``.

    Raises:
        FileNotFoundError: There is nothing at ``path``, or no scene in it.
        ValueError: The zip file is damaged, a scene comes twice, or a band or a wanted BMP is missing.
    """
    path = Path(path)
    if path.is_dir():
        names, opener = _folder_names(path), partial(_open_folder, path)
    elif path.is_file():
        names, opener = _zip_names(path), partial(_open_zip, path)
    else:
        raise FileNotFoundError(f'There is no {path}; give the folder complete_ms_data or complete_ms_data.zip.')
    scenes = _group(names)
    if not scenes:
        raise FileNotFoundError(f'There is no CAVE scene in {path}: no file is named <scene>_ms_01.png or alike.')
    for scene in scenes.values():
        scene.check(with_rgb)
    return [SourceScene(name, partial(_load, opener, scene, with_rgb)) for name, scene in sorted(scenes.items())]


@dataclass
class _SceneFiles:
    """Where the files of one scene are."""

    name: str
    folder: str
    bands: dict[int, str] = field(default_factory=dict)
    rgb: str | None = None

    def check(self, with_rgb: bool) -> None:
        """Refuse a scene whose files are not exactly bands 1 to 31 (and the BMP where wanted)."""
        check_key(self.name)
        missing = [f'{self.name}_ms_{band:02d}.png' for band in range(1, NUM_BANDS + 1) if band not in self.bands]
        if missing:
            raise ValueError(
                f'Scene {self.name} lacks {_abridged(missing)} in {self.folder}: unpack the data set again.'
            )
        extra = [file for band, file in self.bands.items() if not 1 <= band <= NUM_BANDS]
        if extra:
            raise ValueError(f'Scene {self.name} has {extra[0]}, but CAVE has bands 1 to {NUM_BANDS} only.')
        if with_rgb and self.rgb is None:
            raise ValueError(f'Scene {self.name} lacks {self.name}_RGB.bmp in {self.folder}: prepare without the RGB.')


def _group(names: list[str]) -> dict[str, _SceneFiles]:
    """Sort file names into scenes."""
    scenes: dict[str, _SceneFiles] = {}
    for name in sorted(names):
        file = PurePosixPath(name)
        match = BAND_FILE.fullmatch(file.name)
        if match is None or _is_litter(file):
            continue
        scene = scenes.setdefault(match['scene'], _SceneFiles(match['scene'], str(file.parent)))
        if scene.folder != str(file.parent):
            raise ValueError(f'Scene {scene.name} comes twice, in {scene.folder} and in {file.parent}: remove one.')
        band = int(match['band'])
        if band in scene.bands:
            raise ValueError(f'Scene {scene.name} has band {band} twice, {scene.bands[band]} and {name}: remove one.')
        scene.bands[band] = name
    for name in names:
        file = PurePosixPath(name)
        match = RGB_FILE.fullmatch(file.name)
        if (
            match
            and not _is_litter(file)
            and match['scene'] in scenes
            and scenes[match['scene']].folder == str(file.parent)
        ):
            scenes[match['scene']].rgb = name
    return scenes


def _is_litter(file: PurePosixPath) -> bool:
    """Detect the shadow files that macOS adds to archives (``__MACOSX/.../._<name>``)."""
    return '__MACOSX' in file.parts or file.name.startswith('._')


def _abridged(files: list[str]) -> str:
    return ', '.join(files[:3]) + (f' and {len(files) - 3} more bands' if len(files) > 3 else '')


def _load(opener: Opener, scene: _SceneFiles, with_rgb: bool) -> Cube:
    """Read the bands of a scene, and its BMP where wanted."""
    with opener() as read:
        first = _decode_band(scene.name, scene.bands[1], read(scene.bands[1]))
        values = np.empty((*first.shape, NUM_BANDS), first.dtype)
        for band, file in sorted(scene.bands.items()):
            image = _decode_band(scene.name, file, read(file))
            if image.shape != first.shape or image.dtype != first.dtype:
                raise ValueError(
                    f'Scene {scene.name}: {file} is {_kind(image)}, but {scene.bands[1]} is {_kind(first)}; all bands '
                    'of a scene must agree: unpack the data set again.'
                )
            values[..., band - 1] = image
        rgb = _decode_rgb(scene.name, scene.rgb, read(scene.rgb), first.shape) if with_rgb and scene.rgb else None
    scale = 1.0 / float(np.iinfo(values.dtype).max)
    return Cube(values=values, scale=scale, wavelengths=WAVELENGTHS, rgb=rgb, source=f'CAVE {scene.name}_ms')


def _decode_band(scene: str, file: str, data: bytes) -> np.ndarray:
    """Decode one band to (H, W) uint16 or uint8."""
    fault = png_fault(data)
    image = None if fault else _decode(data, cv2.IMREAD_UNCHANGED)
    if image is None:
        raise ValueError(f'Scene {scene}: {file} {fault or "cannot be decoded"}; unpack the data set again.')
    if image.ndim == 3:
        if not ((image[..., 0] == image[..., 1]).all() and (image[..., 0] == image[..., 2]).all()):
            raise ValueError(f'Scene {scene}: {file} is a colour picture; a band is grey.')
        image = image[..., 0]
    return image


def _decode_rgb(scene: str, file: str, data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Decode the BMP to (H, W, 3) uint8, R, G, B."""
    image = None if bmp_is_short(data) else _decode(data, cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f'Scene {scene}: {file} is cut short or no BMP; unpack the data set again.')
    if image.shape[:2] != shape:
        raise ValueError(f'Scene {scene}: {file} is {_kind(image)}, but the bands are {shape[1]}x{shape[0]} pixels.')
    return np.ascontiguousarray(image[..., ::-1])


def _decode(data: bytes, flag: int) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None


def _kind(image: np.ndarray) -> str:
    return f'{image.shape[1]}x{image.shape[0]} pixels of {image.dtype}'


def _folder_names(root: Path) -> list[str]:
    # Linked scene folders are followed: data sets are often put together from links.
    walk = os.walk(root, followlinks=True)
    return [(Path(folder) / file).relative_to(root).as_posix() for folder, _, files in walk for file in files]


@contextmanager
def _open_folder(root: Path) -> Iterator[Callable[[str], bytes]]:
    yield lambda name: (root / name).read_bytes()


def _zip_names(path: Path) -> list[str]:
    with _opened_zip(path) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    twice = {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    if twice:
        raise ValueError(f'{path} holds {min(twice)} twice; download the data set again.')
    return names


@contextmanager
def _open_zip(path: Path) -> Iterator[Callable[[str], bytes]]:
    with _opened_zip(path) as archive:

        def read(name: str) -> bytes:
            try:
                return archive.read(name)
            # A damaged member ends in many errors, by where the damage is; an encrypted one in RuntimeError.
            except Exception as error:
                raise ValueError(f'{path}: {name} cannot be read ({error}); download the data set again.') from error

        yield read


@contextmanager
def _opened_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        archive = zipfile.ZipFile(path)
    except PermissionError:
        raise
    except Exception as error:  # likewise
        raise ValueError(f'{path} is not a complete zip file ({error}); download the data set again.') from error
    with archive:
        yield archive
