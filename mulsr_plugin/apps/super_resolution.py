"""Super-resolution of one image, as a whole or strip by strip, with every check that its inputs allow."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from mulsr_plugin import __version__
from mulsr_plugin.apps.consistency import ConsistencyMeter, log_judgement
from mulsr_plugin.apps.methods import WithSensor, choose_method, log_better_weights, sensor_of_pair, takes_sensor
from mulsr_plugin.apps.pair_checks import check_radiometry, check_registration, log_notes
from mulsr_plugin.checkpoints.networks import WeightsFile, network_from_weights, read_weights
from mulsr_plugin.checkpoints.shipped import find_weights
from mulsr_plugin.data.cube import Cube, CubeForm
from mulsr_plugin.data.registration import Shift
from mulsr_plugin.data.sources.pair import scale_of_pair
from mulsr_plugin.data.spectral_response import load_spectral_response
from mulsr_plugin.models.inference import (
    DEFAULT_HALO,
    Progress,
    ResultStrips,
    Tile,
    TileDeviation,
    choose_bands_per_chunk,
    choose_tile,
    is_bandwise,
    is_guided,
    measure_tile_deviation,
    result_strips,
    scale_of_network,
    with_start,
)
from mulsr_plugin.sensor.estimation import SensorEstimate
from mulsr_plugin.utils.files import PathLike
from mulsr_plugin.utils.options import read_option_file


@dataclass(frozen=True, kw_only=True)
class InferenceSettings:
    """How to super-resolve an image, wherever it comes from.

    Attributes:
        weights (str | PathLike | None): Checkpoint in BasicSR's form, or the name of weights that come with the
            package. Default: None, a method that needs none.
        scale (int | None): Super-resolution factor: needed for a network without a guide whose weights do not name it,
            else it must be that of the images. Default: None, as these say.
        option_file (str | PathLike | None): Option file of the network, for weights that do not describe theirs.
            Default: None.
        method (str | None): One of ``mulsr_plugin.apps.methods.METHODS``, which need no weights. Default: None; without
            weights then SensorFusion, or cubic interpolation where there is no guide.
        device (str): 'auto', 'cpu', 'cuda' or 'cuda:N'. Default: 'auto', a GPU where there is one.
        precision (str): 'fp32', 'tf32' or 'bf16'. Default: 'fp32'.
        bands_per_chunk (int | None): Bands computed at a time. Default: None, from the free memory.
        tile_size (int | None): Side of the tiles in pixels of the result. Default: None, no tiles where the image fits
            into the memory, else as large as fits.
        tile_halo (int): Halo of the tiles in pixels of the result. Default: 64.
        spectral_response (str | None): Response of the guide's camera, see ``load_spectral_response``; for the spatial
            consistency. Default: None, unknown.
        sensor (str | PathLike | None): File of a ``SensorModel``, for methods that take one. Default: None, estimated
            from the pair.
    """

    weights: PathLike | None = None
    scale: int | None = None
    option_file: PathLike | None = None
    method: str | None = None
    device: str = 'auto'
    precision: str = 'fp32'
    bands_per_chunk: int | None = None
    tile_size: int | None = None
    tile_halo: int = DEFAULT_HALO
    spectral_response: str | None = None
    sensor: PathLike | None = None


@dataclass(frozen=True)
class InferenceReport:
    """What was found out on the way.

    Attributes:
        shape (tuple[int, int, int]): Rows, columns and bands of the result.
        scale (int): Scale factor.
        network (Mapping): Its block `network_g`.
        shift (Shift | None): Of the cube against the guide image; None where there is none or it could not be measured.
        sensor (SensorEstimate | None): What the pair says of its sensors; None without a guide. Default: None.
        tile (Tile | None): How the image was cut; None for in one piece.
        deviation (TileDeviation | None): What the tiles have changed.
        consistency (Mapping[str, float]): Consistency of the result with its inputs, by name; the spectral ones by
            the blur estimated from the pair, where it is known.
        quality (Mapping[str, float]): Metrics against a reference, by name, where one was given. Default: none.
    """

    shape: tuple[int, int, int]
    scale: int
    network: Mapping[str, object]
    shift: Shift | None
    tile: Tile | None = None
    deviation: TileDeviation | None = None
    consistency: Mapping[str, float] = field(default_factory=dict)
    sensor: SensorEstimate | None = field(default=None, compare=False)
    quality: Mapping[str, float] = field(default_factory=dict)


def named_weights(settings: InferenceSettings) -> WeightsFile | None:
    """Read the weights that the settings name; return None where they name none.

    Raises:
        FileNotFoundError: There are no such weights.
        ValueError: The file is damaged or holds no weights.
    """
    return None if settings.weights is None else read_weights(find_weights(settings.weights))


def scale_of_images(
    cube: Cube, guide: Cube | None, settings: InferenceSettings, weights: WeightsFile | None = None
) -> int:
    """Return the super-resolution factor: by the size of the guide, else as set, else as the weights were trained.

    Args:
        cube (Cube): (h, w, L).
        guide (Cube | None): (H, W, G).
        settings (InferenceSettings): How the cube will be super-resolved.
        weights (WeightsFile | None): Those named, see :func:`named_weights`. Default: None.

    Raises:
        FileNotFoundError: The option file does not exist.
        ValueError: The sizes are not in one whole ratio or in another one than that set, or nothing names the scale.
    """
    scale = settings.scale
    if scale is not None and (isinstance(scale, bool) or not isinstance(scale, int) or scale < 1):
        raise ValueError(f'The scale is {scale!r}, expected a whole number of at least 1: correct scale.')
    if guide is None:
        return _trained_scale(settings, weights) if scale is None else scale
    measured = scale_of_pair(cube.values.shape[:2], guide.values.shape[:2])
    if scale not in (None, measured):
        raise ValueError(
            f'The scale is {scale}, but the guide has {measured} times as many rows and columns as the cube: give a '
            'guide of that size, or leave scale out.'
        )
    return measured


class SuperResolution:
    """The super-resolution of one cube after all that needs the whole images, to be computed strip by strip.

    Attributes:
        shape (tuple[int, int, int]): Rows, columns and bands of the result.
        rows (list[slice]): Rows of the result that each strip has.
        identity (str): Digest of the images, the settings and the software that the values follow from.
    """

    def __init__(
        self,
        images: tuple[Cube, Cube | None],
        strips: ResultStrips,
        report: InferenceReport,
        response: np.ndarray | None,
        identity: str,
    ) -> None:
        self._cube, self._guide = images
        self._strips, self._report, self._response = strips, report, response
        self.shape, self.rows, self.identity = report.shape, strips.rows, identity

    def compute(self, number: int, progress: Progress | None = None) -> np.ndarray:
        """Compute a strip, (its rows, W, L), in the units and the type of the cube; see :func:`in_units_of`."""
        return in_units_of(self._cube, self._strips.compute(number, progress).clamp_(0, 1)[0].permute(1, 2, 0))

    def report(
        self,
        read: Callable[[int], np.ndarray],
        value_scale: float,
        see: Callable[[int, np.ndarray], None] | None = None,
    ) -> InferenceReport:
        """Measure the consistency of the finished result, and log it.

        Args:
            read (Callable): Returns a strip by its number, (its rows, W, L).
            value_scale (float): Brings what it returns to [0, 1].
            see (Callable | None): Called with number and values of each strip, float32 in [0, 1]. Default: None.

        Returns:
            InferenceReport: What was found out on the way.
        """
        guide = None if self._guide is None or self._response is None else unit_values(self._guide)
        estimate = self._report.sensor
        known = estimate.sensor if estimate is not None and estimate.known else None
        meter = ConsistencyMeter(unit_values(self._cube), known, guide, self._response)
        for number, rows in enumerate(self.rows):
            values = np.multiply(read(number), np.float32(value_scale), dtype=np.float32, casting='unsafe')
            meter.add(rows.start, values)
            if see is not None:
                see(number, values)
        figures = meter.figures()
        if known is None:
            _log().info('No spectral consistency is given: the blur between result and cube is not known.')
        for name, value in figures.items():
            _log().info(f'{name}: {value:.4g}')
        if known is not None:
            log_judgement(figures['spectral consistency (RMSE)'], self._cube)
        return replace(self._report, consistency=figures)


def super_resolve_cube(
    cube: Cube,
    guide: Cube | None,
    scale: int,
    settings: InferenceSettings,
    weights: WeightsFile | None = None,
    progress: Progress | None = None,
) -> tuple[np.ndarray, InferenceReport]:
    """Super-resolve a cube in memory.

    Args:
        cube (Cube): Low-resolution cube, (h, w, L).
        guide (Cube | None): Its guide image, (scale * h, scale * w, G); None for networks that take none.
        scale (int): Scale factor, see :func:`scale_of_images`.
        settings (InferenceSettings): How.
        weights (WeightsFile | None): Those named, see :func:`named_weights`. Default: None, a method that needs none.
        progress (Callable | None): See :func:`mulsr_plugin.models.inference.apply_network`. Default: None.

    Returns:
        tuple[ndarray, InferenceReport]: (scale * h, scale * w, L) in the units of the cube, see :func:`in_units_of`,
        and what was found out on the way, which the log reports too.

    Raises:
        FileNotFoundError: The weights or the option file do not exist.
        ValueError: A setting is wrong, or images and network do not fit each other.
        MemoryError: Not even a tile fits into the memory.
    """
    work = prepare_super_resolution(cube, guide, scale, settings, weights)
    result: np.ndarray | None = None
    for number, rows in enumerate(work.rows):
        strip = work.compute(number, progress)
        if result is None:
            result = np.empty(work.shape, strip.dtype)
        result[rows] = strip
    assert result is not None
    whole = result
    return whole, work.report(lambda number: whole[work.rows[number]], cube.scale)


def prepare_super_resolution(
    cube: Cube,
    guide: Cube | None,
    scale: int,
    settings: InferenceSettings,
    weights: WeightsFile | None = None,
    by_rows: bool = False,
) -> SuperResolution:
    """Check everything that can be checked beforehand, and do what needs the whole images.

    Args:
        cube (Cube): Low-resolution cube, (h, w, L).
        guide (Cube | None): Its guide image; None for networks that take none.
        scale (int): Scale factor, see :func:`scale_of_images`.
        settings (InferenceSettings): How.
        weights (WeightsFile | None): Those named. Default: None, a method that needs none.
        by_rows (bool): The strips leave the memory one by one. Default: False, all are kept.

    Raises:
        FileNotFoundError: The weights or the option file do not exist.
        ValueError: A setting is wrong, or images and network do not fit each other.
        MemoryError: Not even a tile fits into the memory.
    """
    _check_settings(settings, guide, weights)
    device = _device(settings.device)
    lq, rgb = _as_batch(cube), None if guide is None else _as_batch(guide)
    response = None if guide is None else _response(settings, cube, guide)
    chosen = None if weights is not None else choose_method(lq, rgb, scale, settings.method, response, settings.sensor)
    if chosen is not None:
        net, network, label = chosen.net, chosen.network, chosen.network['type']
        _log().info(chosen.reason)
        if guide is not None and settings.method is None:
            log_better_weights(cube, guide, scale)
    else:
        assert weights is not None
        net, network = network_from_weights(weights, scale, settings.option_file)
        label = f'{network["type"]} of {weights.path}'
    _check_fit(settings, net, label, cube, guide)
    _log_images(network['type'], scale, cube, guide)
    estimate = None if chosen is None else chosen.estimate
    shift = (
        None
        if guide is None
        else check_registration(cube, guide, scale, is_corrected=estimate is not None and estimate.known)
    )
    if guide is not None:
        check_radiometry(cube, guide, response, weights)
    net = net.to(device)
    _check_scale(net, label, lq, rgb, scale)
    if estimate is None and rgb is not None:
        # what weights were trained for says nothing of this pair: the result is compared with what its images say
        known = None if response is None else torch.from_numpy(response).to(lq)
        estimate = sensor_of_pair(lq, rgb, known, settings.sensor)
        if takes_sensor(net) and estimate.related:
            net = WithSensor(net, estimate.sensor)
    net, lq, rgb = with_start(net, lq, rgb)
    tile, deviation = _cut(settings, net, lq, rgb, scale, by_rows)
    chunk = settings.bands_per_chunk or choose_bands_per_chunk(net, lq, rgb, tile=tile, precision=settings.precision)
    if is_bandwise(net):
        _log().info(f'{min(chunk, cube.num_bands)} of {cube.num_bands} bands at a time.')
    strips = result_strips(net, lq, rgb, None, chunk, tile, settings.precision)
    shape = (strips.shape[2], strips.shape[3], strips.shape[1])
    report = InferenceReport(shape, scale, network, shift, tile, deviation, {}, estimate)
    identity = _identity(cube, guide, settings, network, weights, (device.type, strips.rows, tile))
    return SuperResolution((cube, guide), strips, report, response, identity)


def in_units_of(cube: Cube, image: Tensor) -> np.ndarray:
    """Return an image in [0, 1] in the units of a cube: rounded for integers, else float32."""
    values = image.cpu().numpy() / np.float32(cube.scale)
    if not np.issubdtype(cube.values.dtype, np.integer):
        return values
    # rounded up, the largest value could leave the range by less than one
    highest = min(np.iinfo(cube.values.dtype).max, int(1 / cube.scale + 1e-6))
    return np.clip(np.rint(values), 0, highest).astype(cube.values.dtype)


def unit_values(cube: Cube) -> np.ndarray:
    """Return the values of a cube as float32 in [0, 1]."""
    return np.clip(cube.values * np.float32(cube.scale), 0, 1, dtype=np.float32)


def _log() -> logging.Logger:
    return get_root_logger()


def _check_settings(settings: InferenceSettings, guide: Cube | None, weights: WeightsFile | None) -> None:
    """Refuse settings that no network could make sense of."""
    if settings.tile_halo < 0:
        raise ValueError(f'The halo of tiles is {settings.tile_halo} pixels, expected 0 or more: correct tile_halo.')
    for name in ('bands_per_chunk', 'tile_size'):
        value = getattr(settings, name)
        if value is not None and value < 1:
            raise ValueError(f'{name} is {value}, expected at least 1: give more, or None to choose by the memory.')
    if weights is None and settings.option_file is not None:
        raise ValueError(f'{settings.option_file} describes a network, but its weights are missing: give weights.')
    if weights is not None and settings.method is not None:
        raise ValueError(f'{settings.method} takes no weights, but {weights.path} is given: leave one of them out.')
    if settings.sensor is not None and guide is None:
        raise ValueError(
            f'The sensor model {settings.sensor} is for a cube and its guide, but there is no guide: give one, or '
            'leave sensor out.'
        )
    if guide is None and settings.spectral_response is not None:
        raise ValueError(
            f'The spectral response {settings.spectral_response} is that of the camera of a guide image, but there is '
            'none: give a guide, or leave spectral_response out.'
        )


def _trained_scale(settings: InferenceSettings, weights: WeightsFile | None) -> int:
    """Return the one scale that the option file, else the description in its weights, names."""
    scales: Any = None
    if settings.option_file is not None:
        scales = _scale_of_options(settings.option_file)
    elif weights is not None and weights.description is not None:
        scales = weights.description['scales']
    scale = scales[0] if isinstance(scales, list) and len(scales) == 1 else scales
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise ValueError(
            'The size of the guide image sets the scale, but there is no guide: give one or, for a network that takes '
            'none, its weights and, where they do not name it, the scale.'
        )
    return scale


def _scale_of_options(path: PathLike) -> Any:
    """Return the scale in an option file: that of the network, else that of the data; None for neither."""
    content = read_option_file(path)
    network = content.get('network_g')
    return (network.get('upscale') if isinstance(network, Mapping) else None) or content.get('scale')


def _log_images(name: str, scale: int, cube: Cube, guide: Cube | None) -> None:
    """Log the sizes, and what readers have assumed."""
    also = '' if guide is None else f' and guide {guide.size_text}'
    _log().info(f'{name} x{scale}: {cube.size_text}{also}.')
    log_notes(cube=cube.notes, guide=() if guide is None else guide.notes)


def _check_fit(settings: InferenceSettings, net: nn.Module, label: str, cube: Cube, guide: Cube | None) -> None:
    """Refuse images and options that the network was not built for, and say what to do instead."""
    _check_guide(net, label, guide)
    if settings.sensor is not None and not takes_sensor(net):
        raise ValueError(
            f'The {label} knows no sensor model, but {settings.sensor} is given: leave sensor out, or take a method '
            'that does.'
        )
    if settings.bands_per_chunk is not None and not is_bandwise(getattr(net, 'correction', net)):
        raise ValueError(f'The {label} computes all bands at once: leave bands_per_chunk out.')
    bands = getattr(net, 'num_bands', cube.num_bands)
    if bands != cube.num_bands:
        raise ValueError(
            f'The cube has {cube.num_bands} bands, but the {label} was trained for {bands} and '
            f'takes no other number: train one with num_bands: {cube.num_bands}, or use MulSR or CoarseNet, which take '
            'any number.'
        )


def _check_scale(net: nn.Module, label: str, lq: Tensor, rgb: Tensor | None, scale: int) -> None:
    """Refuse a network without guide that enlarges by another factor: no size of an image contradicts it."""
    actual = scale_of_network(net, lq, rgb)
    if actual != scale:
        raise ValueError(
            f'The {label} enlarges {actual} times, but the scale is {scale}: correct the scale or '
            'the option file of the network.'
        )


def _check_guide(net: nn.Module, label: str, guide: Cube | None) -> None:
    if guide is None:
        if is_guided(net):
            raise ValueError(f'The {label} takes a guide image, but there is none: give a guide.')
        return
    if not is_guided(net):
        _log().warning(
            f'The {label} takes no guide image: the one given sets the scale and serves for '
            'checks of registration and consistency, but not for the result.'
        )
    channels = getattr(net, 'num_guide_ch', guide.num_bands)
    if channels != guide.num_bands:
        raise ValueError(
            f'The guide has {guide.num_bands} channel(s), but the {label} takes a guide of '
            f'{channels}: give such a guide, or train a network with num_guide_ch: {guide.num_bands} on guides like '
            'this one.'
        )


def _cut(
    settings: InferenceSettings, net: nn.Module, lq: Tensor, rgb: Tensor | None, scale: int, by_rows: bool
) -> tuple[Tile | None, TileDeviation | None]:
    """Choose tiles where they are needed or asked for, and measure what they change."""
    halo = -(-settings.tile_halo // scale) * scale
    if settings.tile_size is None:
        tile = choose_tile(net, lq, rgb, halo, settings.precision, by_rows)
    else:
        tile = Tile(max(1, settings.tile_size // scale) * scale, halo)
    if tile is None or tile.size >= max(lq.shape[2:]) * scale:
        return None, None
    deviation = measure_tile_deviation(net, lq, rgb, tile, precision=settings.precision)
    _log().info(
        f'Tiles of {tile.size} pixels with a halo of {tile.halo}. Compared with one piece, on the central '
        f'{deviation.height}x{deviation.width} pixels, they change the result by {deviation.rmse:.2g} (RMSE) and '
        f'{deviation.maximum:.2g} (maximum) of the range [0, 1].'
    )
    return tile, deviation


def _response(settings: InferenceSettings, cube: Cube, guide: Cube) -> np.ndarray | None:
    """Load the response of the guide's camera, (channels, bands), where the settings name one."""
    if settings.spectral_response is None:
        return None
    response = load_spectral_response(settings.spectral_response, cube.num_bands, cube.wavelengths)
    if len(response) != guide.num_bands:
        raise ValueError(
            f'The spectral response {settings.spectral_response} has {len(response)} channel(s), but the guide '
            f'has {guide.num_bands}: name the response of the camera that took it.'
        )
    return response


def _identity(
    cube: Cube,
    guide: Cube | None,
    settings: InferenceSettings,
    network: Mapping[str, object],
    weights: WeightsFile | None,
    parts: object,
) -> str:
    """Return a digest of all that the values of a result follow from."""
    digest = hashlib.blake2b(digest_size=16)
    for image in (cube, guide):
        if image is not None:
            digest.update(repr((CubeForm.of(image), str(image.values.dtype))).encode())
            digest.update(np.ascontiguousarray(image.values).data.cast('B'))
    for name, tensor in sorted({} if weights is None else weights.state.items()):
        digest.update(name.encode() + tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    if settings.sensor is not None:
        digest.update(Path(settings.sensor).expanduser().read_bytes())
    how = (settings.precision, settings.bands_per_chunk, settings.spectral_response, sorted(network.items()), parts)
    digest.update(repr((how, __version__, torch.__version__)).encode())
    return digest.hexdigest()


def _as_batch(cube: Cube) -> Tensor:
    """Return a cube as (1, L, H, W) float32 in [0, 1]."""
    return torch.from_numpy(unit_values(cube)).permute(2, 0, 1)[None]


def _device(name: str) -> torch.device:
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if re.fullmatch(r'cpu|cuda(:\d+)?', name) is None:
        raise ValueError(f'The device is {name}, expected auto, cpu, cuda or cuda:N.')
    device, count = torch.device(name), torch.cuda.device_count()
    if device.type == 'cuda' and (device.index or 0) >= count:
        raise ValueError(f'The device is {name}, but PyTorch sees {count or "no"} GPU: use cpu or auto.')
    return device
