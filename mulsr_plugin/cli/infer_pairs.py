"""The part of `mulsr infer` for many pairs: a list of them, or two folders."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mulsr_plugin.cli.choices import CUBE_SUFFIXES, READ_SUFFIXES
from mulsr_plugin.cli.reading import cube_options, reading_options
from mulsr_plugin.utils.process_share import share_of_environment

if TYPE_CHECKING:
    from mulsr_plugin.data.sources.pair import PairFiles
    from mulsr_plugin.models.inference import Progress


def add_pair_arguments(parser: argparse.ArgumentParser, images: argparse._MutuallyExclusiveGroup) -> None:
    """Add what only many pairs have.

    Args:
        parser: Where to.
        images: Group of what else names the images.
    """
    images.add_argument(
        '--pairs', metavar='FILE', help='text file with one "cube, guide" or "cube, guide, name" a line, instead'
    )
    parser.add_argument(
        '--suffix',
        choices=CUBE_SUFFIXES,
        help='format of the results of many pairs; default: that of the cube, or .npz',
    )


def names_many_pairs(args: argparse.Namespace) -> bool:
    """Return whether a command line names a list or two folders of images; a folder of band PNGs is one cube."""
    if args.pairs is not None:
        return True
    if args.hsi is None or args.guide is None:
        return False
    cubes, guides = Path(args.hsi).expanduser(), Path(args.guide).expanduser()
    if not (cubes.is_dir() and guides.is_dir()):
        return False
    try:
        entries = [entry for entry in cubes.iterdir() if not entry.name.startswith('.')]
    except OSError:  # which the listing of the cubes explains
        return True
    # previews may lie beside cubes
    holds_cubes = any(entry.is_dir() or entry.suffix.lower() in READ_SUFFIXES for entry in entries)
    return holds_cubes or not any(entry.suffix.lower() == '.png' for entry in entries)


def check_pair_arguments(args: argparse.Namespace) -> None:
    """Refuse options that do not go with many pairs, or only with them.

    Raises:
        ValueError: There is such an option, or the output is not a folder.
    """
    if not names_many_pairs(args):
        if args.suffix is not None:
            raise ValueError('--suffix is for many pairs: of a single one, --out says the format.')
        return
    if args.pairs is not None and args.guide is not None:
        raise ValueError('The list of pairs names the guides too: leave --guide out.')
    for name in ('reference', 'report'):
        if getattr(args, name) is not None:
            raise ValueError(
                f'--{name} is for a single pair: leave it out; the folder .mulsr beside the results has the report of '
                'every pair, and `mulsr evaluate` measures a result.'
            )
    if Path(args.out).expanduser().is_file():
        raise ValueError(f'{args.out} is a file, expected a folder for the results of many pairs: name another.')
    share_of_environment()


def kept_results(folder: Path) -> list[str]:
    """Say where what is finished lies, in lines for people."""
    return [f'Finished results are kept in {folder}.'] if (folder / '.mulsr').is_dir() else []


def run_pairs(
    args: argparse.Namespace, settings: Mapping[str, Any], progress_bar: Callable[[str, str], Progress]
) -> int:
    """Super-resolve the pairs of a command line, or the share of them of this process; print a table.

    Returns:
        1 if any pair failed.
    """
    from basicsr.utils import get_root_logger
    from tqdm.contrib.logging import logging_redirect_tqdm

    from mulsr_plugin import register
    from mulsr_plugin.apps.infer_pairs import PairsJob, infer_pairs, summary_of
    from mulsr_plugin.apps.super_resolution import InferenceSettings
    from mulsr_plugin.utils.distributed import wait_for_independent

    register()
    logger = get_root_logger()
    logger.setLevel(logging.WARNING)  # the records keep the rest
    share = share_of_environment()
    job = PairsJob(
        pairs=pairs_of(args),
        folder=Path(args.out),
        settings=InferenceSettings(**settings),
        suffix=args.suffix,
        force=args.force,
        share=share,
    )
    text = 'Super-resolving' if share.count == 1 else f'Super-resolving, {share.index + 1} of {share.count}'
    with logging_redirect_tqdm([logger]):
        rows = infer_pairs(job, progress_bar(text, 'pair'))
    print(summary_of(rows))
    print(f'Written: {job.table}')
    wait_for_independent()
    return int(any(row.get('error') for row in rows))


def pairs_of(args: argparse.Namespace) -> list[PairFiles]:
    """Return the pairs that a command line names."""
    from mulsr_plugin.data.sources.pair import read_pair_list
    from mulsr_plugin.data.sources.pair_folders import folder_pairs

    of_cubes, of_guides = cube_options(args), reading_options(args, 'guide-')
    if args.pairs is not None:
        return read_pair_list(args.pairs, of_cubes, of_guides)
    return folder_pairs(args.hsi, args.guide, of_cubes, of_guides)
