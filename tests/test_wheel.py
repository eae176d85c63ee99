"""The wheel holds the whole plugin and nothing else, and works without the repository."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import ROOT, SWITCH, run_python

OPTION_FILES = [*(ROOT / 'options').glob('*.yml'), *(ROOT / 'options').glob('ablation/*.yml')]
MAKE_PAIR_AND_OPTIONS = """
import numpy, yaml
numpy.save('lr.npy', numpy.random.rand(8, 8, 31).astype('float32'))
numpy.save('guide.npy', numpy.random.rand(64, 64, 3).astype('float32'))
datasets = yaml.safe_load(open('test.yml'))['datasets']
benchmark = {'name': 'demo', 'scale': 8, 'device': 'cpu', 'datasets': datasets, 'entries': ['bicubic']}
yaml.safe_dump(benchmark, open('benchmark.yml', 'w'))
"""
SOURCES = ('pyproject.toml', 'setup.py', 'LICENSE', 'README.md')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the sources, beside which lies a link ``basicsr`` as in a root where people work."""
    root = tmp_path_factory.mktemp('copy')
    for name in SOURCES:
        shutil.copy(ROOT / name, root)
    for name in ('mulsr_plugin', 'options', 'tests', 'scripts'):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns('__pycache__'))
    host = tmp_path_factory.mktemp('host') / 'basicsr'
    host.mkdir()
    (host / '__init__.py').touch()
    try:
        (root / 'basicsr').symlink_to(host, target_is_directory=True)
    except OSError:
        shutil.copytree(host, root / 'basicsr')
    options = ['--no-deps', '--no-build-isolation', '--no-index', '--disable-pip-version-check', '--wheel-dir', 'out']
    process = run_python('-m', 'pip', 'wheel', *options, '.', cwd=root)
    assert process.returncode == 0, process.stdout + process.stderr
    (built,) = (root / 'out').glob('*.whl')
    return built


def test_contents(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if '.dist-info/' not in name]
        (entry_points,) = (name for name in archive.namelist() if name.endswith('/entry_points.txt'))
        declared = archive.read(entry_points).decode()
    assert '[torch.backends]\nmulsr_plugin = mulsr_plugin.autoload:install' in declared
    assert '[console_scripts]\nmulsr = mulsr_plugin.__main__:main' in declared
    package = ROOT / 'mulsr_plugin'
    kinds = (
        'apps/report/web/*',
        'data/splits/*.txt',
        'checkpoints/shipped/*.json',
        'checkpoints/shipped/*.md',
        'checkpoints/shipped/*.pth',
        'py.typed',
    )
    expected = [*package.rglob('*.py'), *(path for kind in kinds for path in package.glob(kind))]
    option_files = [f'mulsr_plugin/{path.relative_to(ROOT).as_posix()}' for path in OPTION_FILES]
    assert sorted(names) == sorted([*(path.relative_to(ROOT).as_posix() for path in expected), *option_files])
    assert {'mulsr_plugin/data/splits/cave_80_20.txt', 'mulsr_plugin/checkpoints/shipped/registry.json'} <= set(names)


@pytest.fixture(scope='module')
def mulsr(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Install the wheel into an environment of its own; return a function that runs its command in an empty folder."""
    environment, folder = tmp_path_factory.mktemp('environment'), tmp_path_factory.mktemp('empty')
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / 'bin' / 'python'
    (site,) = environment.glob('lib/python*/site-packages')
    # The libraries of the interpreter of the tests, but not an editable install there: its .pth file is not read.
    libraries = [path for path in sys.path if Path(path).name in ('site-packages', 'dist-packages')]
    (site / 'libraries.pth').write_text('\n'.join(libraries))
    options = ['--no-deps', '--no-index', '--disable-pip-version-check']
    process = run_python('-m', 'pip', '--python', str(python), 'install', *options, str(wheel), cwd=folder)
    assert process.returncode == 0, process.stderr
    settings = {key: value for key, value in os.environ.items() if key not in (SWITCH, 'PYTHONPATH')}
    settings.update(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='')

    def run(command: str, program: str = 'mulsr') -> str:
        words = [str(environment / 'bin' / program), *shlex.split(command)]
        done = subprocess.run(words, cwd=folder, env=settings, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, f'{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}'
        return done.stdout + done.stderr

    place = run('-c "import mulsr_plugin; print(mulsr_plugin.__file__)"', 'python').strip()
    assert Path(place).parent == site / 'mulsr_plugin'
    return run


def test_everything_works_without_the_repository(mulsr: Callable[..., str]) -> None:
    listed = mulsr('options')
    assert len(listed.splitlines()) == len(OPTION_FILES)
    mulsr('demo-scenes .demo/scenes --num-scenes 2 --size 64')
    mulsr('prepare cave .demo/scenes --out .demo/data --test-scenes demo_02')
    log = mulsr(
        'train -opt demo_mulsr_x8 --force_yml train:total_iter=2 val:val_freq=9 datasets:train:num_worker_per_gpu=0 '
        'datasets:train:crops_per_image=4 logger:use_tb_logger=false'
    )
    assert 'End of training' in log
    mulsr('test -opt demo_test_mulsr_x8 --force_yml val:save_img=false')
    mulsr('options demo_test_bicubic_x8 --out test.yml')
    mulsr(f'-c "{MAKE_PAIR_AND_OPTIONS}"', 'python')
    mulsr('infer lr.npy --guide guide.npy --out sr.npy --device cpu')
    assert '| Bicubic |' in mulsr('benchmark -opt benchmark.yml')
