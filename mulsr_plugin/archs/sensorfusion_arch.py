"""SensorFusion, a fusion of cube and guide that needs no training and finds the blur of the pair itself.

Method of this project. Its pieces are known: regression on details of the guide in windows, as in
    X. He, J. Sun, X. Tang, Guided Image Filtering, IEEE Transactions on Pattern Analysis and Machine Intelligence
    35(6), 2013; what regression leaves at low resolution is interpolated, as in generalised Laplacian pyramids
    (``MTFGLP``); blind estimation of the blur from the pair, as in M. Simoes, J. Bioucas-Dias, L. Almeida,
    J. Chanussot, A Convex Formulation for Hyperspectral Image Superresolution via Subspace-Based Regularization, IEEE
    Transactions on Geoscience and Remote Sensing 53(6), 2015.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn

from mulsr_plugin.archs.fusion_rendering import (
    Coefficients,
    FusionRenderer,
    PairInterpolation,
    PairRenderer,
    continued_outside,
    rendering_halo,
)
from mulsr_plugin.archs.guide_features import GuideFeatures
from mulsr_plugin.archs.input_checks import accepted_scales, check_inputs
from mulsr_plugin.archs.local_regression import GlobalRegression, local_gains
from mulsr_plugin.archs.pair_denoising import denoised
from mulsr_plugin.archs.pair_fusion import sensor_of_options
from mulsr_plugin.data.spectral_response import load_spectral_response
from mulsr_plugin.ops.blocks import blocks
from mulsr_plugin.sensor.coverage import covered
from mulsr_plugin.sensor.estimation import estimate_sensor
from mulsr_plugin.sensor.model import SensorModel
from mulsr_plugin.sensor.noise import estimate_noise
from mulsr_plugin.sensor.spectral_basis import spectral_basis

NUM_COMPONENTS = 16
"""Components of the spectra that are fused; what they leave out is interpolated."""
_BLOCK_SIDE = 1024  # pixels of the guide that are blurred at a time


class Prepared(NamedTuple):
    """A scene whose low-resolution half is done.

    Attributes:
        net (FusionRenderer): Renders ``coefficients`` and the guide, as a whole or in strips that equal it.
        coefficients (Tensor): (B, C, h, w), in place of the cubes.
    """

    net: FusionRenderer
    coefficients: Tensor


@ARCH_REGISTRY.register()
class SensorFusion(nn.Module):
    """Fuse a cube and a guide by regression, with the sensor model estimated from the pair; nothing is trained.

    1. Blur, displacement and noise are estimated from each pair, or given; see ``estimate_sensor``.
    2. The strongest 16 components of the spectra are regressed on the channels of the guide and products of them, at
       low resolution: over the whole image, then in Gaussian windows. Noise is removed first.
    3. The regression is applied to the guide, its residual is interpolated about the centre of the blur, and one
       back-projection makes the blurred result equal to the cube. A response that is given is fulfilled exactly.

    Low-resolution pixels that have seen ground beyond the guide are left out; towards them the regression of the
    nearest others goes on. A guide that says nothing about the cube leaves cubic interpolation. Every image of a batch
    is treated on its own. Results carry no gradients.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        degradation (str | Mapping | None): How the cube was blurred and downsampled: a preset or block of options as
            in a data set, or the name of a .npz file of a ``SensorModel``. Default: None, estimated from each pair.
        response (str | None): Spectral response of the guide: a name or file as ``load_spectral_response`` takes that
            needs no wavelengths. Default: None, that of the sensor file unless it was fitted to a pair, or else
            unknown, which costs little.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An option is out of its range, or the file is for another scale.
    """

    def __init__(
        self,
        upscale: int | Sequence[int] = 8,
        degradation: str | Mapping[str, Any] | None = None,
        response: str | None = None,
    ) -> None:
        super().__init__()
        self.upscale, self.response = accepted_scales(upscale), response
        self._sensors = {
            scale: None if degradation is None else sensor_of_options(degradation, scale) for scale in self.upscale
        }

    @torch.no_grad()
    def forward(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> Tensor:
        """Fuse cubes and guides.

        Args:
            lq (Tensor): Low-resolution cubes of any number of bands, (B, L, h, w), values around [0, 1].
            rgb (Tensor): Guide images of any number of channels, (B, G, H, W), H = scale * h and W = scale * w.
            sensor (SensorModel | None): Model of the pairs, instead of that of the options. Default: None.

        Returns:
            Tensor: (B, L, H, W), not below 0 where no value of the cube is.

        Raises:
            ValueError: The inputs fit neither each other nor the options, or the sensor model is for another scale.
        """
        net, coefficients = self.prepared(lq, rgb, sensor)
        return net(coefficients, rgb)

    @torch.no_grad()
    def prepared(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None = None) -> Prepared:
        """Do all that needs the whole images, so that the rest may be done part by part; see :meth:`forward`."""
        scale = check_inputs(lq, rgb, self.upscale)
        sensor = self._sensors[scale] if sensor is None else sensor
        if sensor is not None and sensor.scale != scale:
            raise ValueError(
                f'The sensor model is for x{sensor.scale}, expected x{scale} as the images are: give that.'
            )
        with torch.autocast(lq.device.type, enabled=False):
            response = self._response(lq, rgb, sensor)
            pairs = [_prepared_pair(*images, sensor, response) for images in zip(lq, rgb)]
        most = max(len(pair.coefficients) for pair in pairs)
        net = FusionRenderer([pair.renderer for pair in pairs], max(pair.halo for pair in pairs))
        if len(pairs) == 1:  # which may be large, and needs no copy
            return Prepared(net, pairs[0].coefficients[None])
        stacked = [F.pad(pair.coefficients, (0, 0, 0, 0, 0, most - len(pair.coefficients))) for pair in pairs]
        return Prepared(net, torch.stack(stacked))

    def _response(self, lq: Tensor, rgb: Tensor, sensor: SensorModel | None) -> Tensor | None:
        """Return the response that was given, (G, L), if any."""
        if self.response is not None:
            response = torch.from_numpy(load_spectral_response(self.response, lq.shape[1])).to(lq)
        elif sensor is not None and sensor.response is not None and not sensor.response_fitted:
            response = sensor.response.to(lq)
        else:
            return None
        if response.shape != (rgb.shape[1], lq.shape[1]):
            raise ValueError(
                f'The response has shape {tuple(response.shape)}, expected {(rgb.shape[1], lq.shape[1])} for these '
                'images: give the one of this pair, or none.'
            )
        return response


class _PreparedPair(NamedTuple):
    """Renderer of one pair, its packed coefficients (C, h, w) and the halo in low-resolution pixels that it needs."""

    renderer: PairRenderer | PairInterpolation
    coefficients: Tensor
    halo: int


def _prepared_pair(lq: Tensor, guide: Tensor, sensor: SensorModel | None, response: Tensor | None) -> _PreparedPair:
    """Estimate the sensor of a pair where it is not given, and regress."""
    size = (lq.shape[1], lq.shape[2])
    everything = slice(0, size[0]), slice(0, size[1])
    if sensor is None:
        estimate = estimate_sensor(lq, guide, response)
        sensor = estimate.sensor
        if not estimate.related:
            return _PreparedPair(PairInterpolation(sensor, len(lq)), lq, rendering_halo(sensor, size, everything))
    if sensor.steps[-1].boundary == 'circular':  # which would join the far sides of every block
        sensor = sensor.with_boundary('symmetric')
    return _regressed_pair(lq, guide, sensor, response)


def _regressed_pair(lq: Tensor, guide: Tensor, sensor: SensorModel, response: Tensor | None) -> _PreparedPair:
    noise_sigma = sensor.noise_sigma.to(lq) if sensor.noise_sigma.any() else estimate_noise(lq)
    basis = spectral_basis(lq, noise_sigma, NUM_COMPONENTS)

    def reduced(function: Callable[[Tensor], Tensor]) -> Tensor:
        return blurred(function, guide, sensor)

    features = GuideFeatures.of_pair(guide, reduced)
    y, z = basis.components(lq), reduced(features)
    span = covered(sensor, y, z[: features.num_channels])
    lq, y, z = (image[(..., *span)] for image in (lq, y, z))
    regression = GlobalRegression.of(y, z, features.num_channels, basis.noise)
    left_out = torch.zeros_like(lq)
    if noise_sigma.any():
        y = denoised(lq, z, noise_sigma, basis, regression)
    else:
        left_out = lq - basis.spectra(y)
    gain = local_gains(y - regression.predict(z), z, regression)
    parts = Coefficients(torch.ones_like(y[:1]), y, z, gain, left_out)
    size = (guide.shape[1] // sensor.scale, guide.shape[2] // sensor.scale)
    renderer = PairRenderer(sensor, features, basis, regression, response, bool(lq.min() >= 0))
    return _PreparedPair(renderer, _on_whole(parts.packed(), span, size), rendering_halo(sensor, size, span))


def blurred(function: Callable[[Tensor], Tensor], guide: Tensor, sensor: SensorModel, margin: int = 0) -> Tensor:
    """Apply D to a function of a guide, block by block: (F, h, w).

    Args:
        function (Callable): Turns (G, H, W) into (F, H, W).
        guide (Tensor): (G, H, W).
        sensor (SensorModel): D.
        margin (int): Low-resolution pixels around it that a pixel of the function depends on. Default: 0.
    """
    scale = sensor.scale
    size = (guide.shape[1] // scale, guide.shape[2] // scale)
    result: Tensor | None = None
    for block in blocks(size, max(1, _BLOCK_SIDE // scale), sensor.reach + margin):
        part = sensor.blur(function(guide[(..., *block.enlarged(scale).window)])[None])[0]
        if result is None:
            result = part.new_empty(len(part), *size)
        result[(..., *block.target)] = part[(..., *block.kept)]
    assert result is not None
    return result


def _on_whole(image: Tensor, span: tuple[slice, slice], size: tuple[int, int]) -> Tensor:
    """Put packed coefficients of the covered pixels back into the whole, continued by the nearest ones."""
    if tuple(image.shape[1:]) == size:
        return image
    whole = image.new_zeros(len(image), *size)
    whole[(..., *span)] = image
    whole[1:] = continued_outside(whole[1:], whole[0] > 0)
    return whole
