"""Pairs of two folders: cubes in one, guides of the same names in the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mulsr_plugin.data.formats import cube_files, scene_key
from mulsr_plugin.data.sources.pair import PairFiles
from mulsr_plugin.utils.files import PathLike

# More would hide the sentence that says what is wrong.
_NAMED_AT_MOST = 10


def folder_pairs(
    cubes: PathLike,
    guides: PathLike,
    cube_options: Mapping[str, Any] | None = None,
    guide_options: Mapping[str, Any] | None = None,
) -> list[PairFiles]:
    """Pair the cubes of a folder with the guides of another one by their names without suffixes.

    Args:
        cubes (str | PathLike): Folder of cubes, see ``cube_files``.
        guides (str | PathLike): Folder of guides, which may be single pictures too; may be the same folder, for files
            that hold both images.
        cube_options (Mapping | None): Arguments of ``read_cube`` for all cubes. Default: None.
        guide_options (Mapping | None): Arguments of ``read_cube`` for all guides. Default: None.

    Returns:
        list[PairFiles]: The pairs, sorted by name.

    Raises:
        FileNotFoundError: There is no such folder, or it holds no cube or no guide.
        ValueError: An image has no partner or two; all such are named.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from mulsr_plugin.data.sources.pair_folders import folder_pairs
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ('lr/town.npy', 'lr/wood.npy', 'rgb/town.png', 'rgb/wood.tif'):
        ...         (Path(folder) / name).parent.mkdir(exist_ok=True)
        ...         (Path(folder) / name).touch()
        ...     [(pair.cube.name, pair.guide.name) for pair in folder_pairs(f'{folder}/lr', f'{folder}/rgb')]
        [('town.npy', 'town.png'), ('wood.npy', 'wood.tif')]
    """
    of_cubes, of_guides = _by_stem(cube_files(cubes)), _by_stem(cube_files(guides, pictures=True))
    faults = [
        f'{_names(paths)} of {folder} have the same name'
        for folder, images in ((cubes, of_cubes), (guides, of_guides))
        for paths in images.values()
        if len(paths) > 1
    ]
    for what, images, others, place in (('guide', of_cubes, of_guides, guides), ('cube', of_guides, of_cubes, cubes)):
        alone = [path for stem, paths in images.items() if stem not in others for path in paths]
        if alone:
            faults.append(f'there is no {what} in {place} for {_names(alone)}')
    if faults:
        raise ValueError(
            f'Each cube needs one guide of its name without suffix, but {"; ".join(faults)}: rename or move these, or '
            'write a list of pairs.'
        )
    return [
        PairFiles(scene_key(cube), cube, of_guides[stem][0], cube_options or {}, guide_options or {})
        for stem, (cube,) in of_cubes.items()
    ]


def _by_stem(paths: Iterable[Path]) -> dict[str, list[Path]]:
    images: dict[str, list[Path]] = {}
    for path in paths:
        images.setdefault(path.name if path.is_dir() else path.stem, []).append(path)
    return images


def _names(paths: list[Path]) -> str:
    more = f' and {len(paths) - _NAMED_AT_MOST} more' if len(paths) > _NAMED_AT_MOST else ''
    return ', '.join(path.name for path in paths[:_NAMED_AT_MOST]) + more
