"""Methods that need no weights, and the choice among them by what a pair says of its sensors."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mulsr_plugin.apps.sensor_files import estimate_of_file
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.sensor.estimation import SensorEstimate, estimate_sensor
from mulsr_plugin.sensor.model import SensorModel
from mulsr_plugin.utils.files import PathLike

INTERPOLATION = 'BicubicUpsampler'
METHODS = ('SensorFusion', 'GSA', 'MTFGLP', 'CNMF', 'HySure', INTERPOLATION)
"""Registered networks without parameters, the one with the best results first; the last takes no guide."""


class ChosenMethod(NamedTuple):
    """A method for one pair.

    Attributes:
        net (nn.Module): Takes ``(lq, rgb)``, or ``(lq)`` for interpolation.
        network (dict): Its block ``network_g``.
        estimate (SensorEstimate | None): Sensor model that it works with; None where it needs none.
        reason (str): Which method it is and why, in a line.
    """

    net: nn.Module
    network: dict[str, Any]
    estimate: SensorEstimate | None
    reason: str


class WithSensor(nn.Module):
    """A method called like any network, with the sensor model of one pair.

    Args:
        net (nn.Module): One that :func:`takes_sensor`.
        sensor (SensorModel): Model of the pair.
    """

    def __init__(self, net: Any, sensor: SensorModel) -> None:
        super().__init__()
        self.net, self.sensor = net, sensor
        self.upscale = net.upscale
        for half in ('prepared', 'started'):  # see mulsr_plugin.models.inference
            if hasattr(net, half):
                setattr(self, half, partial(getattr(net, half), sensor=sensor))

    def forward(self, lq: Tensor, rgb: Tensor) -> Tensor:
        """Fuse cubes (B, L, h, w) and guides (B, G, H, W) to (B, L, H, W)."""
        return self.net(lq, rgb, self.sensor)


def takes_sensor(net: nn.Module) -> bool:
    """Return whether a network takes the sensor model of a pair: ``forward(lq, rgb, sensor)``."""
    return isinstance(net, WithSensor) or 'sensor' in inspect.signature(net.forward).parameters


def sensor_of_pair(
    lq: Tensor, rgb: Tensor, response: Tensor | None = None, file: PathLike | None = None
) -> SensorEstimate:
    """Return the sensor model of a file, or else estimate that of a pair (1, L, h, w) and (1, G, H, W).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The sensor model of the file does not fit the pair.
    """
    if file is None:
        return estimate_sensor(lq[0], rgb[0], response)
    return estimate_of_file(file, lq[0], rgb[0], response)


def log_better_weights(cube: Cube, guide: Cube, scale: int) -> None:
    """Name the weights of the package that a pair could be for: whose camera took it, it does not say itself."""
    shown = (cube.num_bands, guide.num_bands, cube.wavelengths) == (31, 3, tuple(range(400, 701, 10)))
    if shown and scale in (4, 8, 16):
        get_root_logger().info(
            'If the camera of the CAVE database took the cube, its weights do more: --weights mulsrcube_cave.'
        )


def choose_method(
    lq: Tensor,
    rgb: Tensor | None,
    scale: int,
    name: str | None = None,
    response: np.ndarray | None = None,
    sensor: PathLike | None = None,
) -> ChosenMethod:
    """Estimate the sensor model of a pair and build the method that suits it.

    Args:
        lq (Tensor): (1, L, h, w) in [0, 1].
        rgb (Tensor | None): Guide, (1, G, scale * h, scale * w) in [0, 1].
        scale (int): Super-resolution factor.
        name (str | None): One of :data:`METHODS`. Default: None: SensorFusion, or interpolation where there is no guide
            or the guide shows something else than the cube.
        response (ndarray | None): Spectral response of the guide, (G, L). Default: None, unknown.
        sensor (str | PathLike | None): File of a ``SensorModel`` to take instead of an estimate; a response that is
            given replaces its own. Default: None.

    Returns:
        ChosenMethod: The method with the sensor model of the pair.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: There is no such method, it needs a guide and there is none, or the sensor model does not fit the
            pair.
    """
    if name is not None and name not in METHODS:
        raise ValueError(f'The method is {name!r}, expected one of {", ".join(METHODS)}: correct method.')
    if rgb is None:
        if name not in (None, INTERPOLATION):
            raise ValueError(
                f'{name} takes a guide image, but there is none: give a guide, or {INTERPOLATION} as the method.'
            )
        return _interpolation(scale, 'there is no guide image')
    if name == INTERPOLATION:
        return _interpolation(scale, 'as asked')
    known = None if response is None else torch.from_numpy(response).to(lq)
    estimate = sensor_of_pair(lq, rgb, known, sensor)
    if name is None and not estimate.related:
        return _interpolation(scale, estimate.statement)
    network = {'type': name or METHODS[0], 'upscale': scale}
    net = WithSensor(_build(network), estimate.sensor)
    why = 'as asked' if name else 'the best that needs no weights'
    return ChosenMethod(net, network, estimate, f'Method {network["type"]}, {why}. {estimate.statement}')


def _interpolation(scale: int, why: str) -> ChosenMethod:
    network = {'type': INTERPOLATION, 'upscale': scale}
    return ChosenMethod(_build(network), network, None, f'Method {INTERPOLATION}, cubic interpolation: {why}')


def _build(network: dict[str, Any]) -> nn.Module:
    net = ARCH_REGISTRY.get(network['type'])(upscale=network['upscale'])
    return net.eval()
