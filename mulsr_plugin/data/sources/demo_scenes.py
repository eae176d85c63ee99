"""Synthetic scenes in the folder layout of CAVE, for demonstrations and tests.

A scene is a table top of surfaces: cells, balls, bars, rings and stars. Each surface mixes two smooth random
reflectance spectra in a fine pattern (stripes, checks, dots, grain), lies under one smooth illuminant, and is shaded.
So spectra are smooth as those of real paints and fabrics, while edges and patterns are finer than a low-resolution
cube can show and visible in its colour picture: what a guided network learns from.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.sources.cave import NUM_BANDS, WAVELENGTHS
from mulsr_plugin.utils.files import PathLike, whole_files

FULL_SCALE = 65535
SUPERSAMPLING = 2  # edges are drawn finer and averaged, as a lens and a sensor do
SENSOR_NOISE = 0.0005
LARGEST_SIZE = 2048  # a scene is drawn in memory, 4 GB then
# Centre and width in nm of the colour picture's responses, R, G, B.
RGB_RESPONSES = ((605.0, 32.0), (540.0, 36.0), (455.0, 28.0))
DISPLAY_GAMMA = 2.2


def make_demo_scenes(folder: PathLike, num_scenes: int = 6, size: int = 128, seed: int = 0) -> list[str]:
    """Write synthetic scenes as CAVE has them: 31 16-bit PNGs and a BMP in ``<scene>_ms/<scene>_ms``.

    Args:
        folder (str | PathLike): New folder, in the place of ``complete_ms_data``.
        num_scenes (int): Number of scenes. Default: 6.
        size (int): Height and width in pixels, 16 to 2048. Default: 128.
        seed (int): Equal seeds give equal scenes. Default: 0.

    Returns:
        list[str]: Scene names, ``demo_01`` and so on.

    Raises:
        FileExistsError: ``folder`` exists; it is left untouched.
        ValueError: No scene, too small or too large a size, or a negative seed is asked for.
        OSError: The disk is full or refuses; nothing is left.
    """
    if num_scenes < 1 or not 16 <= size <= LARGEST_SIZE or seed < 0:
        raise ValueError(
            f'Asked for {num_scenes} scenes of {size} pixels with seed {seed}, expected at least 1 scene of 16 to '
            f'{LARGEST_SIZE} pixels and a seed of at least 0; correct that.'
        )
    folder = Path(os.path.abspath(folder))
    names = [f'demo_{index:02d}' for index in range(1, num_scenes + 1)]
    with whole_files(folder, overwrite=False) as temporary:
        for index, name in enumerate(names):
            write_cave_scene(temporary, name, demo_scene(size, seed, index))
    return names


def write_cave_scene(root: PathLike, name: str, cube: Cube) -> Path:
    """Write one scene in the layout of CAVE.

    Args:
        root (str | PathLike): Folder in the place of ``complete_ms_data``.
        name (str): Scene name, without ``_ms``.
        cube (Cube): Values (H, W, 31) uint16 or uint8, with or without a colour picture.

    Returns:
        Path: The folder of its files.

    Raises:
        OSError: A file cannot be written.
    """
    folder = Path(root) / f'{name}_ms' / f'{name}_ms'
    folder.mkdir(parents=True)
    images = {f'{name}_ms_{band + 1:02d}.png': cube.values[..., band] for band in range(cube.values.shape[2])}
    if cube.rgb is not None:
        images[f'{name}_RGB.bmp'] = cube.rgb[..., ::-1]
    for file, image in images.items():
        # Encoded first: OpenCV's own writing fails without a reason, and for some paths.
        _, data = cv2.imencode(Path(file).suffix, np.ascontiguousarray(image))
        (folder / file).write_bytes(data.tobytes())
    return folder


def demo_scene(size: int, seed: int = 0, index: int = 0) -> Cube:
    """Draw one synthetic scene.

    Args:
        size (int): Height and width in pixels.
        seed (int): Seed of the data set. Default: 0.
        index (int): Number of the scene in it. Default: 0.

    Returns:
        Cube: Values (size, size, 31) uint16, with its colour picture.
    """
    rng = np.random.default_rng([seed, index])
    radiance = _draw_table(rng, size * SUPERSAMPLING)
    radiance = radiance.reshape(size, SUPERSAMPLING, size, SUPERSAMPLING, NUM_BANDS).mean((1, 3))
    radiance *= rng.uniform(0.8, 0.97) / radiance.max()
    radiance += rng.normal(0, SENSOR_NOISE, radiance.shape)
    values = np.rint(radiance.clip(0, 1) * FULL_SCALE).astype(np.uint16)
    return Cube(values, 1 / FULL_SCALE, WAVELENGTHS, render_rgb(values / FULL_SCALE), f'synthetic, seed {seed}')


def render_rgb(cube: np.ndarray) -> np.ndarray:
    """Show a cube of CAVE's bands as a display picture.

    Args:
        cube (ndarray): (H, W, 31) in [0, 1].

    Returns:
        ndarray: (H, W, 3) uint8, R, G, B, with display gamma.
    """
    wavelengths = np.array(WAVELENGTHS)
    response = np.stack([np.exp(-(((wavelengths - mean) / width) ** 2) / 2) for mean, width in RGB_RESPONSES], 1)
    linear = cube @ (response / response.sum(0))
    return np.rint((linear / linear.max()) ** (1 / DISPLAY_GAMMA) * 255).astype(np.uint8)


def _draw_table(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the light from the scene, (size, size, 31), any unit."""
    rows, columns = np.mgrid[:size, :size].astype(np.float32) / size
    surface = _cells(rng, rows, columns)
    relief = np.ones((size, size), np.float32)
    for _ in range(rng.integers(9, 14)):
        inside, height = SHAPES[rng.integers(len(SHAPES))](rng, *_local_frame(rng, rows, columns))
        surface[inside] = surface.max() + 1
        relief[inside] = height[inside]
    number = surface.max() + 1
    mix = np.zeros((size, size), np.float32)
    for label in range(number):
        inside = surface == label
        mix[inside] = PATTERNS[rng.integers(len(PATTERNS))](rng, rows, columns)[inside]
    first, second = _reflectances(rng, number), _reflectances(rng, number)
    reflectance = first[surface] + mix[..., None] * (second[surface] - first[surface])
    light = 0.55 + 0.45 * _smooth_noise(rng, size, 3)
    grain = 1 + 0.06 * (_smooth_noise(rng, size, size // 3) - 0.5)
    return reflectance * (light * relief * grain)[..., None] * _illuminant(rng)


def _reflectances(rng: np.random.Generator, number: int) -> np.ndarray:
    """Smooth random spectra, (number, 31), between 0.02 and 0.9: a base and a few wide bumps each."""
    wavelengths = np.array(WAVELENGTHS, np.float32)
    spectra = np.empty((number, NUM_BANDS), np.float32)
    for row in spectra:
        row[:] = rng.uniform(0.02, 0.2)
        for _ in range(rng.integers(1, 4)):
            centre, width = rng.uniform(390, 730), rng.uniform(28, 75)
            row += rng.uniform(0.1, 0.8) * np.exp(-(((wavelengths - centre) / width) ** 2) / 2)
        row *= rng.uniform(0.15, 0.9) / max(row.max(), 0.3)
    return spectra.clip(0.02, 0.9)


def _illuminant(rng: np.random.Generator) -> np.ndarray:
    """Return a smooth light between daylight and lamp light, (31,), brightest band 1."""
    x = (np.array(WAVELENGTHS, np.float32) - 550) / 150
    light = 1 + rng.uniform(-0.1, 0.35) * x - rng.uniform(0.1, 0.3) * x**2
    return light / light.max()


def _smooth_noise(rng: np.random.Generator, size: int, nodes: int) -> np.ndarray:
    """Noise in [0, 1], (size, size), that varies over about ``size / nodes`` pixels."""
    nodes = max(nodes, 2)
    noise = cv2.resize(rng.random((nodes, nodes), np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return noise.clip(0, 1)


def _cells(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Number the cells of a Voronoi diagram with bent borders."""
    size = len(rows)
    bend = 0.12 * (_smooth_noise(rng, size, 6) - 0.5), 0.12 * (_smooth_noise(rng, size, 6) - 0.5)
    centres = rng.random((rng.integers(6, 10), 2), np.float32)
    distances = [(rows + bend[0] - y) ** 2 + (columns + bend[1] - x) ** 2 for y, x in centres]
    return np.argmin(distances, 0)


def _local_frame(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates centred, turned and scaled at random, in which a shape is about the unit disc."""
    y, x = rows - rng.uniform(0.08, 0.92), columns - rng.uniform(0.08, 0.92)
    angle, radius, stretch = rng.uniform(0, np.pi), rng.uniform(0.07, 0.2), rng.uniform(0.6, 1)
    cosine, sine = np.cos(angle), np.sin(angle)
    return (cosine * y - sine * x) / (radius * stretch), (sine * y + cosine * x) / radius


def _ball(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    squared = y**2 + x**2
    return squared < 1, 0.3 + 0.7 * np.sqrt((1 - 0.9 * squared - 0.35 * (y + x)).clip(0, 1))


def _bar(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return (np.abs(y) < rng.uniform(0.15, 0.5)) & (np.abs(x) < 1.2), 0.75 + 0.25 * np.cos(2 * y)


def _ring(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    radius = np.hypot(y, x)
    return np.abs(radius - 0.8) < rng.uniform(0.08, 0.2), 1 - 2 * np.abs(radius - 0.8)


def _star(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points = rng.integers(3, 8)
    outline = 0.7 + 0.35 * np.cos(points * np.arctan2(y, x))
    return np.hypot(y, x) < outline, 0.85 + 0.1 * y.clip(-1, 1)


def _plain(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return 0.3 * _smooth_noise(rng, len(rows), 4)


def _stripes(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    angle, number = rng.uniform(0, np.pi), rng.uniform(12, 40)
    wave = np.sin(2 * np.pi * number * (np.cos(angle) * rows + np.sin(angle) * columns))
    return (0.5 + 2 * wave).clip(0, 1)


def _checks(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    number = rng.integers(8, 24)
    return ((rows * number).astype(int) + (columns * number).astype(int)) % 2


def _dots(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    number = rng.uniform(8, 24)
    return np.hypot((rows * number) % 1 - 0.5, (columns * number) % 1 - 0.5) < rng.uniform(0.2, 0.4)


def _grain(rng: np.random.Generator, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return (3 * _smooth_noise(rng, len(rows), len(rows) // int(rng.integers(4, 10))) - 1).clip(0, 1)


SHAPES: tuple[Callable[..., tuple[np.ndarray, np.ndarray]], ...] = (_ball, _bar, _ring, _star, _ball)
PATTERNS: tuple[Callable[..., np.ndarray], ...] = (_plain, _stripes, _checks, _dots, _grain, _plain)
