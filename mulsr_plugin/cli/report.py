"""Make one HTML file to explore results with, which opens without network or server.

From a benchmark with saved cubes (save_cubes: true), from tests with saved cubes (save_cube: npy or mat), or from
cubes in files of any format, such as those of `mulsr infer`, with or without a reference:

  mulsr report results/NAME --out report.html
  mulsr report -opt demo_test_mulsr_x8 Bicubic=results/demo_bicubic_x8 MulSR=results/demo_mulsr_x8 --out report.html
  mulsr report sr.tif --reference truth.tif --out report.html
  mulsr report Ours=sr.tif Theirs=other.mat --reference truth.tif --out report.html
"""

from __future__ import annotations

import argparse
import logging
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mulsr_plugin.cli.arguments import add_option_file, add_out, whole_number
from mulsr_plugin.cli.checks import check_input, check_new, check_suffix
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.plot import split_area, split_names
from mulsr_plugin.cli.reading import add_cube_arguments, cube_options
from mulsr_plugin.cli.running import log
from mulsr_plugin.utils.options import find_option_file, read_option_file

if TYPE_CHECKING:
    from mulsr_plugin.apps.report.scenes import Report

INTERRUPTED = 'nothing half-written is left'
FIRST_SCENES = 6
FEWEST_SHARES = 3  # of the values, of which a scene gets one: more would not fit into the memory of a browser
MOST_VALUES = 6 * 7 * 512 * 512 * 31
"""In all cubes of a report: six methods and the reference on six scenes of CAVE."""


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    parser.add_argument(
        'results', nargs='+', help='results/NAME of a benchmark; with -opt: LABEL=FOLDER for each test; or files'
    )
    add_out(parser, 'HTML file to write')
    add_option_file(parser, 'option file of a test, for its data sets')
    parser.add_argument('--reference', metavar='FILE', help='cube to compare files with')
    parser.add_argument('--spectral-response', help="of the guide's camera, to be drawn under the spectra of files")
    parser.add_argument(
        '--scenes', type=split_names, help=f'scenes to show, separated by commas (default: the first {FIRST_SCENES})'
    )
    parser.add_argument('--methods', type=split_names, help='methods to show, separated by commas (default: all)')
    part = parser.add_mutually_exclusive_group()
    part.add_argument(
        '--crop', type=whole_number(8), metavar='SIDE', help='show the central square of this many pixels'
    )
    part.add_argument('--area', type=split_area, metavar='TOP,LEFT,HEIGHT,WIDTH', help='show this part of every scene')
    parser.add_argument('--title', help='of the page')
    parser.add_argument('--force', action='store_true', help='replace a file that exists')
    add_cube_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check the arguments, collect the cubes, write the page."""
    kind, labelled = check_arguments(args)
    log(f'Making {args.out} of {", ".join(args.results)}; loading PyTorch and BasicSR first, which takes some seconds.')
    from basicsr.utils import get_root_logger
    from tqdm import tqdm

    from mulsr_plugin import register
    from mulsr_plugin.apps.report.page import write_report
    from mulsr_plugin.apps.report.scenes import Crop, chosen
    from mulsr_plugin.data.formats.common import size_text

    get_root_logger(log_level=logging.WARNING)
    register()
    report = chosen(report_of(args, kind, labelled), args.scenes, args.methods, FIRST_SCENES, args.title)
    crop = Crop(MOST_VALUES // max(len(report.scenes), FEWEST_SHARES), args.crop, args.area)
    command = shlex.join(['mulsr', 'report', *args.words])
    with tqdm(desc='Report', unit='scene', total=len(report.scenes)) as bar:
        write_report(report, Path(args.out), crop, command, lambda done, _: bar.update(done - bar.n))
    count = len(report.scenes)
    print(f'{args.out}: {size_text(Path(args.out).stat().st_size)}, {count} scene{"" if count == 1 else "s"}')
    return 0


def check_arguments(args: argparse.Namespace) -> tuple[str, dict[str, str]]:
    """Refuse what can be seen to fail before anything is loaded.

    Returns:
        'benchmark', 'tests' or 'files', and the results by their labels.

    Raises:
        ValueError: Arguments do not belong together.
        FileNotFoundError: An input is not there.
        FileExistsError: The output is.
    """
    check_suffix(args.out, ('.html', '.htm'))
    check_new(args.out, args.force)
    check_input(args.reference)
    check_input(args.wavelengths)
    folder = Path(args.results[0])
    if args.opt is not None:
        if args.reference is not None:
            raise ValueError('With -opt the reference is that of the data set: leave --reference out.')
        if not all('=' in entry for entry in args.results):
            raise ValueError('With -opt each test is named as LABEL=FOLDER: add the labels.')
        args.opt = find_option_file(args.opt)
        read_option_file(args.opt, 'datasets', 'scale')
        return 'tests', labels_of(args.results)
    if (folder / 'results.json').is_file():
        if len(args.results) > 1 or args.reference is not None:
            raise ValueError(f'{folder} is a benchmark, which a report shows alone: give it without anything else.')
        return 'benchmark', {}
    if (folder / 'visualization').is_dir():
        raise ValueError(f'{folder} is a test: name its option file with -opt, and the test as LABEL={folder}.')
    return 'files', labels_of(args.results)


def labels_of(entries: list[str]) -> dict[str, str]:
    """Return the paths of ``LABEL=PATH``, or of paths alone, whose label is then the name without its suffix.

    Raises:
        ValueError: Two have the same label.
        FileNotFoundError: There is no such file or folder.
    """
    labelled: dict[str, str] = {}
    for entry in entries:
        label, equals, path = entry.partition('=')
        if not equals or Path(entry).exists():
            label, path = Path(entry).stem, entry
        check_input(path)
        if label in labelled:
            raise ValueError(f'Two results are called {label!r}; give them labels, such as OURS={path}.')
        labelled[label] = path
    return labelled


def report_of(args: argparse.Namespace, kind: str, labelled: dict[str, str]) -> Report:
    """Return what the page shows."""
    from mulsr_plugin.apps.report import sources

    if kind == 'benchmark':
        return sources.report_of_benchmark(Path(args.results[0]))
    if kind == 'tests':
        return sources.report_of_tests(args.opt, labelled)
    files = {label: Path(path) for label, path in labelled.items()}
    reference = None if args.reference is None else Path(args.reference)
    return sources.report_of_files(files, reference, cube_options(args), args.spectral_response)
