"""Sensor models from files: written by ``mulsr estimate-sensor``, put to work on a pair."""

from __future__ import annotations

import math

from torch import Tensor

from mulsr_plugin.sensor.estimation import SensorEstimate
from mulsr_plugin.sensor.model import SensorModel
from mulsr_plugin.sensor.noise import estimate_noise
from mulsr_plugin.sensor.relation import held_out_relation
from mulsr_plugin.utils.files import PathLike


def load_sensor(path: PathLike, scale: int, num_bands: int) -> SensorModel:
    """Load the file of a sensor model and check that it is for images of these.

    Args:
        path (str | PathLike): File of ``SensorModel.save``.
        scale (int): Scale factor of the images.
        num_bands (int): Bands of the cube.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a sensor model, or one of another scale or number of bands.
    """
    sensor = SensorModel.load(path)
    if sensor.scale != scale:
        raise ValueError(f'{path} is a sensor model for x{sensor.scale}, expected x{scale} as the images are: name it.')
    counts = {len(sensor.noise_sigma), num_bands if sensor.response is None else sensor.response.shape[1]}
    if not counts <= {1, num_bands}:
        raise ValueError(
            f'{path} is a sensor model for {max(counts - {1, num_bands})} bands, but the cube has {num_bands}: '
            'estimate one from a pair of this sensor.'
        )
    return sensor


def estimate_of_file(path: PathLike, lq: Tensor, guide: Tensor, response: Tensor | None = None) -> SensorEstimate:
    """Return a sensor model of a file in the form of an estimate, with how well it relates the images of a pair.

    Args:
        path (str | PathLike): File of ``SensorModel.save``.
        lq (Tensor): (L, h, w) in [0, 1].
        guide (Tensor): (G, scale * h, scale * w) in [0, 1].
        response (Tensor | None): Replaces the response of the file, (G, L). Default: None.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a sensor model, or does not fit the pair.
    """
    scale = guide.shape[1] // lq.shape[1]
    sensor = load_sensor(path, scale, len(lq))
    if response is not None:
        sensor = sensor.with_response(response)
    if sensor.response is not None and len(sensor.response) != len(guide):
        raise ValueError(
            f'{path} is a sensor model for {len(sensor.response)} guide channels, but the guide has {len(guide)}: '
            'estimate one from a pair of these sensors.'
        )
    noise = sensor.noise_sigma.to(lq) if sensor.noise_sigma.any() else estimate_noise(lq)
    gain = held_out_relation(lq, sensor.blur(guide[None])[0], noise.expand(len(lq))).gain
    row, column = (value - (scale - 1) / 2 for value in sensor.centre)
    statement = (
        f'Sensor model of {path}: the cube lies {row:+.2f} pixels of the guide down and {column:+.2f} to the right; '
        f'with it the guide predicts {100 * max(gain, 0):.0f} % of the detail of the cube.'
    )
    return SensorEstimate(sensor, True, True, (math.nan, math.nan), math.nan, gain, statement)
