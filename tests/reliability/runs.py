"""Trainings in processes of their own that start at once, for tests that stop and kill them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml

from tests.models.tiny import make_options

# children are forked from a process that has imported everything and computed nothing
_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(['mulsr_plugin.training.trainer', 'tests.reliability.runs'])


class Run:
    """One started ``python -m mulsr_plugin.train`` of one or more gloo processes.

    Args:
        folder: Working directory with the tiny stores.
        arguments: Command line.
        processes: How many; more than one as torchrun would start them.
    """

    def __init__(self, folder: Path, *arguments: str, processes: int = 1) -> None:
        environment, arguments = {}, ('-opt', *arguments)
        if processes > 1:
            environment = {'WORLD_SIZE': str(processes), 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': _free_port()}
            arguments += ('--launcher', 'pytorch')
        self.logs = [folder / f'{time.monotonic_ns()}_{rank}.txt' for rank in range(processes)]
        self.processes = [
            _CONTEXT.Process(
                target=_train, args=(folder, arguments, log, {**environment, 'RANK': rank, 'LOCAL_RANK': rank})
            )
            for rank, log in enumerate(self.logs)
        ]
        for process in self.processes:
            process.start()

    @property
    def log(self) -> str:
        return self.logs[0].read_text() if self.logs[0].exists() else ''

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until the log of the first process holds ``text``."""
        deadline = time.monotonic() + seconds
        while text not in self.log:
            assert time.monotonic() < deadline and self.processes[0].is_alive(), f'no {text!r} in {self.log[-3000:]}'
            time.sleep(0.005)

    def send(self, number: int, rank: int = 0) -> None:
        os.kill(self.processes[rank].pid, number)

    def end(self, expect: int = 0, seconds: float = 120) -> str:
        """Wait for the end, compare the exit codes and return the log."""
        for process in self.processes:
            process.join(seconds)
            if process.is_alive():
                process.kill()
                raise AssertionError(f'still running: {self.log[-3000:]}')
        assert {process.exitcode for process in self.processes} == {expect}, self.log[-3000:]
        return self.log


# trains in milliseconds; what a network is plays no part here
NETWORK = {'type': 'RRDBNet', 'num_in_ch': 5, 'num_out_ch': 5, 'num_feat': 4, 'num_block': 1, 'num_grow_ch': 2}
TOTAL_ITER = 60


def write_options(folder: Path, name: str, change: Callable[[dict[str, Any]], Any] = lambda opt: None) -> str:
    """Write the option file of a run of ``TOTAL_ITER`` iterations in epochs of 20 and return its name."""
    opt = make_options(folder, total_iter=TOTAL_ITER, ema_decay=0.9)
    opt.update(name=name, model_type='HSISRModel', network_g=dict(NETWORK))
    opt['datasets']['train']['crops_per_image'] = 20
    opt['val'].update(val_freq=100_000, metrics={'psnr': opt['val']['metrics']['psnr']})
    opt['logger']['save_checkpoint_freq'] = 100_000
    change(opt)
    (folder / f'{name}.yml').write_text(yaml.safe_dump(opt))
    return f'{name}.yml'


def weights_of(folder: Path, name: str) -> dict[str, Any]:
    return torch.load(folder / 'experiments' / name / 'models' / 'net_g_latest.pth', weights_only=True)


def assert_same_weights(first: dict[str, Any], second: dict[str, Any]) -> None:
    for kind in ('params', 'params_ema'):
        for key, value in first[kind].items():
            assert torch.equal(value, second[kind][key]), f'{kind} {key}'


def states_of(folder: Path, name: str) -> list[int]:
    """Iterations of the saved states, sorted."""
    return sorted(int(path.stem) for path in (folder / 'experiments' / name / 'training_states').glob('*.state'))


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f'/proc/{pid}/task/{pid}/children').read_text().split()]


def _train(folder: Path, arguments: tuple[str, ...], log: Path, environment: dict[str, Any]) -> None:
    from mulsr_plugin.train import main

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores it
    multiprocessing.set_start_method('fork', force=True)  # for loader workers; the fork server hands on its own method
    os.chdir(folder)
    os.environ.update({key: str(value) for key, value in environment.items()})
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    sys.argv = ['mulsr_plugin.train', *arguments]
    sys.exit(main())


def _free_port() -> str:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        return str(listener.getsockname()[1])
