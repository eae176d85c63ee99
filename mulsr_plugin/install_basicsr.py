"""Install BasicSR, on Python 3.13 and later too.

Run ``python -m mulsr_plugin.install_basicsr [REQUIREMENT] [--constraint FILE]``. It needs pip alone.

Two things in the ``setup.py`` of BasicSR 1.4.2, the newest release, are in pip's way:

- It reads its version with ``exec(...)`` and ``locals()['__version__']`` in one function. Since Python 3.13 (PEP 667)
  ``locals()`` returns a new dictionary at each call, and the build ends with ``KeyError: '__version__'``.
- It names torch as a requirement of the build, although it only copies Python files, so that pip downloads a second
  PyTorch for the build.

So the wheel is built here without build isolation, in a process whose ``exec`` writes into the calling function as it
did before Python 3.13. Not a byte of BasicSR is changed, and nothing but the finished wheel is installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

REQUIREMENT = 'basicsr>=1.4.2'

# Python imports a module of this name at its start. Names written into f_locals of a running function are returned by
# its later calls of locals().
SITECUSTOMIZE = """\
import builtins
import sys

_exec = builtins.exec


def exec(source, globals=None, locals=None, /, **options):
    if globals is None and locals is None:
        caller = sys._getframe(1)
        globals, locals = caller.f_globals, caller.f_locals
    _exec(source, globals, locals, **options)


builtins.exec = exec
"""


def build_wheel(requirement: str, tools: Path, wheels: Path, options: Sequence[str] = ()) -> Path:
    """Build the wheel of BasicSR with the setuptools at hand.

    Args:
        requirement: What pip is to build: ``basicsr``, with or without versions, a folder, or ``git+https://...``.
        tools: Folder that comes first on the path of the build; a ``sitecustomize.py`` is written there.
        wheels: New folder for the wheel.
        options: Further options of pip, such as ``--constraint``.

    Returns:
        Path of the wheel.

    Raises:
        subprocess.CalledProcessError: pip failed; it has printed why.
    """
    (tools / 'sitecustomize.py').write_text(SITECUSTOMIZE, encoding='utf-8')
    build = ['--no-deps', '--no-build-isolation', '--use-pep517', '--wheel-dir', str(wheels)]
    _pip('wheel', *build, requirement, *options, python_path=tools)
    (wheel,) = wheels.glob('*.whl')
    return wheel


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, which is pip's if pip fails."""
    parser = argparse.ArgumentParser(
        prog='python -m mulsr_plugin.install_basicsr', description='Install BasicSR, on Python 3.13 and later too.'
    )
    parser.add_argument(
        'requirement', nargs='?', default=REQUIREMENT, help=f'release, folder or git+URL; default: {REQUIREMENT}'
    )
    parser.add_argument('--constraint', metavar='FILE', help='versions that pip keeps to, as its own option')
    args = parser.parse_args(argv)
    if find_spec('pip') is None:
        parser.error(f'{sys.executable} has no pip; run `{sys.executable} -m ensurepip` first.')
    options = [] if args.constraint is None else ['--constraint', args.constraint]
    with TemporaryDirectory(prefix='basicsr-build-') as folder:
        tools, wheels = Path(folder, 'tools'), Path(folder, 'wheels')
        try:
            # into a folder of the build's own; the first release that needs no package wheel
            _pip('install', '--quiet', '--target', str(tools), 'setuptools>=70.1', *options)
            _pip('install', str(build_wheel(args.requirement, tools, wheels, options)), *options)
        except subprocess.CalledProcessError as error:
            return error.returncode
    return 0


def _pip(*arguments: str, python_path: Path | None = None) -> None:
    environment = {**os.environ, 'PIP_DISABLE_PIP_VERSION_CHECK': '1'}
    if python_path is not None:
        environment['PYTHONPATH'] = str(python_path)
    subprocess.run([sys.executable, '-m', 'pip', *arguments], env=environment, check=True)


if __name__ == '__main__':
    sys.exit(main())
