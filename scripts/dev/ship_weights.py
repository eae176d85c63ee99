"""Make trained weights part of the package: the file, its entry in the registry, and its model card.

Takes the averaged weights where there are any. Figures are those of the tables that a test has left in --results.
Example:

    python -m scripts.dev.ship_weights mulsr_cave_x8 \\
        experiments/train_mulsr_cave_x8_joint_bf16/models/net_g_latest.pth \\
        --opt options/train_mulsr_cave_x8_joint_bf16.yml --results results/mulsr_cave_x8 \\
        --data '22 scenes of CAVE' --training '3.5 hours on one GPU' --limits 'Trained on 31 bands of indoor scenes.'
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mulsr_plugin.apps.result_tables import image_table, read_means, read_rows
from mulsr_plugin.checkpoints.description import describe_weights, description_in
from mulsr_plugin.checkpoints.files import DESCRIPTION_KEY, load_safely, save_atomically
from mulsr_plugin.checkpoints.shipped import FOLDER
from mulsr_plugin.checkpoints.weights import check_weights_fit, select_weights
from mulsr_plugin.utils.files import replace_text
from mulsr_plugin.utils.options import read_option_file


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('name', help='of the weights, and of their files in mulsr_plugin/checkpoints/shipped/')
    parser.add_argument('checkpoint', type=Path, help='file of the training')
    parser.add_argument('--opt', type=Path, required=True, help='option file of the training')
    parser.add_argument('--results', type=Path, required=True, help='folder with metrics_*.csv of a test')
    parser.add_argument('--data', required=True, help='what they were trained on')
    parser.add_argument('--training', required=True, help='how long, on what')
    parser.add_argument('--limits', required=True, help='what to expect where it was not trained for')
    parser.add_argument('--licence', default='Apache-2.0', help='default: %(default)s')
    parser.add_argument('--bf16', action='store_true', help='store in bfloat16, half the size')
    parser.add_argument('--folder', type=Path, default=FOLDER, help=argparse.SUPPRESS)
    return parser


def read_weights(args: argparse.Namespace, opt: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights to ship and compare them with the network; return them and their description."""
    from basicsr.archs import build_network

    content = load_safely(args.checkpoint)
    params = select_weights(content, 'params_ema', str(args.checkpoint))
    check_weights_fit(build_network(dict(opt['network_g'])), params, str(args.checkpoint))
    broken = [name for name, value in params.items() if not value.isfinite().all()]
    if broken:
        raise ValueError(f'{args.checkpoint} has NaN or infinite values in {broken[0]}: choose another checkpoint.')
    params = {name: value.to(torch.bfloat16) if args.bf16 else value for name, value in params.items()}
    return params, description_in(content) or describe_weights(opt)


def describe_training(opt: dict[str, Any]) -> str:
    """What the weights were trained for, in one line."""
    response = opt['datasets']['train'].get('spectral_response') or 'nikon_d700'
    blocks = opt['train'].get('degradations')
    if blocks:
        kinds = sorted({f'{block["preset"]} x{block.get("scale", opt["scale"])}' for block in blocks})
        return f'{", ".join(kinds)}, guide by {response}'
    degradation = opt['datasets']['train'].get('degradation') or 'authors_random'
    block = degradation if isinstance(degradation, dict) else {'preset': degradation}
    switches = ', '.join(f'{key} {value}' for key, value in block.items() if key != 'preset')
    return f'x{opt["scale"]}, {block["preset"]}{f" ({switches})" if switches else ""}, guide by {response}'


def figure_tables(folder: Path) -> tuple[dict[str, dict[str, float]], str]:
    """Return the means of every table of a test by protocol, and the tables in Markdown."""
    means, texts = {}, []
    for path in sorted(folder.glob('metrics_*.csv')):
        protocol, values = read_means(path)
        means[protocol] = {key: round(value, 6) for key, value in values.items() if key != 'seconds'}
        texts.append(f'{protocol}\n\n{image_table(read_rows(path)[1])}')
    if not means:
        raise FileNotFoundError(f'{folder} has no metrics_*.csv: run a test with the weights first.')
    return means, '\n\n'.join(texts)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, write, and report a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    try:
        opt = read_option_file(args.opt, 'scale', 'datasets', 'network_g')
        network, means_and_text = opt['network_g'], figure_tables(args.results)
        params, description = read_weights(args, opt)
        file = args.folder / f'{args.name}.pth'
        save_atomically({'params': params, DESCRIPTION_KEY: description}, file)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    means, figures = means_and_text
    entry = {
        'file': file.name,
        'sha256': hashlib.sha256(file.read_bytes()).hexdigest(),
        'scale': opt['scale'],
        'network_g': network,
        'data': args.data,
        'protocol': describe_training(opt),
        'licence': args.licence,
        'figures': means,
    }
    write_entry(args.folder / 'registry.json', args.name, entry)
    size = f'{file.stat().st_size / 2**20:.1f} MiB'
    shown = {key: value for key, value in network.items() if key != 'type'}
    card = (
        Path(__file__)
        .with_name('card_template.md')
        .read_text(encoding='utf-8')
        .format(
            **{key: entry[key] for key in ('file', 'sha256', 'data', 'protocol', 'licence')},
            name=args.name,
            network=f'{network["type"]}: ' + ', '.join(f'{key} {value}' for key, value in shown.items()),
            parameters=f'{sum(value.numel() for value in params.values()):,}',
            dtype='bfloat16' if args.bf16 else 'float32',
            size=size,
            training=args.training,
            figures=figures,
            limits=args.limits,
        )
    )
    file.with_suffix('.md').write_text(card, encoding='utf-8')
    print(f'{file}: {size}, with {file.stem}.md and its entry in registry.json')
    return 0


def write_entry(path: Path, name: str, entry: dict[str, Any]) -> None:
    """Put an entry into the registry."""
    entries = json.loads(path.read_text(encoding='utf-8')) if path.exists() else {}
    entries[name] = entry
    replace_text(path, json.dumps(entries, indent=2, sort_keys=True) + '\n')


if __name__ == '__main__':
    sys.exit(main())
