"""Super-resolution of whole images by any registered network, within the memory that is there.

A band-wise network is run on a few bands at a time, which changes no result. Where one band does not fit, the image
is cut into tiles that are computed with a halo of their surroundings. That does change the result of a network whose
pixels depend on the whole image, such as MulSR with its scans of whole rows and columns:
:func:`measure_tile_deviation` measures by how much.
"""

from __future__ import annotations

import inspect
import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mulsr_plugin.archs.bands import select_bands
from mulsr_plugin.models.precision import autocast
from mulsr_plugin.ops.weight_norm import fold_weight_norm
from mulsr_plugin.utils.memory import free_memory, peak_of_tensors

DEFAULT_HALO = 64
# Libraries take workspaces that nobody announces, and other processes want memory too.
_USABLE_SHARE = 0.7
# Pixels of all bands computed at a time on a CPU: more are not faster, but leave its caches.
_MOST_PIXELS_ON_CPU = 256 * 256
# Networks that walk through the bands, one needing the one before, hardly need more memory for more of them.
_WALKING_SHARE = 0.1
# The need of memory is measured on an image of this side in the result, and at least of this side in the input.
_PROBE_SIDE = 64
_SMALLEST_INPUT = 4

Progress = Callable[[int, int], None]


class Tile(NamedTuple):
    """How an image is cut, in pixels of the result; both are multiples of the scale.

    Attributes:
        size (int): Largest side of the area that a tile contributes; tiles of an image are made about equally large.
        halo (int): Width of the surroundings that are computed with it and dropped.
    """

    size: int
    halo: int = DEFAULT_HALO


class TileDeviation(NamedTuple):
    """Difference between a result from tiles and the one in one piece, on the same window.

    Attributes:
        rmse (float): Root mean square over pixels and bands, in the unit of the result ([0, 1]).
        maximum (float): Largest absolute difference.
        height (int): Rows of the window in pixels of the result.
        width (int): Columns of the window.
    """

    rmse: float
    maximum: float
    height: int
    width: int


@dataclass(frozen=True)
class MemoryNeed:
    """What a network takes at its peak, in bytes per pixel of the result.

    Attributes:
        shared (float): However many bands are computed at a time.
        per_band (float): For each of them.
    """

    shared: float
    per_band: float

    @property
    def walks_through_bands(self) -> bool:
        """Whether the network computes one band after the other, so that asking for few of them saves nothing."""
        return self.per_band < _WALKING_SHARE * self.shared


class _Span(NamedTuple):
    """Rows or columns of a window in input pixels: computed are [start, stop), kept [first, last)."""

    start: int
    first: int
    last: int
    stop: int

    def input(self) -> slice:
        """Pixels of the input that are computed."""
        return slice(self.start, self.stop)

    def guide(self, scale: int) -> slice:
        """The same in the guide image."""
        return slice(self.start * scale, self.stop * scale)

    def kept(self, scale: int) -> slice:
        """Pixels to keep, within the result of the window."""
        return slice((self.first - self.start) * scale, (self.last - self.start) * scale)

    def target(self, scale: int) -> slice:
        """Their place in the whole result."""
        return slice(self.first * scale, self.last * scale)


def is_guided(net: nn.Module) -> bool:
    """Return whether a network takes a guide image besides the low-resolution cube."""
    parameters = _forward_parameters(net)
    required = [p for p in parameters.values() if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    return 'rgb' in parameters or len(required) > 1


def is_bandwise(net: nn.Module) -> bool:
    """Return whether a network can be asked for some bands only."""
    return 'bands' in _forward_parameters(net)


def _forward_parameters(net: nn.Module) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(net.forward).parameters


@torch.no_grad()
def with_start(net: nn.Module, lq: Tensor, rgb: Tensor | None) -> tuple[nn.Module, Tensor, Tensor | None]:
    """Do what a network needs whole images for, where it can say the rest: see ``SensorStart.started``.

    Args:
        net (nn.Module): Any registered network.
        lq (Tensor): Low-resolution cubes, (B, L, h, w).
        rgb (Tensor | None): Guide images, (B, G, H, W), for guided networks.

    Returns:
        tuple: Network, cubes and guides for the rest, which can be cut; of other networks these themselves.
    """
    return net.started(lq, rgb) if rgb is not None and hasattr(net, 'started') else (net, lq, rgb)  # type: ignore[operator]


@torch.no_grad()
def apply_network(
    net: nn.Module,
    lq: Tensor,
    rgb: Tensor | None = None,
    bands: Sequence[int] | None = None,
    bands_per_chunk: int | str | None = 'auto',
    tile: Tile | None = None,
    precision: str = 'fp32',
    progress: Progress | None = None,
) -> Tensor:
    """Super-resolve a batch of cubes, part by part where asked to.

    The network is computed on its own device, in evaluation mode and with its weight normalisation folded; it is itself
    left as it is. The inputs may stay on the CPU while the network is on a GPU, which then holds one tile at a time.

    Args:
        net (nn.Module): Any registered network, guided or not, band-wise or not.
        lq (Tensor): Low-resolution cubes, (B, L, h, w), float32, values around [0, 1].
        rgb (Tensor | None): Guide images, (B, G, H, W), for guided networks. Default: None.
        bands (Sequence[int] | None): Bands wanted, counted from 0. Default: None, all of them.
        bands_per_chunk (int | str | None): Bands that a band-wise network computes at a time, which changes no result;
            'auto' asks :func:`choose_bands_per_chunk`, None takes all. Default: 'auto'.
        tile (Tile | None): How to cut the image. Results change, unless the halo covers the receptive field of the
            network or the network has a method `prepared`, as SensorFusion, which takes the halo that it needs. The
            start of SensorStart is that of the whole image in any case. Default: None, in one piece.
        precision (str): 'fp32', 'tf32' or 'bf16'. Default: 'fp32'.
        progress (Callable | None): Called after each part with the number done and the number of all. Default: None.

    Returns:
        Tensor: (B, number of bands, H, W), float32, on the device of `lq`, not clamped.

    Raises:
        ValueError: A guide image is missing, an option is out of its range, or the network refuses its inputs.
    """
    strips = result_strips(net, lq, rgb, bands, bands_per_chunk, tile, precision)
    result = lq.new_empty(*strips.shape, dtype=torch.float32)
    for number, rows in enumerate(strips.rows):
        result[:, :, rows] = strips.compute(number, progress)
    return result


@torch.no_grad()
def result_strips(
    net: nn.Module,
    lq: Tensor,
    rgb: Tensor | None = None,
    bands: Sequence[int] | None = None,
    bands_per_chunk: int | str | None = 'auto',
    tile: Tile | None = None,
    precision: str = 'fp32',
) -> ResultStrips:
    """Do what needs the whole images, and return the rest as strips of rows to be computed one by one.

    The arguments are those of :func:`apply_network`, which puts the same strips together.
    """
    chosen = select_bands(lq.shape[1], bands).tolist()
    net, lq, rgb = with_start(net, lq, rgb)
    scale = scale_of_network(net, lq, rgb)
    if rgb is not None and hasattr(net, 'prepared'):
        if tile is not None:
            _check_tile(tile, scale)
        return _RenderedStrips(net.prepared(lq, rgb), rgb, chosen, None if tile is None else tile.size)  # type: ignore[operator]
    if bands_per_chunk == 'auto':
        bands_per_chunk = choose_bands_per_chunk(net, lq, rgb, len(chosen), tile, precision)
    chunks = _even_chunks(chosen, bands_per_chunk) if is_bandwise(net) else [chosen]
    return _TiledStrips(_Computation(net, precision), lq, rgb, chunks, tile, scale)


class ResultStrips(ABC):
    """The result of a network on a batch of cubes, as strips of whole rows that are computed when asked for.

    Args:
        shape (tuple[int, int, int, int]): That of the whole result, (B, number of bands, H, W).
        rows (Sequence[slice]): Rows of each strip, from above.
        parts (int): Parts that a strip is computed in.

    Attributes:
        shape: See above.
        rows: See above.
    """

    def __init__(self, shape: tuple[int, int, int, int], rows: Sequence[slice], parts: int) -> None:
        self.shape, self.rows, self._parts = shape, list(rows), parts

    @torch.no_grad()
    def compute(self, number: int, progress: Progress | None = None) -> Tensor:
        """Compute a strip, (B, number of bands, its rows, W) float32 on the device of the cubes, not clamped.

        Args:
            number (int): Which, from 0.
            progress (Callable | None): Called after each of its parts, counted through all strips. Default: None.
        """
        done = itertools.count(number * self._parts + 1)

        def part_done() -> None:
            if progress is not None:
                progress(next(done), len(self.rows) * self._parts)

        return self._compute(number, part_done)

    @abstractmethod
    def _compute(self, number: int, part_done: Callable[[], None]) -> Tensor: ...


class _RenderedStrips(ResultStrips):
    """Strips of a network that has done its low-resolution half, see ``SensorFusion.prepared``; exact in any blocks."""

    def __init__(self, prepared: Any, rgb: Tensor, bands: Sequence[int], side: int | None) -> None:
        self._renderer, self._coefficients = prepared
        self._rgb, self._bands = rgb, list(bands)
        scale = rgb.shape[2] // self._coefficients.shape[2]
        self._strips = self._renderer.strips(self._coefficients, scale, side)
        self._num_bands = self._renderer.pairs[0].num_bands
        rows = [strip[0].enlarged(scale).target[0] for strip in self._strips]
        shape = (len(rgb), len(bands), rgb.shape[2], rgb.shape[3])
        super().__init__(shape, rows, len(self._strips[0]))

    def _compute(self, number: int, part_done: Callable[[], None]) -> Tensor:
        rows = self.rows[number]
        part = self._coefficients.new_empty(len(self._rgb), self._num_bands, rows.stop - rows.start, self.shape[3])
        self._renderer.render(self._coefficients, self._rgb, self._strips[number], part, part_done)
        return (part if len(self._bands) == self._num_bands else part[:, self._bands]).float()


class _TiledStrips(ResultStrips):
    """Strips of any other network: a row of tiles each, or the whole."""

    def __init__(
        self,
        compute: _Computation,
        lq: Tensor,
        rgb: Tensor | None,
        chunks: Sequence[Sequence[int]],
        tile: Tile | None,
        scale: int,
    ) -> None:
        self._run, self._lq, self._rgb, self._chunks, self._scale = compute, lq, rgb, chunks, scale
        self._spans, self._columns = (_spans(length, tile, scale) for length in lq.shape[2:])
        shape = (len(lq), sum(map(len, chunks)), lq.shape[2] * scale, lq.shape[3] * scale)
        super().__init__(shape, [span.target(scale) for span in self._spans], len(self._columns) * len(chunks))

    def _compute(self, number: int, part_done: Callable[[], None]) -> Tensor:
        rows, scale = self._spans[number], self._scale
        strip = self._lq.new_empty(
            *self.shape[:2], (rows.last - rows.first) * scale, self.shape[3], dtype=torch.float32
        )
        for columns in self._columns:
            inputs, place = self._run.inputs(self._lq, self._rgb, rows, columns, scale), 0
            shared: dict[str, Any] = {}
            for chunk in self._chunks:
                part = self._run(inputs, chunk, **shared)[..., rows.kept(scale), columns.kept(scale)]
                strip[:, place : place + len(chunk), :, columns.target(scale)] = part
                if place == 0 and len(self._chunks) > 2:  # now that the first has shown that the inputs fit
                    shared = self._run.shared_work(inputs)
                place += len(chunk)
                part_done()
        return strip


class _Computation:
    """A network made ready for inference.

    Args:
        net (nn.Module): The network.
        precision (str): See :func:`apply_network`.
    """

    def __init__(self, net: nn.Module, precision: str) -> None:
        self._net = fold_weight_norm(net)
        self._guided, self._bandwise = is_guided(net), is_bandwise(net)
        self._precision = precision

    def inputs(self, lq: Tensor, rgb: Tensor | None, rows: _Span, columns: _Span, scale: int) -> list[Tensor]:
        """Cut a window out of the inputs and bring it to the device of the network."""
        device = device_of(self._net, lq)
        inputs = [lq[:, :, rows.input(), columns.input()].to(device)]
        if self._guided and rgb is not None:
            guide = rgb[:, :, rows.guide(scale), columns.guide(scale)].to(device)
            # MulSR's features follow the memory format of the guide, and CPUs convolve faster in this one
            memory_format = torch.channels_last if device.type == 'cpu' else torch.preserve_format
            inputs.append(guide.clone(memory_format=memory_format))
        return inputs

    def shared_work(self, inputs: Sequence[Tensor]) -> dict[str, Any]:
        """Do once what a network would do for every chunk of bands of a window; for the calls of this object."""
        if not hasattr(self._net, 'encode_guide'):
            return {}
        with autocast(self._precision, inputs[0].device):
            return {'guide': self._net.encode_guide(inputs[1])}  # type: ignore[operator]

    def __call__(self, inputs: Sequence[Tensor], bands: Sequence[int], **shared: Any) -> Tensor:
        """Return these bands of a window, (B, number of bands, H, W)."""
        with autocast(self._precision, inputs[0].device):
            if self._bandwise:
                return self._net(*inputs, bands=list(bands), **shared).float()
            return self._net(*inputs)[:, list(bands)].float()


def scale_of_network(net: nn.Module, lq: Tensor, rgb: Tensor | None) -> int:
    """Return the scale: the ratio of the images, or what an unguided network makes of a few pixels."""
    if is_guided(net):
        if rgb is None:
            raise ValueError(f'{type(net).__name__} takes a guide image, but there is none: give rgb.')
        return max(1, rgb.shape[-1] // lq.shape[-1])
    probe = lq[:1, :, :_SMALLEST_INPUT, :_SMALLEST_INPUT].to(device_of(net, lq))
    with torch.no_grad():
        return net(probe).shape[-1] // probe.shape[-1]


def device_of(net: nn.Module, lq: Tensor) -> torch.device:
    """Return the device of a network, that of its input if it has no parameters."""
    parameter = next(net.parameters(), None)
    return lq.device if parameter is None else parameter.device


def _even_chunks(bands: Sequence[int], most: int | str | None) -> list[list[int]]:
    """Split bands into as few chunks of at most `most` as possible, about equally long."""
    if most is not None and (not isinstance(most, int) or most < 1):
        raise ValueError(f"bands_per_chunk is {most!r}, expected a positive whole number, 'auto' or None: correct it.")
    limits = _even_limits(len(bands), most or len(bands))
    return [list(bands[first:last]) for first, last in itertools.pairwise(limits)]


def _even_limits(length: int, most: int) -> list[int]:
    """Return the limits of the fewest parts of 0 ... length that have at most `most` each."""
    count = math.ceil(length / most)
    return [length * number // count for number in range(count + 1)]


def _spans(length: int, tile: Tile | None, scale: int) -> list[_Span]:
    """Cut `length` input pixels into the spans of tiles; without tiles there is one."""
    if tile is None:
        return [_Span(0, 0, length, length)]
    _check_tile(tile, scale)
    limits, halo = _even_limits(length, tile.size // scale), tile.halo // scale
    return [_Span(max(0, a - halo), a, b, min(length, b + halo)) for a, b in itertools.pairwise(limits)]


def _check_tile(tile: Tile, scale: int) -> None:
    if tile.size < 1 or tile.halo < 0 or tile.size % scale or tile.halo % scale:
        raise ValueError(
            f'The tile has size {tile.size} and halo {tile.halo}, expected multiples of the scale {scale}, the size '
            'positive and the halo not negative: choose such numbers.'
        )


_measured_needs: WeakKeyDictionary[nn.Module, dict[Any, MemoryNeed]] = WeakKeyDictionary()


@torch.no_grad()
def memory_need(net: nn.Module, lq: Tensor, rgb: Tensor | None = None, precision: str = 'fp32') -> MemoryNeed:
    """Measure what a network takes per pixel of its result, on a corner of the image.

    Counted are the tensors of PyTorch (:func:`mulsr_plugin.utils.memory.peak_of_tensors`). The activations of a whole
    image are as many times larger as it has more pixels. Measured once per network and kind of input.

    Args:
        net (nn.Module): Any registered network.
        lq (Tensor): Low-resolution cubes, (B, L, h, w).
        rgb (Tensor | None): Guide images, (B, G, H, W), for guided networks. Default: None.
        precision (str): See :func:`apply_network`. Default: 'fp32'.

    Returns:
        MemoryNeed: Bytes per pixel; for one that is not band-wise, all is shared.
    """
    scale = scale_of_network(net, lq, rgb)
    kind = (len(lq), lq.shape[1], scale, precision)
    needs = _measured_needs.setdefault(net, {})
    if kind not in needs:
        needs[kind] = _measure_need(net, lq, rgb, scale, precision)
    return needs[kind]


def _measure_need(net: nn.Module, lq: Tensor, rgb: Tensor | None, scale: int, precision: str) -> MemoryNeed:
    compute = _Computation(net, precision)
    side = max(_SMALLEST_INPUT, math.ceil(_PROBE_SIDE / scale))
    rows, columns = (_Span(0, 0, min(side, length), min(side, length)) for length in lq.shape[2:])
    inputs = compute.inputs(lq, rgb, rows, columns, scale)

    def need_of(bands: Sequence[int]) -> float:
        return peak_of_tensors(lambda: compute(inputs, bands)) / (rows.stop * columns.stop * scale**2)

    if not is_bandwise(net):
        return MemoryNeed(shared=need_of(range(lq.shape[1])), per_band=0.0)
    # one band and two show what they share; not the first band, which takes less where one needs the one before
    one, two = need_of([1]), need_of([1, 2])
    return MemoryNeed(shared=max(0.0, 2 * one - two), per_band=max(0.0, two - one))


def choose_bands_per_chunk(
    net: nn.Module,
    lq: Tensor,
    rgb: Tensor | None = None,
    num_bands: int | None = None,
    tile: Tile | None = None,
    precision: str = 'fp32',
) -> int:
    """Choose how many bands a band-wise network computes at a time, from the memory that is free.

    A GPU gets as many as fit. A CPU gets so many that their pixels together fill an image of 256x256: more are no
    faster there. A network that walks through the bands, as CoarseNet does, gets all of them: asking for fewer would
    repeat work and save nothing.

    Args:
        net (nn.Module): Any registered network.
        lq (Tensor): Low-resolution cubes, (B, L, h, w).
        rgb (Tensor | None): Guide images, (B, G, H, W), for guided networks. Default: None.
        num_bands (int | None): Bands wanted. Default: None, all.
        tile (Tile | None): How the image will be cut. Default: None, not at all.
        precision (str): See :func:`apply_network`. Default: 'fp32'.

    Returns:
        int: At least 1, also where not even one band fits; all bands for a network that is not band-wise.
    """
    wanted = lq.shape[1] if num_bands is None else num_bands
    net, lq, rgb = with_start(net, lq, rgb)
    if not is_bandwise(net):
        return wanted
    need = memory_need(net, lq, rgb, precision)
    if need.walks_through_bands:
        return wanted
    scale = scale_of_network(net, lq, rgb)
    sides = (max(span.stop - span.start for span in _spans(side, tile, scale)) * scale for side in lq.shape[2:])
    pixels = math.prod(sides)
    fitting = int((_usable_memory(net, lq, scale) / pixels - need.shared) / need.per_band)
    most = _MOST_PIXELS_ON_CPU // pixels if device_of(net, lq).type == 'cpu' else wanted
    return max(1, min(fitting, most, wanted))


def choose_tile(
    net: nn.Module,
    lq: Tensor,
    rgb: Tensor | None = None,
    halo: int = DEFAULT_HALO,
    precision: str = 'fp32',
    by_rows: bool = False,
) -> Tile | None:
    """Choose the largest tile that fits into the free memory, with one band at a time where the network allows.

    Args:
        net (nn.Module): Any registered network.
        lq (Tensor): Low-resolution cubes, (B, L, h, w).
        rgb (Tensor | None): Guide images, (B, G, H, W), for guided networks. Default: None.
        halo (int): Halo in pixels of the result, raised to the next multiple of the scale. Default: 64.
        precision (str): See :func:`apply_network`. Default: 'fp32'.
        by_rows (bool): The result leaves the memory a row of tiles at a time, see :func:`result_strips`. Default:
            False, the memory holds the whole.

    Returns:
        Tile | None: None if the image fits in one piece, which is exact.

    Raises:
        MemoryError: Not even a tile as wide as its halo fits.
    """
    if hasattr(net, 'prepared'):  # it works in blocks of its own
        return None
    net, lq, rgb = with_start(net, lq, rgb)
    need = memory_need(net, lq, rgb, precision)
    scale = scale_of_network(net, lq, rgb)
    pixels = _usable_memory(net, lq, scale) / (need.shared + need.per_band)
    if pixels >= lq.shape[2] * lq.shape[3] * scale**2:
        return None
    halo = math.ceil(halo / scale) * scale
    size = (math.isqrt(max(0, int(pixels))) - 2 * halo) // scale * scale
    if by_rows:
        size = _side_by_rows(net, lq, scale, need) // scale * scale - 2 * halo
    if size < max(halo, scale):
        raise MemoryError(
            f'A tile of {halo} pixels with a halo of {halo} does not fit into the free memory: free some, or choose a '
            'smaller halo.'
        )
    return Tile(size, halo)


def _side_by_rows(net: nn.Module, lq: Tensor, scale: int, need: MemoryNeed) -> int:
    """Return the largest side of a tile, halo included, beside a row of results as high as that."""
    usable = _usable_memory(net, lq[..., :0, :], scale)
    row = 4.0 * lq.shape[1] * lq.shape[3] * scale
    pixel = need.shared + need.per_band
    return int((math.sqrt(row**2 + 4 * pixel * max(0.0, usable)) - row) / (2 * pixel))


def _usable_memory(net: nn.Module, lq: Tensor, scale: int) -> float:
    """Return the bytes for computing, per image of the batch, after setting the result aside."""
    device = device_of(net, lq)
    result = 4.0 * lq.numel() * scale**2 if lq.device.type == device.type else 0.0
    return _USABLE_SHARE * free_memory(device) - result


def measure_tile_deviation(
    net: nn.Module,
    lq: Tensor,
    rgb: Tensor | None,
    tile: Tile,
    bands: Sequence[int] | None = None,
    precision: str = 'fp32',
) -> TileDeviation:
    """Measure by how much tiles change the result, on a central window that fits into memory in one piece.

    The window is as large as a tile with its halo. It is computed in one piece and in four tiles with the same halo.

    Args:
        net (nn.Module): Any registered network.
        lq (Tensor): Low-resolution cubes, (B, L, h, w).
        rgb (Tensor | None): Guide images, (B, G, H, W), for guided networks.
        tile (Tile): How the image is cut.
        bands (Sequence[int] | None): Bands to compare. Default: None, three of them evenly spaced.
        precision (str): See :func:`apply_network`. Default: 'fp32'.

    Returns:
        TileDeviation: Of results clamped to [0, 1].
    """
    net, lq, rgb = with_start(net, lq, rgb)
    scale = scale_of_network(net, lq, rgb)
    _check_tile(tile, scale)
    side = (tile.size + 2 * tile.halo) // scale
    heights, widths = (_central(length, side) for length in lq.shape[2:])
    window = lq[:, :, heights, widths]
    guide = rgb if rgb is None else rgb[:, :, _enlarged(heights, scale), _enlarged(widths, scale)]
    chosen = [0, lq.shape[1] // 2, lq.shape[1] - 1] if bands is None else list(bands)
    half = Tile(math.ceil(max(window.shape[2:]) / 2) * scale, tile.halo)
    whole, tiled = (
        apply_network(net, window, guide, chosen, 'auto', cut, precision).clamp(0, 1) for cut in (None, half)
    )
    difference = (tiled - whole).double()
    return TileDeviation(
        rmse=float(difference.square().mean().sqrt()),
        maximum=float(difference.abs().max()),
        height=whole.shape[2],
        width=whole.shape[3],
    )


def _central(length: int, side: int) -> slice:
    side = min(side, length)
    first = (length - side) // 2
    return slice(first, first + side)


def _enlarged(pixels: slice, scale: int) -> slice:
    return slice(pixels.start * scale, pixels.stop * scale)
