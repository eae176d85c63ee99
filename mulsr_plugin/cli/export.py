"""Export a trained network to ONNX (*.onnx) or PyTorch's format (*.pt2), to run without this package.

The file is written only after its results agree with the network's. It takes one image at a time, `lq` (1, bands, h, w)
and, for guided networks, `rgb` (1, channels, scale * h, scale * w), float32 in [0, 1], of any size unless --fixed says
otherwise. Bands and scale are fixed, and all bands are computed at once. A *.pt2 file of MulSR is loaded after `import
mulsr_plugin.ops.scans`. Scale and bands are those of the training unless given. Example:

  mulsr export experiments/NAME/models/net_g_latest.pth mulsr_x8.onnx
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mulsr_plugin.cli.arguments import add_option_file, whole_number
from mulsr_plugin.cli.checks import check_new, check_suffix, check_weights
from mulsr_plugin.cli.choices import EXPORT_SUFFIXES
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.utils.options import find_option_file

if TYPE_CHECKING:
    from torch import nn

    from mulsr_plugin.apps.export import ExportedSizes


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        'checkpoint',
        metavar='CHECKPOINT',
        help='*.pth of BasicSR, *.safetensors, or the name of weights of the package',
    )
    parser.add_argument('target', metavar='TARGET', help='file to write: *.onnx or *.pt2')
    parser.add_argument(
        '--scale', type=whole_number(1), help='scale factor; default: the one that the weights are described for'
    )
    parser.add_argument(
        '--bands', type=whole_number(1), help='bands of the cubes; default: as the weights are described'
    )
    parser.add_argument(
        '--guide-channels', type=whole_number(1), help='channels of the guide; default: as the network takes'
    )
    add_option_file(parser, 'option file with the network, where the weights do not describe it')
    parser.add_argument(
        '--fixed',
        type=whole_number(1),
        nargs=2,
        metavar=('H', 'W'),
        help='size of the low-resolution cubes; default: any size',
    )


def run(args: argparse.Namespace) -> int:
    """Check the files, import what is needed, export."""
    check_weights(args.checkpoint)
    check_suffix(args.target, EXPORT_SUFFIXES)
    check_new(args.target, None)
    if not Path(args.target).parent.is_dir():
        raise FileNotFoundError(f'There is no folder {Path(args.target).parent}; make it or name another.')
    if args.opt is not None:
        args.opt = find_option_file(args.opt)
    from mulsr_plugin import register
    from mulsr_plugin.apps.export import export_network

    register()
    net, sizes = load(args)
    difference = export_network(net, args.target, sizes)
    print(f'{args.target}: results differ by at most {difference:.1e} from the network')
    return 0


def load(args: argparse.Namespace) -> tuple[nn.Module, ExportedSizes]:
    """Load the network and find out what it shall take."""
    from mulsr_plugin.apps.export import ExportedSizes
    from mulsr_plugin.checkpoints.description import scales_text
    from mulsr_plugin.checkpoints.networks import network_from_weights, read_weights
    from mulsr_plugin.checkpoints.shipped import find_weights

    weights = read_weights(find_weights(args.checkpoint))
    description = weights.description or {}
    scales = description.get('scales', [])
    if args.scale is None and len(scales) != 1:
        described = f'is for {scales_text(scales)}' if scales else 'does not state its scale'
        raise ValueError(f'{weights.path} {described}: give --scale.')
    scale = args.scale or scales[0]
    net, _ = network_from_weights(weights, scale, args.opt)
    num_bands = args.bands or getattr(net, 'num_bands', description.get('num_bands'))
    if num_bands is None:
        raise ValueError(f'{weights.path} does not state how many bands its cubes have: give --bands.')
    num_guide_ch = args.guide_channels or getattr(net, 'num_guide_ch', description.get('num_guide_ch'))
    sizes = ExportedSizes(num_bands, scale, num_guide_ch or 3)
    if args.fixed:
        sizes = sizes._replace(height=args.fixed[0], width=args.fixed[1], is_fixed=True)
    return net, sizes
