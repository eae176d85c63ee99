"""What a network loses where the images are not those it was trained for: one condition changed at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mulsr_plugin.archs.bicubic_arch import BicubicUpsampler
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.sample_seeds import key_generator
from mulsr_plugin.data.spectral_response import apply_spectral_response, load_spectral_response
from mulsr_plugin.data.store.reader import CubeStore
from mulsr_plugin.models.inference import apply_network, is_guided
from scripts.dev.timed.training import cube_metrics

RESPONSES = ('worldview2_rgb', 'gaussian:650/60,550/60,450/60', 'gaussian:620/20,540/20,460/20')


@dataclass(frozen=True)
class Condition:
    """How test images are made of a scene.

    Attributes:
        sweep: What is varied.
        value: To what, for the table.
        degradation: Block of options, see :func:`mulsr_plugin.data.degradation.build_degradation`.
        response: Spectral response of the guide, see ``load_spectral_response``. Default: 'nikon_d700'.
        shift: Rows and columns that the guide is moved by against the cube, in its pixels. Default: none.
        bands: Number of bands the scene is resampled to over its wavelengths; None for its own.
    """

    sweep: str
    value: str
    degradation: Mapping[str, Any] = field(default_factory=lambda: {'preset': 'authors_fixed'})
    response: str = 'nikon_d700'
    shift: tuple[float, float] = (0.0, 0.0)
    bands: int | None = None


def sweeps(base: Mapping[str, Any]) -> list[Condition]:
    """Return the conditions of the table around a degradation.

    Args:
        base: Block ``degradation`` that the network was trained or is tested for; kernels are varied as centred
            Gaussians with its noise.
    """
    plain = Condition('as tested', str(base['preset']), base)
    noise = {key: base[key] for key in ('noise_sigma', 'seed') if key in base}
    if base['preset'] == 'authors_fixed':
        noise.setdefault('noise_sigma', 3 / 255)
    conditions = [plain]
    for sigma in (0.5, 1, 2, 3, 4, 6):
        block = {'preset': 'gaussian', 'sigma': sigma, **noise}
        conditions.append(Condition('centred Gaussian, std in pixels', f'{sigma:g}', block))
    for preset in ('average', 'bicubic', 'strided'):
        conditions.append(Condition('resizing alone', preset, {'preset': preset, **noise}))
    for level in (0, 1, 2, 3, 4, 6, 10):
        conditions.append(Condition('noise std x 255', str(level), {**base, 'noise_sigma': level / 255}))
    for shift in (0.5, 1, 2, 4, 8):
        conditions.append(replace(plain, sweep='guide moved right, pixels', value=f'{shift:g}', shift=(0.0, shift)))
    for shift in (1, 4):
        conditions.append(replace(plain, sweep='guide moved down, pixels', value=f'{shift:g}', shift=(shift, 0.0)))
    for number in (8, 16, 61, 121):
        conditions.append(replace(plain, sweep='number of bands', value=str(number), bands=number))
    for response in RESPONSES:
        conditions.append(replace(plain, sweep='response of the guide', value=response, response=response))
    return conditions


class Robustness:
    """Measures a network under conditions.

    Args:
        net: Network of this package.
        lmdb: Store of the test scenes.
        scale: Scale factor.
        device: CPU or GPU.
        crop_size: Side of the central crop that is used, a multiple of the scale; None for whole scenes.
        max_scenes: Only the first scenes; None for all.
        precision: ``fp32``, ``tf32`` or ``bf16``.
    """

    def __init__(
        self,
        net: nn.Module,
        lmdb: str,
        scale: int,
        device: torch.device,
        crop_size: int | None = None,
        max_scenes: int | None = None,
        precision: str = 'fp32',
    ) -> None:
        self.net, self.scale, self.device, self.precision = net.to(device).eval(), scale, device, precision
        self.bicubic = BicubicUpsampler(scale).to(device)
        self.store = CubeStore(lmdb)
        self.keys = list(self.store.keys())[:max_scenes]
        self.crop_size = crop_size

    def measure(self, condition: Condition) -> dict[str, float]:
        """Return the mean metrics over the scenes, and as ``bicubic_psnr`` that of bicubic interpolation."""
        rows = [self._measure(condition, key, *self._scene(key)) for key in self.keys]
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def _scene(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the cube (L, H, W) in [0, 1], cut to whole low-resolution pixels, and its wavelengths."""
        header = self.store.header(key)
        cube = self.store.read(key) * np.float32(header.scale)
        sides = [side // self.scale * self.scale for side in cube.shape[:2]]
        rows, columns = (_centre(side, self.crop_size) for side in sides)
        if header.wavelengths is None:
            raise ValueError(f'{key} has no wavelengths, which other bands and responses need: prepare it with them.')
        cube = np.ascontiguousarray(cube[rows, columns].transpose(2, 0, 1), np.float32)
        return cube, np.asarray(header.wavelengths, float)

    def _measure(self, condition: Condition, key: str, cube: np.ndarray, wavelengths: np.ndarray) -> dict[str, float]:
        if condition.bands is not None:
            cube, wavelengths = resample_bands(cube, wavelengths, condition.bands)
        response = load_spectral_response(condition.response, len(cube), tuple(wavelengths))
        rgb = shift_image(torch.from_numpy(apply_spectral_response(response, cube)), condition.shift)
        degradation = build_degradation(dict(condition.degradation), self.scale)
        lq = torch.from_numpy(degradation(cube, key_generator(degradation.seed, key)))[None].to(self.device)
        guide = rgb[None].to(self.device) if is_guided(self.net) else None
        result = apply_network(self.net, lq, guide, precision=self.precision)
        gt = torch.from_numpy(cube).to(self.device).permute(1, 2, 0)
        ours = cube_metrics(_image(result), gt, self.scale)
        return {**ours, 'bicubic_psnr': cube_metrics(_image(self.bicubic(lq)), gt, self.scale)['psnr']}


def resample_bands(cube: np.ndarray, wavelengths: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate the spectra of a cube linearly at other, evenly spaced wavelengths of the same range.

    Args:
        cube: (L, H, W).
        wavelengths: L ascending band centres.
        number: Bands wanted, at least 2.

    Returns:
        The cube (number, H, W) float32 and its wavelengths.
    """
    wanted = np.linspace(wavelengths[0], wavelengths[-1], number)
    place = np.interp(wanted, wavelengths, np.arange(len(wavelengths)))
    low = np.minimum(place.astype(int), len(wavelengths) - 2)
    part = (place - low).astype(np.float32)[:, None, None]
    return cube[low] * (1 - part) + cube[low + 1] * part, wanted


def shift_image(image: Tensor, shift: tuple[float, float]) -> Tensor:
    """Move an image (C, H, W) down and right by pixels, also parts of them (bilinear); edges are repeated.

    Args:
        image: The image.
        shift: Rows and columns, not negative.
    """
    for axis, distance in zip((1, 2), shift):
        whole, part = int(distance), distance % 1
        moved = [_roll(image, steps, axis) for steps in (whole, whole + 1)]
        image = moved[0] * (1 - part) + moved[1] * part
    return image


def _roll(image: Tensor, steps: int, axis: int) -> Tensor:
    index = (torch.arange(image.shape[axis]) - steps).clamp(min=0)
    return image.index_select(axis, index)


def _centre(side: int, crop: int | None) -> slice:
    size = min(side, crop or side)
    return slice((side - size) // 2, (side - size) // 2 + size)


def _image(batch: Tensor) -> Tensor:
    return batch.clamp(0, 1)[0].permute(1, 2, 0)
