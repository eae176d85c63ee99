"""Free memory within the limits of containers, and what computations take."""

from __future__ import annotations

import sys

import pytest
import torch

from mulsr_plugin.utils.memory import (
    forget_peak_of_process,
    free_host_memory,
    free_memory,
    memory_of_process,
    peak_of_tensors,
)

MEBIBYTE = 1 << 20


def system(root, available=1000, groups=(), files=()):
    """Build a folder with the files of a Linux system; sizes in MiB."""
    contents = {
        'proc/meminfo': f'MemTotal: 99999 kB\nMemAvailable: {available * 1024} kB\n',
        'proc/self/cgroup': '\n'.join(groups),
        **{name: f'{value}\n' for name, value in dict(files).items()},
    }
    for name, content in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def test_host_without_limits(tmp_path):
    assert free_host_memory(system(tmp_path)) == 1000 * MEBIBYTE


def test_container_of_version_2_counts_cached_files_as_free(tmp_path):
    files = {
        'sys/fs/cgroup/box/memory.max': 600 * MEBIBYTE,
        'sys/fs/cgroup/box/memory.current': 500 * MEBIBYTE,
        'sys/fs/cgroup/box/memory.stat': f'anon 7\ninactive_file {50 * MEBIBYTE}',
    }
    assert free_host_memory(system(tmp_path, 1000, ['0::/box'], files)) == 150 * MEBIBYTE


def test_a_group_further_out_may_leave_less(tmp_path):
    files = {
        'sys/fs/cgroup/box/memory.max': 300 * MEBIBYTE,
        'sys/fs/cgroup/box/memory.current': 0,
        'sys/fs/cgroup/box/memory.stat': 'anon 0',
        'sys/fs/cgroup/box/inner/memory.max': 'max',
        'sys/fs/cgroup/box/inner/memory.current': 0,
        'sys/fs/cgroup/box/inner/memory.stat': 'anon 0',
    }
    assert free_host_memory(system(tmp_path, 1000, ['0::/box/inner'], files)) == 300 * MEBIBYTE


def test_container_of_version_1_seen_from_inside(tmp_path):
    # the path is that of the host, of which the container sees only the base
    files = {
        'sys/fs/cgroup/memory/memory.limit_in_bytes': 400 * MEBIBYTE,
        'sys/fs/cgroup/memory/memory.usage_in_bytes': 100 * MEBIBYTE,
        'sys/fs/cgroup/memory/memory.stat': f'total_inactive_file {10 * MEBIBYTE}',
    }
    groups = ['4:memory:/docker/1234', '1:cpu,cpuacct:/docker/1234']
    assert free_host_memory(system(tmp_path, 1000, groups, files)) == 310 * MEBIBYTE


def test_more_than_the_limit_leaves_nothing(tmp_path):
    files = {
        'sys/fs/cgroup/memory.max': 100 * MEBIBYTE,
        'sys/fs/cgroup/memory.current': 120 * MEBIBYTE,
        'sys/fs/cgroup/memory.stat': 'inactive_file 0',
    }
    assert free_host_memory(system(tmp_path, 1000, ['0::/'], files)) == 0


def test_system_without_proc(tmp_path):
    assert free_host_memory(tmp_path) > 0


def test_free_memory_of_this_host():
    assert MEBIBYTE < free_memory('cpu') < 1 << 50


def test_peak_is_counted_by_hand():
    x = torch.rand(1000, 250)  # a million bytes, there before

    def computation():
        y = x * 2  # 1 MB
        z = y + y  # 2 MB
        del y  # 1 MB
        z.add_(1)  # in place
        w = z.view(250, 1000)[:10]  # a view
        return torch.cat([z, z]), w  # 3 MB

    assert peak_of_tensors(computation) == 3_000_000


def test_what_was_there_before_counts_nothing():
    x = torch.rand(1000)
    assert peak_of_tensors(lambda: x[:10].view(2, 5)) == 0
    assert peak_of_tensors(lambda: x.mul_(2)) == 0


@pytest.mark.skipif(sys.platform != 'linux', reason='only Linux tells')
def test_peak_of_the_process_begins_anew():
    before = forget_peak_of_process()
    filled = torch.ones(64 << 20, dtype=torch.uint8)
    assert memory_of_process('VmHWM') - before >= 60
    del filled
    assert memory_of_process('VmHWM') - forget_peak_of_process() >= 30
