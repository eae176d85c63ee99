"""Train, kill, resume, over and over, and compare with a training that nobody disturbed.

A small MulSR is trained through python -m mulsr_plugin.train on synthetic scenes: once undisturbed, then in rounds in
which the process gets SIGKILL or SIGTERM at random moments and is started again with --auto_resume. Every loss in the
log and the weights at the end must be those of the undisturbed run, no saved state may be lost, memory must stay flat.
Writes soak.json and, with pip install -e .[plots], soak.png. Example, of half an hour:

    nice python -m scripts.dev.soak --minutes 30 --out soak
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from mulsr_plugin.checkpoints.files import load_safely
from mulsr_plugin.cli.arguments import whole_number
from mulsr_plugin.data.prepare import prepare_dataset, split_scenes
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.data.sources.demo_scenes import make_demo_scenes
from mulsr_plugin.training.stop_signals import EXIT_STOPPED

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / 'options' / 'demo_mulsr_x8.yml'
LOSS = re.compile(r'iter: +([\d,]+), .*? l_pix: (\S+)')
RESUMED = re.compile(r'Resuming from epoch .* iteration (\d+)\.')
FLAT = 0.05  # growth of memory that is not called one


@dataclass
class Life:
    """One process, from its start to its end.

    Attributes:
        ended_by (str): ``'SIGKILL'``, ``'SIGTERM'``, or ``''`` for one that finished the training.
        resumed_at (int): Iteration at which it took up the training, 0 for a fresh start.
        losses (dict[int, str]): Loss of every iteration as the log has it.
        memory (list[tuple[float, float]]): Seconds since its first iteration, resident memory in MB.
        faults (list[str]): What should not have happened.
    """

    ended_by: str = ''
    resumed_at: int = 0
    losses: dict[int, str] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', default='soak', help='new folder for everything that is written; default: soak')
    parser.add_argument('--minutes', type=float, default=30, help='no round is begun after these; default: 30')
    parser.add_argument('--iterations', type=whole_number(1), default=600, help='of every training; default: 600')
    parser.add_argument('--save-freq', type=whole_number(1), default=25, help='iterations between states; default: 25')
    parser.add_argument(
        '--kill-after',
        type=float,
        nargs=2,
        default=(0, 40),
        metavar=('MIN', 'MAX'),
        help='seconds that a process is left alone for when it has read its data; default: 0 40',
    )
    parser.add_argument('--seed', type=int, default=0, help='of the moments and the signals; default: 0')
    return parser


def write_data(folder: Path) -> None:
    """Draw three scenes and prepare them as train.lmdb and test.lmdb."""
    make_demo_scenes(folder / 'scenes', num_scenes=3, size=64, seed=0)
    scenes = cave_scenes(folder / 'scenes')
    prepare_dataset(scenes, folder, split_scenes(scenes, test_scenes=['demo_03']), progress=False)


def write_options(folder: Path, name: str, iterations: int, save_freq: int) -> str:
    """Write the option file of a training: the demonstration's, smaller, with a loss in the log at every iteration."""
    opt = yaml.safe_load(BASE.read_text(encoding='utf-8'))
    opt['name'] = name
    opt['datasets']['train'].update(dataroot_gt='train.lmdb', gt_size=32, crops_per_image=40, num_worker_per_gpu=2)
    opt['datasets']['val']['dataroot_gt'] = 'test.lmdb'
    opt['network_g']['num_feat'] = 8
    opt['train'].update(total_iter=iterations)
    opt['train']['scheduler']['periods'] = [iterations]
    opt['val'].update(val_freq=3 * save_freq, pbar=False, metrics={'psnr': opt['val']['metrics']['psnr']})
    opt['logger'].update(print_freq=1, save_checkpoint_freq=save_freq, use_tb_logger=False)
    (folder / f'{name}.yml').write_text(yaml.safe_dump(opt), encoding='utf-8')
    return f'{name}.yml'


def live(folder: Path, options: str, log: Path, kill: tuple[float, signal.Signals] | None) -> Life:
    """Start a process, take its memory every second, send it a signal when its time has come, and read its log."""
    command = [sys.executable, '-m', 'mulsr_plugin.train', '-opt', options, '--auto_resume']
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'}
    result, ready, first = Life(), None, None
    with open(log, 'wb') as output:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        try:
            while process.poll() is None:
                now, written = time.monotonic(), log.read_bytes()
                ready = ready or (now if b'Training on' in written else None)
                first = first or (now if b' l_pix: ' in written else None)
                megabytes = resident_memory(process.pid)
                if first and megabytes:
                    result.memory.append((round(now - first, 1), megabytes))
                if kill is not None and ready and not result.ended_by and now - ready > kill[0]:
                    process.send_signal(kill[1])
                    result.ended_by = kill[1].name
                time.sleep(0.2 if result.ended_by else 1)
        finally:
            process.kill()  # no training outlives this script
    text = log.read_text(encoding='utf-8', errors='replace')
    result.losses = {int(iteration.replace(',', '')): loss for iteration, loss in LOSS.findall(text)}
    found = RESUMED.search(text)
    result.resumed_at = int(found[1]) if found else 0
    if process.returncode == 0:
        result.ended_by = ''  # it was quicker than the signal
    expected = {'SIGKILL': -signal.SIGKILL, 'SIGTERM': EXIT_STOPPED, '': 0}[result.ended_by]
    # before the first iteration a signal finds nothing to save
    if process.returncode != expected and not (process.returncode == -signal.SIGTERM and not result.losses):
        result.faults.append(f'exit code {process.returncode} instead of {expected}: {text[-500:]}')
    return result


def resident_memory(pid: int) -> float:
    """Resident memory of a process in MB; 0 when it has gone."""
    try:
        status = Path(f'/proc/{pid}/status').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    found = re.search(r'VmRSS:\s+(\d+) kB', status)
    return int(found[1]) / 1024 if found else 0.0


def newest_state(folder: Path, name: str) -> int:
    """Return the iteration of the newest state that loads together with its network, 0 for none."""
    states = folder / 'experiments' / name / 'training_states'
    for path in sorted(states.glob('*.state'), key=lambda path: int(path.stem), reverse=True):
        try:
            load_safely(path)
            load_safely(states.parent / 'models' / f'net_g_{path.stem}.pth')
        except (ValueError, FileNotFoundError):
            continue
        return int(path.stem)
    return 0


def run_round(folder: Path, name: str, args: argparse.Namespace, rng: random.Random, deadline: float) -> list[Life]:
    """Train once to the end, with kills until the time is over."""
    options = write_options(folder, name, args.iterations, args.save_freq)
    lives: list[Life] = []
    while not lives or lives[-1].ended_by:
        before = newest_state(folder, name)
        kill = (rng.uniform(*args.kill_after), rng.choice([signal.SIGKILL, signal.SIGTERM]))
        life = live(folder, options, folder / f'{name}_{len(lives)}.log', kill if time.time() < deadline else None)
        after = newest_state(folder, name)
        if life.losses and life.resumed_at != before:
            life.faults.append(f'resumed at {life.resumed_at}, but the newest state was of {before}')
        if life.losses and life.ended_by == 'SIGTERM' and after < max(life.losses):
            life.faults.append(f'stopped at {max(life.losses)}, but the newest state is of {after}')
        if life.losses and life.ended_by == 'SIGKILL' and after < max(life.losses) - args.save_freq:
            life.faults.append(f'killed at {max(life.losses)}, but the newest state is of {after}')
        lives.append(life)
        print(
            f'{name}: iterations {before} to {max(life.losses, default=before)}, {life.ended_by or "done"}', flush=True
        )
    return lives


def weights_differ(folder: Path, first: str, second: str) -> bool:
    """Compare the last weights of two trainings bit by bit, averaged ones included."""
    one, two = (load_safely(folder / 'experiments' / name / 'models' / 'net_g_latest.pth') for name in (first, second))
    return any(not torch.equal(value, two[kind][key]) for kind in one for key, value in one[kind].items())


def growth(life: Life) -> float:
    """Growth of memory over the last three quarters of a life of a minute or more, as a share; 0 for shorter ones."""
    memory = [megabytes for _, megabytes in life.memory]
    quarter = len(memory) // 4
    if quarter < 15:
        return 0.0
    return statistics.median(memory[-quarter:]) / statistics.median(memory[quarter : 2 * quarter]) - 1


def summarise(reference: Life, rounds: dict[str, list[Life]], differing: list[str], seconds: float) -> dict[str, Any]:
    """Count what happened; ``sound`` tells whether all of it is as it should be."""
    lives = [life for round_lives in rounds.values() for life in round_lives]
    logged = [(iteration, loss) for life in lives for iteration, loss in life.losses.items()]
    wrong = [iteration for iteration, loss in logged if reference.losses.get(iteration) != loss]
    faults = [fault for life in [reference, *lives] for fault in life.faults]
    largest = max(growth(life) for life in [reference, *lives])
    return {
        'sound': not (wrong or faults or differing) and largest < FLAT,
        'minutes': round(seconds / 60, 1),
        'trainings': len(rounds),
        'iterations_each': len(reference.losses),
        'SIGKILL': sum(life.ended_by == 'SIGKILL' for life in lives),
        'SIGTERM': sum(life.ended_by == 'SIGTERM' for life in lives),
        'losses_compared': len(logged),
        'losses_that_differ': len(wrong),
        'trainings_with_other_weights': differing,
        'largest_growth_of_memory': round(largest, 4),
        'faults': faults,
    }


def draw(path: Path, reference: Life, rounds: dict[str, list[Life]]) -> None:
    """Draw the losses of all trainings one after the other, those of the undisturbed one below, and the memory."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    figure, (losses, memory) = plt.subplots(2, 1, figsize=(9, 7), constrained_layout=True)
    number = 0
    for offset, lives in zip(range(0, len(rounds) * len(reference.losses), len(reference.losses)), rounds.values()):
        plot_losses(losses, reference, offset, color='0.7', lw=3)
        for life in lives:
            number += 1
            plot_losses(losses, life, offset, color=f'C{number % 10}', lw=0.5)
            memory.plot(*zip(*life.memory or [(0, 0)]), lw=0.7, color=f'C{number % 10}')
            if life.ended_by and life.losses:
                mark = 'x' if life.ended_by == 'SIGKILL' else '+'
                losses.plot(
                    offset + max(life.losses), float(life.losses[max(life.losses)]), mark, color='k', ms=7, zorder=3
                )
    memory.plot(*zip(*reference.memory), color='0.7', lw=3, label='undisturbed')
    losses.set(xlabel='iteration, trainings in a row', ylabel='loss', yscale='log')
    losses.set_title('Coloured: processes; grey: the undisturbed training; x: SIGKILL, +: SIGTERM')
    memory.set(xlabel='seconds since the first iteration of a process', ylabel='resident memory (MB)', ylim=(0, None))
    memory.legend()
    figure.savefig(path, dpi=120)


def plot_losses(axes: Any, life: Life, offset: int, **style: Any) -> None:
    """Draw the losses of one process, ``offset`` iterations to the right."""
    axes.plot([offset + iteration for iteration in life.losses], list(map(float, life.losses.values())), **style)


def check_arguments(args: argparse.Namespace) -> None:
    """Refuse numbers that no soak can be run with, and a folder that exists.

    Raises:
        ValueError: A number is out of its range.
        FileExistsError: The folder exists.
    """
    if not args.minutes >= 0:
        raise ValueError(f'--minutes is {args.minutes}, expected a number of at least 0; correct it.')
    if not 0 <= args.kill_after[0] <= args.kill_after[1]:
        raise ValueError('--kill-after takes the shortest and the longest time in seconds, such as 0 40; correct it.')
    if Path(args.out).exists():
        raise FileExistsError(f'{args.out} exists already and is left as it is: remove it or name another --out.')


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak; return 1 if anything was not as it should be, and report a user's mistake in one line."""
    args = build_parser().parse_args(argv)
    try:
        check_arguments(args)
        return soak(args)
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f'interrupted: {args.out} has the logs so far, but no soak.json', file=sys.stderr)
        return 130


def soak(args: argparse.Namespace) -> int:
    """Train undisturbed, then with kills until the time is over; write and print what was found."""
    folder, start, rng = Path(args.out), time.time(), random.Random(args.seed)
    folder.mkdir(parents=True)
    write_data(folder)
    reference = live(
        folder, write_options(folder, 'undisturbed', args.iterations, args.save_freq), folder / 'log', None
    )
    print(f'undisturbed: {len(reference.losses)} iterations in {time.time() - start:.0f} s', flush=True)
    rounds: dict[str, list[Life]] = {}
    differing = []
    while not rounds or time.time() - start < 60 * args.minutes:
        name = f'round_{len(rounds)}'
        rounds[name] = run_round(folder, name, args, rng, start + 60 * args.minutes)
        if weights_differ(folder, 'undisturbed', name):
            differing.append(name)
        shutil.rmtree(folder / 'experiments' / name)
    summary = summarise(reference, rounds, differing, time.time() - start)
    lives = {name: [asdict(life) for life in lives] for name, lives in rounds.items()}
    content = {'summary': summary, 'undisturbed': asdict(reference), 'rounds': lives}
    (folder / 'soak.json').write_text(json.dumps(content), encoding='utf-8')
    print(json.dumps(summary, indent=2))
    try:
        draw(folder / 'soak.png', reference, rounds)
    except ImportError:
        print('no figure: pip install mulsr-plugin[plots]')
    return 0 if summary['sound'] else 1


if __name__ == '__main__':
    sys.exit(main())
