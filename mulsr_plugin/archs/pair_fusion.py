"""What the methods without training share: the sensor model of a pair, and images fused one by one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mulsr_plugin.archs.input_checks import accepted_scales, check_inputs
from mulsr_plugin.sensor.model import FILE_SUFFIX, SensorModel
from mulsr_plugin.sensor.response import fit_response


class PairFusion(nn.Module, ABC):
    """Base of methods that fuse a cube and a guide by a model of their sensors, without parameters to train.

    The sensor model is that of the call, or else that of the options. Where its response is unknown and a method
    needs it, it is fitted to the pair. Results do not depend on the other images of a batch.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        degradation (str | Mapping | None): How the cube was blurred and downsampled: a preset or block of options as
            in a data set, or the name of a .npz file of a ``SensorModel``. Default: None, the preset noise_free, a
            Gaussian of standard deviation scale / 4 over each block.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An option is out of its range, or the file is for another scale.
    """

    def __init__(self, upscale: int | Sequence[int] = 8, degradation: str | Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.upscale = accepted_scales(upscale)
        self._sensors = {scale: sensor_of_options(degradation, scale) for scale in self.upscale}

    def forward(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> Tensor:
        """Fuse cubes and guides.

        Args:
            lq (Tensor): Low-resolution cubes, (B, L, h, w), values around [0, 1].
            rgb (Tensor): Guide images of any number of channels, (B, G, H, W), H = scale * h and W = scale * w, values
                around [0, 1].
            sensor (SensorModel | None): Model of this pair, instead of the one of the options. Default: None.

        Returns:
            Tensor: (B, L, H, W), not clamped.

        Raises:
            ValueError: The inputs fit neither each other nor the options, or the sensor model is for another scale.
        """
        scale = check_inputs(lq, rgb, self.upscale)
        sensor = self._sensors[scale] if sensor is None else sensor
        if sensor.scale != scale:
            raise ValueError(
                f'The sensor model is for x{sensor.scale}, expected x{scale} as the images are: give that.'
            )
        # sums over whole images need the type that the images have
        with torch.autocast(lq.device.type, enabled=False):
            return torch.cat([self.fuse(lq[i : i + 1], rgb[i : i + 1], sensor) for i in range(len(lq))])

    @abstractmethod
    def fuse(self, lq: Tensor, rgb: Tensor, sensor: SensorModel) -> Tensor:
        """Fuse one pair, (1, L, h, w) and (1, G, H, W), to (1, L, H, W)."""


def response_of(sensor: SensorModel, lq: Tensor, rgb: Tensor) -> Tensor:
    """Return the response R of a sensor model, or the non-negative one that fits the pair best.

    Args:
        sensor (SensorModel): Model of the pair.
        lq (Tensor): (1, L, h, w).
        rgb (Tensor): (1, G, H, W).

    Returns:
        Tensor: (G, L), of the type and on the device of ``lq``.
    """
    response = fit_response(lq[0], sensor.blur(rgb)[0]) if sensor.response is None else sensor.response
    return response.to(lq)


def sensor_of_options(degradation: str | Mapping[str, Any] | None, scale: int) -> SensorModel:
    """Return the sensor model that an option ``degradation`` names, see ``PairFusion``."""
    if not isinstance(degradation, str) or not degradation.lower().endswith(FILE_SUFFIX):
        return SensorModel.from_degradation('noise_free' if degradation is None else degradation, scale)
    sensor = SensorModel.load(degradation)
    if sensor.scale != scale:
        raise ValueError(f'{degradation} is for x{sensor.scale}, expected x{scale} as in upscale: correct one of them.')
    return sensor
