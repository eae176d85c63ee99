"""The functions that Python programs call with arrays: :func:`super_resolve`, :func:`degrade` and :func:`evaluate`.

``mulsr_plugin`` hands them on, together with ``read_cube``, ``write_cube`` and ``load_pretrained``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mulsr_plugin import register
from mulsr_plugin.apps.evaluation import Evaluation, evaluate_cubes
from mulsr_plugin.apps.simulation import Simulation, simulate
from mulsr_plugin.apps.super_resolution import (
    InferenceReport,
    InferenceSettings,
    named_weights,
    scale_of_images,
    super_resolve_cube,
)
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import read_cube
from mulsr_plugin.data.formats.common import RawImage, ReadOptions, Scale, to_cube
from mulsr_plugin.models.inference import DEFAULT_HALO, Progress
from mulsr_plugin.utils.files import PathLike

Image = np.ndarray | Cube | PathLike
"""An image of the API: an array (H, W, L), a cube as ``read_cube`` returns it, or the path of a file."""


def super_resolve(
    cube: Image,
    guide: Image | None = None,
    *,
    weights: PathLike | None = None,
    method: str | None = None,
    scale: int | None = None,
    value_scale: Scale = None,
    guide_value_scale: Scale = None,
    wavelengths: Sequence[float] | None = None,
    spectral_response: str | None = None,
    option_file: PathLike | None = None,
    sensor: PathLike | None = None,
    device: str = 'auto',
    precision: str = 'fp32',
    bands_per_chunk: int | None = None,
    tile_size: int | None = None,
    tile_halo: int = DEFAULT_HALO,
    progress: Progress | None = None,
) -> tuple[np.ndarray, InferenceReport]:
    """Super-resolve a hyperspectral cube, as a rule with the help of a registered guide image of higher resolution.

    Arrays, cubes and files pass through the same checks and give the same result. Images that do not fit into the
    memory are cut. What is assumed and measured on the way goes to BasicSR's log.

    Args:
        cube (ndarray | Cube | str | PathLike): Low-resolution cube, (h, w, L): floats in [0, 1], or other real
            numbers that ``value_scale`` brings there; a ``Cube``; or a file of a format that ``read_cube`` knows.
        guide (ndarray | Cube | str | PathLike | None): High-resolution image of the same ground,
            (scale * h, scale * w, C), or (scale * h, scale * w) for one channel, likewise. Default: None, for
            interpolation and networks that take no guide.
        weights (str | PathLike | None): Checkpoint in BasicSR's form, or the name of weights that come with the
            package. Default: None, a method that needs none.
        method (str | None): Method without weights: 'SensorFusion', 'GSA', 'MTFGLP', 'CNMF', 'HySure' or
            'BicubicUpsampler'. Default: None; without weights then SensorFusion, or cubic interpolation where there is
            no guide or it shows something else than the cube.
        scale (int | None): Super-resolution factor, for networks without a guide whose weights do not name it; with a
            guide it must agree with the sizes. Default: None, from the sizes of cube and guide.
        value_scale (float | 'max' | None): Factor that brings the values of ``cube`` to [0, 1]; 'max' is 1 / its
            largest value. Default: None: that of the file or ``Cube``, else 1 for floats and 1 / (largest value of the
            type) for integers.
        guide_value_scale (float | 'max' | None): The same for ``guide``. Default: None.
        wavelengths (Sequence[float] | None): Band centres of ``cube`` in nm or micrometres. Default: None, those of
            the file or ``Cube``.
        spectral_response (str | None): Response of the guide's camera, see ``load_spectral_response``, to report the
            spatial consistency. Default: None, unknown.
        option_file (str | PathLike | None): Option file of the network, for weights that do not describe theirs.
            Default: None.
        sensor (str | PathLike | None): File of a sensor model, as ``mulsr estimate-sensor`` writes it, for a method
            without weights. Default: None, estimated from the pair.
        device (str): 'auto', 'cpu', 'cuda' or 'cuda:N'. Default: 'auto', a GPU where there is one.
        precision (str): 'fp32', 'tf32' or 'bf16'. Default: 'fp32'.
        bands_per_chunk (int | None): Bands computed at a time, which changes no result. Default: None, from the free
            memory.
        tile_size (int | None): Side of the tiles in pixels of the result. Default: None, no tiles where the image fits
            into the memory, else as large as fits.
        tile_halo (int): Halo of the tiles in pixels of the result. Default: 64.
        progress (Callable | None): Called after each part with the number done and the number of all. Default: None.

    Returns:
        tuple[ndarray, InferenceReport]: The result, (scale * h, scale * w, L), in the units of ``cube``: rounded to
        its integer type, or float32. The report says what was found out on the way: scale, network, shift of the cube
        against the guide, tiles and what they changed, consistency of the result with its inputs.

    Raises:
        FileNotFoundError: A file does not exist, or there are no weights of this name.
        ImportError: The library for a file format is not installed.
        TypeError: An image is neither an array nor a ``Cube`` nor a path.
        ValueError: Values are outside of [0, 1] or not finite, a setting is wrong, or the images and the network do
            not fit each other.
        MemoryError: Not even a tile fits into the memory.

    Example:
        >>> import numpy as np
        >>> import mulsr_plugin
        >>> rng = np.random.default_rng(0)
        >>> cube, guide = rng.random((8, 8, 5)), rng.random((64, 64, 3))  # x8, in [0, 1]
        >>> result, report = mulsr_plugin.super_resolve(cube, guide, weights='mulsr_cave_x8_small', device='cpu')
        >>> result.shape, str(result.dtype), report.scale, report.network['type']
        ((64, 64, 5), 'float32', 8, 'MulSR')

        Counts of a 12-bit sensor come back as such counts:

        >>> counts = np.rint(4095 * cube).astype(np.uint16)
        >>> result, report = mulsr_plugin.super_resolve(
        ...     counts, guide, weights='mulsr_cave_x8_small', value_scale=1 / 4095, device='cpu'
        ... )
        >>> str(result.dtype), bool(result.max() <= 4095)
        ('uint16', True)
    """
    register()
    settings = InferenceSettings(
        weights=weights,
        method=method,
        scale=scale,
        option_file=option_file,
        device=device,
        precision=precision,
        bands_per_chunk=bands_per_chunk,
        tile_size=tile_size,
        tile_halo=tile_halo,
        spectral_response=spectral_response,
        sensor=sensor,
    )
    low = _as_cube('cube', cube, value_scale=value_scale, wavelengths=wavelengths)
    high = None if guide is None else _as_cube('guide', guide, value_scale=guide_value_scale, is_guide=True)
    named = named_weights(settings)
    scale = scale_of_images(low, high, settings, named)
    return super_resolve_cube(low, high, scale, settings, named, progress)


def degrade(
    cube: Image,
    scale: int | None = None,
    degradation: Mapping[str, Any] | str = 'noise_free',
    spectral_response: str | None = 'nikon_d700',
    seed: int | None = None,
    *,
    key: str = '',
    value_scale: Scale = None,
    wavelengths: Sequence[float] | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Make the low-resolution cube and the guide image of a high-resolution cube.

    These are exactly the images that ``PairedHSIRGBDataset`` makes of a scene in validation and test.

    Args:
        cube (ndarray | Cube | str | PathLike): High-resolution cube, (H, W, L), as :func:`super_resolve` takes it. It
            is cut at the bottom and right to multiples of the scale.
        scale (int | None): Super-resolution factor, from 2 to 256. Default: None, that of a sensor file.
        degradation (Mapping | str): Preset or block of options, see ``build_degradation``, or the .npz file of a sensor
            model, as ``mulsr estimate-sensor`` writes it. Default: 'noise_free'.
        spectral_response (str | None): Response of the guide's camera, see ``load_spectral_response``; one over
            wavelengths needs those of the cube, unless it has the 31 bands of 400 to 700 nm. None makes no guide.
            Default: 'nikon_d700'.
        seed (int | None): Seed of the noise. Default: None, that of ``degradation``, else 0.
        key (str): Name of the scene in a data set, whose noise depends on it. Default: ''.
        value_scale (float | 'max' | None): Factor that brings the values to [0, 1], see :func:`super_resolve`.
            Default: None.
        wavelengths (Sequence[float] | None): Band centres in nm or micrometres. Default: None, those of the file or
            ``Cube``.

    Returns:
        tuple[ndarray, ndarray | None]: Low-resolution cube, (H / scale, W / scale, L), and guide image, (H, W, G),
        both float32 in [0, 1].

    Raises:
        FileNotFoundError: A file does not exist.
        ImportError: The library for a file format is not installed.
        TypeError: ``cube`` is neither an array nor a ``Cube`` nor a path.
        ValueError: Values are outside of [0, 1] or not finite, an option is wrong, the response does not fit the bands,
            or the cube is smaller than one low-resolution pixel.

    Example:
        >>> import numpy as np
        >>> import mulsr_plugin
        >>> cube = np.full((33, 32, 31), 0.25, dtype=np.float32)
        >>> lq, guide = mulsr_plugin.degrade(cube, scale=8)
        >>> lq.shape, guide.shape
        ((4, 4, 31), (32, 32, 3))
        >>> bool(np.allclose(lq, 0.25)), bool(np.allclose(guide, 0.25))  # a constant cube stays constant
        (True, True)
    """
    how = Simulation(
        degradation=degradation,
        scale=scale,
        spectral_response=spectral_response,
        seed=seed,
        key=key,
        with_guide=spectral_response is not None,
    )
    pair = simulate(_as_cube('cube', cube, value_scale=value_scale, wavelengths=wavelengths), how)
    return pair.lq.values, None if pair.guide is None else pair.guide.values


def evaluate(
    result: Image,
    reference: Image,
    *,
    scale: int | None = None,
    border: int = 0,
    value_scale: Scale = None,
    reference_value_scale: Scale = None,
) -> Evaluation:
    """Measure a result against a reference with every spectral metric of the package, see ``docs/metrics.md``.

    Args:
        result (ndarray | Cube | str | PathLike): (H, W, L), as :func:`super_resolve` takes a cube.
        reference (ndarray | Cube | str | PathLike): Same shape, likewise.
        scale (int | None): Super-resolution factor, which ERGAS needs. Default: None, then ERGAS is left out.
        border (int): Pixels dropped on each side first. Default: 0.
        value_scale (float | 'max' | None): Factor that brings the values of ``result`` to [0, 1], see
            :func:`super_resolve`. Default: None.
        reference_value_scale (float | 'max' | None): The same for ``reference``. Default: None.

    Returns:
        Evaluation: ``metrics`` by name, ``psnr_per_band``, what was left out and what looks wrong.

    Raises:
        FileNotFoundError: A file does not exist.
        ImportError: The library for a file format is not installed.
        TypeError: An image is neither an array nor a ``Cube`` nor a path.
        ValueError: Shapes or wavelengths differ, values are outside of [0, 1] or not finite, or the border leaves
            nothing.

    Example:
        >>> import numpy as np
        >>> import mulsr_plugin
        >>> reference = np.full((64, 64, 5), 0.5, dtype=np.float32)
        >>> quality = mulsr_plugin.evaluate(reference + np.float32(0.1), reference, scale=8)
        >>> round(quality.metrics['psnr'], 2), round(quality.metrics['ergas'], 2), quality.left_out
        (20.0, 2.5, {})
    """
    register()
    first = _as_cube('result', result, value_scale=value_scale)
    second = _as_cube('reference', reference, value_scale=reference_value_scale)
    return evaluate_cubes(first, second, scale, border)


def _as_cube(name: str, image: Image, **options: Any) -> Cube:
    """Return an image as a checked cube, read with these arguments of ``read_cube``; messages call it ``name``."""
    if isinstance(image, (str, os.PathLike)):
        return read_cube(image, **options)
    if isinstance(image, np.ndarray):
        return to_cube(Path(name), RawImage(image, axes_are_sure=True), ReadOptions(**options))
    if not isinstance(image, Cube):
        raise TypeError(
            f'{name} is a {type(image).__name__}, expected an array (rows, columns, bands), a Cube or a path: convert '
            'it first, a tensor (bands, rows, columns) by tensor.permute(1, 2, 0).cpu().numpy().'
        )
    if options['value_scale'] is None:
        options['value_scale'] = image.scale
    raw = RawImage(image.values, axes_are_sure=True, wavelengths=image.wavelengths or (), unit='nm', geo=image.geo)
    return to_cube(Path(name), raw, ReadOptions(**options))
