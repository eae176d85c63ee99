"""BasicSR's setup.py is built where pip alone cannot build it."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from mulsr_plugin.install_basicsr import SITECUSTOMIZE, build_wheel
from tests.processes import run_python

# What is peculiar to BasicSR's: the way to its version, and requirements of the build that are not there
SETUP = """
from setuptools import setup

version_file = 'basicsr/version.py'


def get_version():
    with open(version_file, 'r') as f:
        exec(compile(f.read(), version_file, 'exec'))
    return locals()['__version__']


if __name__ == '__main__':
    with open(version_file, 'w') as f:
        f.write("__version__ = '1.4.2'")
    setup(name='basicsr', version=get_version(), packages=['basicsr'], setup_requires=['not-to-be-found-anywhere'])
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / 'source'
    (folder / 'basicsr').mkdir(parents=True)
    (folder / 'basicsr' / '__init__.py').touch()
    (folder / 'setup.py').write_text(SETUP)
    return folder


def test_wheel(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    (tmp_path / 'tools').mkdir()
    wheel = build_wheel(str(source), tmp_path / 'tools', tmp_path / 'wheels')
    assert wheel.name == 'basicsr-1.4.2-py3-none-any.whl'
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read('basicsr/version.py') == b"__version__ = '1.4.2'"
    assert (source / 'setup.py').read_text() == SETUP


def test_failure_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    (tmp_path / 'tools').mkdir()
    with pytest.raises(subprocess.CalledProcessError):
        build_wheel(str(tmp_path / 'missing'), tmp_path / 'tools', tmp_path / 'wheels')


def test_other_uses_of_exec_are_unchanged(tmp_path: Path) -> None:
    (tmp_path / 'sitecustomize.py').write_text(SITECUSTOMIZE)
    code = """
def inside():
    exec('a = 1', scope := {})
    exec('b = 2', {}, names := {})
    exec('global c; c = 3')
    return scope['a'], names['b'], c
exec('d = 4')
print(*inside(), d, exec.__module__)
"""
    process = run_python('-c', code, cwd=tmp_path, path=tmp_path)
    assert process.stdout.split() == ['1', '2', '3', '4', 'sitecustomize'], process.stderr
