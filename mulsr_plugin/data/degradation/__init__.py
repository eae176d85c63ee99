"""Blur, downsampling and noise that turn a high-resolution cube into its low-resolution counterpart.

:func:`build_degradation` makes a :class:`Degradation` from an option block; the presets are in
:mod:`~mulsr_plugin.data.degradation.presets`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from mulsr_plugin.data.degradation.correlation import DegradationDraw, blur_and_downsample
from mulsr_plugin.data.degradation.presets import BLURS, PRESETS, Blur, check_choice, noise_text_of
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

LARGEST_COUNT = 1e12  # its Poisson noise is far below the rounding of float32
LARGEST_SCALE = 256
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
            ValueError: H or W is not a multiple of the scale.
        """
        draw = self.draw(rng)
        lq = blur_and_downsample(cube, draw, self.scale)
        if draw.poisson_peak > 0:
            # bicubic taps may have left a value below zero, which is not a mean of a count
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
        noise = self.blur.noise_text if self.noise_sigma is None else noise_text_of(self.noise_sigma)
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

    Example:
        >>> import numpy as np
        >>> from mulsr_plugin.data.degradation import build_degradation
        >>> degradation = build_degradation({'preset': 'average', 'noise_sigma': 0}, scale=4)
        >>> cube = np.arange(64, dtype=np.float32).reshape(1, 8, 8) / 64  # (L, H, W)
        >>> lq = degradation(cube, np.random.default_rng(0))
        >>> lq.shape, bool(np.allclose(lq[0], cube[0].reshape(2, 4, 2, 4).mean((1, 3))))
        ((1, 2, 2), True)
    """
    if isinstance(scale, bool) or not isinstance(scale, int) or not 2 <= scale <= LARGEST_SCALE:
        raise ValueError(
            f'degradation: scale is {scale!r}, expected a whole number from 2 to {LARGEST_SCALE}; correct the scale.'
        )
    block: Mapping[str, Any] = {'preset': opt} if isinstance(opt, str) else opt
    check_block(block, _RULES, 'degradation')
    require(block, ['preset'], 'degradation')
    check_choice('preset', block['preset'], PRESETS)
    given = {key: value for key, value in block.items() if value is not None}
    build = BLURS[given['preset']]
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
