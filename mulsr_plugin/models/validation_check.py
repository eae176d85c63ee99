"""Whether a validation can be computed on the images of a data set, found out before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from mulsr_plugin.models.measurement import ValidationMetrics
from mulsr_plugin.models.validation import chosen_bands

_LARGEST_WINDOW = 128  # of METRIC_RULES: larger images are measured like images of this size


def check_validation(dataset: Any, val: Mapping[str, Any], scale: int, has_small_image: bool = False) -> None:
    """Measure random images of the size that the smallest scene of a data set is validated at.

    Args:
        dataset: Data set like PairedHSIRGBDataset; those that do not know their ``smallest_size`` are not checked.
        val: The ``val`` block: ``metrics``, ``crop_size``, ``bands``.
        scale: Scale factor of the data set.
        has_small_image: Whether the network also gives the image at half the scale, which is measured too.

    Raises:
        FileNotFoundError: A response file of a metric does not exist.
        ValueError: The crop is larger than a scene, a band does not exist, or a metric cannot be computed.
    """
    if not hasattr(dataset, 'smallest_size'):
        return
    size = dataset.smallest_size()
    name, crop = dataset.opt['name'], val.get('crop_size')
    if crop is not None and crop > min(size):
        raise ValueError(
            f'val: crop_size {crop} is larger than the smallest scene of {name}, {size[0]}x{size[1]}; choose a smaller '
            'one or leave it out.'
        )
    size = size if crop is None else (crop, crop)
    bands = chosen_bands(val.get('bands'), dataset.num_bands)
    for metric, options in (val.get('metrics') or {}).items():
        try:
            _try_metric(metric, options, dataset, bands, size, scale, has_small_image)
        except ValueError as error:
            raise ValueError(
                f'val: metrics: {metric} cannot be computed on images of {name} of {size[0]}x{size[1]} pixels and '
                f'{len(bands)} bands: {error}'
            ) from error


def _try_metric(
    name: str,
    options: Mapping[str, Any],
    dataset: Any,
    bands: list[int],
    size: tuple[int, int],
    scale: int,
    has_small_image: bool,
) -> None:
    metrics = ValidationMetrics({name: options}, dataset, scale)
    enough = -(-(_LARGEST_WINDOW + 2 * (options.get('crop_border') or 0)) // (2 * scale)) * 2 * scale
    height, width = (min(side, enough) for side in size)
    values = torch.Generator().manual_seed(0)

    def image(rows: int, columns: int, channels: int) -> torch.Tensor:
        return torch.rand(rows, columns, channels, generator=values)

    has_reference = 'gt' in dataset.cubes
    images = {
        'img': image(height, width, len(bands)),
        'img2': image(height, width, len(bands)) if has_reference else None,
        'lq': image(height // scale, width // scale, len(bands)),
        'rgb': image(height, width, dataset.num_guide_ch) if dataset.num_guide_ch else None,
    }
    metrics.measure(dataset.keys[0], images, bands)
    if has_small_image and has_reference:
        small = [image(height // 2, width // 2, len(bands)) for _ in range(2)]
        metrics.measure_small(small[0], small[1])
