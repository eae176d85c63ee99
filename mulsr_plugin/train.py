"""Train from an option file: ``python -m mulsr_plugin.train -opt FILE`` (``--auto_resume`` to go on).

The options are those of BasicSR's ``train.py``. Beyond it, this one needs no autoload, uses the working directory as
root, resumes on CPU as well as on GPU, resumes exactly, accepts ``--local-rank`` and runs several CPU processes
under ``torchrun``.

SIGTERM and SIGINT end a run in order: it finishes its iteration, saves a state and exits with
:data:`mulsr_plugin.training.stop_signals.EXIT_STOPPED` (75). A second signal, two seconds later or more, ends it at
once. ``--minutes N`` ends it like that N minutes after its start, for machines that are lent for short pieces of time.
"""

from __future__ import annotations

import os
import sys
import time


def main() -> int:
    """Train in the working directory and return the exit code."""
    started = time.monotonic()
    from mulsr_plugin.training.trainer import train  # with PyTorch, whose import takes seconds that --minutes counts

    return train(os.getcwd(), started)


if __name__ == '__main__':
    sys.exit(main())
