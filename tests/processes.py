"""Run Python in a process of its own, for tests of imports and command lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def started_python(
    *arguments: str | Path, cwd: Path | str, path: Path | str | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start the interpreter as a terminal would, with its error output in a pipe; it does not outlive the block."""

    def hear_ctrl_c() -> None:  # also where the tests run in the background of a shell, which switches it off
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    if path is not None:
        environment['PYTHONPATH'] = str(path)
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env=environment,
        preexec_fn=hear_ctrl_c,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()
