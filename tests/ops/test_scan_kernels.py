"""Tests of the Triton kernels: in Triton's interpreter, compiled for a GPU that is absent, and on a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from basicsr.utils import get_root_logger

from mulsr_plugin.ops import scan_kernels
from scripts.dev.speed.cases import scan_case
from scripts.dev.speed.measure import time_in_turn
from tests.ops.plain_scan import pair_of_scans, relative_error, result_and_gradients

triton = pytest.importorskip('triton')
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a CUDA device')

# direction, shape, kernel size, precision of the map, autocast
CASES = [
    ('rows', (2, 8, 4, 5), 7, 'float32', False),
    ('columns', (1, 24, 19, 4), 7, 'float32', False),
    ('rows', (1, 8, 3, 131), 7, 'float32', False),  # a line of two tiles
    ('columns', (1, 136, 2, 3), 3, 'float32', False),  # two tiles of channels
    ('columns', (2, 8, 5, 4), 7, 'bfloat16', True),
    ('rows', (1, 24, 4, 18), 5, 'bfloat16', True),
    ('rows', (1, 16, 4, 6), 7, 'float32', True),
]


@pytest.fixture(scope='module')
def interpreted():
    """Results of tests/ops/interpreted_scans.py, one per case."""
    command = [sys.executable, '-m', 'tests.ops.interpreted_scans', json.dumps(CASES)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(CASES, json.loads(done.stdout.splitlines()[-1])))


@pytest.mark.parametrize('case', CASES, ids=str)
def test_interpreted_kernels_equal_the_plain_form(interpreted, case):
    result = interpreted[case]
    assert not result['failed']
    assert result['launches'] == [4, 2]  # one per sweep, and one per sweep for the derivative
    assert max(result['errors']) < (0.02 if case[4] else 1e-5), result['errors']
    if case[3] == 'bfloat16':
        assert result['errors'][0] < 8e-3  # a unit in the last place: the interpreter cuts off instead of rounding


def compiled_for_hopper(kernel, precision, length, monkeypatch, folder):
    """Compile a kernel for compute capability 9.0 with the tiles and options of a real call; no GPU is needed."""
    compiler = pytest.importorskip('triton.compiler')
    target = pytest.importorskip('triton.backends.compiler')
    monkeypatch.setenv('TRITON_CACHE_DIR', str(folder))
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', precision == 'tf32')
    x = torch.empty((1, 64, 4, length), device='meta')
    dtype = torch.bfloat16 if precision == 'bf16' else torch.float32
    options = scan_kernels._options(x, torch.empty((64, 64, 1, 7), device='meta', dtype=dtype), False)
    options.update({'KEEP': True} if 'KEEP' in kernel.arg_names else {})
    settings = {name: options.pop(name) for name in ('num_warps', 'num_stages')}
    element = '*bf16' if precision == 'bf16' else '*fp32'
    signature = {name: 'i32' if name in options else element for name in kernel.arg_names}
    signature.update({name: '*fp32' for name in ('bias', 'slope') if name in signature})
    constants = {(kernel.arg_names.index(name),): value for name, value in options.items() if name.isupper()}
    signature.update({name: 'constexpr' for name in options if name.isupper()})
    aligned = [
        i for i, name in enumerate(kernel.arg_names) if signature[name][0] == '*' or name.endswith(('_stride', '_line'))
    ]
    try:
        source = compiler.ASTSource(
            fn=kernel,
            signature=signature,
            constexprs=constants,
            attrs={(i,): [['tt.divisibility', 16]] for i in aligned},
        )
    except TypeError:
        pytest.skip('this Triton takes other arguments for compilation ahead of time')
    return triton.compile(source, target=target.GPUTarget('cuda', 90, 32), options=settings)


@pytest.mark.parametrize('length', [48, 256])
@pytest.mark.parametrize('precision', ['bf16', 'tf32', 'fp32'])
@pytest.mark.parametrize('name', ['_sweep_kernel', '_sweep_backward_kernel'])
def test_kernels_compile_for_hopper(name, precision, length, monkeypatch, tmp_path):
    compiled = compiled_for_hopper(getattr(scan_kernels, name), precision, length, monkeypatch, tmp_path)
    code = compiled.asm['ptx']
    assert compiled.metadata.shared <= 64 * 1024  # several programs fit a multiprocessor
    assert 'wgmma' in code  # the matrix units of Hopper
    assert 'bar.sync' in code
    assert 'ld.global.nc' not in code  # loads that a barrier does not order
    assert 'cp.async' not in code  # loads ahead of the barrier
    tool = Path(triton.__file__).parent / 'backends' / 'nvidia' / 'bin' / 'cuobjdump'
    if tool.exists():
        (tmp_path / 'kernel.cubin').write_bytes(compiled.asm['cubin'])
        command = [str(tool), '--dump-resource-usage', str(tmp_path / 'kernel.cubin')]
        usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert 'STACK:0' in usage  # all values stay in registers
        assert 'LOCAL:0' in usage


class BrokenKernel:
    """A kernel that the compiler refuses."""

    def __getitem__(self, grid):
        raise RuntimeError('ptxas exited with code 255')


def test_a_kernel_that_fails_is_given_up_with_one_log_line(monkeypatch, caplog):
    monkeypatch.setattr(scan_kernels, '_failed', False)
    monkeypatch.setattr(scan_kernels, '_sweep_kernel', BrokenKernel())
    monkeypatch.setattr(torch.Tensor, 'is_cuda', True)
    get_root_logger().addHandler(caplog.handler)
    scan, plain = pair_of_scans(8, 'rows')
    x = torch.randn(1, 8, 5, 6)
    try:
        with torch.no_grad():
            torch.testing.assert_close(scan(x), plain(x))
            torch.testing.assert_close(scan(x), plain(x))
    finally:
        get_root_logger().removeHandler(caplog.handler)
    assert [record.getMessage() for record in caplog.records] == [
        'The line scans go on without their Triton kernels, which is slower but gives the same results: '
        'RuntimeError: ptxas exited with code 255'
    ]


def test_double_precision_and_a_cpu_take_the_plain_form():
    x = torch.randn(1, 8, 2, 2)
    assert not scan_kernels.is_supported(x, x)
    scan, plain = pair_of_scans(8, 'rows')
    torch.testing.assert_close(scan.double()(x.double()), plain.double()(x.double()))


@needs_cuda
@pytest.mark.gpu
@pytest.mark.parametrize('precision', ['fp32', 'tf32', 'bf16'])
@pytest.mark.parametrize('lines', ['rows', 'columns'])
@pytest.mark.parametrize('shape', [(3, 64, 48, 48), (2, 64, 33, 140), (1, 24, 150, 20), (1, 160, 12, 17)])
def test_kernels_on_a_gpu(shape, lines, precision, monkeypatch):
    scan, plain = pair_of_scans(shape[1], lines)
    autocast = precision == 'bf16'
    x = torch.randn(shape, dtype=torch.bfloat16 if autocast else torch.float32)
    reference = result_and_gradients(plain.double(), x.double())
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', precision == 'tf32')
    ours = result_and_gradients(scan.cuda(), x.cuda(), autocast)
    assert not scan_kernels._failed
    # where rounding turns the sign at the bend of the PReLU, single gradients jump
    of_result, of_gradients = {'fp32': (1e-5, 1e-3), 'tf32': (2e-3, 0.05), 'bf16': (5e-3, 0.05)}[precision]
    errors = [relative_error(a, b) for a, b in zip(ours, reference)]
    assert errors[0] < of_result
    assert max(errors[1:]) < of_gradients


@needs_cuda
@pytest.mark.gpu
def test_kernels_are_faster_than_single_steps():
    device = torch.device('cuda')
    case = scan_case((4, 64, 48, 48), 'fp32', device, with_gradients=True)
    works = {'single steps': case.reference[0], 'kernels': case.ours['kernels'][0]}
    timings = time_in_turn(works, 'single steps', 5, device)
    assert timings['kernels'].ratio > 2, timings


@needs_cuda
@pytest.mark.gpu
def test_a_scan_launches_each_sweep_once_and_never_waits():
    scan = pair_of_scans(64, 'rows')[0].cuda()
    x = torch.randn(4, 64, 48, 48, device='cuda').contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        scan(x)
        torch.cuda.set_sync_debug_mode('error')
        try:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
                scan(x)
        finally:
            torch.cuda.set_sync_debug_mode('default')
    sweeps = [event for event in profiler.key_averages() if '_sweep_kernel' in event.key]
    assert sum(event.count for event in sweeps) == 2
