"""Blur, downsampling and noise that turn a high-resolution cube into its low-resolution counterpart.

Three presets:

- ``authors_random``: the random training degradation of the MulSR authors, drawn anew for every crop;
- ``authors_fixed``: their fixed test degradation, with noise that is seeded per image;
- ``noise_free``: the protocol of the wider literature, a known Gaussian of standard deviation s/4 over each s x s block
  (8x8 with standard deviation 2 at scale 8) and no noise. The kernel covers exactly the block that becomes the
  low-resolution pixel, so nothing outside the image is ever read and the pixel sits at the centre of its block.

Blur and resampling are linear, so they run as one strided correlation with the blur kernel composed with the resampling
taps. Where reflection continues the blur and the resampling stays inside the image the two forms are identical, borders
included; bicubic resampling at scale 2 does leave the image, and there the two steps run one after the other.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from mulsr_plugin.utils.options import ANYTHING, Rule, check_block, integer, number, require

PRESETS = ('authors_random', 'authors_fixed', 'noise_free')
KERNEL_WIDTHS = (7, 9, 13, 15, 21)
RESAMPLINGS = ('bicubic', 'bilinear', 'strided')
NOISE_SIGMAS = (1 / 255, 2 / 255, 3 / 255, 4 / 255)
NOISE_FREE_PROBABILITY = 0.2
SMALLEST_SPREAD = 0.2
FIXED_WIDTH, FIXED_VARIANCES, FIXED_ANGLE, FIXED_NOISE_SIGMA = 13, (2.0, 10.0), np.pi / 2, 3 / 255

_NOISE_RULE = Rule(number(0, 1).accepts, 'a standard deviation from 0 to 1 on data in [0, 1], e.g. 0.01176 for 3/255')
_RULES = {
    'preset': ANYTHING,
    'kernel_centering': ANYTHING,
    'isotropic': ANYTHING,
    'noise_sigma': _NOISE_RULE,
    'seed': integer(0),
}


class DegradationDraw(NamedTuple):
    """One concrete degradation.

    Attributes:
        kernel: Blur kernel, (k, k) float64, sums to 1; applied by correlation.
        resampling: 'bicubic', 'bilinear' or 'strided'.
        offset: Row and column of the kernel's first entry relative to the pixel that it is evaluated at.
        noise_sigma: Standard deviation of the additive Gaussian noise.
        kind: 'anisotropic' or 'isotropic'.
    """

    kernel: np.ndarray
    resampling: str
    offset: int
    noise_sigma: float
    kind: str


class Degradation:
    """A degradation model; call it with a cube and a generator.

    Args:
        preset: One of ``PRESETS``.
        scale: Integer downsampling factor, at least 2.
        kernel_centering: 'legacy' shifts the kernel as the authors' code does, which displaces the image wherever the
            resampling already samples block centres; 'aligned' leaves every low-resolution pixel at the centre of
            its block. Default: 'legacy', for ``noise_free`` always 'aligned'.
        isotropic: 'legacy' is the authors' isotropic kernel, a quarter Gaussian with its peak in the first corner;
            'centred' a Gaussian around the middle of the window. Default: 'legacy', with aligned kernels 'centred'.
        noise_sigma: Replaces the preset's noise; 0 switches it off. Data are in [0, 1].
        seed: Seed of the noise of validation and test images.

    Raises:
        ValueError: An option is none of its choices, two contradict each other, or the scale is not legal.
    """

    def __init__(
        self,
        preset: str,
        scale: int,
        kernel_centering: str | None = None,
        isotropic: str | None = None,
        noise_sigma: float | None = None,
        seed: int = 0,
    ) -> None:
        _check_choice('preset', preset, PRESETS)
        _check_choice('kernel_centering', kernel_centering, ('legacy', 'aligned', None))
        _check_choice('isotropic', isotropic, ('legacy', 'centred', None))
        if isinstance(scale, bool) or not isinstance(scale, int) or scale < 2:
            raise ValueError(
                f'degradation: scale is {scale!r}, expected a whole number of at least 2; correct the scale.'
            )
        if preset == 'noise_free' and (kernel_centering == 'legacy' or isotropic is not None):
            raise ValueError(
                'degradation: preset noise_free has one aligned kernel; remove kernel_centering and isotropic.'
            )
        if preset == 'authors_fixed' and isotropic is not None:
            raise ValueError('degradation: preset authors_fixed uses no isotropic kernel; remove isotropic.')
        self.aligned = preset == 'noise_free' or kernel_centering == 'aligned'
        if self.aligned and isotropic == 'legacy':
            raise ValueError(
                'degradation: the legacy isotropic kernel is a quarter Gaussian that cannot be aligned; '
                'write isotropic: centred or kernel_centering: legacy.'
            )
        self.preset = preset
        self.scale = scale
        self.centred_isotropic = self.aligned or isotropic == 'centred'
        self.noise_sigma = noise_sigma
        self.seed = seed

    def __call__(self, cube: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Degrade a cube.

        Args:
            cube: (L, H, W) in [0, 1]; H and W are multiples of the scale.
            rng: Source of the kernel, resampling and noise.

        Returns:
            (L, H / scale, W / scale) float32 in [0, 1].

        Raises:
            ValueError: H or W is no multiple of the scale.
        """
        draw = self.draw(rng)
        lq = blur_and_downsample(cube, draw, self.scale)
        if draw.noise_sigma > 0:
            lq += np.float32(draw.noise_sigma) * rng.standard_normal(lq.shape, dtype=np.float32)
        return np.clip(lq, 0, 1, out=lq)

    def draw(self, rng: np.random.Generator) -> DegradationDraw:
        """Draw kernel, resampling and noise level; one draw serves all bands of a crop."""
        if self.preset == 'authors_random':
            return self._draw_random(rng)
        if self.preset == 'authors_fixed':
            kernel, offset = self._anisotropic(FIXED_WIDTH, FIXED_VARIANCES, FIXED_ANGLE, 'bicubic')
            return DegradationDraw(kernel, 'bicubic', offset, self._noise(FIXED_NOISE_SIGMA), 'anisotropic')
        kernel = isotropic_gaussian_kernel(self.scale, self.scale / 4)
        return DegradationDraw(kernel, 'strided', 0, self._noise(0.0), 'isotropic')

    def describe(self) -> str:
        """Return one line that says exactly what is done, for the log and beside metrics."""
        centring = 'aligned' if self.aligned else 'legacy'
        noise = None if self.noise_sigma is None else _noise_text(self.noise_sigma)
        if self.preset == 'noise_free':
            blur = (
                f'{self.scale}x{self.scale} Gaussian of std {self.scale / 4:g} over each block, {noise or "no noise"}'
            )
        elif self.preset == 'authors_fixed':
            blur = (
                f'{FIXED_WIDTH}x{FIXED_WIDTH} Gaussian of variances 10 (columns) and 2 (rows), {centring} centring, '
                f'bicubic, {noise or _noise_text(FIXED_NOISE_SIGMA)}'
            )
        else:
            isotropic = 'centred' if self.centred_isotropic else 'legacy'
            blur = (
                f'random Gaussian of width 7 to 21, {centring} centring, {isotropic} isotropic kernels, '
                f'bicubic, bilinear or strided, {noise or "noise std 0 to 4/255"}'
            )
        return f'{self.preset} x{self.scale}: {blur}, seed {self.seed}'

    def _draw_random(self, rng: np.random.Generator) -> DegradationDraw:
        width = int(rng.choice(KERNEL_WIDTHS))
        kind = 'isotropic' if rng.random() < 0.5 else 'anisotropic'
        resampling = str(rng.choice(RESAMPLINGS))
        spreads = rng.uniform(SMALLEST_SPREAD, self.scale, size=2)
        angle = rng.uniform(0, np.pi)
        noiseless = rng.random() < NOISE_FREE_PROBABILITY
        noise_sigma = float(rng.choice(NOISE_SIGMAS))
        if kind == 'isotropic':
            kernel, offset = self._isotropic(width, spreads[0], resampling)
        else:
            kernel, offset = self._anisotropic(width, (spreads[0], spreads[1]), angle, resampling)
        return DegradationDraw(kernel, resampling, offset, self._noise(0.0 if noiseless else noise_sigma), kind)

    def _noise(self, preset_sigma: float) -> float:
        return preset_sigma if self.noise_sigma is None else self.noise_sigma

    def _anisotropic(
        self, width: int, variances: tuple[float, float], angle: float, resampling: str
    ) -> tuple[np.ndarray, int]:
        if self.aligned:
            width, offset = self._aligned_window(width, resampling)
            return anisotropic_gaussian_kernel(width, variances, angle), offset
        centre = width // 2 + (self.scale - width % 2) / 2
        return anisotropic_gaussian_kernel(width, variances, angle, centre), -(width // 2)

    def _isotropic(self, width: int, sigma: float, resampling: str) -> tuple[np.ndarray, int]:
        if self.aligned:
            width, offset = self._aligned_window(width, resampling)
            return isotropic_gaussian_kernel(width, sigma), offset
        return isotropic_gaussian_kernel(width, sigma, None if self.centred_isotropic else 0), -(width // 2)

    def _aligned_window(self, width: int, resampling: str) -> tuple[int, int]:
        """Window that is symmetric about the sampled point, which for even scales lies between two pixels."""
        if resampling != 'strided':
            return width, -(width // 2)
        width += (width + self.scale) % 2
        return width, (self.scale - width) // 2


def build_degradation(opt: Mapping[str, Any] | str, scale: int) -> Degradation:
    """Build a degradation from the name of a preset or from a block of options.

    Args:
        opt: Preset, or a block with ``preset`` and any other parameter of ``Degradation``.
        scale: Integer downsampling factor.

    Raises:
        ValueError: An unknown or contradictory option; the message suggests what may have been meant.
    """
    block: Mapping[str, Any] = {'preset': opt} if isinstance(opt, str) else opt
    check_block(block, _RULES, 'degradation')
    require(block, ['preset'], 'degradation')
    return Degradation(scale=scale, **{key: value for key, value in block.items() if value is not None})


def anisotropic_gaussian_kernel(
    width: int, variances: tuple[float, float], angle: float, centre: float | None = None
) -> np.ndarray:
    """Gaussian exp(-d' S^-1 d / 2) with S = Q(angle) diag(variances) Q(angle)', d = (column, row) - centre.

    Args:
        width: Side of the window in pixels.
        variances: Along the two principal axes, in square pixels; at angle 0 the first lies along the columns axis.
        angle: Rotation Q of the axes in radians.
        centre: Same coordinate for row and column; may lie outside the window. Default: the middle.

    Returns:
        (width, width) float64, sums to 1.
    """
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    precision = rotation @ np.diag(1 / np.asarray(variances, dtype=np.float64)) @ rotation.T
    steps = np.arange(width) - ((width - 1) / 2 if centre is None else centre)
    columns, rows = steps[None, :], steps[:, None]
    exponent = precision[0, 0] * columns**2 + 2 * precision[0, 1] * columns * rows + precision[1, 1] * rows**2
    # Subtracting the minimum leaves the normalised kernel unchanged and keeps it finite when the centre is far outside.
    kernel = np.exp(-(exponent - exponent.min()) / 2)
    return kernel / kernel.sum()


def isotropic_gaussian_kernel(width: int, sigma: float, centre: float | None = None) -> np.ndarray:
    """Round Gaussian of standard deviation ``sigma`` pixels; see ``anisotropic_gaussian_kernel``."""
    return anisotropic_gaussian_kernel(width, (sigma**2, sigma**2), 0.0, centre)


def blur_and_downsample(cube: np.ndarray, draw: DegradationDraw, scale: int) -> np.ndarray:
    """Blur a cube and reduce it by ``scale``, without noise and without clipping.

    'bicubic' and 'bilinear' continue the image by symmetric reflection (the edge pixel is repeated), blur, and
    interpolate at block centres without antialiasing (bicubic with a = -0.75, as in PyTorch). 'strided' continues it by
    its edge pixels and keeps every ``scale``-th value.

    Args:
        cube: (L, H, W); H and W are multiples of the scale.
        draw: What to apply.
        scale: Integer downsampling factor.

    Returns:
        (L, H / scale, W / scale) float32.

    Raises:
        ValueError: H or W is no multiple of the scale.
    """
    cube = np.asarray(cube, dtype=np.float32)
    if cube.ndim != 3 or cube.shape[1] % scale or cube.shape[2] % scale or 0 in cube.shape:
        raise ValueError(
            f'Cannot reduce a cube of shape {cube.shape} by {scale}; expected (bands, rows, columns) with rows and '
            f'columns that are multiples of {scale}; crop it first.'
        )
    if draw.resampling == 'strided':
        return _strided_correlation(cube, draw.kernel, scale, draw.offset, 'edge')
    taps, first = _resampling_taps(draw.resampling, scale)
    if first >= 0 and first + len(taps) <= scale:
        return _strided_correlation(cube, _compose(draw.kernel, taps), scale, draw.offset + first, 'symmetric')
    blurred = _strided_correlation(cube, draw.kernel, 1, draw.offset, 'symmetric')
    return _strided_correlation(blurred, np.outer(taps, taps), scale, first, 'edge')


def _resampling_taps(resampling: str, scale: int) -> tuple[np.ndarray, int]:
    """Weights with which a block centre is interpolated, and the position of the first within the block."""
    if scale % 2:
        return np.ones(1), scale // 2
    if resampling == 'bilinear':
        return np.full(2, 0.5), scale // 2 - 1
    return np.array([-0.09375, 0.59375, 0.59375, -0.09375]), scale // 2 - 2


def _compose(kernel: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Kernel whose correlation equals that with ``kernel`` followed by that with ``taps`` along rows and columns."""
    for _ in range(2):
        kernel = np.stack([np.convolve(row, taps) for row in kernel]).T
    return kernel


def _strided_correlation(cube: np.ndarray, kernel: np.ndarray, stride: int, offset: int, boundary: str) -> np.ndarray:
    """Correlate every ``stride``-th pixel of (L, H, W) with a kernel whose first entry lies ``offset`` pixels away."""
    num_bands, height, width = cube.shape
    side = len(kernel)
    rows, columns = (_continued(np.arange(offset, offset + n - stride + side), n, boundary) for n in (height, width))
    pixels = (rows[:, None] * width + columns).ravel()  # one flat index is twice as fast as two
    padded = torch.from_numpy(cube.reshape(num_bands, -1).take(pixels, axis=1)).view(1, -1, len(rows), len(columns))
    weight = torch.from_numpy(kernel.astype(np.float32)).expand(num_bands, 1, side, side)
    return F.conv2d(padded, weight, stride=stride, groups=num_bands)[0].numpy()


def _continued(positions: np.ndarray, size: int, boundary: str) -> np.ndarray:
    """Pixel that continues the image at each position, by its 'edge' pixel or by 'symmetric' reflection."""
    if boundary == 'edge':
        return positions.clip(0, size - 1)
    positions = positions % (2 * size)
    return np.minimum(positions, 2 * size - 1 - positions)


def _check_choice(key: str, value: Any, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        names = [name for name in choices if name]
        close = difflib.get_close_matches(str(value), names, n=1)
        hint = f'did you mean {close[0]!r}?' if close else 'correct the option file.'
        raise ValueError(f'degradation: {key} is {value!r}, expected one of {", ".join(names)}; {hint}')


def _noise_text(sigma: float) -> str:
    return f'noise std {sigma:.5f}' if sigma else 'no noise'
