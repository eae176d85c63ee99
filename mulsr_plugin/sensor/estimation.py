"""The sensor model of a pair, estimated from its two images alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mulsr_plugin.sensor.agreement import Agreement
from mulsr_plugin.sensor.blur import StridedBlur
from mulsr_plugin.sensor.coverage import misfit_ratio, within_guide
from mulsr_plugin.sensor.free_kernel import fit_free_kernel
from mulsr_plugin.sensor.gaussian_fit import GaussianFit, fit_gaussian, gaussian_blur
from mulsr_plugin.sensor.model import SensorModel
from mulsr_plugin.sensor.noise import estimate_noise
from mulsr_plugin.sensor.relation import Relation, held_out_relation
from mulsr_plugin.sensor.response import fit_response
from mulsr_plugin.sensor.spectral_basis import spectral_basis

FEWEST_PIXELS = 40
"""Low-resolution pixels away from the border that an estimate needs."""
_BORDER_COMPONENTS = 16  # of the cube, that the guide is compared with at the border
_SURE_GAIN = 0.9  # of the relation, from which on the fit is beyond doubt
_CLEARLY_MORE = 0.01  # gain of one blur over another that counts
_GUESSED_WIDTH = 0.35  # standard deviation in units of the scale


@dataclass(frozen=True)
class SensorEstimate:
    """What a pair says about its sensors.

    Attributes:
        sensor (SensorModel): Kernel, its place, response and noise of each band. Where the blur is not known, a
            Gaussian around the middle of each block stands in; where the response is not, None.
        known (bool): Whether the blur could be estimated.
        related (bool): False where the guide predicts nothing of the cube, so that there is nothing to fuse.
        spread (tuple[float, float]): Standard deviation of the centre (row, column) in pixels of the guide, from the
            curvature of the fit; nan where the blur is not known.
        misfit (float): Root mean square of what disagrees between the two images, over the standard deviation of the
            reduced guide; nan where the blur is not known.
        gain (float): Share of the cube's detail that the guide predicts in held-out blocks of pixels, see
            ``Relation``.
        statement (str): The same in a sentence.
    """

    sensor: SensorModel
    known: bool
    related: bool
    spread: tuple[float, float]
    misfit: float
    gain: float
    statement: str


@torch.no_grad()
def estimate_sensor(lq: Tensor, guide: Tensor, response: Tensor | None = None) -> SensorEstimate:
    """Find blur kernel, displacement, response and noise of a pair.

    A Gaussian of any centre, two widths and an angle is fitted so that the blurred guide equals R lq or, where R is
    unknown, is explained best by the bands of lq. A free kernel replaces it where that predicts held-out pixels
    better. The estimate is computed on the CPU in float32.

    Args:
        lq (Tensor): (L, h, w), floating point, any unit.
        guide (Tensor): (G, scale * h, scale * w), any unit; of the unit of ``lq`` where the response is given.
        response (Tensor | None): R, (G, L). Default: None, unknown.

    Returns:
        SensorEstimate: See there; a pair that does not determine it gives a statement instead of an error.

    Raises:
        ValueError: The shapes do not fit, or a value is not finite.

    Example:
        >>> import torch
        >>> from mulsr_plugin.sensor.estimation import estimate_sensor
        >>> estimate = estimate_sensor(torch.rand(31, 16, 16), torch.ones(3, 128, 128))
        >>> estimate.known, estimate.statement
        (False, 'The blur cannot be known from these images: the guide is constant where the cube has pixels.')
    """
    _check(lq, guide, response)
    lq, guide = (image.detach().float().cpu() for image in (lq, guide))
    response = None if response is None else response.detach().float().cpu()
    scale, noise_sigma = guide.shape[1] // lq.shape[1], estimate_noise(lq)
    agreement = Agreement(lq, guide, response, noise_sigma)
    if len(agreement.pixels) < FEWEST_PIXELS:
        reason = f'there are {len(agreement.pixels)} low-resolution pixels away from the border, {FEWEST_PIXELS} needed'
        return _unknown(scale, response, noise_sigma, reason, related=agreement.informative)
    if not agreement.informative:
        return _unknown(scale, response, noise_sigma, 'the guide is constant where the cube has pixels', related=False)
    fit, relation = _best_fit(agreement, lq, guide, response, noise_sigma)
    if not relation.is_related:
        reason = (
            f'the guide predicts {_percent(relation)} of the detail of the cube, expected 25 % and not in a few places '
            'alone, so that it shows something else'
        )
        return _unknown(scale, response, noise_sigma, reason, related=False, gain=relation.gain)
    blur = fit_free_kernel(agreement, fit.theta)
    if _relation(blur, lq, guide, noise_sigma).gain < relation.gain - _CLEARLY_MORE:
        blur = gaussian_blur(fit.theta, scale)
    spread = fit.covariance.diagonal()[:2].clamp(min=0).sqrt().tolist()
    sensor = _continued(_sensor(blur, response, noise_sigma), lq, guide)
    if response is None:
        sensor = sensor.with_response(fit_response(lq, sensor.blur(guide[None])[0]), fitted=True)
    statement = _statement(sensor, spread, relation)
    return SensorEstimate(sensor, True, True, (spread[0], spread[1]), agreement.misfit(blur), relation.gain, statement)


def _check(lq: Tensor, guide: Tensor, response: Tensor | None) -> None:
    if lq.dim() != 3 or guide.dim() != 3 or 0 in lq.shape or 0 in guide.shape:
        raise ValueError(
            f'lq has shape {tuple(lq.shape)} and guide {tuple(guide.shape)}, expected (L, h, w) and (G, H, W); pass '
            'one pair without a batch dimension.'
        )
    scale = guide.shape[1] // lq.shape[1]
    if scale < 1 or (scale * lq.shape[1], scale * lq.shape[2]) != tuple(guide.shape[1:]):
        raise ValueError(
            f'The guide of {guide.shape[1]}x{guide.shape[2]} pixels is not a whole multiple of a cube of '
            f'{lq.shape[1]}x{lq.shape[2]}; crop it.'
        )
    if response is not None and response.shape != (len(guide), len(lq)):
        raise ValueError(
            f'The response has shape {tuple(response.shape)}, expected {(len(guide), len(lq))}; correct it.'
        )
    if not (lq.isfinite().all() and guide.isfinite().all()):
        raise ValueError('lq or guide holds values that are not finite; replace them.')


def _best_fit(
    agreement: Agreement, lq: Tensor, guide: Tensor, response: Tensor | None, noise_sigma: Tensor
) -> tuple[GaussianFit, Relation]:
    """Fit a Gaussian and, where that relates less than nearly all, one to details; return the one that relates more.

    Few bands explain the coarse shades of a guide better than its details, which favours too wide a blur.
    """
    scale = agreement.scale
    fits = [fit_gaussian(agreement)]
    relations = [_relation(gaussian_blur(fits[0].theta, scale), lq, guide, noise_sigma)]
    if relations[0].gain < _SURE_GAIN:
        start = fits[0].theta.clone()
        start[2:4], start[4] = math.log(_GUESSED_WIDTH * scale), 0.0
        fits.append(fit_gaussian(Agreement(lq, guide, response, noise_sigma, of_details=True), start))
        relations.append(_relation(gaussian_blur(fits[1].theta, scale), lq, guide, noise_sigma))
    best = len(fits) - 1 if relations[-1].gain > relations[0].gain + _CLEARLY_MORE else 0
    return fits[best], relations[best]


def _relation(blur: StridedBlur, lq: Tensor, guide: Tensor, noise_sigma: Tensor) -> Relation:
    return held_out_relation(lq, blur.forward(guide[None])[0], noise_sigma)


def _continued(sensor: SensorModel, lq: Tensor, guide: Tensor) -> SensorModel:
    """Choose how the guide goes on beyond its border, which simulations of low resolution have assumed."""
    y = spectral_basis(lq, sensor.noise_sigma, _BORDER_COMPONENTS).components(lq)
    span = within_guide(sensor, lq.shape[1:])
    models = [sensor.with_boundary(boundary) for boundary in ('symmetric', 'edge')]
    return min(models, key=lambda model: misfit_ratio(y, model.blur(guide[None])[0], span))


def _sensor(blur: StridedBlur, response: Tensor | None, noise_sigma: Tensor) -> SensorModel:
    return SensorModel((blur,), None if response is None else response.double(), noise_sigma.double())


def _unknown(
    scale: int, response: Tensor | None, noise_sigma: Tensor, reason: str, related: bool, gain: float = 0.0
) -> SensorEstimate:
    """Return a guess: a Gaussian around the middle of each block."""
    middle, width = (scale - 1) / 2, math.log(_GUESSED_WIDTH * scale)
    blur = gaussian_blur(torch.tensor([middle, middle, width, width, 0.0], dtype=torch.float64), scale)
    sensor = _sensor(blur, response, noise_sigma)
    return SensorEstimate(
        sensor,
        False,
        related,
        (math.nan, math.nan),
        math.nan,
        gain,
        f'The blur cannot be known from these images: {reason}.',
    )


def _statement(sensor: SensorModel, spread: list[float], relation: Relation) -> str:
    row, column = (value - (sensor.scale - 1) / 2 for value in sensor.centre)
    return (
        f'The cube lies {row:+.2f} (standard deviation {spread[0]:.2f}) pixels of the guide down and {column:+.2f} '
        f'({spread[1]:.2f}) to the right; the guide predicts {_percent(relation)} of the detail of the cube.'
    )


def _percent(relation: Relation) -> str:
    return f'{100 * max(relation.gain, 0):.0f} %'
