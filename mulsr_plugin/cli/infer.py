"""Super-resolve a hyperspectral cube with the help of a guide image.

Without --weights, blur, displacement and noise of the sensors are estimated from the pair, which is fused without
training. With --weights the network is inferred from the file. Formats follow from the names of the files: .mat, .npy,
.npz, .hdr (ENVI), .tif, a folder of band PNGs, and for the guide also .png, .jpg and .bmp. Examples:

  mulsr infer lr.tif --guide rgb.tif --out sr.tif
  mulsr infer lr.tif --guide rgb.tif --out sr.tif --weights experiments/NAME/models/net_g_latest.pth
  mulsr infer lr.tif --guide rgb.tif --out sr.tif --sensor sensor.npz --reference truth.tif --report report.json
  mulsr infer lr_folder --guide rgb_folder --out sr_folder
  mulsr infer --pairs list.txt --out sr_folder --suffix .tif

Of two folders, files of equal names without suffix are pairs; a list has one "cube, guide" or "cube, guide, name" a
line. Several processes share the pairs under torchrun or in a job array of SLURM; the same command goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulsr_plugin.cli.arguments import add_input, add_option_file, add_out, super_resolution_scale, whole_number
from mulsr_plugin.cli.checks import check_input, check_new, check_suffix, check_weights
from mulsr_plugin.cli.choices import CUBE_SUFFIXES, DEFAULT_HALO, METHODS, PRECISIONS, shipped_weights
from mulsr_plugin.cli.infer_pairs import (
    add_pair_arguments,
    check_pair_arguments,
    kept_results,
    names_many_pairs,
    run_pairs,
)
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.reading import (
    add_cube_arguments,
    add_guide_arguments,
    add_reading_arguments,
    cube_options,
    reading_options,
)
from mulsr_plugin.cli.running import log
from mulsr_plugin.utils.files import partial_folder
from mulsr_plugin.utils.options import find_option_file

if TYPE_CHECKING:
    from mulsr_plugin.apps.infer import InferenceJob
    from mulsr_plugin.models.inference import Progress

INTERRUPTED = 'nothing half-written is left under the name of the result'


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    add_pair_arguments(parser, add_input(parser, '--hsi', 'low-resolution cube, or a folder of cubes'))
    parser.accept_old_names({'--input': '--hsi'})
    add_guide_arguments(parser, 'high-resolution guide image of the same ground, or a folder of those of the cubes')
    add_out(parser, 'file to write, or folder for the results of many pairs; a preview NAME_preview.png joins each')
    parser.add_argument(
        '--weights',
        type=Path,
        help='checkpoint in the form of BasicSR, or the name of weights that come with the package: '
        f'{", ".join(shipped_weights())}; default: a method that needs none',
    )
    parser.add_argument(
        '--method',
        choices=METHODS,
        help='method without weights; default: SensorFusion, or interpolation where there is no guide or it shows '
        'something else',
    )
    parser.add_argument(
        '--scale',
        type=super_resolution_scale,
        metavar='N',
        help='super-resolution factor, for interpolation or a network without guide whose weights do not name it; '
        'default: as the images or the weights say',
    )
    add_option_file(parser, 'option file of the training, for weights that do not name their network')
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
    parser.add_argument(
        '--sensor', metavar='FILE', help='sensor model of `mulsr estimate-sensor`; default: estimated from the pair'
    )
    parser.add_argument('--reference', metavar='FILE', help='cube to measure the result against, as `mulsr evaluate`')
    parser.add_argument('--report', metavar='FILE', help='new .json file for all that was found out')
    add_cube_arguments(parser)
    add_reading_arguments(parser, 'reference-', 'reference')


def run(args: argparse.Namespace) -> int:
    """Check the files, import what is needed, super-resolve."""
    check_arguments(args)
    images = ' and '.join(image for image in (args.pairs, args.hsi, args.guide) if image is not None)
    log(f'Super-resolving {images}; loading PyTorch and BasicSR first, which takes some seconds.')
    if names_many_pairs(args):
        return run_pairs(args, settings_of(args), progress_bar)
    import torch
    from basicsr.utils import get_root_logger

    from mulsr_plugin import register
    from mulsr_plugin.apps.infer import infer
    from mulsr_plugin.apps.json_reports import plain_report, write_json

    register()
    get_root_logger().setLevel(logging.INFO)
    try:
        report = infer(job_of(args), progress_bar())
    except torch.OutOfMemoryError as error:
        raise MemoryError(f'the GPU is full ({error}): give a smaller --tile-size or --bands-per-chunk 1.') from error
    if args.report is not None:
        write_json(Path(args.report), plain_report(report))
    return 0


def after_failure(args: argparse.Namespace) -> list[str]:
    """Say what a run that was stopped has kept."""
    out = Path(args.out).expanduser()
    if names_many_pairs(args):
        return kept_results(out)
    kept = partial_folder(out)
    return [f'What is done lies in {kept}: the same command goes on from there.'] if kept.is_dir() else []


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse what can be seen to fail before anything is loaded.

    Raises:
        ValueError: The name of the output says no format, or there are options for a guide image, but there is none.
        FileNotFoundError: An input is not there.
        FileExistsError: The output is.
    """
    given = [value for value in reading_options(args, 'guide-').values() if value is not None and value is not False]
    if args.guide is None and args.pairs is None and given:
        raise ValueError('Options --guide-... say how a guide image is read, but there is none: give it with --guide.')
    for path in (args.pairs, args.hsi, args.guide, args.wavelengths, args.sensor, args.reference):
        check_input(path)
    check_pair_arguments(args)
    if args.report is not None:
        check_suffix(args.report, ('.json',))
        check_new(args.report, args.force)
    check_weights(args.weights)
    if args.opt is not None:
        args.opt = find_option_file(args.opt)
    if names_many_pairs(args):
        return
    if Path(args.out).name not in ('', '..'):  # which infer() explains
        check_suffix(args.out, ('', *CUBE_SUFFIXES))
    check_new(Path(args.out).expanduser(), args.force)


def job_of(args: argparse.Namespace) -> InferenceJob:
    """Return the job that a command line describes."""
    from mulsr_plugin.apps.infer import CubeFile, InferenceJob
    from mulsr_plugin.data.sources.pair import PairFiles

    cube = Path(args.hsi)
    images: PairFiles | CubeFile = CubeFile(cube, cube_options(args))
    if args.guide is not None:
        guide_options = reading_options(args, 'guide-')
        images = PairFiles(cube.stem, cube, Path(args.guide), cube_options(args), guide_options)
    return InferenceJob(
        images=images,
        output=Path(args.out),
        force=args.force,
        reference=None if args.reference is None else Path(args.reference),
        reference_options=reading_options(args, 'reference-'),
        **settings_of(args),
    )


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of ``InferenceSettings``, which hold for one pair as for many."""
    return {
        'weights': args.weights,
        'scale': args.scale,
        'option_file': args.opt,
        'method': args.method,
        'device': args.device,
        'precision': args.precision,
        'bands_per_chunk': args.bands_per_chunk,
        'tile_size': args.tile_size,
        'tile_halo': args.tile_halo,
        'spectral_response': args.spectral_response,
        'sensor': args.sensor,
    }


def progress_bar(text: str = 'Super-resolving', unit: str = 'part') -> Progress:
    """Return what shows a bar from its first call on, so that it does not mix with the log before."""
    from tqdm import tqdm

    bars: list[tqdm] = []

    def progress(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(desc=text, unit=unit, total=total))
        bars[0].update(done - bars[0].n)
        if done == total:
            bars[0].close()

    return progress
