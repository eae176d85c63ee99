"""Short trainings under equal time budgets, each with one change of a base, and the table of what helped.

    python -m scripts.dev.timed.search_recipe --grid options/search/recipe_mulsr_cave_x8.yml --minutes 3

The grid names a base (an option file), changes that all trials share (common) and the trials; keys are those of
--force_yml. Tests do not count, what happens at the first batch does. Writes search.csv and search.md; a call goes on
with the trials that are missing and begins none that --budget has no room for.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network

from mulsr_plugin.cli.arguments import above_zero
from mulsr_plugin.models.schema import check_model_options
from mulsr_plugin.training.stop_signals import EXIT_STOPPED
from mulsr_plugin.utils.options import read_option_file
from mulsr_plugin.utils.tables import markdown_table
from scripts.dev.timed.training import (
    PointTable,
    add_arguments,
    load_scenes,
    read_training_options,
    train_against_clock,
    training_rules,
)
from scripts.dev.trainings import OurTraining, as_parsed

BASE = 'base'


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--grid', type=Path, default=Path('options/search/recipe_mulsr_cave_x8.yml'))
    add_arguments(parser, minutes=3, every=1, out='results/search_recipe')
    parser.add_argument('--budget', type=above_zero, help='minutes of the whole call; default: no limit')
    return parser


def read_grid(path: Path, data: Path) -> dict[str, dict[str, Any]]:
    """Return the options of every trial by its name, the base first.

    Raises:
        FileNotFoundError: The grid or its base does not exist.
        ValueError: The grid is none, or changes a block that the base has not.
    """
    grid = read_option_file(path)
    if set(grid) - {'base', 'common', 'trials'} or not {'base', 'trials'} <= set(grid):
        raise ValueError(f'{path} is not a grid: write base, trials and perhaps common, and nothing else.')
    base = read_training_options(path.parent / grid['base'], data)
    common = changed(base, grid.get('common') or {})
    return {BASE: common, **{name: changed(common, changes) for name, changes in grid['trials'].items()}}


def changed(opt: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with some of them changed, or removed where the value is None.

    Raises:
        ValueError: A block on the way does not exist.
    """
    result: dict[str, Any] = deepcopy(dict(opt))
    for keys, value in changes.items():
        *blocks, last = keys.split(':')
        block: Any = result
        for key in blocks:
            block = block.get(key) if isinstance(block, dict) else None
        if not isinstance(block, dict):
            raise ValueError(f'The grid changes {keys}, but the base has no block {":".join(blocks)}; correct the key.')
        if value is None:
            block.pop(last, None)
        else:
            block[last] = deepcopy(value)
    return result


def table_text(table: Any, names: Sequence[str], command: str) -> str:
    """Set the trials out in Markdown, best first, with their difference from the base."""
    ends = {name: table.of(name)[-1] for name in names if table.of(name)}
    base = ends.get(BASE)
    head = ['trial', 'minutes', 'iterations', 'PSNR', 'difference', 'SSIM', 'SAM']
    rows = []
    for name, end in sorted(ends.items(), key=lambda item: -item[1].values['psnr']):
        difference = f'{end.values["psnr"] - base.values["psnr"]:+.3f}' if base else ''
        quality = [f'{end.values["psnr"]:.3f}', difference, f'{end.values["ssim"]:.4f}', f'{end.values["sam"]:.3f}']
        rows.append([name, f'{end.minutes:.2f}', str(end.iterations), *quality])
    return f'{command}\n\n{table.protocol}\n\n{markdown_table(head, rows)}\n'


def search(args: argparse.Namespace) -> int:
    """Run the trials that are missing and write the table; return the exit code."""
    started = time.monotonic()
    options, device = read_grid(args.grid, args.data), torch.device(args.device)
    for name, opt in options.items():  # a mistake in the last trial shows before the first
        try:
            check_model_options({'path': {}, **as_parsed(opt, device)}, training_rules(opt))
        except ValueError as error:
            raise ValueError(f'Trial {name}: {error}') from error
    scenes, machine = load_scenes(options[BASE], args)
    table = PointTable(args.out / 'search.csv', f'{args.minutes:g} minutes each; {scenes.describe()}; {machine}')
    is_done = True
    for name, opt in options.items():
        if table.is_complete(name, args.minutes):
            continue
        # a trial may overrun by one iteration and has its tests besides
        if args.budget is not None and (time.monotonic() - started) / 60 + 1.2 * args.minutes > args.budget:
            is_done = False
            continue
        net, training = build_network(dict(opt['network_g'])), OurTraining(opt, device)
        table.replace(name, train_against_clock(name, training, net, scenes, args.minutes, args.every))
        print(f'{name}: {table.of(name)[-1].values["psnr"]:.3f} dB', flush=True)
        del net, training
    text = table_text(table, list(options), shlex.join(['python', *sys.argv]))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / 'search.md').write_text(text, encoding='utf-8')
    print(text)
    return 0 if is_done else EXIT_STOPPED


def main(argv: Sequence[str] | None = None) -> int:
    """Search; a user's mistake ends the program with one line."""
    args = build_parser().parse_args(argv)
    try:
        return search(args)
    except (ValueError, OSError, KeyError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
