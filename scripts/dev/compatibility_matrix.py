"""Install the plugin beside other releases of what it needs, and run its end-to-end tests there.

Every row of the matrix gets a virtual environment of its own, which is removed before the next one is made: 6 to 10 GB
of disk and some minutes each, most of it for PyTorch. Nothing is touched outside of --work but pip's cache. Example:

    python -m scripts.dev.compatibility_matrix --python python3.10 --only oldest --out compatibility.md
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MASTER = 'git+https://github.com/XPixelGroup/BasicSR'
# both launchers, exact resume, several processes; the network against the authors' figures;
# files that try to run code; faults of stores
TESTS = [
    'tests/test_stock_scripts.py',
    'tests/test_train.py',
    'tests/archs/test_mulsr_arch.py',
    'tests/checkpoints/test_pickle_check.py',
    'tests/data/store/test_store.py',
]


@dataclass(frozen=True)
class Row:
    """Releases that are tried together, as pip takes them; '' is the newest that pip finds."""

    torch: str
    numpy: str
    basicsr: str


# PyTorch 2.5 and NumPy 1.26 have wheels up to Python 3.12, so 3.13 and 3.14 have the newest rows alone
ROWS = {
    'oldest': Row('torch==2.5.1 torchvision==0.20.1', 'numpy==1.26.4', 'basicsr==1.4.2'),
    'oldest-master': Row('torch==2.5.1 torchvision==0.20.1', 'numpy==1.26.4', 'master'),
    'old-torch': Row('torch==2.5.1 torchvision==0.20.1', 'numpy>=2', 'basicsr==1.4.2'),
    'old-numpy': Row('torch torchvision', 'numpy==1.26.4', 'basicsr==1.4.2'),
    'newest': Row('torch torchvision', 'numpy>=2', 'basicsr==1.4.2'),
    'newest-master': Row('torch torchvision', 'numpy>=2', 'master'),
}


def build_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', nargs='+', choices=list(ROWS), default=list(ROWS), help='rows; default: all')
    parser.add_argument('--python', default=sys.executable, help='interpreter, 3.10 to 3.14; default: this one')
    parser.add_argument('--basicsr-master', default=MASTER, help=f'what pip installs as master; default: {MASTER}')
    parser.add_argument('--work', default='.compatibility', help='new folder for the environments; removed at the end')
    parser.add_argument('--out', help='file for the table; default: it is printed only')
    return parser


def try_row(row: Row, work: Path, args: argparse.Namespace) -> list[str]:
    """Install and test one row; return the cells of the table: Python, torch, NumPy, BasicSR, result."""
    work.mkdir(parents=True)
    python = str(work / 'venv' / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python'))
    basicsr = args.basicsr_master if row.basicsr == 'master' else row.basicsr
    releases = work / 'constraints.txt'
    releases.write_text('\n'.join([row.numpy, *row.torch.split()]), encoding='utf-8')
    steps = [
        [args.python, '-m', 'venv', str(work / 'venv')],
        [python, '-m', 'mulsr_plugin.install_basicsr', basicsr, '--constraint', str(releases)],
        [python, '-m', 'pip', 'install', '--constraint', str(releases), f'{ROOT}[formats]', 'pytest', 'hypothesis'],
    ]
    for step in steps:
        if subprocess.run(step, cwd=ROOT, env={**os.environ, 'PIP_QUIET': '1'}).returncode:
            return ['', '', '', '', f'not installable: {" ".join(step[-3:])}']
    report = 'import platform, torch, numpy; print(platform.python_version(), torch.__version__, numpy.__version__)'
    versions = subprocess.run([python, '-c', report], cwd=work, capture_output=True, text=True).stdout.split()
    # a copy of the tests, so that it is the installed package that they import
    shutil.copytree(ROOT / 'tests', work / 'tests')
    for folder in ('options', 'scripts', 'docs'):
        shutil.copytree(ROOT / folder, work / folder)
    shutil.copy(ROOT / 'pyproject.toml', work)
    tests = subprocess.run(
        [python, '-m', 'pytest', '-p', 'no:cacheprovider', *TESTS], cwd=work, capture_output=True, text=True
    )
    if tests.returncode:
        print(tests.stdout[-6000:], tests.stderr[-2000:])
    summary = tests.stdout.strip().splitlines()[-1:]
    result = 'passed' if tests.returncode == 0 else 'FAILED'
    return [*versions, row.basicsr, f'{result}: {"".join(summary)}']


def main(argv: Sequence[str] | None = None) -> int:
    """Try the rows one after the other and write the table; return 1 if one failed."""
    args = build_parser().parse_args(argv)
    work = Path(args.work).resolve()
    lines = ['| Row | Python | torch | NumPy | BasicSR | Result |', '|---|---|---|---|---|---|']
    for name in args.only:
        try:
            cells = try_row(ROWS[name], work, args)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        lines.append(f'| {" | ".join([name, *cells])} |')
        print(lines[-1], flush=True)
    if args.out:
        Path(args.out).write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return 0 if all('| passed' in line for line in lines[2:]) else 1


if __name__ == '__main__':
    sys.exit(main())
