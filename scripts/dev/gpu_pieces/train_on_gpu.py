"""From CAVE to tested weights on a GPU that is at hand for short pieces of time: one command, given again and again.

    python -m scripts.dev.gpu_pieces.train_on_gpu --input complete_ms_data --minutes 9 --state state --part-mib 15

It makes the LMDBs where they are missing, takes the training up from its newest state, ends it in order when the time
is used up, and tests whole scenes once it is complete. Exit code 75 means: not done, give the same command again.
With --state the newest training state is also written there, as a tar file in parts with SHA-256 checksums, and on a
machine without the run taken up from there. Every call adds a line to experiments/NAME/pieces.csv: iterations,
minutes, device. --input takes LMDBs in such parts too, made by coreutils (and read by: sha256sum -c SHA256SUMS &&
cat part_* | tar -x):

    mkdir parts && tar -c -C datasets/cave train.lmdb/data.mdb test.lmdb/data.mdb | split -b 15M -d -a 3 - parts/part_
    cd parts && sha256sum part_* > SHA256SUMS
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from mulsr_plugin.checkpoints.states import complete_states
from mulsr_plugin.training.stop_signals import EXIT_STOPPED
from mulsr_plugin.utils.options import read_option_file

SCRIPTS = Path(__file__).resolve().parents[2]
SUMS = 'SHA256SUMS'
LOGGED = re.compile(r'time \(data\): (\S+) \((\S+)\)\].*?(?:gpu_percent: (\S+))?\s*$', re.MULTILINE)
PIECES = ['date', 'from_iteration', 'to_iteration', 'minutes', 'device', 'commit']


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--input', type=Path, help='complete_ms_data, its zip, or LMDBs in parts (see above)')
    parser.add_argument('--data', type=Path, default=Path('datasets/cave'), help='LMDBs; default: %(default)s')
    parser.add_argument(
        '--opt',
        type=Path,
        default=Path('options/train_mulsr_cave_x8_joint_bf16.yml'),
        help='training; default: %(default)s',
    )
    parser.add_argument(
        '--test-opt', type=Path, default=Path('options/test_mulsr_cave_x8.yml'), help='test; default: %(default)s'
    )
    parser.add_argument('--minutes', type=float, help='for the whole call; default: until the training is complete')
    parser.add_argument('--reserve', type=float, default=0.5, help='minutes of it for saving; default: %(default)s')
    parser.add_argument('--test-minutes', type=float, default=2, help='minutes that a test takes; default: %(default)s')
    parser.add_argument('--state', type=Path, help='folder for the training state in parts')
    parser.add_argument('--state-out', type=Path, help='folder to write the parts into, if another one')
    parser.add_argument('--part-mib', type=float, default=15, help='largest size of a part; default: %(default)s')
    parser.add_argument('--keep-states', type=int, default=2, help='training states to keep; default: %(default)s')
    parser.add_argument(
        '--force-yml', nargs='+', default=[], metavar='KEY=VALUE', help='options of the training, such as name=x8_run'
    )
    return parser


class Piece:
    """One call: what is there, what is left of its time.

    Args:
        args: The command line.
        started: Time of ``time.monotonic`` from which its minutes count.

    Raises:
        FileNotFoundError: The option file does not exist.
        ValueError: It is broken.
    """

    def __init__(self, args: argparse.Namespace, started: float) -> None:
        self.args, self.started = args, started
        wrong = [entry for entry in args.force_yml if '=' not in entry]
        if wrong:
            raise ValueError(f'--force-yml {wrong[0]} sets no option: write KEY=VALUE.')
        forced = dict(entry.split('=', 1) for entry in args.force_yml)
        self.opt: dict[str, Any] = read_option_file(args.opt, 'name', 'network_g')
        self.name: str = forced.get('name', self.opt['name'])
        self.run = Path('experiments', self.name)

    def minutes_left(self) -> float:
        """Minutes that the call has left, without those reserved for saving; infinite without a budget."""
        if self.args.minutes is None:
            return float('inf')
        return self.args.minutes - self.args.reserve - (time.monotonic() - self.started) / 60

    def newest(self) -> int:
        """Iteration of the newest complete state of the run, 0 for none."""
        return max(complete_states(self.run / 'models', self.run / 'training_states'), default=0)

    def prepare_data(self) -> None:
        """Make the LMDBs, join them from parts, or find them there."""
        if (self.args.data / 'train.lmdb').is_dir() and (self.args.data / 'test.lmdb').is_dir():
            return
        if self.args.input is None:
            raise FileNotFoundError(f'{self.args.data} has no train.lmdb and test.lmdb: give --input to make them.')
        if (self.args.input / SUMS).is_file():
            read_parts(self.args.input, self.args.data)
            return
        program = [SCRIPTS / 'prepare_dataset.py', 'cave', '--allow-missing']
        if run([*program, '--input', self.args.input, '--output', self.args.data]):
            raise ValueError('The LMDBs could not be made, see above.')

    def take_up_state(self) -> None:
        """Join the state in parts if it is newer than those of the run here."""
        folder = self.args.state
        if folder is None or not (folder / SUMS).is_file():
            return
        states = [Path(name) for name in names_in_parts(folder)]
        iteration = max((int(path.stem) for path in states if path.suffix == '.state'), default=0)
        if iteration > self.newest():
            read_parts(folder, self.run)
            for name in ('models', 'training_states', 'visualization'):
                (self.run / name).mkdir(exist_ok=True)
            print(f'Taken up from {folder}: iteration {iteration}.')

    def train(self) -> int:
        """Train for the time left; return the exit code."""
        before, start = self.newest(), time.monotonic()
        forced = [
            f'datasets:train:dataroot_gt={self.args.data / "train.lmdb"}',
            f'datasets:val:dataroot_gt={self.args.data / "test.lmdb"}',
            f'logger:keep_states={self.args.keep_states}',
            *self.args.force_yml,
        ]
        budget = [] if self.args.minutes is None else ['--minutes', f'{max(self.minutes_left(), 0.01):.3f}']
        code = run(
            ['-m', 'mulsr_plugin.train', '-opt', self.args.opt, '--auto_resume', *budget, '--force_yml', *forced]
        )
        if code in (0, EXIT_STOPPED):
            self.note_piece(before, (time.monotonic() - start) / 60)
        return code

    def note_piece(self, before: int, minutes: float) -> None:
        """Add a line to pieces.csv and print what the log says of the speed."""
        values = [datetime.now(timezone.utc).isoformat(timespec='seconds'), before, self.newest(), f'{minutes:.2f}']
        path = self.run / 'pieces.csv'
        is_new = not path.exists()
        with open(path, 'a', newline='', encoding='utf-8') as file:
            writer = csv.writer(file, lineterminator='\n')
            if is_new:
                writer.writerow(PIECES)
            device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu'
            writer.writerow([*values, device, commit()])
        logs = sorted(self.run.glob('train_*.log'), key=lambda log: log.stat().st_mtime)
        print(f'Iterations {before} to {self.newest()} in {minutes:.1f} minutes; {speed(logs[-1].read_text())}')

    def write_state(self) -> None:
        """Write the newest state, its weights, tables and logs in parts."""
        folder, number = self.args.state_out or self.args.state, self.newest()
        if folder is None or not number:
            return
        names = [f'training_states/{number}.state', f'models/net_g_{number}.pth']
        names += [path.name for kind in ('*.csv', '*.log') for path in self.run.glob(kind)]
        latest = 'models/net_g_latest.pth'
        if (self.run / latest).is_file():
            names.append(latest)
        count = write_parts(self.run, names, folder, self.args.part_mib)
        print(f'State of iteration {number} in {count} parts: {folder}')

    def test(self) -> int:
        """Test the network on whole scenes, unless that has been done; return the exit code."""
        if list(Path('results', self.name).glob('metrics_*.csv')):
            print(f'Tested already: results/{self.name}')
            return 0
        if self.minutes_left() < self.args.test_minutes:
            return EXIT_STOPPED
        test = read_option_file(self.args.test_opt, 'datasets')
        forced = [f'name={self.name}', f'path:pretrain_network_g={self.run / "models" / "net_g_latest.pth"}']
        forced += ['path:param_key_g=params_ema']
        forced += [f'datasets:{phase}:dataroot_gt={self.args.data / "test.lmdb"}' for phase in test['datasets']]
        forced += [f'network_g:{key}={value}' for key, value in self.opt['network_g'].items()]
        forced += [entry for entry in self.args.force_yml if entry.startswith(('network_g:', 'num_gpu='))]
        return run(['-m', 'mulsr_plugin.test', '-opt', self.args.test_opt, '--force_yml', *forced])


def write_parts(root: Path, names: Sequence[str], folder: Path, mib: float) -> int:
    """Write files below ``root`` as a tar file in parts of at most ``mib`` MiB; return their number.

    The checksums are written last, so parts with checksums are complete. Parts from before are replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    script = f"""
        rm -f {SUMS} part_*
        tar -c -C "$1" "${{@:3}}" | split -b "$2" -d -a 3 - part_
        sha256sum part_* > .{SUMS}
        sync part_* .{SUMS}
        mv .{SUMS} {SUMS}
    """
    shell(script, root.resolve(), int(mib * 2**20), *names, cwd=folder)
    return len(list(folder.glob('part_*')))


def names_in_parts(folder: Path) -> list[str]:
    """Return the names of the files in the parts of a folder, which are compared with their checksums first."""
    return shell(f'sha256sum --quiet -c {SUMS} >&2; cat $(cut -c 67- {SUMS}) | tar -t', cwd=folder).splitlines()


def read_parts(folder: Path, root: Path) -> None:
    """Write the files of parts below ``root``, in place of those there: each whole, and none of damaged parts."""
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.resolve()) as temporary:
        shell(f'sha256sum --quiet -c {SUMS} >&2; cat $(cut -c 67- {SUMS}) | tar -x -C "$1"', temporary, cwd=folder)
        for path in [path for path in Path(temporary).rglob('*') if path.is_file()]:
            target = root / path.relative_to(temporary)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)


def shell(script: str, *arguments: object, cwd: Path) -> str:
    """Run Bash commands on a folder of parts, each of which must succeed; return what they print.

    Raises:
        ValueError: One failed.
    """
    command = ['bash', '-euo', 'pipefail', '-c', script, 'bash', *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[0]
        raise ValueError(f'The parts in {cwd} are damaged, incomplete or cannot be written: {reason}.')
    return done.stdout


def run(arguments: Sequence[str | Path]) -> int:
    """Run a Python program of this package to its end; it gets the signals that are meant for it."""
    process = subprocess.Popen([sys.executable, *map(str, arguments)])
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the program too
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, ctrl_c)


def speed(log: str) -> str:
    """Summarise the speed in a log: seconds of an iteration, of them waiting for data, and how busy the GPU was."""
    found = LOGGED.findall(log)
    if not found:
        return 'no iteration was logged.'
    seconds, waiting = (sum(float(row[column]) for row in found) / len(found) for column in (0, 1))
    busy = [float(row[2]) for row in found if row[2]]
    gpu = f', GPU busy {sum(busy) / len(busy):.0f} % of the time' if busy else ''
    return f'{seconds:.3f} s per iteration, of which {waiting:.3f} s waiting for data{gpu}.'


def commit() -> str:
    """Commit of the package, where it is a clone."""
    process = subprocess.run(
        ['git', '-C', str(SCRIPTS), 'rev-parse', '--short', 'HEAD'], capture_output=True, text=True, check=False
    )
    return process.stdout.strip()


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, do what is next, and report a user's mistake in one line."""
    started = time.monotonic()
    args = build_parser().parse_args(argv)
    try:
        piece = Piece(args, started)
        piece.prepare_data()
        piece.take_up_state()
        code = EXIT_STOPPED if piece.minutes_left() <= 0 else piece.train()
        if code in (0, EXIT_STOPPED):
            piece.write_state()
        code = code or piece.test()
    except (ValueError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    if code == EXIT_STOPPED:
        print('The time is used up: give the same command again to go on.')
    return code


if __name__ == '__main__':
    sys.exit(main())
