"""Low-resolution cubes and guide images made from high-resolution cubes, in memory and from file to file."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mulsr_plugin.apps.sensor_files import load_sensor
from mulsr_plugin.data.cube import Cube, scaled_to_unit
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.formats import files_read, files_written, read_cube, refuse_shadowed, write_cube
from mulsr_plugin.data.sample_seeds import key_generator
from mulsr_plugin.data.spectral_response import apply_spectral_response, load_spectral_response
from mulsr_plugin.sensor.model import FILE_SUFFIX, SensorModel

DEFAULT_RESPONSE = 'nikon_d700'


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """How a pair is made from a cube.

    Attributes:
        degradation (Mapping | str): Preset or block of options, see ``build_degradation``, or the name of a .npz file
            of a ``SensorModel``. Default: 'noise_free'.
        scale (int | None): Super-resolution factor; None for that of a sensor file. Default: None.
        spectral_response (str | None): Response of the guide's camera, see ``load_spectral_response``. Default: None,
            that of the sensor file where it has one, else nikon_d700.
        seed (int | None): Seed of what is random. Default: None, that of the degradation, else 0.
        key (str): Name of the scene in a data set, which noise depends on. Default: ''.
        with_guide (bool): Whether to make a guide image. Default: True.
    """

    degradation: Mapping[str, Any] | str = 'noise_free'
    scale: int | None = None
    spectral_response: str | None = None
    seed: int | None = None
    key: str = ''
    with_guide: bool = True


@dataclass(frozen=True)
class SimulatedPair:
    """What a simulation has made.

    Attributes:
        lq (Cube): (h, w, L), float32 in [0, 1], with the wavelengths and the georeference of its pixels.
        guide (Cube | None): (scale * h, scale * w, G), likewise.
        scale (int): Super-resolution factor.
        text (tuple[str]): What was done, a line each.
    """

    lq: Cube
    guide: Cube | None
    scale: int
    text: tuple[str, ...]


def simulate(cube: Cube, how: Simulation) -> SimulatedPair:
    """Make the low-resolution cube and the guide image of a high-resolution cube.

    With a preset these are exactly the images that ``PairedHSIRGBDataset`` makes of a scene in validation and test.

    Args:
        cube (Cube): (H, W, L); cut at the bottom and right to multiples of the scale.
        how (Simulation): How.

    Raises:
        FileNotFoundError: A file does not exist.
        ValueError: An option is wrong, the response does not fit the bands, or the cube is smaller than one
            low-resolution pixel.
    """
    sensor = _sensor_file(how.degradation)
    scale = _scale_of(how, sensor)
    cube, text = _cut(cube, scale)
    gt = scaled_to_unit(cube.values.transpose(2, 0, 1), cube.scale)
    if sensor is None:
        lq, line = _degraded(gt, how, scale)
    else:
        lq, line = _blurred(gt, load_sensor(str(how.degradation), scale, len(gt)), how)
    text = [*text, line]
    guide = None
    if how.with_guide:
        response, line = _response(how, sensor, cube)
        text.append(line)
        picture = _channels_last(np.clip(apply_spectral_response(response, gt), 0, 1))
        guide = Cube(picture, 1.0, source=cube.source, geo=cube.geo)
    geo = None if cube.geo is None else cube.geo.refined(1 / scale)
    low = replace(cube, values=_channels_last(lq), scale=1.0, rgb=None, geo=geo, notes=())
    return SimulatedPair(low, guide, scale, tuple(text))


@dataclass(frozen=True, kw_only=True)
class SimulationJob(Simulation):
    """A simulation from file to file.

    Attributes:
        cube (Path): High-resolution cube.
        cube_options (Mapping): Arguments of ``read_cube``. Default: none.
        output (Path): File of the low-resolution cube; its name sets the format.
        guide_output (Path | None): File of the guide image; None makes none. Default: None.
        force (bool): Replace existing files. Default: False.
    """

    cube: Path
    output: Path
    cube_options: Mapping[str, Any] = field(default_factory=dict)
    guide_output: Path | None = None
    force: bool = False


def simulate_files(job: SimulationJob) -> tuple[str, ...]:
    """Simulate a pair from a file and write it.

    Returns:
        tuple[str]: What was read, done and written, a line each.

    Raises:
        FileNotFoundError: An input does not exist.
        FileExistsError: An output exists and ``force`` is off, or is the input.
        ValueError: See :func:`simulate`; or a format is unknown.
        OSError: An output cannot be written; neither is left behind then.
    """
    _check_outputs(job)
    cube = read_cube(job.cube, **job.cube_options)
    pair = simulate(cube, replace(job, with_guide=job.guide_output is not None))
    lines = [*(f'{job.cube}: {line}' for line in cube.report), *pair.text]
    written: list[Path] = []
    try:
        for path, image in ((job.guide_output, pair.guide), (job.output, pair.lq)):
            if path is not None and image is not None:
                before = [file for file in files_written(path) if not file.exists()]
                write_cube(path, image, overwrite=job.force)
                written += before
                lines.append(f'Written: {path}, {image.size_text}, {image.values.dtype} in [0, 1]')
    except BaseException:
        for path in written:  # one image of a pair is of no use
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        raise
    return tuple(lines)


def _check_outputs(job: SimulationJob) -> None:
    inputs = {path.resolve() for path in files_read(job.cube)}
    outputs = [path for path in (job.output, job.guide_output) if path is not None]
    files = [file.resolve() for path in outputs for file in files_written(path)]
    if len(set(files)) < len(files):
        raise ValueError(f'Cube and guide would both be written to {job.output}: name two files.')
    for path in outputs:
        refuse_shadowed(path)
        for file in files_written(path):
            if file.resolve() in inputs:
                raise FileExistsError(f'{file} is the input: name another file to write.')
            if file.exists() and not job.force:
                raise FileExistsError(f'{file} exists: name another file to write, or use force to replace it.')


def _sensor_file(degradation: Mapping[str, Any] | str) -> SensorModel | None:
    is_file = isinstance(degradation, str) and degradation.lower().endswith(FILE_SUFFIX)
    return SensorModel.load(str(degradation)) if is_file else None


def _scale_of(how: Simulation, sensor: SensorModel | None) -> int:
    scale = how.scale
    if scale is None:
        if sensor is None:
            raise ValueError('The scale is missing: give it, such as 8; only a sensor file knows its own.')
        return sensor.scale
    if sensor is not None and sensor.scale != scale:
        raise ValueError(
            f'{how.degradation} is a sensor model for x{sensor.scale}, but the scale is {scale}: correct it.'
        )
    if sensor is None:
        build_degradation(_block(how), scale)  # which refuses a scale that is none
    return scale


def _cut(cube: Cube, scale: int) -> tuple[Cube, list[str]]:
    """Cut a cube to multiples of the scale, and say so."""
    rows, columns = cube.values.shape[:2]
    height, width = rows // scale * scale, columns // scale * scale
    if min(height, width) == 0:
        raise ValueError(
            f'The cube has {rows}x{columns} pixels, fewer than one low-resolution pixel at scale {scale}: give a '
            'larger cube or a smaller scale.'
        )
    if (height, width) == (rows, columns):
        return cube, []
    cut = replace(cube, values=cube.values[:height, :width])
    return cut, [f'Cut at the bottom and right to {height}x{width}, multiples of {scale}']


def _block(how: Simulation) -> dict[str, Any]:
    block = {'preset': how.degradation} if isinstance(how.degradation, str) else dict(how.degradation)
    return block if how.seed is None else {**block, 'seed': how.seed}


def _degraded(gt: np.ndarray, how: Simulation, scale: int) -> tuple[np.ndarray, str]:
    degradation = build_degradation(_block(how), scale)
    return degradation(gt, key_generator(degradation.seed, how.key)), degradation.describe()


def _blurred(gt: np.ndarray, sensor: SensorModel, how: Simulation) -> tuple[np.ndarray, str]:
    """Apply the blur and the noise of a sensor model; (L, H, W) to (L, h, w) in [0, 1]."""
    seed = how.seed or 0
    lq = sensor.blur(torch.from_numpy(gt)[None])[0].numpy()
    noise = sensor.noise_sigma.numpy().astype(np.float32).reshape(-1, 1, 1)
    if noise.any():
        lq = lq + noise * key_generator(seed, how.key).standard_normal(lq.shape, dtype=np.float32)
    level = f'noise of std {noise.min():.2g} to {noise.max():.2g}, seed {seed}' if noise.any() else 'no noise'
    return np.clip(lq, 0, 1), f'{how.degradation}, x{sensor.scale}: kernel of the sensor model, {level}'


def _response(how: Simulation, sensor: SensorModel | None, cube: Cube) -> tuple[np.ndarray, str]:
    if how.spectral_response is None and sensor is not None and sensor.response is not None:
        return sensor.response.float().numpy(), f'Guide: response of {how.degradation}'
    name = how.spectral_response or DEFAULT_RESPONSE
    return load_spectral_response(name, cube.num_bands, cube.wavelengths), f'Guide: response {name}'


def _channels_last(image: np.ndarray) -> np.ndarray:
    """Return an image (C, H, W) as (H, W, C), float32."""
    return np.ascontiguousarray(image.transpose(1, 2, 0), dtype=np.float32)
