r"""Draw the figures of a benchmark or of cubes in files, or one picture of several tests.

Figures of a benchmark (needs Matplotlib), as PNG and PDF in results/NAME/figures/: results with an enlarged area, maps
of the error and of the spectral angle, spectra, PSNR per band, PSNR against cost. Its cubes must be saved (`save_cubes:
true`).

  mulsr plot results/NAME --images balloons,feathers --pixels "100,200;300,40"

The same figures, but for the costs, of cubes in any format, of this project or of any other. A scene is a cube of the
folder of references; the result of a method has the same name, or this name, an underscore and more:

  mulsr plot --method Ours=results_ours --method Theirs=their_mat_files --reference truth --out figures

One picture of several tests side by side, with their error maps below (without Matplotlib). The tests must have been
run with `save_cube: npy`; the option file names the data set with input and reference.

  mulsr plot -opt options/demo_test_mulsr_x8.yml --out demo_result.png \
      Bicubic=results/demo_bicubic_x8 MulSR=results/demo_mulsr_x8
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mulsr_plugin.cli.arguments import add_option_file, add_out
from mulsr_plugin.cli.checks import check_input
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.reading import add_cube_arguments, cube_options
from mulsr_plugin.utils.options import find_option_file, read_option_file


def add_arguments(parser: CommandParser) -> None:
    """Describe the command line."""
    parser.add_argument('results', nargs='*', help='results/NAME of a benchmark; with -opt: LABEL=FOLDER for each test')
    parser.add_argument(
        '--method', action='append', metavar='NAME=FOLDER', help='cubes of a method, in files; give it for each method'
    )
    parser.add_argument('--reference', metavar='FOLDER', help='with --method: the cubes to compare with')
    parser.add_argument('--images', type=split_names, help='scenes to show, separated by commas (default: two)')
    parser.add_argument('--entries', type=split_names, help='entries of a benchmark to show (default: all)')
    parser.add_argument(
        '--pixels', type=split_pixels, help='ROW,COLUMN;ROW,COLUMN of the spectra of a benchmark (default: chosen)'
    )
    parser.add_argument(
        '--area',
        type=split_area,
        help='TOP,LEFT,HEIGHT,WIDTH to enlarge, of a benchmark (default: where they differ)',
    )
    add_option_file(parser, 'option file of a test, for its first data set')
    add_out(parser, 'PNG file to write, with -opt; folder to write to, with --method', required=False)
    add_cube_arguments(parser)


def split_names(text: str) -> list[str]:
    """Parse names that commas separate."""
    return [name.strip() for name in text.split(',') if name.strip()]


def split_pixels(text: str) -> list[tuple[int, int]]:
    """Parse ``ROW,COLUMN;ROW,COLUMN``."""
    pixels = [tuple(map(int, pair.split(','))) for pair in text.split(';')]
    if any(len(pixel) != 2 for pixel in pixels):
        raise ValueError
    return [(pixel[0], pixel[1]) for pixel in pixels]


def split_area(text: str) -> tuple[int, int, int, int]:
    """Parse ``TOP,LEFT,HEIGHT,WIDTH``."""
    top, left, height, width = map(int, text.split(','))
    return top, left, height, width


def run(args: argparse.Namespace) -> int:
    """Draw, and print the names of the files."""
    if args.method:
        files = figures_of_files(args)
    elif not args.results:
        raise ValueError('There is nothing to draw: name results/NAME of a benchmark, or cubes with --method.')
    else:
        files = [picture_of_tests(args)] if args.opt or args.out else figures_of_benchmarks(args)
    print('\n'.join(map(str, files)))
    return 0


def figures_of_files(args: argparse.Namespace) -> list[Path]:
    """Write the figures of cubes in files."""
    if args.results or args.opt or not (args.reference and args.out):
        raise ValueError('--method needs --reference and --out, and nothing beside it but options of the figures.')
    if not all('=' in entry for entry in args.method):
        raise ValueError('Each --method is NAME=FOLDER: add the names.')
    methods = {name: Path(folder) for name, folder in (entry.split('=', 1) for entry in args.method)}
    if len(methods) < len(args.method):
        raise ValueError('Two of the methods have one name; give each its own.')
    for path in (*methods.values(), args.reference):
        check_input(path)
    from mulsr_plugin.apps.figures_of_files import write_figures_of_files

    options = cube_options(args)
    return write_figures_of_files(
        Path(args.out), methods, Path(args.reference), options, args.images, args.pixels, args.area
    )


def figures_of_benchmarks(args: argparse.Namespace) -> list[Path]:
    """Write the figures of every benchmark named."""
    for folder in args.results:
        if not Path(folder, 'results.json').is_file():
            raise FileNotFoundError(f'{folder} holds no results.json; name the folder that a benchmark has written.')
    from mulsr_plugin.apps.benchmark.figures import write_benchmark_figures

    return [
        file
        for folder in args.results
        for file in write_benchmark_figures(folder, args.images, args.entries, args.pixels, args.area)
    ]


def picture_of_tests(args: argparse.Namespace) -> Path:
    """Write one picture of several tests."""
    if not (args.opt and args.out):
        raise ValueError('-opt and --out belong together, for one picture of several tests: give both, or neither.')
    if not all('=' in entry for entry in args.results):
        raise ValueError('With -opt and --out each test is named as LABEL=FOLDER: add the labels.')
    folders = dict(entry.split('=', 1) for entry in args.results)
    option_file = find_option_file(args.opt)
    read_option_file(option_file, 'datasets', 'scale')
    from mulsr_plugin.apps.side_by_side import write_picture_of_tests

    write_picture_of_tests(Path(args.out), option_file, folders, args.images)
    return Path(args.out)
