"""The sensor model of a pair of files, estimated and drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from mulsr_plugin.apps.pair_checks import check_places
from mulsr_plugin.apps.super_resolution import unit_values
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import read_cube
from mulsr_plugin.data.sources.pair import scale_of_pair
from mulsr_plugin.data.spectral_response import load_spectral_response
from mulsr_plugin.sensor.estimation import SensorEstimate, estimate_sensor
from mulsr_plugin.utils.files import PathLike, replacing


def estimate_of_files(
    cube: PathLike,
    guide: PathLike,
    cube_options: Mapping[str, Any],
    guide_options: Mapping[str, Any],
    spectral_response: str | None = None,
) -> tuple[SensorEstimate, Cube, Cube]:
    """Estimate the sensor model of a pair of files.

    Args:
        cube: Low-resolution cube, (h, w, L).
        guide: Guide image, (scale * h, scale * w, G).
        cube_options: Arguments of ``read_cube`` for the cube.
        guide_options: Arguments of ``read_cube`` for the guide.
        spectral_response: Response of the guide, see ``load_spectral_response``. Default: None, estimated.

    Returns:
        The estimate, the cube and the guide as they were read.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: A file cannot be used, or the sizes are not in one whole ratio.
    """
    low, high = read_cube(cube, **cube_options), read_cube(guide, is_guide=True, **guide_options)
    scale_of_pair(low.values.shape[:2], high.values.shape[:2])
    check_places(low, high)
    response = None
    if spectral_response is not None:
        response = torch.from_numpy(load_spectral_response(spectral_response, low.num_bands, low.wavelengths)).float()
    lq, rgb = (torch.from_numpy(unit_values(image)).permute(2, 0, 1) for image in (low, high))
    return estimate_sensor(lq, rgb, response), low, high


def draw_sensor(estimate: SensorEstimate, path: PathLike, wavelengths: Sequence[float] | None = None) -> None:
    """Draw the blur kernel, with its centre beside that of the block, and the response.

    Args:
        estimate: With a known blur.
        path: New picture; its suffix sets the format.
        wavelengths: Of the bands in nm. Default: None, the bands are numbered.

    Raises:
        ImportError: Matplotlib is not installed.
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    sensor, step = estimate.sensor, estimate.sensor.steps[-1]
    figure = Figure(figsize=(8, 3.4), layout='compressed')
    kernel_axes, response_axes = figure.subplots(1, 2)
    (rows, columns), (top, left) = step.kernel.shape, step.offset
    extent = (left - 0.5, left + columns - 0.5, top + rows - 0.5, top - 0.5)
    picture = kernel_axes.imshow(step.kernel, extent=extent, cmap='viridis')
    figure.colorbar(picture, ax=kernel_axes, label='weight')
    middle = (sensor.scale - 1) / 2
    kernel_axes.plot(middle, middle, 'w+', label='centre of the block')
    kernel_axes.plot(sensor.centre[1], sensor.centre[0], 'rx', label='centre of the blur')
    kernel_axes.set(title='Blur kernel', xlabel='column (pixels of the guide)', ylabel='row')
    kernel_axes.legend(fontsize='small')
    if sensor.response is not None:
        positions = range(1, sensor.response.shape[1] + 1) if wavelengths is None else wavelengths
        for number, channel in enumerate(sensor.response.numpy(), 1):
            response_axes.plot(positions, channel, label=f'channel {number}')
        response_axes.legend(fontsize='small')
    response_axes.set(title='Response of the guide', xlabel='band' if wavelengths is None else 'wavelength (nm)')
    with replacing(Path(path)) as partial:
        figure.savefig(partial, format=Path(path).suffix[1:], dpi=150)
