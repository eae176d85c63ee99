"""A paper's figures from cubes in files of any format, of this project or of any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin.apps.benchmark.drawing import (
    Area,
    Pixel,
    band_psnr,
    band_psnr_figure,
    result_figure,
    save_figure,
    spectra_figure,
)
from mulsr_plugin.data.cube import Cube, scaled_to_unit
from mulsr_plugin.data.formats import cube_files, read_cube


def write_figures_of_files(
    out: Path,
    methods: Mapping[str, Path],
    reference: Path,
    options: Mapping[str, Any] | None = None,
    scenes: Sequence[str] | None = None,
    pixels: Sequence[Pixel] | None = None,
    area: Area | None = None,
) -> list[Path]:
    """Draw results, spectra and PSNR per band of scenes, each as PNG and as PDF with embedded fonts.

    A scene is a cube of ``reference``, by the name of its file without suffix. Its result is the file of a method's
    folder that has the same name, or this name followed by an underscore and anything else.

    Args:
        out: Folder to write ``SCENE_results``, ``SCENE_spectra`` and ``psnr_per_band`` to.
        methods: Folder of each method's cubes, or the file of one cube, by label.
        reference: Folder of the reference cubes, or the file of one.
        options: Arguments of ``read_cube`` for all of them. Default: none.
        scenes: Scenes to draw. Default: all that every method has.
        pixels: (row, column) of the spectra. Default: chosen for every scene.
        area: Top, left, height and width of the enlarged area. Default: chosen for every scene.

    Returns:
        The files written.

    Raises:
        FileNotFoundError: There are no cubes, or a method has none of a scene.
        ImportError: Matplotlib is missing.
        ValueError: A cube is damaged, or not of the size of its reference.
    """
    truths = {path.stem: path for path in _cubes_in(reference)}
    results = {label: _by_scene(_cubes_in(folder), list(truths), folder) for label, folder in methods.items()}
    shown = _scenes_shown(scenes, list(truths), results)
    per_band: dict[str, list[np.ndarray]] = {label: [] for label in methods}
    files, wavelengths = [], None
    for scene in shown:
        truth = read_cube(truths[scene], **dict(options or {}))
        cubes = {label: read_cube(found[scene], **dict(options or {})) for label, found in results.items()}
        wavelengths = next((c.wavelengths for c in (truth, *cubes.values()) if c.wavelengths is not None), None)
        values = {label: _unit(cube, truth, results[label][scene]) for label, cube in cubes.items()}
        target = scaled_to_unit(truth.values, truth.scale)
        captions = {label: f'{_psnr(cube, target):.2f} dB' for label, cube in values.items()}
        figure = result_figure(values, target, None, wavelengths, area, captions)
        files += save_figure(figure, out / f'{scene}_results')
        files += save_figure(spectra_figure(values, target, pixels, wavelengths), out / f'{scene}_spectra')
        for label, cube in values.items():
            per_band[label].append(band_psnr(cube, target))
    means = {label: np.mean(rows, axis=0) for label, rows in per_band.items()}
    return files + save_figure(band_psnr_figure(means, wavelengths), out / 'psnr_per_band')


def _cubes_in(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return cube_files(path)


def _by_scene(files: Sequence[Path], scenes: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the file of each scene; a scene's name may begin another's, and then the longest one counts.

    Raises:
        ValueError: Two files are of one scene.
    """
    found: dict[str, Path] = {}
    for file in files:
        fitting = [scene for scene in scenes if file.stem == scene or file.stem.startswith(f'{scene}_')]
        if not fitting:
            continue
        scene = max(fitting, key=len)
        if scene in found and found[scene].stem != scene and file.stem != scene:
            raise ValueError(
                f'{folder} has two cubes of scene {scene}, {found[scene].name} and {file.name}: leave one in it.'
            )
        if scene not in found or file.stem == scene:
            found[scene] = file
    if len(files) == 1 and len(scenes) == 1 and not found:  # two files need not have one name
        found[scenes[0]] = files[0]
    return found


def _scenes_shown(
    wanted: Sequence[str] | None, known: Sequence[str], results: Mapping[str, Mapping[str, Path]]
) -> list[str]:
    for scene in wanted or ():
        if scene not in known:
            raise ValueError(f'There is no reference of scene {scene!r}; there are {", ".join(known)}.')
        lacking = [label for label, found in results.items() if scene not in found]
        if lacking:
            raise FileNotFoundError(f'{lacking[0]} has no cube of scene {scene}; name it as the reference is named.')
    shown = list(wanted or [scene for scene in known if all(scene in found for found in results.values())])
    if not shown:
        raise FileNotFoundError(
            f'No scene has a cube of every method; the references are called {", ".join(known[:5])}: name the cubes so.'
        )
    return shown


def _unit(cube: Cube, truth: Cube, path: Path) -> np.ndarray:
    if cube.values.shape != truth.values.shape:
        raise ValueError(
            f'{path} has shape {cube.values.shape}, its reference {truth.values.shape}; they must be equal.'
        )
    return scaled_to_unit(cube.values, cube.scale)


def _psnr(cube: np.ndarray, target: np.ndarray) -> float:
    with np.errstate(divide='ignore'):
        return float(-10 * np.log10(np.mean(np.square(cube.clip(0, 1) - target, dtype=np.float64))))
