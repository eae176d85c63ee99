"""Pictures of cubes for the training log and the result folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import torch

from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.data.error_maps import error_map, highest_error_shown, is_clipped

# Centres of red, green and blue in nm, and how far around them bands are averaged.
_VISIBLE_CENTRES = (650.0, 550.0, 450.0)
_VISIBLE_HALF_WIDTH = 20.0
# Without visible bands: where red, green and blue are taken from, as a fraction of the spectral range.
_FALSE_COLOUR_FRACTIONS = (5 / 6, 1 / 2, 1 / 6)
_STRETCH_PERCENTILES = (0.5, 99.5)
_DISPLAY_GAMMA = 2.2

_SMALLEST_PANEL = 256
_LARGEST_PANEL = 1024
_MARGIN = 8
_BACKGROUND = 255
_INK = (20, 20, 20)


def false_colour(
    cube: CubeArray, wavelengths: Sequence[float] | None = None, limits: np.ndarray | None = None
) -> np.ndarray:
    """Show a cube as an RGB picture.

    A cube that covers 450 to 650 nm is shown in about its natural colours: means of the bands within 20 nm of 650, 550
    and 450 nm, one stretch for the three channels. Any other takes the bands at 5/6, 1/2 and 1/6 of its spectral
    range, or of its band numbers if the wavelengths are unknown, each channel with its own stretch.

    Args:
        cube (ndarray | Tensor): (H, W, L) or (H, W) for one band, float; NaN is shown black.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None, unknown.
        limits (ndarray): Values shown black and white, (2,) or per channel (3, 2), as from :func:`stretch_limits`.
            Default: None, those of this cube. Give the same limits to pictures that will be compared.

    Returns:
        ndarray: uint8 RGB, (H, W, 3), gamma 2.2.

    Raises:
        ValueError: ``cube`` has no two or three dimensions, or ``wavelengths`` has not one entry per band.
    """
    channels = composite(cube, wavelengths)
    return _stretched(channels, _limits_of(channels, _is_visible(wavelengths)) if limits is None else limits)


def _stretched(channels: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    low, high = np.broadcast_to(np.asarray(bounds, np.float32), (3, 2)).T
    stretched = np.clip((channels - low) / np.maximum(high - low, 1e-12), 0.0, 1.0)
    return np.round(255.0 * stretched ** (1.0 / _DISPLAY_GAMMA)).astype(np.uint8)


def stretch_limits(cube: CubeArray, wavelengths: Sequence[float] | None = None) -> np.ndarray:
    """Return the values that :func:`false_colour` shows black and white: the 0.5 and 99.5 percentiles.

    Args:
        cube (ndarray | Tensor): (H, W, L) or (H, W) for one band, float.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None, unknown.

    Returns:
        ndarray: (3, 2), black and white of red, green and blue; three equal rows for natural colours.

    Raises:
        ValueError: ``cube`` has no two or three dimensions, or ``wavelengths`` has not one entry per band.
    """
    return _limits_of(composite(cube, wavelengths), _is_visible(wavelengths))


def comparison_panel(
    result: CubeArray,
    reference: CubeArray | None = None,
    lq: CubeArray | None = None,
    wavelengths: Sequence[float] | None = None,
) -> np.ndarray:
    """Put a result beside its input, its reference and the map of its error.

    All pictures share one stretch, that of the reference (of the result if there is none). The error of a pixel is the
    root mean square over bands, in the unit of the cubes; its colours run up to the 99.5 percentile. Small cubes are
    enlarged by whole factors, pixels of the input are shown as squares. Labels state sizes, bands and scale, and a line
    below which bands are shown as red, green and blue.

    Args:
        result (ndarray | Tensor): (H, W, L) float.
        reference (ndarray | Tensor): (H, W, L) float. Default: None; then the panel has no reference and no error.
        lq (ndarray | Tensor): Low-resolution input, (h, w, L) float. Default: None, left out.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None, unknown.

    Returns:
        ndarray: uint8 RGB picture: [input | result | reference | error with its colour bar], each with a label.

    Raises:
        ValueError: Shapes of result and reference differ, a cube has no two or three dimensions, or ``wavelengths``
            has not one entry per band.
    """
    values = as_array(result)
    limits = stretch_limits(result if reference is None else reference, wavelengths)
    size = _panel_size(*values.shape[:2])
    panels = []
    if lq is not None:
        label = 'Input {} x {} x {}'.format(*as_array(lq).shape)
        panels.append(_labelled(_resize(false_colour(lq, wavelengths, limits), size), label))
    label = 'Result {} x {} x {}'.format(*values.shape)
    if lq is not None:
        label += f', x{values.shape[0] // as_array(lq).shape[0]}'
    panels.append(_labelled(_resize(false_colour(result, wavelengths, limits), size), label))
    if reference is not None:
        panels.append(_labelled(_resize(false_colour(reference, wavelengths, limits), size), 'Reference'))
        panels.append(_error_panel(values, as_array(reference), size))
    return _with_caption(np.concatenate(panels, axis=1), shown_bands(values.shape[2], wavelengths))


def input_result_panel(result: np.ndarray, lq: CubeArray, wavelengths: Sequence[float] | None = None) -> np.ndarray:
    """Put a result beside its input, as :func:`comparison_panel` does, where only its three channels are at hand.

    Args:
        result (ndarray): (H, W, 3) float32, see :func:`composite`.
        lq (ndarray | Tensor): Low-resolution input, (h, w, L) float.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None, unknown.

    Returns:
        ndarray: uint8 RGB picture: [input | result], each with a label.
    """
    limits, size = _limits_of(result, _is_visible(wavelengths)), _panel_size(*result.shape[:2])
    if size[0] < result.shape[0]:
        result = _resize(result, size)
    label = 'Input {} x {}'.format(*as_array(lq).shape[:2])
    low = _labelled(_resize(false_colour(lq, wavelengths, limits), size), label)
    return np.concatenate([low, _labelled(_resize(_stretched(result, limits), size), 'Result')], axis=1)


def results_panel(
    results: Mapping[str, CubeArray],
    reference: CubeArray,
    lq: CubeArray,
    wavelengths: Sequence[float] | None = None,
    guide: CubeArray | None = None,
) -> np.ndarray:
    """Put several results for one scene beside its inputs and its reference, their error maps below.

    All pictures share one stretch, that of the reference; all error maps share one colour scale.

    Args:
        results (Mapping[str, ndarray | Tensor]): Cubes (H, W, L) by label.
        reference (ndarray | Tensor): (H, W, L) float.
        lq (ndarray | Tensor): Low-resolution input, (h, w, L) float.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None, unknown.
        guide (ndarray | Tensor): Guide image, (H, W, G) float. Default: None, left out.

    Returns:
        ndarray: uint8 RGB picture; upper row [input | results | reference], lower row [guide | error of each result |
        colour bar].

    Raises:
        ValueError: Shapes of a result and of the reference differ.
    """
    truth = as_array(reference)
    limits, size = stretch_limits(reference, wavelengths), _panel_size(*truth.shape[:2])
    errors = {label: error_map(as_array(cube), truth) for label, cube in results.items()}
    highest = highest_error_shown(list(errors.values()))
    pictures = {'Input {} x {}'.format(*as_array(lq).shape[:2]): lq, **results, 'Reference': reference}
    upper = [
        _labelled(_resize(false_colour(cube, wavelengths, limits), size), label) for label, cube in pictures.items()
    ]
    blank = np.full_like(upper[0], _BACKGROUND)
    below = blank if guide is None else _labelled(_resize(guide_picture(guide), size), 'Guide')
    maps = [_labelled(_error_picture(error, highest, size), f'{label}: error') for label, error in errors.items()]
    bar = np.full_like(blank, _BACKGROUND)
    scale = _colour_bar(size[0], highest, is_clipped(list(errors.values()), highest))[:, : bar.shape[1]]
    bar[-_MARGIN - size[0] : -_MARGIN, : scale.shape[1]] = scale
    return np.concatenate([np.concatenate(row, axis=1) for row in (upper, [below, *maps, bar])])


def guide_picture(guide: CubeArray) -> np.ndarray:
    """Show a guide image: three channels as red, green and blue with one stretch, others as a cube.

    Args:
        guide (ndarray | Tensor): (H, W, G) float.

    Returns:
        ndarray: uint8 RGB, (H, W, 3), gamma 2.2.

    Raises:
        ValueError: ``guide`` has no two or three dimensions.
    """
    values = as_array(guide)
    if values.shape[-1] != len(_VISIBLE_CENTRES):
        return false_colour(values)
    return false_colour(values[..., ::-1], limits=_limits_of(values, joint=True)[0])


def as_array(cube: CubeArray) -> np.ndarray:
    """Return a cube as an array (H, W, L), float for tensors.

    Args:
        cube (ndarray | Tensor): (H, W, L), or (H, W) for one band.

    Raises:
        ValueError: ``cube`` has no two or three dimensions, or no values.
    """
    array = cube.detach().float().cpu().numpy() if isinstance(cube, torch.Tensor) else np.asarray(cube)
    if array.ndim not in (2, 3) or array.size == 0:
        raise ValueError(f'A cube has shape {array.shape}; expected (H, W, L), or (H, W) for one band.')
    return array if array.ndim == 3 else array[..., None]


def _is_visible(wavelengths: Sequence[float] | None) -> bool:
    if wavelengths is None:
        return False
    return min(wavelengths) <= min(_VISIBLE_CENTRES) and max(wavelengths) >= max(_VISIBLE_CENTRES)


def shown_bands(num_bands: int, wavelengths: Sequence[float] | None = None) -> str:
    """Say which bands, from 1, :func:`false_colour` shows as red, green and blue.

    Example:
        >>> from mulsr_plugin.data.false_colour import shown_bands
        >>> shown_bands(31, [400 + 10 * band for band in range(31)])
        'Bands shown: red 24-28 (630-670 nm), green 14-18 (530-570 nm), blue 4-8 (430-470 nm)'
        >>> shown_bands(7)
        'Bands shown: red 6, green 4, blue 2'
    """
    texts = []
    for bands in channel_bands(num_bands, wavelengths):
        text = _span(bands[0] + 1, bands[-1] + 1)
        if wavelengths is not None:
            text += f' ({_span(wavelengths[bands[0]], wavelengths[bands[-1]])} nm)'
        texts.append(text)
    return 'Bands shown: red {}, green {}, blue {}'.format(*texts)


def _span(first: float, last: float) -> str:
    return f'{first:.4g}' if first == last else f'{first:.4g}-{last:.4g}'


def channel_bands(num_bands: int, wavelengths: Sequence[float] | None) -> list[np.ndarray]:
    """Return the band numbers whose means :func:`false_colour` shows as red, green and blue.

    Args:
        num_bands (int): L.
        wavelengths (Sequence[float] | None): Band centres in nm, (L,); None where they are unknown.

    Raises:
        ValueError: ``wavelengths`` has not one entry per band.
    """
    if wavelengths is not None and len(wavelengths) != num_bands:
        raise ValueError(
            f'wavelengths has {len(wavelengths)} entries for a cube with {num_bands} bands; '
            'give one band centre in nm per band, or leave it out.'
        )
    positions = np.arange(num_bands) if wavelengths is None else np.asarray(wavelengths, dtype=float)
    if _is_visible(wavelengths):
        centres, reach = np.array(_VISIBLE_CENTRES), _VISIBLE_HALF_WIDTH
    else:
        centres, reach = positions.min() + np.array(_FALSE_COLOUR_FRACTIONS) * np.ptp(positions), 0.0
    distances = np.abs(positions - centres[:, None])
    return [np.flatnonzero(row <= max(reach, row.min())) for row in distances]


def composite(cube: CubeArray, wavelengths: Sequence[float] | None = None) -> np.ndarray:
    """Return the three channels that :func:`false_colour` shows, unstretched.

    Args:
        cube (ndarray | Tensor): (H, W, L), or (H, W) for one band.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None, unknown.

    Returns:
        ndarray: (H, W, 3) float32 in the unit of the cube.
    """
    values = as_array(cube)
    bands = channel_bands(values.shape[-1], wavelengths)
    channels = [values[..., selected].mean(-1, dtype=np.float32) for selected in bands]
    return np.nan_to_num(np.stack(channels, axis=-1), nan=0.0)


def _limits_of(channels: np.ndarray, joint: bool) -> np.ndarray:
    axes = (0, 1, 2) if joint else (0, 1)
    limits = np.percentile(channels, _STRETCH_PERCENTILES, axis=axes).T.astype(np.float32)
    return np.broadcast_to(limits, (3, 2)).copy()


def _panel_size(height: int, width: int) -> tuple[int, int]:
    """Return height and width of a panel: enlarged by a whole factor when small, reduced when very large."""
    shorter, longer = sorted((height, width))
    enlargement = min(-(-_SMALLEST_PANEL // shorter), _LARGEST_PANEL // longer)
    factor = enlargement if enlargement >= 1 else _LARGEST_PANEL / longer
    return max(1, round(height * factor)), max(1, round(width * factor))


def _resize(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    enlarged = size[0] >= picture.shape[0]
    interpolation = cv2.INTER_NEAREST if enlarged else cv2.INTER_AREA
    return cv2.resize(picture, (size[1], size[0]), interpolation=interpolation)


def _labelled(picture: np.ndarray, label: str) -> np.ndarray:
    """Add a line of text above a picture, and a margin around both."""
    height, width = picture.shape[:2]
    scale = _text_scale(height)
    strip = np.full((round(36 * scale) + 8, width, 3), _BACKGROUND, np.uint8)
    fitting = min(scale, scale * (width - 4) / _text_width(label, scale))
    _write(strip, label, (2, strip.shape[0] - round(10 * scale)), fitting)
    picture = np.concatenate([strip, picture])
    return np.pad(picture, ((0, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), constant_values=_BACKGROUND)


def _with_caption(picture: np.ndarray, text: str) -> np.ndarray:
    """Add a line of text below a picture."""
    scale = min(0.5, 0.5 * (picture.shape[1] - 2 * _MARGIN) / _text_width(text, 0.5))
    strip = np.full((24, picture.shape[1], 3), _BACKGROUND, np.uint8)
    _write(strip, text, (_MARGIN, 16), scale)
    return np.concatenate([picture, strip])


def _error_panel(result: np.ndarray, reference: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    error = error_map(result, reference)
    highest = highest_error_shown([error])
    bar = _colour_bar(size[0], highest, is_clipped([error], highest))
    picture = np.concatenate([_error_picture(error, highest, size), bar], axis=1)
    return _labelled(picture, 'Error (RMSE over bands)')


def _error_picture(error: np.ndarray, highest: float, size: tuple[int, int]) -> np.ndarray:
    levels = np.round(255.0 * np.clip(np.nan_to_num(error / highest, nan=1.0), 0.0, 1.0)).astype(np.uint8)
    return _resize(_error_colours(levels), size)


def _error_colours(levels: np.ndarray) -> np.ndarray:
    """Map uint8 levels (H, W) to the viridis colours, whose order also shows to colour-blind readers and in grey."""
    return cv2.applyColorMap(levels, cv2.COLORMAP_VIRIDIS)[..., ::-1]


def _colour_bar(height: int, highest: float, clipped: bool = False) -> np.ndarray:
    """Draw the colours of the error map with five numbered ticks, and an arrow at its end if errors go beyond it."""
    scale = 0.8 * _text_scale(height)
    number_format = '.3f' if highest >= 0.01 else '.1e'
    numbers = [format(highest * step / 4, number_format) for step in range(5)]
    bar, gap = round(24 * scale), round(8 * scale)
    width = gap + bar + gap + max(_text_width(number, scale) for number in numbers)
    picture = np.full((height, width, 3), _BACKGROUND, np.uint8)
    levels = np.linspace(255, 0, height).round().astype(np.uint8)
    picture[:, gap : gap + bar] = _error_colours(np.repeat(levels[:, None], bar, axis=1))
    text_height = round(22 * scale)
    if clipped:
        picture[:bar, gap : gap + bar] = _BACKGROUND
        corners = np.array([[gap, bar - 1], [gap + bar - 1, bar - 1], [gap + bar // 2, 0]], np.int32)
        cv2.fillConvexPoly(
            picture, corners, [int(value) for value in _error_colours(np.array([[255]], np.uint8))[0, 0]]
        )
    for step, number in enumerate(numbers):
        row = round((height - 1) * (1 - step / 4))
        picture[row, gap + bar : gap + bar + gap // 2] = _INK
        baseline = min(max(row + text_height // 2, text_height), height - 2)
        _write(picture, number, (gap + bar + gap, baseline), scale)
    return picture


def _text_scale(height: int) -> float:
    return max(0.5, height / 700)


def _text_width(text: str, scale: float) -> int:
    return cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, _thickness(scale))[0][0]


def _thickness(scale: float) -> int:
    return 1 if scale < 0.9 else 2


def _write(picture: np.ndarray, text: str, position: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, position, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, _thickness(scale), cv2.LINE_AA)
