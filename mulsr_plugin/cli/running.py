"""What all commands share: their parsers, their errors and their end by a signal."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib import import_module
from types import ModuleType

from mulsr_plugin.cli.parsing import CommandParser


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as an interruption does."""


def help_line(module: str) -> str:
    """Return the first line of the help of a command, without its full stop."""
    return str(import_module(f'mulsr_plugin.cli.{module}').__doc__).split('\n')[0].rstrip('.')


def run_command(name: str, module: str, words: Sequence[str]) -> int:
    """Parse the arguments of a command and run it.

    Args:
        name: Name of the command, for messages.
        module: Its module in :mod:`mulsr_plugin.cli`.
        words: Its arguments.

    Returns:
        Exit code: that of the command; 1 after an error, which is printed in one line; 130 after SIGINT, 143 after
        SIGTERM.

    Raises:
        SystemExit: After ``--help`` (0) and for wrong arguments (2).
    """
    command = import_module(f'mulsr_plugin.cli.{module}')
    parser = CommandParser(
        prog=f'mulsr {name}', description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    args = parser.parse_args(words)
    args.words = parser.present_names(words)
    if getattr(command, 'HANDLES_ERRORS', False):
        return command.run(args)
    return _run(command, args)


def log(text: str) -> None:
    """Print a line as BasicSR's logger does, before BasicSR is imported."""
    print(f'{datetime.now():%Y-%m-%d %H:%M:%S,%f}'[:-3] + f' INFO: {text}', file=sys.stderr, flush=True)


def _run(command: ModuleType, args: argparse.Namespace) -> int:
    try:
        with _sigterm_interrupts():
            status = command.run(args)
            sys.stdout.flush()
            return status
    except BrokenPipeError:  # whoever read the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it flushes
        return 1
    except (ImportError, ValueError, OSError, MemoryError) as error:
        print(f'error: {error}', file=sys.stderr)
        status = 1
    except KeyboardInterrupt as stop:
        print(f'interrupted: {getattr(command, "INTERRUPTED", "the command did not finish")}', file=sys.stderr)
        status = 143 if isinstance(stop, Terminated) else 130
    for line in command.after_failure(args) if hasattr(command, 'after_failure') else ():
        print(line, file=sys.stderr)
    return status


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Raise :class:`Terminated` on SIGTERM within the block; Python lets only the main thread handle signals."""

    def terminate(*_: object) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
