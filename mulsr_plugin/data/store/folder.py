"""A folder of cubes in any readable format, with the reading interface of the LMDB store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import FormatError
from mulsr_plugin.data.sources.cubes import cube_scenes
from mulsr_plugin.data.store.header import CubeHeader, CubeStoreError
from mulsr_plugin.utils.files import PathLike


class CubeFolder:
    """Cubes of a folder, each read completely at its first use and then kept in memory.

    Forked loader workers share what was read before they started; spawned ones read for themselves. For more data than
    memory holds, prepare an LMDB, of which only the rows of a crop are read.

    Args:
        path (str | PathLike): Folder with cubes, see ``cube_scenes``.

    Raises:
        FileNotFoundError: No such folder, or no cube in it.
        ValueError: Two files would have the same scene name.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self._scenes = {scene.key: scene for scene in cube_scenes(path)}
        self._cubes: dict[str, Cube] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_cubes': {}}

    def keys(self) -> list[str]:
        """Return the sorted scene names."""
        return sorted(self._scenes)

    def header(self, key: str) -> CubeHeader:
        """Return shape, dtype, scale and wavelengths of a scene; its checksum is empty."""
        cube = self._cube(key)
        height, width, num_bands = cube.values.shape
        return CubeHeader(key, (height, width, num_bands), cube.values.dtype.name, cube.scale, cube.wavelengths, '')

    def read_window(self, key: str, top: int, left: int, height: int, width: int) -> np.ndarray:
        """Return a window of a scene, (height, width, L), as a read-only view of the cube kept in memory."""
        window = self._cube(key).values[top : top + height, left : left + width]
        window.flags.writeable = False
        return window

    def _cube(self, key: str) -> Cube:
        if key not in self._scenes:
            raise CubeStoreError(f'There is no scene {key!r} in {self.path}; it holds {", ".join(self.keys())}.')
        if key not in self._cubes:
            try:
                cube = self._scenes[key].load()
            except FormatError as error:
                raise FormatError(
                    f'{error} A folder that is read as it is takes no options for that: prepare it by `mulsr prepare '
                    'cubes`.'
                ) from error
            assert isinstance(cube, Cube)
            self._cubes[key] = cube
        return self._cubes[key]
