"""The presets of the degradation, each with the options of the function that builds it.

- ``authors_random``: the random training degradation of the MulSR authors, drawn anew for every crop;
- ``authors_fixed``: their fixed test degradation, with noise that is seeded per image;
- ``noise_free``: the protocol of the wider literature, a known Gaussian of standard deviation s/4 over each s x s block
  (8x8 with standard deviation 2 at scale 8) and no noise. The kernel covers exactly the block that becomes the
  low-resolution pixel, so nothing outside the image is ever read and the pixel sits at the centre of its block;
- ``gaussian``: a Gaussian of a given standard deviation, or of two along given axes;
- ``sensor_mtf``: the Gaussian that matches a sensor's modulation transfer function at its Nyquist frequency;
- ``kernel_file``: a blur kernel of the user's;
- ``bicubic``, ``average``, ``strided``: resizing alone.

Every preset takes ``noise_sigma``, ``poisson_peak`` and ``seed`` besides, and all but the authors' two, whose kernels
are off centre by default, leave a low-resolution pixel at the centre of its block.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from mulsr_plugin.data.degradation.correlation import DegradationDraw
from mulsr_plugin.data.degradation.kernels import (
    anisotropic_gaussian_kernel,
    bicubic_kernel,
    check_kernel_width,
    gaussian_width,
    isotropic_gaussian_kernel,
    mtf_sigma,
    read_kernel,
)

KERNEL_WIDTHS = (7, 9, 13, 15, 21)
RESAMPLINGS = ('bicubic', 'bilinear', 'strided')
NOISE_SIGMAS = (1 / 255, 2 / 255, 3 / 255, 4 / 255)
NOISE_FREE_PROBABILITY = 0.2
SMALLEST_SPREAD = 0.2
FIXED_WIDTH, FIXED_VARIANCES, FIXED_ANGLE, FIXED_NOISE_SIGMA = 13, (2.0, 10.0), np.pi / 2, 3 / 255


class Blur(Protocol):
    """What a preset stands for: a law of kernels and resamplings, with the noise that belongs to it."""

    text: str
    noise_text: str

    def draw(self, rng: np.random.Generator) -> DegradationDraw:
        """Draw kernel, resampling and noise level."""
        ...


class FixedBlur:
    """The same kernel, resampling and noise level for every image.

    Args:
        draw: That draw.
        text: What it is, in words.
    """

    def __init__(self, draw: DegradationDraw, text: str) -> None:
        self._draw, self.text, self.noise_text = draw, text, noise_text_of(draw.noise_sigma)

    def draw(self, rng: np.random.Generator) -> DegradationDraw:
        """Return the draw; nothing is random."""
        return self._draw


class AuthorsRandomBlur:
    """The random training degradation of the MulSR authors.

    Args:
        scale: Integer downsampling factor.
        kernel_centering: 'legacy' shifts the kernel as the authors' code does, which displaces the image wherever the
            resampling already samples block centres; 'aligned' leaves every low-resolution pixel at the centre of
            its block. Default: 'legacy'.
        isotropic: 'legacy' is the authors' isotropic kernel, a quarter Gaussian with its peak in the first corner;
            'centred' a Gaussian around the middle of the window. Default: 'legacy', with aligned kernels 'centred'.

    Raises:
        ValueError: An option is none of its choices, or the two contradict each other.
    """

    noise_text = 'noise std 0 to 4/255'

    def __init__(self, scale: int, kernel_centering: str = 'legacy', isotropic: str | None = None) -> None:
        check_choice('kernel_centering', kernel_centering, ('legacy', 'aligned'))
        check_choice('isotropic', isotropic, ('legacy', 'centred', None))
        self.scale = scale
        self.aligned = kernel_centering == 'aligned'
        if self.aligned and isotropic == 'legacy':
            raise ValueError(
                'degradation: the legacy isotropic kernel is a quarter Gaussian that cannot be aligned; '
                'write isotropic: centred or kernel_centering: legacy.'
            )
        self.centred_isotropic = self.aligned or isotropic == 'centred'
        self.text = (
            f'random Gaussian of width 7 to 21, {kernel_centering} centring, '
            f'{"centred" if self.centred_isotropic else "legacy"} isotropic kernels, bicubic, bilinear or strided'
        )

    def draw(self, rng: np.random.Generator) -> DegradationDraw:
        """Draw kernel, resampling and noise level."""
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
            kernel, offset = _authors_kernel(
                width, (spreads[0], spreads[1]), angle, resampling, self.scale, self.aligned
            )
        return DegradationDraw(kernel, resampling, offset, 0.0 if noiseless else noise_sigma, kind)

    def _isotropic(self, width: int, sigma: float, resampling: str) -> tuple[np.ndarray, int]:
        if self.aligned:
            width, offset = _aligned_window(width, self.scale, resampling)
            return isotropic_gaussian_kernel(width, sigma), offset
        return isotropic_gaussian_kernel(width, sigma, None if self.centred_isotropic else 0), -(width // 2)


def authors_fixed(scale: int, kernel_centering: str = 'legacy') -> FixedBlur:
    """Return the fixed test degradation of the MulSR authors.

    Args:
        scale: Integer downsampling factor.
        kernel_centering: See ``AuthorsRandomBlur``. Default: 'legacy'.
    """
    check_choice('kernel_centering', kernel_centering, ('legacy', 'aligned'))
    kernel, offset = _authors_kernel(
        FIXED_WIDTH, FIXED_VARIANCES, FIXED_ANGLE, 'bicubic', scale, kernel_centering == 'aligned'
    )
    window = f'{FIXED_WIDTH}x{FIXED_WIDTH} Gaussian of variances 10 (columns) and 2 (rows)'
    text = f'{window}, {kernel_centering} centring, bicubic'
    return FixedBlur(DegradationDraw(kernel, 'bicubic', offset, FIXED_NOISE_SIGMA, 'anisotropic'), text)


def noise_free(scale: int, kernel_centering: str = 'aligned') -> FixedBlur:
    """Return a Gaussian of standard deviation s/4 over each block, without noise.

    Args:
        scale: Integer downsampling factor.
        kernel_centering: 'aligned', the only form that there is. Default: 'aligned'.
    """
    if kernel_centering != 'aligned':
        raise ValueError('degradation: preset noise_free has one aligned kernel; remove kernel_centering.')
    kernel = isotropic_gaussian_kernel(scale, scale / 4)
    text = f'{scale}x{scale} Gaussian of std {scale / 4:g} over each block'
    return FixedBlur(DegradationDraw(kernel, 'strided', 0, 0.0, 'isotropic'), text)


def gaussian(scale: int, sigma: float | Sequence[float], angle: float = 0.0, resampling: str = 'strided') -> FixedBlur:
    """Return a Gaussian of given standard deviations in high-resolution pixels, cut at four of them.

    Args:
        scale: Integer downsampling factor.
        sigma: One standard deviation, or two along the axes of an ellipse: the first along the columns at angle 0.
        angle: Turns the ellipse, in degrees. Default: 0.
        resampling: 'strided', 'bicubic' or 'bilinear'. Default: 'strided'.
    """
    check_choice('resampling', resampling, RESAMPLINGS)
    sigmas = tuple(sigma) if isinstance(sigma, Sequence) else (sigma, sigma)
    if len(sigmas) != 2:
        raise ValueError(
            f'degradation: sigma has {len(sigmas)} values, expected one, or two for an ellipse; correct it.'
        )
    check_kernel_width(gaussian_width(max(sigmas)), f'a Gaussian of standard deviation {max(sigmas):g} pixels')
    width, offset = _aligned_window(gaussian_width(max(sigmas)), scale, resampling)
    kernel = anisotropic_gaussian_kernel(width, (sigmas[0] ** 2, sigmas[1] ** 2), np.deg2rad(angle))
    round_one = sigmas[0] == sigmas[1]
    shape = f'std {sigmas[0]:g}' if round_one else f'stds {sigmas[0]:g} and {sigmas[1]:g} at {angle:g} degrees'
    draw = DegradationDraw(kernel, resampling, offset, 0.0, 'isotropic' if round_one else 'anisotropic')
    return FixedBlur(draw, f'{width}x{width} Gaussian of {shape}, {resampling}')


def sensor_mtf(scale: int, nyquist_gain: float) -> FixedBlur:
    """Return the Gaussian with a sensor's gain at its Nyquist frequency; see ``mtf_sigma``.

    Args:
        scale: Integer downsampling factor.
        nyquist_gain: Modulation transfer function of the low-resolution sensor at its Nyquist frequency.
    """
    sigma = mtf_sigma(nyquist_gain, scale)
    blur = gaussian(scale, sigma)
    return FixedBlur(blur.draw(np.random.default_rng(0)), f'MTF {nyquist_gain:g} at Nyquist, {blur.text}')


def kernel_file(scale: int, kernel: str, resampling: str = 'strided') -> FixedBlur:
    """Return a blur kernel from a file, normalised to a sum of 1 and applied by correlation.

    Turn the kernel by 180 degrees to convolve. Its middle comes to the centre of a block; where it cannot, because one
    side is odd and the other even, it lies half a pixel above and to the left.

    Args:
        scale: Integer downsampling factor.
        kernel: See ``read_kernel``.
        resampling: 'strided', 'bicubic' or 'bilinear'. Default: 'strided'.
    """
    check_choice('resampling', resampling, RESAMPLINGS)
    values = read_kernel(kernel)
    side = len(values)
    offset = (scale - side) // 2 if resampling == 'strided' else -(side // 2)
    draw = DegradationDraw(values, resampling, offset, 0.0, 'user')
    return FixedBlur(draw, f'{side}x{side} kernel of {kernel}, {resampling}')


def bicubic(scale: int, antialias: bool = True) -> FixedBlur:
    """Return bicubic resizing.

    Args:
        scale: Integer downsampling factor.
        antialias: True stretches the cubic (a = -0.5) by the scale, as Pillow and MATLAB's imresize do; false
            interpolates at block centres (a = -0.75), as OpenCV and PyTorch do by default. Default: True.
    """
    if not antialias:
        return FixedBlur(DegradationDraw(np.ones((1, 1)), 'bicubic', 0, 0.0, 'resize'), 'bicubic without antialiasing')
    kernel = bicubic_kernel(scale)
    draw = DegradationDraw(kernel, 'strided', (scale - len(kernel)) // 2, 0.0, 'resize')
    return FixedBlur(draw, 'bicubic with antialiasing')


def average(scale: int) -> FixedBlur:
    """Return the mean of each block.

    Args:
        scale: Integer downsampling factor.
    """
    kernel = np.full((scale, scale), 1 / scale**2)
    return FixedBlur(DegradationDraw(kernel, 'strided', 0, 0.0, 'resize'), f'mean of {scale}x{scale} blocks')


def strided(scale: int, phase: int | None = None) -> FixedBlur:
    """Return one pixel of each block.

    Args:
        scale: Integer downsampling factor.
        phase: Row and column of that pixel, from 0. Default: the middle, for even scales the one above and to the left.
    """
    phase = (scale - 1) // 2 if phase is None else phase
    if phase >= scale:
        raise ValueError(f'degradation: phase is {phase}, expected 0 to {scale - 1} at scale {scale}; correct it.')
    draw = DegradationDraw(np.ones((1, 1)), 'strided', phase, 0.0, 'resize')
    return FixedBlur(draw, f'pixel {phase} of each block')


BLURS: dict[str, Callable[..., Blur]] = {
    'authors_random': AuthorsRandomBlur,
    'authors_fixed': authors_fixed,
    'noise_free': noise_free,
    'gaussian': gaussian,
    'sensor_mtf': sensor_mtf,
    'kernel_file': kernel_file,
    'bicubic': bicubic,
    'average': average,
    'strided': strided,
}

PRESETS = tuple(BLURS)


def _authors_kernel(
    width: int, variances: tuple[float, float], angle: float, resampling: str, scale: int, aligned: bool
) -> tuple[np.ndarray, int]:
    if aligned:
        width, offset = _aligned_window(width, scale, resampling)
        return anisotropic_gaussian_kernel(width, variances, angle), offset
    centre = width // 2 + (scale - width % 2) / 2
    return anisotropic_gaussian_kernel(width, variances, angle, centre), -(width // 2)


def _aligned_window(width: int, scale: int, resampling: str) -> tuple[int, int]:
    """Return the window that is symmetric about the sampled point, which for even scales lies between two pixels."""
    if resampling != 'strided':
        return width, -(width // 2)
    width += (width + scale) % 2
    return width, (scale - width) // 2


def check_choice(key: str, value: Any, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        names = [name for name in choices if name]
        close = difflib.get_close_matches(str(value), names, n=1)
        hint = f'did you mean {close[0]!r}?' if close else 'correct it.'
        raise ValueError(f'degradation: {key} is {value!r}, expected one of {", ".join(names)}; {hint}')


def noise_text_of(sigma: float) -> str:
    return f'noise std {sigma:.5f}' if sigma else 'no noise'
