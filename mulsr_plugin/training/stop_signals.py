"""What asks a training to stop: SIGTERM of a cluster that takes its node back, SIGINT of Ctrl-C, a time budget."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType, TracebackType
from typing import Any

from torch.utils.data import DataLoader

# EX_TEMPFAIL of sysexits.h, "try again later"; a shell reports 130 or 143 for a process that these signals kill
EXIT_STOPPED = 75
# torchrun passes on a signal that a cluster has sent to every process already: which is not a second request
REPEAT_AFTER = 2.0  # seconds
_TIME_BUDGET = 'The time budget'


class StopRequested(BaseException):
    """Raised where :meth:`StopSignals.interrupting` allows it; not an Exception, so that nothing swallows it."""


class StopSignals:
    """Note SIGTERM and SIGINT within a ``with`` block instead of dying of them; a second one ends the process at once.

    The main thread alone may enter the block. Outside of it the handlers are those from before.

    Args:
        deadline: Time of ``time.monotonic()`` from which on the time of the run is used up, which stops it as a signal
            does. Default: None, no such time.

    Attributes:
        name: Name of the first signal that came, or None.
    """

    SIGNALS = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, deadline: float | None = None) -> None:
        self.name: str | None = None
        self._deadline = deadline
        self._timer: threading.Timer | None = None
        self._time_is_up = False
        self._came_at = 0.0
        self._interrupts = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        if self._deadline is not None:
            self._timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._end_time)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()  # a signal that it is about to raise must find our handler
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Within this block a signal raises :class:`StopRequested`: for work that may be dropped at any point.

        Raises:
            StopRequested: A signal comes, or has come before.
        """
        self._interrupts = True
        try:
            if self.name is not None:
                raise StopRequested
            yield
        finally:
            self._interrupts = False

    def _end_time(self) -> None:
        self._time_is_up = True
        signal.raise_signal(signal.SIGTERM)  # only a signal leaves what the main thread is doing

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.name == _TIME_BUDGET:  # that was nobody's first request
            self.name, self._came_at = signal.Signals(number).name, now
        elif self.name is None:
            self.name = _TIME_BUDGET if self._time_is_up else signal.Signals(number).name
            self._came_at = now
            if self._interrupts:
                self._interrupts = False
                raise StopRequested
        elif now - self._came_at >= REPEAT_AFTER:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


def shield_workers(loader: DataLoader) -> None:
    """Let loader workers outlive stop signals that are meant for the training.

    Ctrl-C and some clusters signal every process of a run. A worker that dies of it would fail the iteration that the
    training wants to finish. Workers still end with the main process, and when it asks them to.

    Args:
        loader: Its workers must not have been started yet.
    """
    loader.worker_init_fn = partial(_start_shielded, loader.worker_init_fn)


def _start_shielded(start: Callable[[int], None] | None, worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):  # macOS has none
        # PyTorch's own handler of SIGTERM cannot be made to look at who has sent it
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_parent_says_so, daemon=True).start()
    if start is not None:
        start(worker)


def _end_when_parent_says_so() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
