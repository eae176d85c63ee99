"""What weights lose where the images are not those they were trained for: kernel, noise, registration, bands, response.

    python -m scripts.dev.robustness --weights mulsr_cave_x8_small --lmdb datasets/cave/test.lmdb

One condition is changed at a time, around --preset. Writes robustness.csv and .md; a call goes on where the one before
was interrupted. Bicubic interpolation of the same images stands beside.
"""

from __future__ import annotations

import argparse
import csv
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from mulsr_plugin import register
from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.models.precision import PRECISIONS

COLUMNS = ['sweep', 'value', 'psnr', 'ssim', 'sam', 'rmse', 'ergas', 'bicubic_psnr']


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='checkpoint, or the name of weights of the package')
    parser.add_argument('--lmdb', type=Path, required=True, help='store of the test scenes')
    parser.add_argument('--scale', type=whole_number(2), default=8, help='default: %(default)s')
    parser.add_argument(
        '--preset', choices=['authors_fixed', 'noise_free'], default='authors_fixed', help='default: %(default)s'
    )
    parser.add_argument('--centering', choices=['legacy', 'aligned'], help='of authors_fixed; default: legacy')
    parser.add_argument('--sweeps', nargs='+', help='only sweeps whose names begin so')
    parser.add_argument('--crop-size', type=whole_number(1), help='central crops only, a multiple of the scale')
    parser.add_argument('--max-scenes', type=whole_number(1), help='the first scenes only')
    parser.add_argument('--device', choices=['cpu', 'cuda'], default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32', help='default: %(default)s')
    parser.add_argument('--out', type=Path, default=Path('results/robustness'), help='default: %(default)s')
    return parser


class Table:
    """Rows in a CSV file with the protocol above.

    Args:
        folder: For ``robustness.csv`` and ``robustness.md``.
        protocol: What all rows share; a file with another one is refused.

    Raises:
        ValueError: The file holds rows of another protocol.
    """

    def __init__(self, folder: Path, protocol: str) -> None:
        self.folder, self.protocol = folder, protocol
        self.rows: list[dict[str, str]] = []
        path = folder / 'robustness.csv'
        if path.exists():
            with open(path, encoding='utf-8', newline='') as file:
                if file.readline() != f'# {protocol}\n':
                    raise ValueError(f'{path} holds results of another protocol: name another folder with --out.')
                self.rows = list(csv.DictReader(file))

    def has(self, sweep: str, value: str) -> bool:
        """Tell whether a condition has been measured."""
        return any((row['sweep'], row['value']) == (sweep, value) for row in self.rows)

    def add(self, sweep: str, value: str, metrics: dict[str, float]) -> None:
        """Add a row and write the file."""
        self.rows.append({'sweep': sweep, 'value': value, **{key: f'{number:.4f}' for key, number in metrics.items()}})
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self.folder / '.robustness.csv.partial'
        with open(temporary, 'w', encoding='utf-8', newline='') as file:
            file.write(f'# {self.protocol}\n')
            writer = csv.DictWriter(file, COLUMNS, lineterminator='\n')
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.folder / 'robustness.csv')

    def markdown(self, command: str) -> str:
        """Set the rows out in Markdown and write them to ``robustness.md``."""
        head = ['condition', '', 'PSNR', 'SSIM', 'SAM', 'RMSE', 'ERGAS', 'PSNR of bicubic']
        lines = [command, '', self.protocol, '', f'| {" | ".join(head)} |', '|---' * len(head) + '|']
        lines += [f'| {" | ".join(row[column] for column in COLUMNS)} |' for row in self.rows]
        text = '\n'.join(lines) + '\n'
        (self.folder / 'robustness.md').write_text(text, encoding='utf-8')
        return text


def measure(args: argparse.Namespace) -> None:
    """Measure the conditions that are missing."""
    from mulsr_plugin.checkpoints.networks import network_from_weights, read_weights
    from mulsr_plugin.checkpoints.shipped import find_weights
    from scripts.dev.robustness_sweeps import Robustness, sweeps

    if args.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('--device cuda was given, but PyTorch sees no GPU; leave it out.')
    names = list(dict.fromkeys(condition.sweep for condition in sweeps({'preset': args.preset})))
    if args.sweeps and not any(name.startswith(tuple(args.sweeps)) for name in names):
        raise ValueError(f'--sweeps {" ".join(args.sweeps)} begins no name of {"; ".join(names)}: correct it.')
    if args.crop_size is not None and args.crop_size % args.scale:
        raise ValueError(f'--crop-size {args.crop_size} is no multiple of the scale {args.scale}; choose one that is.')
    base = {'preset': args.preset, **({'kernel_centering': args.centering} if args.centering else {})}
    net, network = network_from_weights(read_weights(find_weights(args.weights)), args.scale)
    robustness = Robustness(
        net, str(args.lmdb), args.scale, torch.device(args.device), args.crop_size, args.max_scenes, args.precision
    )
    size = f'central {args.crop_size}x{args.crop_size} crops' if args.crop_size else 'whole scenes'
    protocol = (
        f'{args.weights}: {network["type"]}; x{args.scale}, {" ".join(base.values())}, '
        f'{len(robustness.keys)} scenes ({", ".join(robustness.keys)}), {size}, {args.precision}'
    )
    table = Table(args.out, protocol)
    for condition in sweeps(base):
        wanted = args.sweeps is None or any(condition.sweep.startswith(name) for name in args.sweeps)
        if wanted and not table.has(condition.sweep, condition.value):
            table.add(condition.sweep, condition.value, robustness.measure(condition))
            print(', '.join(f'{key} {value}' for key, value in table.rows[-1].items()), flush=True)
    print(table.markdown(shlex.join(['python', *sys.argv])))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; a user's mistake ends the program with one line."""
    args = build_parser().parse_args(argv)
    register()
    try:
        measure(args)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
