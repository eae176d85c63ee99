"""Networks as files that run without this package: ONNX, and PyTorch's own .pt2, each checked against the network.

A line scan is one operator in this package. ONNX gets it as a function of two ``Scan`` nodes, a loop over the lines, so
that an exported MulSR takes images of any size. A ``.pt2`` file names the operator, so a network with scans is loaded
after ``import mulsr_plugin.ops.scans``.

Fixed in an exported file are: one image at a time, the number of bands, the scale, float32 and all bands at once, which
takes the memory that ``bands_per_chunk`` bounds elsewhere.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mulsr_plugin.models.inference import is_guided
from mulsr_plugin.ops.weight_norm import fold_weight_norm
from mulsr_plugin.utils.files import replacing

LARGEST_DIFFERENCE = 1e-4
"""Between an exported network and its original, relative to results beyond 1; float32 in another order gives 1e-6."""
LARGEST_SIDE = 65536

_DOMAIN = 'mulsr_plugin'
_SWEEP = """
    {last}, {swept} = Scan <num_scan_inputs = 1, scan_input_axes = [2], scan_output_axes = [2], {direction}
        body = {name} (float[b, c, n] {name}_before, float[b, c, n] {name}_line)
            => (float[b, c, n] {name}_new, float[b, c, n] {name}_kept)
        {{
            {name}_mixed = Conv <auto_pad = "SAME_UPPER"> ({name}_before, kernel, bias)
            {name}_bent = PRelu ({name}_mixed, slope)
            {name}_new = Add ({name}_bent, {name}_line)
            {name}_kept = Identity ({name}_new)
        }}> ({start}, {lines})
"""
# the rule of LineScan along the rows: lines are (B, C, W), the first one that a sweep meets stays as it is
_LINE_SCAN = (
    '<opset_import: ["" : 18], domain: "'
    + _DOMAIN
    + """">
LineScan (x, weight, bias, slope) => (out)
{
    axis = Constant <value_ints = [2]> ()
    begin = Constant <value_ints = [0]> ()
    one = Constant <value_ints = [1]> ()
    minus_one = Constant <value_ints = [-1]> ()
    end = Constant <value_ints = [9223372036854775807]> ()
    kernel = Squeeze (weight, axis)
    top = Slice (x, begin, one, axis)
    first = Squeeze (top, axis)
    below = Slice (x, one, end, axis)
"""
    + _SWEEP.format(name='forth', start='first', lines='below', last='lowest', swept='down', direction='')
    + """
    whole = Concat <axis = 2> (top, down)
    above = Slice (whole, begin, minus_one, axis)
"""
    + _SWEEP.format(
        name='back',
        start='lowest',
        lines='above',
        last='highest',
        swept='up',
        direction='scan_input_directions = [1], scan_output_directions = [1],',
    )
    + """
    bottom = Unsqueeze (lowest, axis)
    out = Concat <axis = 2> (up, bottom)
}
"""
)


class ExportedSizes(NamedTuple):
    """What an exported network takes.

    Attributes:
        num_bands (int): Bands of the cube.
        scale (int): Scale factor.
        num_guide_ch (int): Channels of the guide image; ignored by networks without one.
        height (int): Rows of the low-resolution cube; where sizes are free, those of the example.
        width (int): Columns likewise.
        is_fixed (bool): Whether images must have this size.
    """

    num_bands: int
    scale: int
    num_guide_ch: int = 3
    height: int = 16
    width: int = 12
    is_fixed: bool = False


def export_network(net: nn.Module, path: str | os.PathLike[str], sizes: ExportedSizes) -> float:
    """Write a network as ``.onnx`` or ``.pt2`` file; it appears only when it computes what the network does.

    Args:
        net: Any registered network, on the CPU.
        path: New file.
        sizes: What it shall take.

    Returns:
        Largest difference between the file's results and the network's, relative to results beyond 1, on random images
        in [0, 1] of the size given and, where sizes are free, of another.

    Raises:
        FileExistsError: There is something at ``path``.
        FileNotFoundError: Its folder does not exist.
        OSError: It cannot be written.
        ImportError: A package for ONNX is missing.
        ValueError: The suffix is another one, or the network cannot be exported like this.
    """
    path = Path(path).expanduser()
    formats = {'.onnx': _to_onnx, '.pt2': _to_pt2}
    if path.suffix not in formats:
        raise ValueError(f'{path} has no suffix of an export, expected {" or ".join(formats)}; rename it.')
    if path.exists():
        raise FileExistsError(f'{path} exists already and is left as it is; remove it or name another file.')
    if not path.parent.is_dir():
        raise FileNotFoundError(f'There is no folder {path.parent} for {path.name}; make it or name another file.')
    net = fold_weight_norm(net)
    content, runner = formats[path.suffix](_trace(net, sizes))
    difference = max(_difference(net, runner, images) for images in _examples(net, sizes))
    if not difference <= LARGEST_DIFFERENCE:
        raise ValueError(
            f'The exported {type(net).__name__} differs from the network by {difference:.2g}, expected at most '
            f'{LARGEST_DIFFERENCE:g}; nothing is written: try another format or other versions of PyTorch and ONNX.'
        )
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise OSError(f'{path} cannot be written ({error}): free some space or name another folder.') from error
    return difference


def _examples(net: nn.Module, sizes: ExportedSizes) -> list[tuple[Tensor, ...]]:
    """Random images of the size given and, where sizes are free, of a smaller and a larger one."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(sizes.height, sizes.width)]
    if not sizes.is_fixed:
        shapes += [(sizes.width // 2 + 1, sizes.height + 3)]
    examples: list[tuple[Tensor, ...]] = []
    for height, width in shapes:
        lq = torch.rand(1, sizes.num_bands, height, width, generator=generator)
        rgb = torch.rand(1, sizes.num_guide_ch, sizes.scale * height, sizes.scale * width, generator=generator)
        examples.append((lq, rgb) if is_guided(net) else (lq,))
    return examples


def _trace(net: nn.Module, sizes: ExportedSizes) -> torch.export.ExportedProgram:
    """Record the network with torch.export."""
    images = _examples(net, sizes)[0]
    free = None
    if not sizes.is_fixed:
        height, width = (torch.export.Dim(side, min=2, max=LARGEST_SIDE) for side in ('height', 'width'))
        free = ({2: height, 3: width}, {2: sizes.scale * height, 3: sizes.scale * width})[: len(images)]
    try:
        with torch.no_grad():
            net(*images)  # whose own checks say best what does not fit
            return torch.export.export(net, images, dynamic_shapes=free, strict=False)
    except ValueError:
        raise
    except Exception as error:  # tracing fails in any manner
        reason = ' '.join(str(error).split())[:300]
        cure = 'this network is not supported' if sizes.is_fixed else 'try a fixed size (--fixed)'
        raise ValueError(
            f'{type(net).__name__} cannot be recorded ({type(error).__name__}: {reason}); {cure}.'
        ) from error


def _to_pt2(program: torch.export.ExportedProgram) -> tuple[bytes, Any]:
    """Convert to PyTorch's own format; return the content of the file and what runs it."""
    content = io.BytesIO()  # PyTorch's writing to a path would end the process on a full disk
    torch.export.save(program, content)
    content.seek(0)
    return content.getvalue(), torch.export.load(content).module()


def _to_onnx(program: torch.export.ExportedProgram) -> tuple[bytes, Any]:
    """Convert to ONNX, with the line scan as a function of the file; return its content and what runs it."""
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise ImportError("ONNX needs onnx, onnxscript and onnxruntime: pip install 'mulsr-plugin[export]'.") from error
    table: dict[Any, Any] = {torch.ops.mulsr_plugin.line_scan.default: _scan_translation(onnx, onnxscript)}
    try:
        exported: Any = torch.onnx.export(
            program, dynamo=True, custom_translation_table=table, verbose=False, optimize=False
        )
        model = exported.model_proto
    except Exception as error:  # likewise
        reason = ' '.join(str(error).split())[-300:]
        raise ValueError(f'PyTorch cannot convert this network to ONNX (... {reason}); export a .pt2 file.') from error
    _add_line_scan(onnx, model)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=['CPUExecutionProvider'])
    names = [entry.name for entry in session.get_inputs()]

    def run(*images: Tensor) -> Tensor:
        arrays = {name: image.numpy() for name, image in zip(names, images)}
        return torch.from_numpy(session.run(None, arrays)[0])

    return content, run


def _scan_translation(onnx: Any, onnxscript: Any) -> Any:
    """Return what the exporter puts in place of the operator: a call of the function that the file will hold."""
    kind = onnx.defs.OpSchema.FormalParameter
    schema = onnx.defs.OpSchema(
        'LineScan',
        _DOMAIN,
        1,
        inputs=[kind(name, 'T') for name in ('x', 'weight', 'bias', 'slope')],
        outputs=[kind('out', 'T')],
        type_constraints=[('T', ['tensor(float)'], '')],
    )
    call = onnxscript.values.Op(onnxscript.values.Opset(_DOMAIN, 1), 'LineScan', schema)

    def translate(x: Any, weight: Any, bias: Any, slope: Any, keep: bool) -> Sequence[Any]:
        # the other three results are for the derivative
        unused = [onnxscript.opset18.Identity(bias) for _ in range(3)]
        return (call(x, weight, bias, slope), *unused)

    return translate


def _add_line_scan(onnx: Any, model: Any) -> None:
    """Give the model the function that its calls name, for the version of ONNX that the model is written in."""
    if not any(node.domain == _DOMAIN for node in model.graph.node):
        return
    function = onnx.parser.parse_function(_LINE_SCAN)
    function.opset_import[0].version = next(entry.version for entry in model.opset_import if not entry.domain)
    model.functions.append(function)
    if all(entry.domain != _DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))


@torch.no_grad()
def _difference(net: nn.Module, runner: Any, images: tuple[Tensor, ...]) -> float:
    expected = net(*images)
    return float((runner(*images) - expected).abs().max() / expected.abs().max().clamp(min=1))
