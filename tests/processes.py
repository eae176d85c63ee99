"""Run Python in a process of its own, for tests of imports and command lines."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SWITCH = 'TORCH_DEVICE_BACKEND_AUTOLOAD'


def run_python(
    *arguments: str, cwd: Path | str, path: Path | str | None = None, autoload: bool = True, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run the interpreter of the tests with ``arguments``.

    Args:
        *arguments: Its command line.
        cwd: Working directory; not the repository, so that the installed package is tested.
        path: Folder that comes first on ``sys.path``.
        autoload: Whether torch may call the entry points.
        timeout: Seconds.

    Returns:
        The finished process, with its text output and error output.
    """
    environment = {key: value for key, value in os.environ.items() if key not in (SWITCH, 'PYTHONPATH')}
    environment.update(OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='', PYTHONDONTWRITEBYTECODE='1')
    if path is not None:
        environment['PYTHONPATH'] = str(path)
    if not autoload:
        environment[SWITCH] = '0'
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
    )
