"""From the files of a cube and its guide image to the file of the super-resolved cube."""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from mulsr_plugin.checkpoints.networks import load_network, read_weights
from mulsr_plugin.checkpoints.shipped import default_weights, find_weights, shipped_weights
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.false_colour import comparison_panel
from mulsr_plugin.data.formats import WRITERS, files_read, files_written, read_cube, refuse_shadowed, write_cube
from mulsr_plugin.data.formats.common import size_text
from mulsr_plugin.data.registration import Shift, measure_shift
from mulsr_plugin.data.sources.pair import PairFiles
from mulsr_plugin.data.spectral_response import load_spectral_response
from mulsr_plugin.metrics.consistency import calculate_spatial_consistency, calculate_spectral_consistency
from mulsr_plugin.models.inference import (
    DEFAULT_HALO,
    Progress,
    Tile,
    TileDeviation,
    apply_network,
    choose_bands_per_chunk,
    choose_tile,
    is_bandwise,
    is_guided,
    measure_tile_deviation,
)
from mulsr_plugin.utils.files import whole_files
from mulsr_plugin.utils.options import read_option_file

# Pixels of the cube: registered images measure less (see measure_shift), the authors' shifted blur more.
_SMALLEST_SHIFT_WARNED = 0.2


@dataclass(frozen=True)
class CubeFile:
    """A cube alone, for networks that take no guide image.

    Attributes:
        cube (Path): Low-resolution cube.
        cube_options (Mapping): Arguments of ``read_cube``. Default: none.
    """

    cube: Path
    cube_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class InferenceJob:
    """What to super-resolve and how.

    Attributes:
        weights (Path | None): Checkpoint in BasicSR's form, or the name of weights that come with the package; None
            for those that come with it for the scale of the images.
        images (PairFiles | CubeFile): The cube and its guide image, and how they are read; the cube alone for a network
            that takes no guide image, whose scale the weights or the option file must tell then.
        output (Path): File to write; its name tells the format, see :mod:`mulsr_plugin.data.formats`.
        option_file (Path | None): Option file of the network, where its weights do not tell. Default: None.
        device (str): 'auto', 'cpu', 'cuda' or 'cuda:N'. Default: 'auto', a GPU where there is one.
        precision (str): 'fp32', 'tf32' or 'bf16'. Default: 'fp32'.
        bands_per_chunk (int | None): Bands computed at a time. Default: None, from the free memory.
        tile_size (int | None): Side of the tiles in pixels of the result. Default: None, no tiles where the image fits
            into the memory, else as large as fits.
        tile_halo (int): Halo of the tiles in pixels of the result. Default: 64.
        spectral_response (str | None): Response of the guide's camera, see ``load_spectral_response``; for the spatial
            consistency. Default: None, unknown.
        force (bool): Replace an existing output. Default: False.
    """

    weights: Path | None
    images: PairFiles | CubeFile
    output: Path
    option_file: Path | None = None
    device: str = 'auto'
    precision: str = 'fp32'
    bands_per_chunk: int | None = None
    tile_size: int | None = None
    tile_halo: int = DEFAULT_HALO
    spectral_response: str | None = None
    force: bool = False

    @property
    def preview(self) -> Path:
        """The false-colour picture written beside the output."""
        return self.output.with_name(f'{self.output.stem}_preview.png')


@dataclass(frozen=True)
class InferenceReport:
    """What was found out on the way.

    Attributes:
        shape (tuple[int, int, int]): Rows, columns and bands of the result.
        scale (int): Scale factor.
        network (Mapping): Its block `network_g`.
        shift (Shift | None): Of the cube against the guide image; None where there is none or it could not be measured.
        tile (Tile | None): How the image was cut; None for in one piece.
        deviation (TileDeviation | None): What the tiles have changed.
        consistency (Mapping[str, float]): Consistency of the result with its inputs, by name.
    """

    shape: tuple[int, int, int]
    scale: int
    network: Mapping[str, object]
    shift: Shift | None
    tile: Tile | None = None
    deviation: TileDeviation | None = None
    consistency: Mapping[str, float] = field(default_factory=dict)


def infer(job: InferenceJob, progress: Progress | None = None) -> InferenceReport:
    """Super-resolve the cube of a job and write the result in the units of the cube, with a false-colour preview.

    What may take long begins only after everything that can be checked beforehand has been.

    Args:
        job (InferenceJob): What to do.
        progress (Callable | None): See :func:`mulsr_plugin.models.inference.apply_network`. Default: None.

    Returns:
        InferenceReport: What was found out on the way, which the log tells too.

    Raises:
        FileNotFoundError: An input does not exist.
        FileExistsError: The output exists and `force` is off.
        ImportError: The library for a format is not installed.
        ValueError: An input is damaged, or images and network do not fit each other.
        MemoryError: Not even a tile fits into the memory.
        OSError: The output cannot be written; nothing is left behind then.
    """
    job = replace(job, output=job.output.expanduser())
    _check_output(job)
    device = _device(job.device)
    cube, guide, scale = _load(job)
    _check_space(job.output, cube, scale)
    job = replace(job, weights=_choose_weights(job, scale))
    assert job.weights is not None
    net, network = load_network(job.weights, scale, job.option_file)
    _check_fit(job, net, network['type'], cube, guide)
    _tell_images(network['type'], scale, cube, guide)
    response = None if guide is None else _response(job, cube, guide)
    shift = None if guide is None else _check_registration(cube, guide, scale)
    net = net.to(device)
    lq, rgb = _as_batch(cube), None if guide is None else _as_batch(guide)
    tile, deviation = _cut(job, net, lq, rgb, scale)
    chunk = job.bands_per_chunk or choose_bands_per_chunk(net, lq, rgb, tile=tile, precision=job.precision)
    if is_bandwise(net):
        _log().info(f'{min(chunk, cube.num_bands)} of {cube.num_bands} bands at a time.')
    result = apply_network(net, lq, rgb, None, chunk, tile, job.precision, progress)
    image = result.clamp_(0, 1)[0].permute(1, 2, 0)
    consistency = _consistency(image, cube, guide, response)
    _write(job, image, cube, guide, scale)
    shape = (image.shape[0], image.shape[1], image.shape[2])
    return InferenceReport(shape, scale, network, shift, tile, deviation, consistency)


def _log() -> logging.Logger:
    return get_root_logger()


def _load(job: InferenceJob) -> tuple[Cube, Cube | None, int]:
    """Read cube and guide image, and tell the scale by their sizes; without a guide by weights or option file."""
    if isinstance(job.images, PairFiles):
        return job.images.load()
    if job.spectral_response is not None:
        raise ValueError(
            f'The spectral response {job.spectral_response} is that of the camera of a guide image, but there is none: '
            'give --rgb, or leave --spectral-response out.'
        )
    return read_cube(job.images.cube, **job.images.cube_options), None, _told_scale(job)


def _told_scale(job: InferenceJob) -> int:
    """Return the one scale that the option file of a job, else the description in its weights, names."""
    scales: Any = None
    if job.option_file is not None:
        scales = _scale_of_options(job.option_file)
    elif job.weights is not None:
        description = read_weights(find_weights(job.weights))[1]
        scales = None if description is None else description['scales']
    scale = scales[0] if isinstance(scales, list) and len(scales) == 1 else scales
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise ValueError(
            'The size of the guide image tells the scale, but there is none: give --rgb or, for a network that takes '
            'no guide image, --weights and with --opt the option file of its training.'
        )
    return scale


def _scale_of_options(path: Path) -> Any:
    """Return the scale in an option file: that of the network, else that of the data; None for neither."""
    content = read_option_file(path)
    network = content.get('network_g')
    return (network.get('upscale') if isinstance(network, Mapping) else None) or content.get('scale')


def _check_output(job: InferenceJob) -> None:
    """Refuse what could only fail after the computation."""
    if job.output.name in ('', '..'):
        raise ValueError(f'The output {job.output} is no name of a file: give one, such as sr.tif.')
    suffix = job.output.suffix.lower()
    if suffix not in WRITERS:
        names = ' '.join(name for name in WRITERS if name)
        raise ValueError(
            f'{job.output}: no writer for {suffix}; choose one of {names}, or no suffix for a folder of PNGs.'
        )
    if WRITERS[suffix].__module__.endswith('.raster') and find_spec('rasterio') is None:
        raise ImportError(
            f"{job.output} needs rasterio to be written: pip install 'mulsr-plugin[formats]', or name a .mat or .npz."
        )
    refuse_shadowed(job.output)
    guides = files_read(job.images.guide) if isinstance(job.images, PairFiles) else ()
    named = (*files_read(job.images.cube), *guides, job.weights)
    inputs = {path.resolve() for path in named if path is not None}
    for path in (*files_written(job.output), job.preview):
        if path.resolve() in inputs:
            raise FileExistsError(f'{path} is one of the inputs: name another file to write.')
        if path.exists() and not job.force:
            raise FileExistsError(f'{path} exists: name another file to write, or use --force to replace it.')
    folder = _folder_of(job.output)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise OSError(f'Nothing can be written to {folder} ({error.strerror}): name another place.') from error


def _choose_weights(job: InferenceJob, scale: int) -> Path:
    """Find the weights of a job; where it names none, take those of the package and say so."""
    if job.weights is not None:
        return find_weights(job.weights)
    if job.option_file is not None:
        raise ValueError(f'{job.option_file} describes a network, but its weights are missing: give --weights.')
    shipped = default_weights(scale)
    others = [entry for entry in shipped_weights().values() if entry.scale == scale and entry != shipped]
    _log().warning(
        f'No weights are named: taking {shipped.name} of this package, made for {shipped.protocol}. Its model card, '
        f'{shipped.path.with_suffix(".md")}, tells what to expect of other images.'
        + ''.join(f' For {entry.protocol} there is --weights {entry.name}.' for entry in others)
    )
    return find_weights(shipped.name)


def _check_space(output: Path, cube: Cube, scale: int) -> None:
    folder = _folder_of(output)
    needed, free = cube.values.nbytes * scale**2, shutil.disk_usage(folder).free
    if needed > free:
        raise OSError(
            f'The result takes {size_text(needed)}, but {folder} has only {size_text(free)} left: free some space or '
            'name another folder.'
        )


def _folder_of(output: Path) -> Path:
    """Return the nearest folder above an output that exists."""
    return next(parent for parent in output.resolve().parents if parent.exists())


def _tell_images(name: str, scale: int, cube: Cube, guide: Cube | None) -> None:
    """Log the sizes, and what readers have assumed."""
    also = '' if guide is None else f' and guide {_size_text(guide)}'
    _log().info(f'{name} x{scale}: {_size_text(cube)}{also}.')
    for note in (*cube.notes, *(f'guide: {note}' for note in (() if guide is None else guide.notes))):
        _log().info(note)


def _check_fit(job: InferenceJob, net: nn.Module, name: str, cube: Cube, guide: Cube | None) -> None:
    """Refuse images and options that the network was not built for, and say what to do instead."""
    _check_guide(job, net, name, guide)
    if job.bands_per_chunk is not None and not is_bandwise(net):
        raise ValueError(f'The {name} of {job.weights} computes all bands at once: leave --bands-per-chunk out.')
    if job.tile_halo < 0:
        raise ValueError(f'The halo of tiles is {job.tile_halo} pixels, expected 0 or more: correct --tile-halo.')
    bands = getattr(net, 'num_bands', cube.num_bands)
    if bands != cube.num_bands:
        raise ValueError(
            f'The cube {job.images.cube} has {cube.num_bands} bands, but the {name} of {job.weights} was trained for '
            f'{bands} and takes no other number: train one with num_bands: {cube.num_bands}, or use MulSR or '
            'CoarseNet, which take any number.'
        )


def _check_guide(job: InferenceJob, net: nn.Module, name: str, guide: Cube | None) -> None:
    if guide is None:
        if is_guided(net):
            raise ValueError(f'The {name} of {job.weights} takes a guide image, but there is none: give it with --rgb.')
        return
    assert isinstance(job.images, PairFiles)
    if not is_guided(net):
        _log().warning(
            f'The {name} of {job.weights} takes no guide image: {job.images.guide} tells the scale and serves for '
            'checks of registration and consistency, but not for the result.'
        )
    channels = getattr(net, 'num_guide_ch', guide.num_bands)
    if channels != guide.num_bands:
        raise ValueError(
            f'The guide {job.images.guide} has {guide.num_bands} channel(s), but the network of {job.weights} takes a '
            f'guide of {channels}: give such a guide, or train a network with num_guide_ch: {guide.num_bands} on '
            'guides like this one.'
        )


def _check_registration(cube: Cube, guide: Cube, scale: int) -> Shift | None:
    """Measure the shift between cube and guide image and warn of one; compare their georeferences."""
    _compare_places(cube, guide, scale)
    shift = measure_shift(cube.values, guide.values)
    if shift is None:
        _log().warning('The shift between cube and guide could not be measured: they have too little in common.')
    elif max(abs(shift.down), abs(shift.right)) > _SMALLEST_SHIFT_WARNED * scale:
        down, right = ('down' if shift.down > 0 else 'up'), ('right' if shift.right > 0 else 'left')
        _log().warning(
            f'The cube is shifted against the guide by {abs(shift.down):.1f} pixels {down} and '
            f'{abs(shift.right):.1f} {right} (pixels of the guide, correlation {shift.correlation:.2f}): register them '
            'first, unless the network was trained on images shifted like this.'
        )
    return shift


def _compare_places(cube: Cube, guide: Cube, scale: int) -> None:
    """Warn of georeferences by which the corners of the two images lie more than a pixel of the cube apart."""
    if cube.geo is None or guide.geo is None or cube.geo.crs != guide.geo.crs:
        return
    height, width = guide.values.shape[:2]
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    places = [corners @ np.array(geo.transform).reshape(2, 3).T for geo in (cube.geo.refined(scale), guide.geo)]
    pixel = np.abs(np.array(cube.geo.transform).reshape(2, 3)[:, :2]).max()
    apart = np.abs(places[0] - places[1]).max() / pixel
    if apart > 1:
        _log().warning(
            f'By their georeferences the corners of cube and guide lie up to {apart:.1f} pixels of the cube apart: are '
            'they of the same ground?'
        )


def _cut(
    job: InferenceJob, net: nn.Module, lq: Tensor, rgb: Tensor | None, scale: int
) -> tuple[Tile | None, TileDeviation | None]:
    """Choose tiles where they are needed or asked for, and measure what they change."""
    halo = -(-job.tile_halo // scale) * scale
    if job.tile_size is None:
        tile = choose_tile(net, lq, rgb, halo, job.precision)
    else:
        tile = Tile(max(1, job.tile_size // scale) * scale, halo)
    if tile is None or tile.size >= max(lq.shape[2:]) * scale:
        return None, None
    deviation = measure_tile_deviation(net, lq, rgb, tile, precision=job.precision)
    _log().info(
        f'Tiles of {tile.size} pixels with a halo of {tile.halo}. Compared with one piece, on the central '
        f'{deviation.height}x{deviation.width} pixels, they change the result by {deviation.rmse:.2g} (RMSE) and '
        f'{deviation.maximum:.2g} (maximum) of the range [0, 1].'
    )
    return tile, deviation


def _response(job: InferenceJob, cube: Cube, guide: Cube) -> np.ndarray | None:
    """Load the response of the guide's camera, (channels, bands), where the job names one."""
    if job.spectral_response is None:
        return None
    assert isinstance(job.images, PairFiles)
    response = load_spectral_response(job.spectral_response, cube.num_bands, cube.wavelengths)
    if len(response) != guide.num_bands:
        raise ValueError(
            f'The spectral response {job.spectral_response} has {len(response)} channel(s), but the guide '
            f'{job.images.guide} has {guide.num_bands}: name the response of the camera that took it.'
        )
    return response


def _consistency(image: Tensor, cube: Cube, guide: Cube | None, response: np.ndarray | None) -> dict[str, float]:
    """Compare the result with its inputs, in the range [0, 1], and log it."""
    lq = _in_unit_range(cube)
    figures = {
        'spectral consistency (RMSE)': calculate_spectral_consistency(image, lq),
        'spectral consistency (SAM)': calculate_spectral_consistency(image, lq, measure='sam'),
    }
    if guide is not None and response is not None:
        rgb = _in_unit_range(guide)
        figures['spatial consistency (RMSE)'] = calculate_spatial_consistency(image, rgb, response)
    for name, value in figures.items():
        _log().info(f'{name}: {value:.4g}')
    return figures


def _write(job: InferenceJob, image: Tensor, cube: Cube, guide: Cube | None, scale: int) -> None:
    """Write the result, then its preview."""
    geo = cube.geo.refined(scale) if cube.geo is not None else None if guide is None else guide.geo
    result = replace(cube, values=_in_units_of(cube, image), rgb=None, geo=geo, source=job.output.name, notes=())
    write_cube(job.output, result, overwrite=job.force)
    panel = comparison_panel(image, lq=_in_unit_range(cube), wavelengths=cube.wavelengths)
    with whole_files(job.preview, job.force) as temporary:
        if not cv2.imwrite(str(temporary), panel[..., ::-1]):
            raise OSError(f'{job.preview} cannot be written: check the space and the permissions of its folder.')
    _log().info(f'Written: {job.output} and {job.preview}.')


def _in_units_of(cube: Cube, image: Tensor) -> np.ndarray:
    """Return an image in [0, 1] in the units of a cube: rounded for integers, else float32."""
    values = image.cpu().numpy() / np.float32(cube.scale)
    if not np.issubdtype(cube.values.dtype, np.integer):
        return values
    # rounded up, the largest value could leave the range by less than one
    highest = min(np.iinfo(cube.values.dtype).max, int(1 / cube.scale + 1e-6))
    return np.clip(np.rint(values), 0, highest).astype(cube.values.dtype)


def _in_unit_range(cube: Cube) -> np.ndarray:
    return np.clip(cube.values * np.float32(cube.scale), 0, 1, dtype=np.float32)


def _as_batch(cube: Cube) -> Tensor:
    """Return a cube as (1, L, H, W) float32 in [0, 1]."""
    return torch.from_numpy(_in_unit_range(cube)).permute(2, 0, 1)[None]


def _size_text(cube: Cube) -> str:
    height, width, bands = cube.values.shape
    return f'{height}x{width}x{bands}'


def _device(name: str) -> torch.device:
    if name == 'auto':
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if re.fullmatch(r'cpu|cuda(:\d+)?', name) is None:
        raise ValueError(f'The device is {name}, expected auto, cpu, cuda or cuda:N.')
    device, count = torch.device(name), torch.cuda.device_count()
    if device.type == 'cuda' and (device.index or 0) >= count:
        raise ValueError(f'The device is {name}, but PyTorch sees {count or "no"} GPU: use --device cpu or auto.')
    return device
