"""Write a trained network as a file that runs without this package: ONNX (*.onnx) or PyTorch's export (*.pt2).

The file is written only after its results agree with the network's. It takes one image at a time, `lq` (1, bands, h, w)
and, for guided networks, `rgb` (1, channels, scale * h, scale * w), float32 in [0, 1], of any size unless --fixed says
otherwise. Bands and scale are fixed, and all bands are computed at once. A *.pt2 file of MulSR is loaded after `import
mulsr_plugin.archs.scans`. Example:

    python scripts/export.py experiments/NAME/models/net_g_latest.pth mulsr_x8.onnx --scale 8 --bands 31
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from mulsr_plugin import autoload

autoload.install()  # BasicSR needs it on today's torchvision, also where torch did not call it
from mulsr_plugin.utils.export import ExportedSizes, export_network  # noqa: E402
from mulsr_plugin.utils.network_from_checkpoint import load_network  # noqa: E402


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', metavar='CHECKPOINT', help='weights: *.pth of BasicSR, or *.safetensors')
    parser.add_argument('target', metavar='TARGET', help='file to write: *.onnx or *.pt2')
    parser.add_argument('--scale', type=int, required=True, help='scale factor')
    parser.add_argument('--bands', type=int, required=True, help='bands of the cubes')
    parser.add_argument('--guide-channels', type=int, default=3, help='channels of the guide; default: 3')
    parser.add_argument('-opt', help='option file with the network, where the weights do not tell it')
    parser.add_argument(
        '--fixed', type=int, nargs=2, metavar=('H', 'W'), help='size of the low-resolution cubes; default: any size'
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, export, and tell a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    sizes = ExportedSizes(args.bands, args.scale, args.guide_channels)
    if args.fixed:
        sizes = sizes._replace(height=args.fixed[0], width=args.fixed[1], is_fixed=True)
    try:
        net, _ = load_network(args.checkpoint, args.scale, args.opt)
        difference = export_network(net, args.target, sizes)
    except (ValueError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    print(f'{args.target}: results differ by at most {difference:.1e} from the network')
    return 0


if __name__ == '__main__':
    sys.exit(main())
