"""Super-resolve a hyperspectral cube with the help of a guide image.

The network is told by its weights; without --weights, those that come with the package are taken. Formats follow from
the names of the files: .mat, .npy, .npz, .hdr (ENVI), .tif, a folder of band PNGs, and for the guide also .png, .jpg
and .bmp. Example:

    python scripts/infer.py --weights experiments/mulsr/models/net_g_latest.pth --hsi lr.tif --rgb rgb.tif --out sr.tif
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from basicsr.utils import get_root_logger
from tqdm import tqdm

from mulsr_plugin import register
from mulsr_plugin.apps.infer import CubeFile, InferenceJob, infer
from mulsr_plugin.checkpoints.shipped import shipped_weights
from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.cli.reading import add_cube_arguments, add_reading_arguments, cube_options, reading_options
from mulsr_plugin.data.sources.pair import PairFiles
from mulsr_plugin.models.inference import DEFAULT_HALO, Progress
from mulsr_plugin.models.precision import PRECISIONS


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--weights',
        type=Path,
        help='checkpoint in the form of BasicSR, or the name of weights that come with the package: '
        f'{", ".join(shipped_weights())}; default: those for the scale of the images',
    )
    parser.add_argument('--hsi', type=Path, required=True, help='low-resolution cube')
    parser.add_argument(
        '--rgb', type=Path, help='high-resolution guide image of the same ground, for networks that take one'
    )
    parser.add_argument('--out', type=Path, required=True, help='file to write; a preview NAME_preview.png joins it')
    parser.add_argument('--opt', type=Path, help='option file of the training, for weights that do not tell a network')
    add_cube_arguments(parser)
    add_reading_arguments(parser, 'rgb-', 'guide')
    parser.add_argument('--spectral-response', help="of the guide's camera, to measure the spatial consistency")
    parser.add_argument('--device', default='auto', help='cpu, cuda or cuda:N; default: a GPU where there is one')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32', help='default: fp32')
    parser.add_argument(
        '--bands-per-chunk', type=whole_number(1), help='bands at a time; default: from the free memory'
    )
    parser.add_argument(
        '--tile-size', type=whole_number(1), help='pixels; default: no tiles if the image fits in memory'
    )
    parser.add_argument(
        '--tile-halo', type=whole_number(0), default=DEFAULT_HALO, help=f'pixels; default: {DEFAULT_HALO}'
    )
    parser.add_argument('--force', action='store_true', help='replace files that exist')
    return parser


def job_of(args: argparse.Namespace) -> InferenceJob:
    """Return the job that a command line describes.

    Raises:
        ValueError: There are options for a guide image, but there is none.
    """
    of_guide = reading_options(args, 'rgb_')
    images: PairFiles | CubeFile = CubeFile(args.hsi, cube_options(args))
    if args.rgb is not None:
        images = PairFiles(args.hsi.stem, args.hsi, args.rgb, cube_options(args), of_guide)
    elif any(value not in (None, False) for value in of_guide.values()):
        raise ValueError('Options --rgb-... say how a guide image is read, but there is none: give it with --rgb.')
    return InferenceJob(
        weights=args.weights,
        images=images,
        output=args.out,
        option_file=args.opt,
        device=args.device,
        precision=args.precision,
        bands_per_chunk=args.bands_per_chunk,
        tile_size=args.tile_size,
        tile_halo=args.tile_halo,
        spectral_response=args.spectral_response,
        force=args.force,
    )


def progress_bar() -> Progress:
    """Return what shows a bar from the first part done on, so that it does not mix with the log before."""
    bars: list[tqdm] = []

    def progress(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(desc='Super-resolving', unit='part', total=total))
        bars[0].update(done - bars[0].n)
        if done == total:
            bars[0].close()

    return progress


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, super-resolve, and tell a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    register()
    get_root_logger().setLevel(logging.INFO)
    try:
        infer(job_of(args), progress_bar())
    except (ImportError, ValueError, OSError, MemoryError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('interrupted: nothing half-written is left', file=sys.stderr)
        return 130
    except torch.OutOfMemoryError as error:
        print(f'error: the GPU is full ({error}): give a smaller --tile-size or --bands-per-chunk 1.', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
