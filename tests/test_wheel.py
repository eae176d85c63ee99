"""The wheel holds the whole plugin and nothing else, and works without the repository."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.processes import ROOT, run_python

SOURCES = ('pyproject.toml', 'setup.py', 'LICENSE', 'README.md')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the sources, beside which lies a link ``basicsr`` as in a root where people work."""
    root = tmp_path_factory.mktemp('copy')
    for name in SOURCES:
        shutil.copy(ROOT / name, root)
    for name in ('mulsr_plugin', 'tests', 'scripts'):
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
        assert '[torch.backends]\nmulsr_plugin = mulsr_plugin.autoload:install' in archive.read(entry_points).decode()
    package = ROOT / 'mulsr_plugin'
    kinds = (
        'data/splits/*.txt',
        'checkpoints/shipped/*.json',
        'checkpoints/shipped/*.md',
        'checkpoints/shipped/*.pth',
        'py.typed',
    )
    expected = [*package.rglob('*.py'), *(path for kind in kinds for path in package.glob(kind))]
    assert sorted(names) == sorted(path.relative_to(ROOT).as_posix() for path in expected)
    assert {'mulsr_plugin/data/splits/cave_80_20.txt', 'mulsr_plugin/checkpoints/shipped/registry.json'} <= set(names)


def test_installed_wheel_registers(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / 'site'
    options = ['--no-deps', '--no-index', '--no-compile', '--disable-pip-version-check', '--target', str(target)]
    process = run_python('-m', 'pip', 'install', *options, str(wheel), cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    code = """
import torch, basicsr, mulsr_plugin
from basicsr.archs import build_network
from mulsr_plugin.checkpoints.shipped import load_pretrained
print(mulsr_plugin.__file__, type(build_network({'type': 'MulSR', 'num_feat': 8})).__name__)
load_pretrained('mulsr_cave_x8_small')
"""
    process = run_python('-c', code, cwd=tmp_path, path=target)
    assert process.returncode == 0, process.stderr
    assert process.stdout.split() == [str(target / 'mulsr_plugin' / '__init__.py'), 'MulSR']
    assert sys.prefix not in process.stdout
