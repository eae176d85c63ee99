"""Source reader: a folder of spectral cubes in any readable format, one scene each.

The guide of these scenes is made by the data set with a spectral response (``spectral_response`` of the option file);
wavelengths that the files or the user name are stored with them, so that a response may be a table over wavelengths.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from mulsr_plugin.data.cube import SourceScene
from mulsr_plugin.data.formats import cube_files, read_cube, scene_key
from mulsr_plugin.utils.files import PathLike


def cube_scenes(folder: PathLike, suffix: str | None = None, **options: Any) -> list[SourceScene]:
    """List the cubes of a folder as scenes, sorted by name.

    A scene is named after its file, with blanks and full stops replaced by underscores.

    Args:
        folder (str | PathLike): Folder with cubes, see ``cube_files``; sub-folders other than those of band PNGs are
            not searched.
        suffix (str | None): Take only files with this suffix, such as '.mat'. Default: None.
        options: Arguments of ``read_cube``, for all files.

    Raises:
        FileNotFoundError: No such folder, or no cube in it.
        ValueError: Two files would have the same scene name, or a name cannot be a key.
    """
    names: dict[str, Path] = {}
    for path in cube_files(folder, suffix):
        name = scene_key(path)
        if name in names:
            raise ValueError(
                f'Files {names[name].name} and {path.name} of {folder} give the same scene {name}: rename one.'
            )
        names[name] = path
    return [SourceScene(name, partial(read_cube, path, **options)) for name, path in names.items()]
