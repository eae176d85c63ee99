"""Help and mistakes of the command line come before PyTorch, BasicSR and other libraries that take long to import."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mulsr_plugin.__main__ import COMMANDS
from mulsr_plugin.cli.sources import SOURCES
from tests.processes import run_python

HELP = [['--help'], ['--version'], *([name, '--help'] for name in COMMANDS)]
HELP += [['prepare', source, '--help'] for source in [*SOURCES, 'verify']]
LISTS = [['options'], ['options', 'demo_mulsr_x8', '--out', 'copied.yml']]
MISTAKES = {
    'infer absent.npy --out sr.npy': 'There is no file or folder absent.npy',
    'infer lr.npy --guide absent.png --out sr.npy': 'There is no file or folder absent.png',
    'infer lr.npy --out lr.npy': 'lr.npy exists already',
    'infer lr.npy --out sr.xyz': 'sr.xyz does not end in .mat',
    'infer lr.npy --out sr.npy --weights mulsr_cave_x9': 'There is no checkpoint mulsr_cave_x9',
    'infer lr.npy --out sr.npy -opt train_mulsr_cave_x9': 'did you mean train_mulsr_cave_x8',
    'infer lr.npy --out sr.npy --guide-fill 0': 'there is none: give it with --guide',
    'infer lr.npy --out sr.npy --reference absent.npy': 'There is no file or folder absent.npy',
    'infer lr.npy --out sr.npy --sensor absent.npz': 'There is no file or folder absent.npz',
    'infer lr.npy --out sr.npy --report sr.txt': 'sr.txt does not end in .json',
    'infer --pairs absent.txt --out results': 'There is no file or folder absent.txt',
    'infer lr.npy --pairs list.txt --out results': 'not allowed with argument',
    'infer --pairs lr.npy --guide lr.npy --out results': 'leave --guide out',
    'infer --pairs lr.npy --out lr.npy': 'lr.npy is a file, expected a folder',
    'infer --pairs lr.npy --out results --report sr.json': '--report is for a single pair',
    'infer lr.npy --guide lr.npy --out sr.npy --suffix .tif': '--suffix is for many pairs',
    'simulate lr.npy --out x8.npy': 'The scale is missing: give it, such as --scale 8',
    'simulate lr.npy --out lr.npy --scale 2': 'lr.npy exists already',
    'simulate lr.npy --out x8.npy --degradation absent.npz': 'There is no file or folder absent.npz',
    'simulate lr.npy --out x8.npy --scale 2 --spectral-response nikon_d700': 'name its file with --guide-out',
    'evaluate lr.npy absent.npy': 'There is no file or folder absent.npy',
    'evaluate lr.npy lr.npy --json lr.npy': 'lr.npy does not end in .json',
    'evaluate lr.npy lr.npy --border -1': '-1 is not a whole number',
    'infer lr.npy --out sr.npy --tile-size 0': '0 is not a whole number of at least 1',
    'infer lr.npy --out sr.npy --precision fp8': 'invalid choice',
    'infer lr.npy --out sr.npy --gide rgb.png': 'unknown option --gide; did you mean --guide?',
    'infer lr.npy --out sr.npy --rgp rgb.png': 'unknown option --rgp; did you mean --guide?',
    'prepare cave absent.zip --out data': 'There is no file or folder absent.zip',
    'prepare cubes . --out data --outpt x': 'unknown option --outpt; did you mean --out?',
    'prepare verify absent': 'There is no file or folder absent',
    'train -opt absent.yml': 'There is no option file absent.yml',
    'train -opt broken.yml': 'broken.yml is not a YAML file',
    'train -opt demo_mulsr_x8 --minutes 0': '0 is not a number above 0',
    'test -opt demo_mulsr_x7': 'did you mean demo_mulsr_x8?',
    'benchmark -opt demo_mulsr_x8': 'has no entries',
    'benchmark -opt benchmark_classical_cave_x8 --figures': 'write save_cubes: true',
    'compare .': 'No metrics_*.csv in .',
    'plot .': 'holds no results.json',
    'plot': 'There is nothing to draw',
    'plot --method A=absent --reference lr.npy --out figures': 'There is no file or folder absent',
    'plot --method A=lr.npy --out figures': '--method needs --reference and --out',
    'plot A=. -opt demo_test_mulsr_x8': '-opt and --out belong together',
    'report absent.npy --out report.html': 'There is no file or folder absent.npy',
    'report lr.npy --out report.pdf': 'report.pdf does not end in .html',
    'convert absent.pth net.pth': 'There is no checkpoint absent.pth',
    'convert lr.npy net.bin': 'net.bin does not end in .pth or .safetensors',
    'convert lr.npy lr.pth': 'lr.pth exists already',
    'convert lr.npy net.pth --network MulSR --param-key params': 'leave one of them out',
    'export mulsr_cave_x8_small net.bin': 'net.bin does not end in .onnx or .pt2',
    'export mulsr_cave_x8_small absent/net.pt2': 'There is no folder absent',
    'estimate-response lr.npy --guide lr.npy --out response.txt': 'response.txt does not end in .csv',
    'estimate-sensor lr.npy --guide lr.npy --out sensor.txt': 'sensor.txt does not end in .npz',
    'estimate-sensor lr.npy --guide absent.npy --out sensor.npz': 'There is no file or folder absent.npy',
    'estimate-response absent.npy --guide lr.npy --out response.csv': 'There is no file or folder absent.npy',
    'demo-scenes .': '. exists already',
    'demo-scenes new --size 100000': '100000 is not a whole number from 16 to 2048',
    'options train_mulsr_cave_x9': 'did you mean train_mulsr_cave_x8',
    'options --force': 'name it too',
    'inferr lr.npy': "unknown command 'inferr'; did you mean 'infer'?",
}
HEAVY = ('torch', 'basicsr', 'numpy', 'cv2', 'scipy', 'lmdb', 'tqdm')
PROGRAM = f"""
import contextlib, io, json, sys
from mulsr_plugin.__main__ import main
ended = []
for words in json.load(open('calls.json')):
    errors, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
            if isinstance(status, str):
                errors.write(status)
                status = 1
    imported = [name for name in {HEAVY} if name in sys.modules]
    ended.append((status, output.getvalue(), errors.getvalue(), imported))
print(json.dumps(ended))
"""


def run_lightly(calls: list[list[str]], folder: Path) -> list[tuple[int, str, str]]:
    """Call ``main`` in one new process and return exit code, output and errors of each call."""
    (folder / 'calls.json').write_text(json.dumps(calls))
    process = run_python('-c', PROGRAM, cwd=folder)
    assert process.returncode == 0, process.stderr
    ended = json.loads(process.stdout)
    for words, (_, _, _, imported) in zip(calls, ended):
        assert imported == [], words
    return [(status, output, errors) for status, output, errors, _ in ended]


def test_help_and_lists_import_nothing_heavy(tmp_path: Path) -> None:
    for words, (status, output, errors) in zip([*HELP, *LISTS], run_lightly([*HELP, *LISTS], tmp_path)):
        assert (status, errors) == (0, ''), words
        assert output.strip(), words


def test_mistakes_are_one_line_before_anything_heavy(tmp_path: Path) -> None:
    np.save(tmp_path / 'lr.npy', np.zeros((4, 4, 3)))
    (tmp_path / 'lr.pth').touch()
    (tmp_path / 'broken.yml').write_text('name: [')
    before = sorted(path.name for path in tmp_path.iterdir())
    results = run_lightly([call.split() for call in MISTAKES], tmp_path)
    for (call, message), (status, _, errors) in zip(MISTAKES.items(), results):
        assert status in (1, 2), call
        assert message in errors, call
        assert 'error: ' in errors and len(errors.strip().splitlines()) == 1, call
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, 'calls.json'])


def test_inference_says_what_it_loads_before_it_loads_it(tmp_path: Path) -> None:
    np.save(tmp_path / 'lr.npy', np.zeros((4, 4, 3)))
    code = 'import sys; sys.modules["torch"] = None\nfrom mulsr_plugin.__main__ import main\n'
    code += 'sys.exit(main(["infer", "lr.npy", "--guide", "lr.npy", "--out", "sr.npy"]))'
    process = run_python('-c', code, cwd=tmp_path)
    first, last = process.stderr.splitlines()
    assert first.endswith(
        'INFO: Super-resolving lr.npy and lr.npy; loading PyTorch and BasicSR first, which takes some seconds.'
    )
    assert process.returncode == 1 and last.startswith('error: ') and 'torch' in last


@pytest.mark.parametrize('words', [[], ['-h'], ['--help']])
def test_overview_names_every_command(words: list[str], tmp_path: Path) -> None:
    process = run_python('-m', 'mulsr_plugin', *words, cwd=tmp_path)
    assert process.returncode == 0
    assert all(f'\n  {name} ' in process.stdout for name in COMMANDS)
    assert max(map(len, process.stdout.splitlines())) <= 120
