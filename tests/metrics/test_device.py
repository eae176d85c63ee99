"""What metrics ask of a GPU: few launches, and one wait for all values."""

from __future__ import annotations

import statistics
import time
import warnings

import pytest
import torch
from basicsr.metrics import calculate_metric
from torch.utils._python_dispatch import TorchDispatchMode

import mulsr_plugin
from mulsr_plugin.metrics import _cubes, qnr
from tests.metrics.conftest import smooth_pair

PAPER_METRICS = ('calculate_hsi_psnr', 'calculate_hsi_ssim', 'calculate_sam', 'calculate_rmse', 'calculate_ergas')
BAND_METRICS = ('calculate_mpsnr', 'calculate_cc', 'calculate_uiqi', 'calculate_d_lambda', 'calculate_d_s')
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')


@pytest.fixture(scope='module', autouse=True)
def registered():
    mulsr_plugin.register()


def measure(name, img, img2):
    data = {'img': img, 'img2': img2, 'lq': img2[::4, ::4], 'rgb': img2[..., :3]}
    return calculate_metric(data, {'type': name, 'scale': 4})


class CountLaunches(TorchDispatchMode):
    """Count the operations that write memory, each a launch on a GPU."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        is_view = any(value.alias_info and not value.alias_info.is_write for value in function._schema.returns)
        is_on_device = any(
            isinstance(value, torch.Tensor) and value.is_meta for value in torch.utils._pytree.tree_leaves(result)
        )
        if is_on_device and not is_view and not function.name().startswith('aten::empty'):
            self.count += 1
        return result


@pytest.fixture
def launches(monkeypatch):
    """Function that counts the launches of a metric on a scene of the CAVE size.

    Tensors without values stand in for a GPU's: whoever asks for a value before the end fails.
    """

    def at_the_end(cubes, results):
        return [0.0] * results.numel()

    for module in (_cubes, qnr):
        monkeypatch.setattr(module, 'read', at_the_end)

    def count(name):
        scene = torch.empty(31, 512, 512, device='meta').permute(1, 2, 0)
        with CountLaunches() as mode:
            measure(name, scene, scene)
        return mode.count

    return count


def test_a_scene_takes_few_launches(launches):
    counts = {name: launches(name) for name in PAPER_METRICS}
    assert max(counts.values()) < 100
    assert sum(counts.values()) < 200


@pytest.mark.parametrize('name', BAND_METRICS)
def test_no_wait_before_the_end(launches, name):
    assert launches(name) > 10


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize('name', PAPER_METRICS + BAND_METRICS)
def test_one_wait_on_cuda(name):
    cubes = [torch.from_numpy(cube).cuda() for cube in smooth_pair(64, 64, 31)]
    expected = measure(name, *(cube.cpu() for cube in cubes))
    measure(name, *cubes)
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            value = measure(name, *cubes)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    assert value == pytest.approx(expected, rel=1e-6)
    assert sum('synchroniz' in str(warning.message) for warning in caught) == 1


@pytest.mark.gpu
@needs_cuda
def test_the_papers_metrics_of_a_scene_take_milliseconds():
    cubes = [torch.from_numpy(cube).cuda() for cube in smooth_pair(512, 512, 31)]
    times = []
    for _ in range(6):
        start = time.perf_counter()
        for name in PAPER_METRICS:
            measure(name, *cubes)
        times.append(time.perf_counter() - start)
    assert statistics.median(times[1:]) < 0.05
