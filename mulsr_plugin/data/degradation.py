"""Blur, downsampling and noise that turn a high-resolution cube into its low-resolution counterpart.

Presets, each with the options of the function that builds it:

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

Blur and resampling are linear, so they run as one strided correlation with the blur kernel composed with the resampling
taps. Where reflection continues the blur and the resampling stays inside the image the two forms are identical, borders
included; bicubic resampling at scale 2 does leave the image, and there the two steps run one after the other.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from mulsr_plugin.data.blur_kernels import (
    anisotropic_gaussian_kernel,
    bicubic_kernel,
    check_kernel_width,
    gaussian_width,
    isotropic_gaussian_kernel,
    mtf_sigma,
    read_kernel,
)
from mulsr_plugin.utils.options import (
    ANYTHING,
    BOOLEAN,
    TEXT,
    Rule,
    check_block,
    either,
    integer,
    list_of,
    number,
    require,
)

KERNEL_WIDTHS = (7, 9, 13, 15, 21)
RESAMPLINGS = ('bicubic', 'bilinear', 'strided')
NOISE_SIGMAS = (1 / 255, 2 / 255, 3 / 255, 4 / 255)
NOISE_FREE_PROBABILITY = 0.2
SMALLEST_SPREAD = 0.2
LARGEST_COUNT = 1e12  # its Poisson noise is far below the rounding of float32
LARGEST_SCALE = 256
FIXED_WIDTH, FIXED_VARIANCES, FIXED_ANGLE, FIXED_NOISE_SIGMA = 13, (2.0, 10.0), np.pi / 2, 3 / 255

_POSITIVE = Rule(lambda v: number(0).accepts(v) and v > 0, 'a number above 0')
_RULES = {
    'preset': ANYTHING,
    'kernel_centering': ANYTHING,
    'isotropic': ANYTHING,
    'resampling': ANYTHING,
    'sigma': either(_POSITIVE, list_of(_POSITIVE)),
    'angle': number(-360, 360),
    'nyquist_gain': Rule(lambda v: _POSITIVE.accepts(v) and v < 1, 'a number above 0 and below 1, such as 0.3'),
    'kernel': TEXT,
    'antialias': BOOLEAN,
    'phase': integer(0),
    'noise_sigma': Rule(
        number(0, 1).accepts, 'a standard deviation from 0 to 1 on data in [0, 1], e.g. 0.01176 for 3/255'
    ),
    'poisson_peak': Rule(lambda v: _POSITIVE.accepts(v) and v <= LARGEST_COUNT, 'a number above 0, up to 1e12'),
    'seed': integer(0),
}
_COMMON = ('preset', 'noise_sigma', 'poisson_peak', 'seed')


class DegradationDraw(NamedTuple):
    """One concrete degradation: all that is random in it but the field of white noise.

    Attributes:
        kernel: Blur kernel, (k, k) float64, sums to 1; applied by correlation.
        resampling: 'bicubic', 'bilinear' or 'strided'.
        offset: Row and column of the kernel's first entry relative to the pixel that it is evaluated at.
        noise_sigma: Standard deviation of the additive Gaussian noise.
        kind: What the kernel is: 'anisotropic', 'isotropic', 'user' or 'resize'.
        poisson_peak: Mean count of a pixel of value 1 whose Poisson noise is added before the Gaussian; 0 for none.
    """

    kernel: np.ndarray
    resampling: str
    offset: int
    noise_sigma: float
    kind: str
    poisson_peak: float = 0.0


class Correlation(NamedTuple):
    """Correlation of every ``stride``-th pixel with a kernel whose first entry lies ``offset`` pixels away.

    Attributes:
        kernel: (k, k) float64.
        offset: Of its first entry, along rows and columns.
        stride: Step from pixel to pixel.
        boundary: What continues the image: 'edge' pixel or 'symmetric' reflection.
    """

    kernel: np.ndarray
    offset: int
    stride: int
    boundary: str


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
        self._draw, self.text, self.noise_text = draw, text, _noise_text(draw.noise_sigma)

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
        _check_choice('kernel_centering', kernel_centering, ('legacy', 'aligned'))
        _check_choice('isotropic', isotropic, ('legacy', 'centred', None))
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


class Degradation:
    """A degradation model; call it with a cube and a generator. ``build_degradation`` makes it from options.

    Args:
        preset: Name of the law, for the log.
        scale: Integer downsampling factor.
        blur: The law of kernels and resamplings.
        noise_sigma: Replaces the Gaussian noise of the preset; 0 switches it off. Data are in [0, 1].
        poisson_peak: Mean count of a pixel of value 1: adds Poisson noise of relative strength 1 / sqrt(count).
        seed: Seed of the noise of validation and test images.
    """

    def __init__(
        self,
        preset: str,
        scale: int,
        blur: Blur,
        noise_sigma: float | None = None,
        poisson_peak: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.preset = preset
        self.scale = scale
        self.blur = blur
        self.noise_sigma = noise_sigma
        self.poisson_peak = poisson_peak
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
        if draw.poisson_peak > 0:
            # bicubic taps may have left a value below zero, which is no mean of a count
            lq = (rng.poisson(lq.clip(0) * draw.poisson_peak) / draw.poisson_peak).astype(np.float32)
        if draw.noise_sigma > 0:
            lq += np.float32(draw.noise_sigma) * rng.standard_normal(lq.shape, dtype=np.float32)
        return np.clip(lq, 0, 1, out=lq)

    def draw(self, rng: np.random.Generator) -> DegradationDraw:
        """Draw kernel, resampling and noise level; one draw serves all bands of a crop."""
        draw = self.blur.draw(rng)
        noise_sigma = draw.noise_sigma if self.noise_sigma is None else self.noise_sigma
        return draw._replace(noise_sigma=noise_sigma, poisson_peak=self.poisson_peak)

    def describe(self) -> str:
        """Return one line that says exactly what is done, for the log and beside metrics."""
        noise = self.blur.noise_text if self.noise_sigma is None else _noise_text(self.noise_sigma)
        if self.poisson_peak:
            noise = f'Poisson noise of {self.poisson_peak:g} counts at 1, {noise}'
        return f'{self.preset} x{self.scale}: {self.blur.text}, {noise}, seed {self.seed}'


def build_degradation(opt: Mapping[str, Any] | str, scale: int) -> Degradation:
    """Build a degradation from the name of a preset or from a block of options.

    Args:
        opt: Preset, or a block with ``preset``, the options of the preset and ``noise_sigma``, ``poisson_peak`` and
            ``seed`` (see ``Degradation``).
        scale: Integer downsampling factor, from 2 to 256.

    Raises:
        FileNotFoundError: The kernel file does not exist.
        ValueError: An unknown, missing or contradictory option, or an illegal scale; the message suggests what may have
            been meant.
    """
    if isinstance(scale, bool) or not isinstance(scale, int) or not 2 <= scale <= LARGEST_SCALE:
        raise ValueError(
            f'degradation: scale is {scale!r}, expected a whole number from 2 to {LARGEST_SCALE}; correct the scale.'
        )
    block: Mapping[str, Any] = {'preset': opt} if isinstance(opt, str) else opt
    check_block(block, _RULES, 'degradation')
    require(block, ['preset'], 'degradation')
    _check_choice('preset', block['preset'], PRESETS)
    given = {key: value for key, value in block.items() if value is not None}
    build = _BLURS[given['preset']]
    parameters = {key: p for key, p in inspect.signature(build).parameters.items() if key != 'scale'}
    for key in given:
        if key not in (*_COMMON, *parameters):
            raise ValueError(
                f'degradation: {key} has no effect with preset {given["preset"]}, which takes '
                f'{", ".join([*parameters, *_COMMON[1:]])}; remove it.'
            )
    needed = [key for key, parameter in parameters.items() if parameter.default is parameter.empty]
    require(block, needed, f'degradation: preset {given["preset"]}')
    blur = build(scale, **{key: given[key] for key in parameters if key in given})
    return Degradation(scale=scale, blur=blur, **{key: given[key] for key in _COMMON if key in given})


def authors_fixed(scale: int, kernel_centering: str = 'legacy') -> FixedBlur:
    """The fixed test degradation of the MulSR authors.

    Args:
        scale: Integer downsampling factor.
        kernel_centering: See ``AuthorsRandomBlur``. Default: 'legacy'.
    """
    _check_choice('kernel_centering', kernel_centering, ('legacy', 'aligned'))
    kernel, offset = _authors_kernel(
        FIXED_WIDTH, FIXED_VARIANCES, FIXED_ANGLE, 'bicubic', scale, kernel_centering == 'aligned'
    )
    window = f'{FIXED_WIDTH}x{FIXED_WIDTH} Gaussian of variances 10 (columns) and 2 (rows)'
    text = f'{window}, {kernel_centering} centring, bicubic'
    return FixedBlur(DegradationDraw(kernel, 'bicubic', offset, FIXED_NOISE_SIGMA, 'anisotropic'), text)


def noise_free(scale: int, kernel_centering: str = 'aligned') -> FixedBlur:
    """A Gaussian of standard deviation s/4 over each block, without noise.

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
    """A Gaussian of given standard deviations in high-resolution pixels, cut at four of them.

    Args:
        scale: Integer downsampling factor.
        sigma: One standard deviation, or two along the axes of an ellipse: the first along the columns at angle 0.
        angle: Turns the ellipse, in degrees. Default: 0.
        resampling: 'strided', 'bicubic' or 'bilinear'. Default: 'strided'.
    """
    _check_choice('resampling', resampling, RESAMPLINGS)
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
    """The Gaussian with a sensor's gain at its Nyquist frequency; see ``mtf_sigma``.

    Args:
        scale: Integer downsampling factor.
        nyquist_gain: Modulation transfer function of the low-resolution sensor at its Nyquist frequency.
    """
    sigma = mtf_sigma(nyquist_gain, scale)
    blur = gaussian(scale, sigma)
    return FixedBlur(blur.draw(np.random.default_rng(0)), f'MTF {nyquist_gain:g} at Nyquist, {blur.text}')


def kernel_file(scale: int, kernel: str, resampling: str = 'strided') -> FixedBlur:
    """A blur kernel from a file, normalised to a sum of 1 and applied by correlation.

    Turn the kernel by 180 degrees to convolve. Its middle comes to the centre of a block; where it cannot, because one
    side is odd and the other even, it lies half a pixel above and to the left.

    Args:
        scale: Integer downsampling factor.
        kernel: See ``read_kernel``.
        resampling: 'strided', 'bicubic' or 'bilinear'. Default: 'strided'.
    """
    _check_choice('resampling', resampling, RESAMPLINGS)
    values = read_kernel(kernel)
    side = len(values)
    offset = (scale - side) // 2 if resampling == 'strided' else -(side // 2)
    draw = DegradationDraw(values, resampling, offset, 0.0, 'user')
    return FixedBlur(draw, f'{side}x{side} kernel of {kernel}, {resampling}')


def bicubic(scale: int, antialias: bool = True) -> FixedBlur:
    """Bicubic resizing.

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
    """The mean of each block.

    Args:
        scale: Integer downsampling factor.
    """
    kernel = np.full((scale, scale), 1 / scale**2)
    return FixedBlur(DegradationDraw(kernel, 'strided', 0, 0.0, 'resize'), f'mean of {scale}x{scale} blocks')


def strided(scale: int, phase: int | None = None) -> FixedBlur:
    """One pixel of each block.

    Args:
        scale: Integer downsampling factor.
        phase: Row and column of that pixel, from 0. Default: the middle, for even scales the one above and to the left.
    """
    phase = (scale - 1) // 2 if phase is None else phase
    if phase >= scale:
        raise ValueError(f'degradation: phase is {phase}, expected 0 to {scale - 1} at scale {scale}; correct it.')
    draw = DegradationDraw(np.ones((1, 1)), 'strided', phase, 0.0, 'resize')
    return FixedBlur(draw, f'pixel {phase} of each block')


_BLURS: dict[str, Callable[..., Blur]] = {
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
PRESETS = tuple(_BLURS)


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
    for step in correlations(draw, scale):
        cube = _strided_correlation(cube, step)
    return cube


def correlations(draw: DegradationDraw, scale: int) -> list[Correlation]:
    """Blur and resampling of a draw as one correlation, or as two where the resampling leaves the image.

    Args:
        draw: What to apply.
        scale: Integer downsampling factor.
    """
    if draw.resampling == 'strided':
        return [Correlation(draw.kernel, draw.offset, scale, 'edge')]
    taps, first = _resampling_taps(draw.resampling, scale)
    if first >= 0 and first + len(taps) <= scale:
        return [Correlation(_compose(draw.kernel, taps), draw.offset + first, scale, 'symmetric')]
    resampling = Correlation(np.outer(taps, taps), first, scale, 'edge')
    return [Correlation(draw.kernel, draw.offset, 1, 'symmetric'), resampling]


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


def _strided_correlation(cube: np.ndarray, step: Correlation) -> np.ndarray:
    """Correlate a cube (L, H, W)."""
    num_bands, height, width = cube.shape
    kernel, offset, stride, boundary = step
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


def _authors_kernel(
    width: int, variances: tuple[float, float], angle: float, resampling: str, scale: int, aligned: bool
) -> tuple[np.ndarray, int]:
    if aligned:
        width, offset = _aligned_window(width, scale, resampling)
        return anisotropic_gaussian_kernel(width, variances, angle), offset
    centre = width // 2 + (scale - width % 2) / 2
    return anisotropic_gaussian_kernel(width, variances, angle, centre), -(width // 2)


def _aligned_window(width: int, scale: int, resampling: str) -> tuple[int, int]:
    """Window that is symmetric about the sampled point, which for even scales lies between two pixels."""
    if resampling != 'strided':
        return width, -(width // 2)
    width += (width + scale) % 2
    return width, (scale - width) // 2


def _check_choice(key: str, value: Any, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        names = [name for name in choices if name]
        close = difflib.get_close_matches(str(value), names, n=1)
        hint = f'did you mean {close[0]!r}?' if close else 'correct it.'
        raise ValueError(f'degradation: {key} is {value!r}, expected one of {", ".join(names)}; {hint}')


def _noise_text(sigma: float) -> str:
    return f'noise std {sigma:.5f}' if sigma else 'no noise'
