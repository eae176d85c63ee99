"""Measure by how much tiles change the result of a network, per halo, on a scene that fits in one piece.

Prints the table of docs/inference.md: difference to the result in one piece, and PSNR against the scene. Example:

    python -m scripts.dev.measure_tiles --weights experiments/NAME/models/net_g_latest.pth \\
        --dataroot datasets/cave/test.lmdb --scenes balloons feathers
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch

from mulsr_plugin.checkpoints.networks import network_from_weights, read_weights
from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.spectral_response import apply_spectral_response, load_spectral_response
from mulsr_plugin.data.store.reader import CubeStore
from mulsr_plugin.models.inference import Tile, apply_network


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='checkpoint in the form of BasicSR')
    parser.add_argument('--dataroot', required=True, help='store with the scenes, made by prepare_dataset.py')
    parser.add_argument('--scenes', nargs='+', required=True, help='their names')
    parser.add_argument('--scale', type=whole_number(2), default=8, help='scale factor; default: 8')
    parser.add_argument('--degradation', default='authors_fixed', help='preset; default: authors_fixed')
    parser.add_argument('--spectral-response', default='nikon_d700', help='makes the guide; default: nikon_d700')
    parser.add_argument('--tile-size', type=whole_number(1), default=128, help='pixels; default: 128')
    parser.add_argument('--halos', type=whole_number(0), nargs='+', default=[0, 16, 32, 64, 128], help='pixels')
    parser.add_argument(
        '--num-bands', type=whole_number(1), default=3, help='evenly spaced bands to compare; default: 3'
    )
    return parser


def load_scene(args: argparse.Namespace, key: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return ground truth, low-resolution cube and guide image of a scene, (1, channels, rows, columns)."""
    store = CubeStore(args.dataroot)
    values = store.read(key).transpose(2, 0, 1) * np.float32(store.header(key).scale)
    gt = np.ascontiguousarray(values, dtype=np.float32)
    lq = build_degradation({'preset': args.degradation}, args.scale)(gt, np.random.default_rng(0))
    rgb = apply_spectral_response(load_spectral_response(args.spectral_response, len(gt)), gt)
    images = (torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None] for image in (gt, lq, rgb))
    return next(images), next(images), next(images)


def psnr(result: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the PSNR in dB at peak 1."""
    return float(-10 * torch.log10((result - reference).square().mean()))


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, measure and print a row per scene and halo."""
    args = build_parser().parse_args(argv)
    try:
        net, _ = network_from_weights(read_weights(args.weights), args.scale)
        print(f'| Scene | Tile, halo | RMSE to one piece | Maximum | PSNR (one piece) |\n|{"---|" * 5}')
        for key in args.scenes:
            gt, lq, rgb = load_scene(args, key)
            bands = sorted({int(band) for band in np.linspace(0, lq.shape[1] - 1, args.num_bands).round()})
            whole = apply_network(net, lq, rgb, bands).clamp(0, 1)
            for halo in args.halos:
                tiled = apply_network(net, lq, rgb, bands, tile=Tile(args.tile_size, halo)).clamp(0, 1)
                difference = (tiled - whole).abs()
                rmse, maximum = float(difference.square().mean().sqrt()), float(difference.max())
                quality = f'{psnr(tiled, gt[:, bands]):.2f} dB ({psnr(whole, gt[:, bands]):.2f} dB)'
                print(f'| {key} | {args.tile_size}, {halo} | {rmse:.2g} | {maximum:.2g} | {quality} |', flush=True)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
