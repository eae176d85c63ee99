"""Metrics of a validation: which of them the images at hand allow, and what each is given."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils.registry import METRIC_REGISTRY
from torch import Tensor

from mulsr_plugin.data.degradation import Degradation, build_degradation
from mulsr_plugin.data.degradation.correlation import blur_and_downsample
from mulsr_plugin.data.sample_seeds import key_generator
from mulsr_plugin.data.spectral_response import load_spectral_response
from mulsr_plugin.utils.options import BLOCK, TEXT, Rule, either

# where an option file leaves out `better`, for which BasicSR's default is higher
LOWER_IS_BETTER = (
    'calculate_sam',
    'calculate_ergas',
    'calculate_rmse',
    'calculate_d_lambda',
    'calculate_d_s',
    'calculate_spectral_consistency',
    'calculate_spatial_consistency',
)
IMAGE_ARGUMENTS = ('img', 'img2', 'lq', 'rgb')
"""Arguments of a metric that are images, so no options."""

SENSOR_RULES: dict[str, Rule] = {'degradation': either(TEXT, BLOCK), 'response': TEXT}
"""Options of a metric that say what the sensor does; the data set's own are the default."""

CONSISTENCY = {
    'spectral_consistency': {'type': 'calculate_spectral_consistency'},
    'spatial_consistency': {'type': 'calculate_spatial_consistency'},
}
"""Computed for images without ground truth where the options ask for no metric that does without."""

_NEEDS = {
    'img2': 'a ground truth',
    'lq': 'the low-resolution cube',
    'rgb': 'a guide image',
    'response': 'the spectral response and all bands',
}


def compute_metrics(
    metrics: Mapping[str, Mapping[str, Any]], img: Tensor, img2: Tensor | None, scale: int, **data: Any
) -> dict[str, float]:
    """Compute the metrics of a ``val: metrics`` block on cubes (H, W, L).

    A metric gets what its signature names: the images and further data, and the scale, unless its options name one.

    Args:
        metrics: Options of each metric by its name.
        img: Result, (H, W, L).
        img2: Ground truth, (H, W, L); None where no metric needs it.
        scale: Scale factor.
        **data: What else metrics may take: ``lq`` (h, w, L), ``rgb`` (H, W, G), ``degradation``, ``response``; see
            ``calculate_spectral_consistency`` and ``calculate_spatial_consistency``.

    Returns:
        Values by the same names.
    """
    known = {'img': img, 'img2': img2, 'scale': scale, **data}
    return {name: float(calculate_metric(_taken(options, known), options)) for name, options in metrics.items()}


def _taken(options: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return those data that a metric takes and that are known."""
    parameters = _parameters(options)
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    taken = (*parameters, 'img', 'img2') if takes_any else tuple(parameters)
    return {key: value for key, value in known.items() if key in taken and key not in options and value is not None}


def _parameters(options: Mapping[str, Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(METRIC_REGISTRY.get(options['type'])).parameters


def missing_data(options: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Return, in words, the data that a metric requires and that are not known."""
    required = [name for name, parameter in _parameters(options).items() if parameter.default is parameter.empty]
    return [words for key, words in _NEEDS.items() if key in required and known.get(key) is None]


def better_direction(options: Mapping[str, Any]) -> str:
    """Return 'higher' or 'lower', whichever is better for a metric with these options."""
    if options.get('better'):
        return str(options['better'])
    is_lower = options['type'] in LOWER_IS_BETTER and options.get('measure') != 'psnr'
    return 'lower' if is_lower else 'higher'


def known_degradation(degradation: Degradation, scale: int, key: str) -> Callable[[Tensor], np.ndarray]:
    """Return the blur and downsampling that an image got, without noise and clipping, as metrics take it.

    Args:
        degradation: Degradation of a validation or test set.
        scale: Scale factor.
        key: Scene key of the image, which seeds random degradations.

    Returns:
        Function from (L, H, W) to (L, H / scale, W / scale) float32.
    """
    draw = degradation.draw(key_generator(degradation.seed, key))
    return lambda cube: blur_and_downsample(cube.cpu().numpy(), draw, scale)


class ValidationMetrics:
    """The metrics of a validation on one data set.

    A metric whose data the images lack is left out: with ground truth all are computed, without it those that need
    none, and the two of consistency if there is no such metric among the options. The options ``degradation`` and
    ``response`` of a metric are what a data set's block calls ``degradation`` and ``spectral_response``; by default
    they are those of the data set.

    Args:
        metrics: The ``val: metrics`` block.
        dataset: Data set like PairedHSIRGBDataset.
        scale: Scale factor.

    Attributes:
        chosen: Options of the metrics that are computed, by name; known after the first image.
        left_out: What each of the others lacks, in words, by name.

    Raises:
        FileNotFoundError: A response file does not exist.
        ValueError: A degradation or response is wrong or does not fit the data set.
    """

    def __init__(self, metrics: Mapping[str, Mapping[str, Any]], dataset: Any, scale: int) -> None:
        self.scale = scale
        self.num_bands: int | None = getattr(dataset, 'num_bands', None)
        self.degradation: Degradation | None = getattr(dataset, 'degradation', None)
        self.response: np.ndarray | None = getattr(dataset, 'response', None)
        self.metrics = {
            name: {key: value for key, value in options.items() if key not in SENSOR_RULES}
            for name, options in metrics.items()
        }
        self.degradations = {
            name: build_degradation(options['degradation'], scale)
            for name, options in metrics.items()
            if options.get('degradation') is not None
        }
        self.responses = {
            name: load_spectral_response(options['response'], dataset.num_bands, dataset.wavelengths)
            for name, options in metrics.items()
            if options.get('response') is not None
        }
        self.chosen: dict[str, Mapping[str, Any]] = {}
        self.left_out: dict[str, str] = {}

    def measure(
        self, key: str, images: Mapping[str, Tensor | None], bands: Sequence[int] | None = None
    ) -> dict[str, float]:
        """Compute what can be computed for one image.

        Args:
            key: Scene key.
            images: ``img`` (H, W, number of bands) and, where there are any, ``img2`` of the same shape, ``lq``
                (h, w, number of bands) and ``rgb`` (H, W, G).
            bands: Which bands they are. Default: all.

        Returns:
            Values by the names of the metrics.
        """
        has_all_bands = bands is None or list(bands) == list(range(self.num_bands or len(bands)))
        data = {name: self._data(name, key, images, has_all_bands) for name in (*self.metrics, *CONSISTENCY)}
        self.left_out = {
            name: ' and '.join(missing)
            for name, options in self.metrics.items()
            if (missing := missing_data(options, data[name]))
        }
        self.chosen = {name: options for name, options in self.metrics.items() if name not in self.left_out}
        if not self.chosen and images.get('img2') is None:
            self.chosen = {n: options for n, options in CONSISTENCY.items() if not missing_data(options, data[n])}
        return {
            name: compute_metrics({name: options}, scale=self.scale, **data[name])[name]
            for name, options in self.chosen.items()
        }

    def measure_small(self, img: Tensor, img2: Tensor) -> dict[str, float]:
        """Compute the metrics that need a ground truth alone for an image at half the scale.

        Args:
            img: Result, (H / 2, W / 2, number of bands).
            img2: Ground truth, same shape.

        Returns:
            Values by the names of the metrics.
        """
        images = {'img': img, 'img2': img2}
        metrics = {name: options for name, options in self.chosen.items() if not missing_data(options, images)}
        return compute_metrics(metrics, img, img2, self.scale // 2)

    def describe(self) -> list[str]:
        """Return what must be known to compare the values, beyond the data set's own line."""
        assumed = [
            name
            for name, options in self.chosen.items()
            if 'degradation' in _parameters(options) and self.degradations.get(name, self.degradation) is None
        ]
        return [f'block means as degradation in {", ".join(assumed)}'] if assumed else []

    def _data(self, name: str, key: str, images: Mapping[str, Tensor | None], has_all_bands: bool) -> dict[str, Any]:
        degradation = self.degradations.get(name, self.degradation)
        known = None if degradation is None else known_degradation(degradation, self.scale, key)
        response = self.responses.get(name, self.response) if has_all_bands else None
        return {'img': images['img'], 'img2': None, **images, 'degradation': known, 'response': response}
