"""Figures for a paper: pictures with error maps, spectra, quality per band, quality against cost.

Every function takes arrays and returns a Matplotlib figure, which :func:`save_figure` writes as PNG and PDF. Matplotlib
is imported when the first figure is drawn; pyplot and its global state are left alone.
"""

from __future__ import annotations

import functools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import cv2
import numpy as np

from mulsr_plugin.apps.benchmark.places import Area, Pixel, choose_area, choose_pixels
from mulsr_plugin.data.cube import CubeArray
from mulsr_plugin.data.error_maps import angle_map, error_map, highest_error_shown, is_clipped
from mulsr_plugin.data.false_colour import as_array, false_colour, stretch_limits

Drawing = TypeVar('Drawing', bound=Callable[..., Any])

REFERENCE_LABEL = 'Ground truth'
REFERENCE_COLOUR = '#000000'
MAIN_COLOUR = '#d40000'
# The other colours of Okabe and Ito, chosen for colour-blind readers, without their yellow, too pale for lines;
# then a grey and an indigo that differ from these in lightness.
OTHER_COLOURS = ('#0072b2', '#e69f00', '#009e73', '#cc79a7', '#56b4e9', '#7f7f7f', '#332288')
LINE_STYLES = ('-', '--', '-.', ':')
MARKERS = 'osD^vP<X>hp'
ERROR_COLOURS = 'viridis'

_STYLE = {
    'font.size': 8,
    'axes.linewidth': 0.6,
    'axes.titlesize': 8,
    'legend.fontsize': 8,
    'legend.frameon': False,
    'grid.linewidth': 0.4,
    'grid.color': '0.85',
    'axes.titlepad': 3,
    'axes.labelpad': 2,
    'xtick.major.width': 0.6,
    'ytick.major.width': 0.6,
    'xtick.major.size': 2.5,
    'ytick.major.size': 2.5,
    'figure.constrained_layout.w_pad': 0.03,  # inches around every cell
    'figure.constrained_layout.h_pad': 0.03,
    'figure.constrained_layout.wspace': 0,
    'figure.constrained_layout.hspace': 0,
    'savefig.pad_inches': 0.04,
    'pdf.fonttype': 42,  # text stays text, as publishers ask
}
_DPI = 300
_MAPS = {'RMSE over bands': error_map, 'Spectral angle (degrees)': angle_map}
_PANEL = 1.5  # inches, width of a picture
_LABEL_WIDTH = 18  # characters in one line of a label
_MARKER_AREAS = (25.0, 260.0)  # square points


@dataclass(frozen=True)
class EntryStyle:
    """How one entry is drawn in all figures.

    Attributes:
        colour (str): Hexadecimal colour.
        line (str): Matplotlib line style.
        marker (str): Matplotlib marker.
        width (float): Line width in points.
    """

    colour: str
    line: str
    marker: str
    width: float = 1.4


@dataclass(frozen=True)
class EntryCost:
    """One entry of :func:`cost_figure`.

    Attributes:
        psnr (float): Quality in dB.
        cost (float): Cost in any unit; 0 (interpolation in FLOPs) is drawn as a horizontal line.
        parameters (int): Number of parameters, the marker's area.
    """

    psnr: float
    cost: float
    parameters: int = 0


def _styled(draw: Drawing) -> Drawing:
    """Draw with our fonts and lines, whatever the user's Matplotlib settings; say how to install Matplotlib."""

    @functools.wraps(draw)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            import matplotlib.style
        except ImportError as error:
            raise ImportError("The figures need Matplotlib: pip install 'mulsr-plugin[plots]'.") from error
        with matplotlib.style.context(['default', _STYLE]):
            return draw(*args, **kwargs)

    return cast(Drawing, wrapped)


def entry_styles(labels: Sequence[str]) -> dict[str, EntryStyle]:
    """Assign every entry its colour, line and marker: red to MulSR, or to the first entry if there is no MulSR.

    Args:
        labels (Sequence[str]): Entries in their order. More than seven others repeat colours with other lines.

    Returns:
        dict[str, EntryStyle]: By label, in the same order.
    """
    main = next((label for label in labels if 'mulsr' in label.lower()), labels[0] if labels else None)
    others = [label for label in labels if label != main]
    styles = {}
    for index, label in enumerate(others):
        # Neighbouring entries differ in line too, for readers of a grey print; no pair of both repeats before 28.
        colour, line = OTHER_COLOURS[index % len(OTHER_COLOURS)], LINE_STYLES[(index + 1) % len(LINE_STYLES)]
        styles[label] = EntryStyle(colour, line, MARKERS[1 + index % (len(MARKERS) - 1)])
    return {label: styles.get(label, EntryStyle(MAIN_COLOUR, '-', MARKERS[0], 1.8)) for label in labels}


@_styled
def result_figure(
    results: Mapping[str, CubeArray],
    reference: CubeArray,
    lq: CubeArray | None = None,
    wavelengths: Sequence[float] | None = None,
    area: Area | None = None,
    captions: Mapping[str, str] | None = None,
    max_columns: int = 6,
) -> Any:
    """Draw the results for one scene: whole pictures, an enlarged area, maps of the error and of the spectral angle.

    All pictures share the stretch of the reference. The error of a pixel is the root mean square over bands. Maps of
    one kind share a colour bar that the worst result does not decide, see ``highest_error_shown``; where a map goes
    beyond it, the bar ends in an arrow.

    Args:
        results (Mapping[str, ndarray | Tensor]): Cubes (H, W, L) by label, in their order.
        reference (ndarray | Tensor): (H, W, L) float.
        lq (ndarray | Tensor): Low-resolution input, (h, w, L). Default: None, left out.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None, unknown.
        area (tuple[int, int, int, int]): Top, left, height, width of the enlarged area. Default: :func:`choose_area`.
        captions (Mapping[str, str]): A second line under a label, such as its PSNR. Default: none.
        max_columns (int): Columns after which the figure goes on below. Default: 6.

    Returns:
        matplotlib.figure.Figure: Columns [input | results | ground truth].

    Raises:
        ImportError: Matplotlib is missing.
        ValueError: There are no results, their shape is not that of the reference, or the area is outside of it.
    """
    _check_entries(results)
    truth = as_array(reference)
    maps = {
        quantity: {label: measure(as_array(cube), truth) for label, cube in results.items()}
        for quantity, measure in _MAPS.items()
    }
    area = _checked_area(area, truth, list(maps['RMSE over bands'].values()))
    limits = stretch_limits(truth, wavelengths)
    pictures = {label: false_colour(cube, wavelengths, limits) for label, cube in results.items()}
    pictures[REFERENCE_LABEL] = false_colour(truth, wavelengths, limits)
    captions = dict(captions or {})
    if lq is not None:
        small, size = false_colour(lq, wavelengths, limits), (truth.shape[1], truth.shape[0])
        pictures = {'Input': cv2.resize(small, size, interpolation=cv2.INTER_NEAREST), **pictures}
        captions['Input'] = f'{small.shape[0]} x {small.shape[1]}'
    return _draw_results(pictures, maps, area, captions, max_columns)


@_styled
def spectra_figure(
    results: Mapping[str, CubeArray],
    reference: CubeArray,
    pixels: Sequence[Pixel] | None = None,
    wavelengths: Sequence[float] | None = None,
) -> Any:
    """Draw the spectra of some pixels, and a picture that shows where they are.

    Args:
        results (Mapping[str, ndarray | Tensor]): Cubes (H, W, L) by label.
        reference (ndarray | Tensor): (H, W, L), drawn in black.
        pixels (Sequence[tuple[int, int]]): (row, column) of each. Default: four by :func:`choose_pixels`.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None; then bands are numbered from 1.

    Returns:
        matplotlib.figure.Figure: The picture, then one diagram per pixel.

    Raises:
        ImportError: Matplotlib is missing.
        ValueError: There are no results or pixels, shapes differ, or a pixel is outside the scene.
    """
    _check_entries(results)
    truth = as_array(reference)
    cubes = {label: as_array(cube) for label, cube in results.items()}
    for cube in cubes.values():
        _check_shape(cube, truth)
    pixels = choose_pixels(truth, min(4, truth.shape[0] * truth.shape[1])) if pixels is None else pixels
    _check_pixels(pixels, truth)
    columns = min(3, len(pixels) + 1)
    figure, grid = _new_figure(2.4, 1.7, -(-(len(pixels) + 1) // columns), columns)
    for unused in grid[len(pixels) + 1 :]:
        unused.remove()
    _draw_pixel_map(grid[0], false_colour(truth, wavelengths), pixels)
    for index, (pixel, axes) in enumerate(zip(pixels, grid[1:])):
        axes.set_title(f'{_letter(index)}: row {pixel[0]}, column {pixel[1]}')
        lines = {REFERENCE_LABEL: truth[pixel], **{label: cube[pixel] for label, cube in cubes.items()}}
        _draw_bands(axes, lines, wavelengths, 'Intensity')
    _add_legend(figure, grid[1])
    return figure


@_styled
def band_psnr_figure(
    psnr: Mapping[str, np.ndarray], wavelengths: Sequence[float] | None = None, scenes: int | None = None
) -> Any:
    """Draw the PSNR of every band, as from :func:`band_psnr`.

    Args:
        psnr (Mapping[str, ndarray]): dB per band by label, (L,); bands without a finite value are left out.
        wavelengths (Sequence[float]): Band centres in nm, (L,). Default: None; then bands are numbered from 1.
        scenes (int): Number of scenes that values are means of, for the caption. Default: None, not said.

    Returns:
        matplotlib.figure.Figure: One line per entry.

    Raises:
        ImportError: Matplotlib is missing.
        ValueError: There are no entries, or their numbers of bands differ.
    """
    _check_entries(psnr)
    lengths = {label: len(values) for label, values in psnr.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'The entries have different numbers of bands, {lengths}; compare results for the same data.')
    finite = {label: np.where(np.isfinite(values), values, np.nan) for label, values in psnr.items()}
    figure, (axes,) = _new_figure(4.7, 3.0)
    _draw_bands(axes, finite, wavelengths, f'PSNR (dB){_of_scenes(scenes)}')
    _add_legend(figure, axes)
    return figure


@_styled
def cost_figure(entries: Mapping[str, EntryCost], cost_label: str, scenes: int | None = None) -> Any:
    """Draw quality against cost on a logarithmic axis, with marker areas in proportion to the parameters.

    Args:
        entries (Mapping[str, EntryCost]): By label, in their order.
        cost_label (str): What the cost is, with its unit, such as ``'GFLOPs'``.
        scenes (int): Number of scenes that values are means of, for the caption. Default: None, not said.

    Returns:
        matplotlib.figure.Figure: One marker per entry; a horizontal line for entries that cost nothing.

    Raises:
        ImportError: Matplotlib is missing.
        ValueError: There are no entries, or a cost is negative or not finite.
    """
    _check_entries(entries)
    for label, entry in entries.items():
        if not (math.isfinite(entry.cost) and entry.cost >= 0):
            raise ValueError(f'The cost of {label} is {entry.cost}, expected a number of 0 or more; leave it out.')
    figure, (axes,) = _new_figure(4.7, 3.0)
    most = max(entry.parameters for entry in entries.values())
    for label, style in entry_styles(list(entries)).items():
        _draw_cost(axes, entries[label], label, style, most)
    _set_cost_axis(axes, [entry.cost for entry in entries.values() if entry.cost > 0] or [1.0, 10.0])
    axes.margins(y=0.12)
    axes.grid(True)
    axes.set_axisbelow(True)
    axes.set(xlabel=cost_label, ylabel=f'PSNR (dB){_of_scenes(scenes)}')
    legend = _add_legend(figure, axes, 'Marker area: number of parameters' if most else None)
    for handle in legend.legend_handles:
        if hasattr(handle, 'set_sizes'):
            handle.set_sizes([30])  # of the drawn size large markers would overlap
    return figure


@_styled
def save_figure(figure: Any, path: Path) -> list[Path]:
    """Write a figure as ``path``.png (300 dpi) and ``path``.pdf, cut to what is drawn; equal figures give equal files.

    Args:
        figure (matplotlib.figure.Figure): From one of the functions above.
        path (Path): File name without suffix; its folder is made.

    Returns:
        list[Path]: The two files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [path.parent / f'{path.name}.{form}' for form in ('png', 'pdf')]
    figure.savefig(files[0], dpi=_DPI, bbox_inches='tight')
    figure.savefig(files[1], dpi=_DPI, bbox_inches='tight', metadata={'CreationDate': None})
    return files


def band_psnr(result: CubeArray, reference: CubeArray) -> np.ndarray:
    """Compute the PSNR of every band at peak 1.

    Args:
        result (ndarray | Tensor): (H, W, L) float; clipped to [0, 1] first.
        reference (ndarray | Tensor): (H, W, L) in [0, 1].

    Returns:
        ndarray: dB, (L,); inf for bands that are equal.

    Raises:
        ValueError: Shapes differ.
    """
    values, truth = as_array(result), as_array(reference)
    _check_shape(values, truth)
    difference = np.clip(values, 0, 1).astype(np.float64) - truth
    with np.errstate(divide='ignore'):
        return -10.0 * np.log10(np.mean(np.square(difference), axis=(0, 1)))


def _check_entries(entries: Mapping[str, Any]) -> None:
    if not entries:
        raise ValueError('There are no entries to draw; give at least one.')


def _check_shape(result: np.ndarray, reference: np.ndarray) -> None:
    if result.shape != reference.shape:
        raise ValueError(
            f'The result has shape {result.shape} and the reference {reference.shape}; they must be equal.'
        )


def _check_pixels(pixels: Sequence[Pixel], cube: np.ndarray) -> None:
    height, width, _ = cube.shape
    if not pixels:
        raise ValueError('There are no pixels to draw the spectra of; name some as (row, column), or leave them out.')
    for row, column in pixels:
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(
                f'Pixel ({row}, {column}) is outside the scene of {height} x {width}; rows and columns count from 0.'
            )


def _checked_area(area: Area | None, cube: np.ndarray, errors: Sequence[np.ndarray]) -> Area:
    if area is None:
        return choose_area(cube, errors=errors)
    top, left, height, width = area
    if top < 0 or left < 0 or min(height, width) < 1 or top + height > cube.shape[0] or left + width > cube.shape[1]:
        raise ValueError(
            f'The area {area} (top, left, height, width) leaves the scene of {cube.shape[0]} x {cube.shape[1]}; '
            'choose one inside.'
        )
    return area


def _new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> tuple[Any, Any]:
    """Make a figure with cells of a size in inches, which Matplotlib lays out; it belongs to no window.

    Returns:
        The figure and its axes, row by row.
    """
    from matplotlib.figure import Figure

    figure = Figure((columns * width, rows * height), layout='compressed')
    return figure, figure.subplots(rows, columns, squeeze=False, **grid).ravel()


def _wrapped(label: str) -> str:
    return '\n'.join(textwrap.wrap(label, _LABEL_WIDTH)) or label


def _draw_results(
    pictures: Mapping[str, np.ndarray],
    maps: Mapping[str, Mapping[str, np.ndarray]],
    area: Area,
    captions: Mapping[str, str],
    max_columns: int,
) -> Any:
    """Draw the pictures in blocks of at most ``max_columns`` columns and a row for each thing that is shown."""
    blocks = -(-len(pictures) // max_columns)
    columns = -(-len(pictures) // blocks)
    _, _, height, width = area
    whole_height, whole_width = next(iter(pictures.values())).shape[:2]
    # shallow or narrow pictures get cells that are neither
    whole, enlarged = (min(max(ratio, 0.7), 1.6) for ratio in (whole_height / whole_width, height / width))
    rows = [whole, enlarged, *[whole] * len(maps)]
    heights = np.array(rows * blocks)
    figure, axes = _new_figure(_PANEL, _PANEL * heights.mean(), len(heights), columns, height_ratios=heights)
    highest = {quantity: highest_error_shown(list(errors.values())) for quantity, errors in maps.items()}
    for panel, ratio in zip(axes, heights.repeat(columns)):
        panel.set_axis_off()
        panel.set(box_aspect=ratio, adjustable='datalim')
    shown: dict[str, Any] = {}
    for index, (label, picture) in enumerate(pictures.items()):
        first = len(rows) * (index // columns) * columns + index % columns
        upper, middle, *lower = axes[first : first + len(rows) * columns : columns]
        upper.set_title('\n'.join(filter(None, [_wrapped(label), captions.get(label)])))
        _draw_picture(upper, middle, picture, area)
        for cell, (quantity, errors) in zip(lower, maps.items()):
            if label in errors:
                error = np.nan_to_num(errors[label], nan=np.inf).clip(0, 2 * highest[quantity])
                shown[quantity] = cell.imshow(
                    error, ERROR_COLOURS, interpolation='nearest', vmin=0, vmax=highest[quantity]
                )
    # the last cells are those of the ground truth, which has no error
    for cell, (quantity, errors) in zip(lower, maps.items()):
        extend = 'max' if is_clipped(list(errors.values()), highest[quantity]) else 'neither'
        bar = figure.colorbar(shown[quantity], cax=cell.inset_axes((0.05, 0.03, 0.1, 0.94)), extend=extend)
        bar.set_label(quantity, labelpad=4)
    return figure


def _draw_picture(whole: Any, enlarged: Any, picture: np.ndarray, area: Area) -> None:
    """Draw a picture with a frame around the area, and the area in a cell of its own."""
    from matplotlib.patches import Rectangle

    top, left, height, width = area
    whole.imshow(picture, interpolation='nearest')  # what is seen are the pixels
    for colour, line in (('black', 2.0), ('white', 1.0)):  # seen on dark and on bright ground
        corner = (left - 0.5, top - 0.5)
        whole.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=line))
    enlarged.imshow(picture[top : top + height, left : left + width], interpolation='nearest')


def _of_scenes(scenes: int | None) -> str:
    return '' if scenes is None else f', {"1 scene" if scenes == 1 else f"mean of {scenes} scenes"}'


def _letter(index: int) -> str:
    return chr(ord('A') + index) if index < 26 else str(index + 1)


def _draw_pixel_map(axes: Any, picture: np.ndarray, pixels: Sequence[Pixel]) -> None:
    """Show where the pixels are: a ring around each, its letter beside it on the side with room."""
    from matplotlib.patheffects import withStroke

    axes.set_axis_off()
    axes.imshow(picture, interpolation='nearest')
    style = {'color': 'white', 'path_effects': [withStroke(linewidth=2, foreground='black')]}
    for index, (row, column) in enumerate(pixels):
        axes.plot(column, row, 'o', markersize=5, fillstyle='none', **style)
        place = (7 if column < picture.shape[1] / 2 else -7, 7 if row > picture.shape[0] / 2 else -7)
        kind = {'textcoords': 'offset points', 'ha': 'center', 'va': 'center', 'weight': 'bold'}
        axes.annotate(_letter(index), (column, row), place, **kind, **style)


def _draw_bands(axes: Any, lines: Mapping[str, np.ndarray], wavelengths: Sequence[float] | None, quantity: str) -> None:
    """Draw one line per entry over the bands; the ground truth, thin, above all others and the main entry below it."""
    bands = len(next(iter(lines.values())))
    if wavelengths is not None and len(wavelengths) != bands:
        raise ValueError(f'wavelengths has {len(wavelengths)} entries for {bands} bands; give one in nm per band.')
    x = np.arange(1, bands + 1) if wavelengths is None else np.asarray(wavelengths, float)
    styles = entry_styles([label for label in lines if label != REFERENCE_LABEL])
    for label, values in lines.items():
        style = styles.get(label, EntryStyle(REFERENCE_COLOUR, '-', '', 0.8))
        above = 3 if label == REFERENCE_LABEL else 2.5 if style.colour == MAIN_COLOUR else 2
        options = {'color': style.colour, 'linestyle': style.line, 'linewidth': style.width, 'zorder': above}
        axes.plot(x, values, label=_wrapped(label), marker=style.marker if bands == 1 else '', **options)
    axes.grid(True)
    axes.set(xlabel='Band' if wavelengths is None else 'Wavelength (nm)', ylabel=quantity)
    axes.margins(x=0)
    axes.locator_params('x', integer=True)


def _draw_cost(axes: Any, entry: EntryCost, label: str, style: EntryStyle, most: int) -> None:
    if entry.parameters:
        digits = f'{entry.parameters / 1e6:.2f}\u00a0M' if entry.parameters >= 1e5 else f'{entry.parameters:,}'
        label = f'{label} ({digits})'  # not broken at the blank
    if entry.cost == 0:
        axes.axhline(entry.psnr, color=style.colour, linestyle='--', linewidth=1.0, label=_wrapped(label), zorder=1.5)
        return
    smallest, largest = _MARKER_AREAS
    size = max(smallest, largest * entry.parameters / max(most, 1))
    shape = {'marker': style.marker, 'color': style.colour, 'edgecolors': 'black', 'linewidths': 0.5}
    # small markers are not hidden by large ones
    axes.scatter(entry.cost, entry.psnr, size, label=_wrapped(label), zorder=3 - size / largest, **shape)


def _set_cost_axis(axes: Any, costs: Sequence[float]) -> None:
    """Make the axis logarithmic, at least a decade long and with room for the markers, with plain numbers."""
    from matplotlib.ticker import LogLocator, NullFormatter

    room = max(1.6, math.sqrt(10 * min(costs) / max(costs)))
    axes.set(xscale='log', xlim=(min(costs) / room, max(costs) * room))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(costs) < 100 * min(costs) else (1,)))
    axes.xaxis.set_major_formatter('{x:g}')
    axes.xaxis.set_minor_formatter(NullFormatter())


def _add_legend(figure: Any, axes: Any, title: str | None = None) -> Any:
    """Add the legend of some axes below the figure; it makes the page longer, not the axes smaller."""
    handles, labels = axes.get_legend_handles_labels()
    longest = max(len(line) for label in labels for line in label.split('\n'))
    columns = max(1, int(figure.get_size_inches()[0] / (0.07 * longest + 0.55)))
    place = {'loc': 'upper center', 'bbox_to_anchor': (0.5, 0), 'title': title, 'title_fontsize': 7}
    return figure.legend(handles, labels, ncols=columns, columnspacing=1.2, **place)
