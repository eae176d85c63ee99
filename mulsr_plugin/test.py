"""Test from an option file: ``python -m mulsr_plugin.test -opt FILE``.

The options are those of BasicSR's ``test.py``. Beyond it, this one needs no autoload, uses the working directory as
root, accepts ``--local-rank`` and shares the images between several processes under ``torchrun``, on CPU too.
"""

from __future__ import annotations

import os
import sys


def main() -> int:
    """Test in the working directory and return the exit code."""
    from mulsr_plugin.training.tester import test  # with PyTorch, whose import takes seconds

    return test(os.getcwd())


if __name__ == '__main__':
    sys.exit(main())
