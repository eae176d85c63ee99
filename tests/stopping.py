"""Trainings that are stopped by a signal once they have logged a line."""

from __future__ import annotations

import signal
import subprocess
from typing import Any


def stopped_at(text: str, command: list[str], **options: Any) -> int | None:
    """Run a command, send SIGTERM at the first line of its errors with ``text``, and return its exit status."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if text in line:
                process.send_signal(signal.SIGTERM)
                break
        process.stderr.read()
    return process.returncode
