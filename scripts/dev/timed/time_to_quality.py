"""Quality on the test scenes against minutes of training: MulSR beside the authors' release, or any networks.

    git clone https://github.com/qianngli/MulSR
    python -m scripts.dev.timed.time_to_quality --reference MulSR --minutes 8

Every training gets the same minutes on the same device and scenes; tests do not count, what happens at the first batch
(compiling included) does. The release runs its own loader and loop from its clone; its weights are tested by the same
code as ours. Writes time_to_quality.csv, .md and, with pip install -e .[plots], .png, and quality at the end against
the operations for a scene, quality_against_cost.png. A call goes on with the trainings that are missing; with --only it
runs one of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network

from mulsr_plugin.apps.benchmark.drawing import EntryCost, cost_figure
from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.utils.tables import markdown_table
from scripts.dev.speed.authors_release import AuthorsRelease
from scripts.dev.timed.training import (
    PointTable,
    add_arguments,
    load_scenes,
    minutes_to_reach,
    read_training_options,
    train_against_clock,
)
from scripts.dev.trainings import OurTraining, ReferenceTraining, Training, reference_batches, write_mats

_COLOURS = 10  # of Matplotlib's cycle
OPTIONS = [Path(f'options/train_mulsr_cave_x8{suffix}.yml') for suffix in ('_fast', '_joint_bf16', '')]


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--reference', type=Path, metavar='CLONE', help="clone of the authors' repository")
    parser.add_argument(
        '--opt', type=Path, nargs='+', default=OPTIONS, help='trainings of ours; default: fast, joint bf16 and per band'
    )
    add_arguments(parser, minutes=8, every=0.5, out='results/time_to_quality')
    parser.add_argument('--only', help='run one training: the name of an option file without .yml, or release')
    parser.add_argument(
        '--workers', type=whole_number(0), default=12, help="processes of the release's loader; default: 12"
    )
    parser.add_argument('--batch-size', type=whole_number(1), help='of all trainings; default: as in the option files')
    parser.add_argument('--gt-size', type=whole_number(1), help='side of the crops; default: as in the option files')
    parser.add_argument('--modules', type=whole_number(1), help='modules of MulSR; default: as in the option files')
    return parser


def read_options(path: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Read an option file and set what the command line says."""
    opt = read_training_options(path, args.data)
    changes = {'batch_size_per_gpu': args.batch_size, 'gt_size': args.gt_size}
    opt['datasets']['train'].update({key: value for key, value in changes.items() if value is not None})
    if args.modules is not None:
        opt['network_g']['num_modules'] = args.modules
    return opt


def trainings(args: argparse.Namespace, options: dict[str, dict[str, Any]]) -> dict[str, Callable[[], Training]]:
    """Return what builds each training, by its name."""
    device = torch.device(args.device)
    built: dict[str, Callable[[], Training]] = {
        name: lambda opt=opt: OurTraining(opt, device) for name, opt in options.items()
    }
    if args.reference is not None:
        release = AuthorsRelease(args.reference)
        built['release'] = lambda: build_release(release, next(iter(options.values())), args)
    return built


def build_release(release: AuthorsRelease, opt: dict[str, Any], args: argparse.Namespace) -> ReferenceTraining:
    """Build the release's training with the modules, scale, crops, batches and seed of an option file of ours."""
    data = opt['datasets']['train']
    torch.manual_seed(opt.get('manual_seed') or 0)
    net = release.network(opt['network_g']['num_modules'], opt['scale']).to(args.device)
    mats = write_mats(args.data / 'train.lmdb', args.out / 'mat')
    samples = release.training_set(mats, opt['scale'], data['gt_size'])
    return ReferenceTraining(release, net, reference_batches(samples, data['batch_size_per_gpu'], args.workers))


def table_text(table: Any, names: Sequence[str], command: str) -> str:
    """Set the results out in Markdown: where every training ended, and when it had reached the release's end."""
    goal = table.of('release')[-1].values['psnr'] if table.of('release') else None
    head = ['training', 'minutes', 'iterations', 'PSNR', 'SSIM', 'SAM', 'minutes to the PSNR of the release']
    rows = []
    for name in names:
        points = table.of(name)
        if not points:
            continue
        last, reached = points[-1], None if goal is None else minutes_to_reach(points, goal)
        quality = [f'{last.values[key]:.4f}' for key in ('psnr', 'ssim', 'sam')]
        when = '' if goal is None else 'not reached' if reached is None else f'{reached:.2f}'
        rows.append([name, f'{last.minutes:.2f}', str(last.iterations), *quality, when])
    return f'{command}\n\n{table.protocol}\n\n{markdown_table(head, rows)}\n'


def label(name: str) -> str:
    """Return the name of a training for a figure."""
    return name.removeprefix('train_').replace('_', ' ')


def draw(table: Any, names: Sequence[str], path: Path) -> None:
    """Draw PSNR against minutes."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 4.5), constrained_layout=True)
    for number, name in enumerate(names):
        points = table.of(name)
        style = '.-' if number < _COLOURS else '.--'
        axes.plot([p.minutes for p in points], [p.values['psnr'] for p in points], style, label=label(name))
    axes.set(xlabel='minutes of training', ylabel='PSNR of the test scenes (dB)')
    axes.grid(alpha=0.3)
    axes.legend(loc='center left', bbox_to_anchor=(1, 0.5), fontsize='small')
    figure.savefig(path, dpi=150)
    plt.close(figure)


def draw_cost(table: Any, options: Mapping[str, Any], scenes: Any, path: Path) -> None:
    """Draw the PSNR at the end of our trainings against the operations of their networks for one scene."""
    entries = {}
    for name, opt in options.items():
        if points := table.of(name):
            net = build_network(dict(opt['network_g']))
            parameters = sum(parameter.numel() for parameter in net.parameters())
            entries[label(name)] = EntryCost(points[-1].values['psnr'], scenes.gflops(net), parameters)
    if entries:
        cost_figure(entries, 'GFLOPs per scene', len(scenes.samples)).savefig(path, dpi=150, bbox_inches='tight')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the trainings that are missing; a user's mistake ends the program with one line."""
    args = build_parser().parse_args(argv)
    try:
        return compare(args)
    except (ValueError, OSError, ImportError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def compare(args: argparse.Namespace) -> int:
    """Run the trainings that are missing and write the table and the plot."""
    if args.device == 'cuda' and not torch.cuda.is_available():
        raise ValueError('--device cuda was given, but PyTorch sees no GPU; leave it out.')
    options = {path.stem: read_options(path, args) for path in args.opt}
    first = next(iter(options.values()))
    built = trainings(args, options)
    if args.only is not None and args.only not in built:
        raise ValueError(f'--only {args.only} is none of {", ".join(built)}.')
    scenes, machine = load_scenes(first, args)
    batch = first['datasets']['train']
    protocol = f'{scenes.describe()}; batches of {batch["batch_size_per_gpu"]} crops of {batch["gt_size"]}; {machine}'
    table = PointTable(args.out / 'time_to_quality.csv', ' '.join(protocol.split()))
    for name, build in built.items():
        if args.only in (None, name) and not table.is_complete(name, args.minutes):
            net = build_network(dict(options.get(name, first)['network_g']))
            points = train_against_clock(name, build(), net, scenes, args.minutes, args.every)
            table.replace(name, (print_point(point) for point in points))
    text = table_text(table, list(built), shlex.join(['python', *sys.argv]))
    (args.out / 'time_to_quality.md').write_text(text, encoding='utf-8')
    print(text)
    try:
        draw(table, [name for name in built if table.of(name)], args.out / 'time_to_quality.png')
        draw_cost(table, options, scenes, args.out / 'quality_against_cost.png')
    except ImportError:
        print('no plot: pip install mulsr-plugin[plots]')
    return 0


def print_point(point: Any) -> Any:
    """Print a point and pass it on."""
    print(
        f'{point.training}: {point.minutes:.2f} min, {point.iterations} it, {point.values["psnr"]:.3f} dB', flush=True
    )
    return point


if __name__ == '__main__':
    sys.exit(main())
