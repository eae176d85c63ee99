"""Time MulSR here beside the authors' release, or beside a literal slow form of it, in one run and in turn.

    git clone https://github.com/qianngli/MulSR
    python -m scripts.dev.speed.run --reference MulSR [--device cuda]

Forward pass of a crop and of a whole scene, training steps, training samples (and the steps of one), metrics (and each
of them beside a plain SSIM) and line scans (with and without kernels), on the same tensors and data with the same
weights. Ratios are taken within a round, so other programs on the machine disturb both sides alike.
Writes speed.json and speed.md into --output.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from mulsr_plugin.cli.arguments import whole_number
from scripts.dev.speed.authors_release import AuthorsRelease
from scripts.dev.speed.cases import Setting, all_cases
from scripts.dev.speed.profile import profile_forward, profile_table
from scripts.dev.speed.tables import describe_machine, matrix_rates, measure, write_results
from scripts.dev.trainings import Reference
from tests.literal_form import LiteralForm

CASES = ['crop', 'scene', 'training', 'loader', 'metrics', 'scan']


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--reference', metavar='CLONE', help="clone of the authors' repository (default: the literal form in tests/)"
    )
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cpu', help='default: cpu')
    parser.add_argument('--threads', type=whole_number(1), help='CPU threads (default: what PyTorch takes)')
    parser.add_argument('--cases', nargs='+', choices=CASES, default=CASES, help='what to time (default: all)')
    parser.add_argument('--rounds', type=whole_number(1), default=3, help='rounds of every case (default: 3)')
    parser.add_argument('--modules', type=whole_number(1), default=2, help='modules of MulSR (default: 2)')
    parser.add_argument(
        '--scene-bands',
        type=whole_number(1, 31),
        default=31,
        help='bands of the scene to compute (default: 31; minutes each on a CPU)',
    )
    parser.add_argument('--lmdb', help='store made by `mulsr prepare` for the loader (default: made up)')
    parser.add_argument('--profile', action='store_true', help='write which operators the forward pass spends time in')
    parser.add_argument('--output', type=Path, default=Path('results/benchmark_speed'), help='default: %(default)s')
    return parser.parse_args()


def main() -> None:
    """Parse, time, and report a user's mistake in one line."""
    args = parse_arguments()
    if args.device == 'cuda' and not torch.cuda.is_available():
        sys.exit('error: --device cuda was given, but PyTorch sees no GPU; leave it out.')
    try:
        benchmark(args)
    except (ValueError, OSError) as error:
        sys.exit(f'error: {error}')


def benchmark(args: argparse.Namespace) -> None:
    """Time all cases and write the tables as they grow."""
    if args.threads:
        torch.set_num_threads(args.threads)
    reference: Reference = LiteralForm() if args.reference is None else AuthorsRelease(args.reference)
    args.output.mkdir(parents=True, exist_ok=True)  # minutes before the first table
    device = torch.device(args.device)
    setting = Setting(reference, device, args.modules, scene_bands=args.scene_bands, lmdb=args.lmdb)
    rates = matrix_rates(device)
    machine = describe_machine(device, rates)
    print(machine)
    rows = []
    for case in all_cases(setting, args.cases):
        rows += measure(case, setting, rates, args.rounds)
        table = write_results(args.output, machine, shlex.join(['python', *sys.argv]), rows)
        print(*table.splitlines()[-1 - len(case.ours) :], sep='\n', flush=True)
    if args.profile:
        table = profile_table(profile_forward(setting))
        (args.output / 'profile.md').write_text(f'{machine}\n\n{table}\n', encoding='utf-8')
        print(table)
    print(f'{args.output / "speed.md"} and speed.json have the whole table.')


if __name__ == '__main__':
    main()
