"""Memory: how much is free for a computation, and how much a computation takes."""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# Assumed where the system does not report it (neither Linux nor another Unix).
_UNKNOWN_FREE_MEMORY = 2 << 30


def free_memory(device: torch.device | str) -> int:
    """Return the memory that a computation can still take.

    Args:
        device (torch.device | str): Where it will run.

    Returns:
        int: Bytes. On CUDA what the driver has left and what PyTorch keeps without using it; else the memory of the
        host, within the limits of the container (control groups, version 1 or 2) that the process runs in.
    """
    device = torch.device(device)
    if device.type != 'cuda':
        return free_host_memory()
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


def free_host_memory(root: Path = Path('/')) -> int:
    """Return the memory of the host that is free or can be freed without swapping, in bytes.

    Args:
        root (Path): Folder with ``proc`` and ``sys``. Default: the system's.
    """
    try:
        fields = dict(line.split(':') for line in (root / 'proc/meminfo').read_text().splitlines())
        available = int(fields['MemAvailable'].split()[0]) * 1024
    except (OSError, KeyError):
        available = _half_of_physical_memory()
    return max(0, min([available, *_left_in_control_groups(root)]))


def _half_of_physical_memory() -> int:
    try:
        return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 2
    except (AttributeError, ValueError, OSError):
        return _UNKNOWN_FREE_MEMORY


def _left_in_control_groups(root: Path) -> Iterator[int]:
    """Yield what each control group around this process leaves it; caches of files count as free."""
    try:
        groups = (root / 'proc/self/cgroup').read_text().splitlines()
    except OSError:
        return
    for _, controllers, path in (group.split(':', 2) for group in groups):
        if controllers == '':
            base, names = root / 'sys/fs/cgroup', ('memory.max', 'memory.current', 'inactive_file')
        elif 'memory' in controllers.split(','):
            names = ('memory.limit_in_bytes', 'memory.usage_in_bytes', 'total_inactive_file')
            base = root / 'sys/fs/cgroup/memory'
        else:
            continue
        # inside a container the path may be that of the host, so that only the base exists
        folder = base / path.lstrip('/')
        for group in (folder, *folder.parents):
            yield from _left_in(group, *names)
            if group == base:
                break


def _left_in(group: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    try:
        allowed, used = int((group / limit).read_text()), int((group / usage).read_text())
        statistics = dict(line.split() for line in (group / 'memory.stat').read_text().splitlines())
        yield allowed - used + int(statistics.get(cache, 0))
    except (OSError, ValueError):  # no such group, or its limit is 'max'
        return


def peak_of_tensors(computation: Callable[[], Any]) -> int:
    """Run a computation and return the most bytes that its own tensors take at one time, its result included.

    Counted are the tensors that PyTorch makes for it, on any device; neither what is there before nor what libraries
    take besides (workspaces of convolutions).

    Args:
        computation (Callable): What to run.

    Returns:
        int: Bytes.
    """
    with _TensorBytes() as counter:
        computation()
    return counter.peak


class _TensorBytes(TorchDispatchMode):
    """Count the bytes of the storages that operations make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # inputs that no operation has made were there before
        self._known.update(tensor.untyped_storage()._cdata for tensor in _tensors((args, kwargs)))
        result = func(*args, **kwargs)
        for tensor in _tensors(result):
            self._watch(tensor.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self._live += size
        self.peak = max(self.peak, self._live)
        weakref.finalize(storage, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))


def forget_peak_of_process() -> float | None:
    """Let the peak memory of the process begin anew.

    Returns:
        float | None: Its present memory in MiB; None where only Linux reports it.
    """
    if sys.platform != 'linux':
        return None
    # memory that earlier calls have freed but the C library keeps would hide what the next call needs
    trim = getattr(ctypes.CDLL(None), 'malloc_trim', None)
    if trim is not None:
        trim(0)
    try:
        Path('/proc/self/clear_refs').write_text('5')
    except OSError:
        return None
    return memory_of_process('VmRSS')


def memory_of_process(field: str) -> float | None:
    """Return a figure of Linux about the process in MiB, None elsewhere.

    Args:
        field (str): 'VmRSS', present memory, or 'VmHWM', its peak.
    """
    try:
        lines = Path('/proc/self/status').read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(field)), None)
