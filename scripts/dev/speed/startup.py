"""Measure how long the commands take to answer, as multiples of the start of Python itself.

Every command is started in turn with ``python -c pass``, the same number of times in one run, so that other programs
disturb all alike; the table has the median of each and the median and range of the ratios within the turns. The first
line of ``mulsr infer`` is measured beside the import of BasicSR, which it comes before.

    python -m scripts.dev.speed.startup --turns 7
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from mulsr_plugin.__main__ import COMMANDS
from mulsr_plugin.cli.arguments import whole_number

PYTHON = [sys.executable, '-c', 'pass']
MULSR = [sys.executable, '-m', 'mulsr_plugin']
IMPORT = [sys.executable, '-c', 'import basicsr']


def seconds_to_end(command: Sequence[str]) -> float:
    """Return the seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def seconds_to_first_line(command: Sequence[str]) -> float:
    """Return the seconds until the first line of a command on its error output, after which it is ended."""
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        seconds = time.perf_counter() - start
        process.kill()
    if b'INFO' not in line:
        raise RuntimeError(f'{" ".join(command)} began with {line!r}, expected a line of its log.')
    return seconds


def measure(turns: int, names: Sequence[str]) -> dict[str, list[tuple[float, float]]]:
    """Time commands in turn with Python's own start.

    Args:
        turns: How often.
        names: Commands of ``mulsr`` whose help is measured.

    Returns:
        Seconds and ratio to Python's start of every turn, by what was timed.
    """
    helps = {'mulsr --help': [*MULSR, '--help'], **{f'mulsr {name} --help': [*MULSR, name, '--help'] for name in names}}
    times: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cube = Path(folder, 'lr.npy')
        cube.touch()  # the line comes before it is read
        infer = [*MULSR, 'infer', str(cube), '--out', str(Path(folder, 'sr.npy'))]
        for turn in range(turns + 1):
            base = seconds_to_end(PYTHON)
            found = {'python -c pass': base, **{name: seconds_to_end(command) for name, command in helps.items()}}
            found['mulsr infer, first line'] = seconds_to_first_line(infer)
            found['python -c "import basicsr"'] = seconds_to_end(IMPORT)
            for name, seconds in found.items() if turn else ():  # the first turn fills caches
                times.setdefault(name, []).append((seconds, seconds / base))
    return times


def main() -> None:
    """Measure and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--turns', type=whole_number(1), default=5, help='starts of every command (default: 5)')
    parser.add_argument('--commands', nargs='+', choices=COMMANDS, default=list(COMMANDS), help='default: all')
    args = parser.parse_args()
    print('| Command | Time | Ratio to Python (range) |\n| --- | --- | --- |')
    for name, found in measure(args.turns, args.commands).items():
        ratios = [ratio for _, ratio in found]
        seconds = median(seconds for seconds, _ in found)
        print(f'| `{name}` | {seconds:.2f} s | {median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}) |')


if __name__ == '__main__':
    main()
