"""Tests of the line scans against the definition, written out line by line and tap by tap."""

from __future__ import annotations

import pytest
import torch

from mulsr_plugin.ops.scans import LineScan, line_scan, line_scan_backward
from tests.ops.plain_scan import pair_of_scans, relative_error, result_and_gradients


def literal_row_scan(x, weight, bias, slope):
    """Scan the rows of (B, C, H, W) with a kernel (C, C, 7) along the row."""

    def phi(row):
        padded = torch.nn.functional.pad(row, (3, 3))
        mixed = sum(
            torch.einsum('oc,bcw->bow', weight[:, :, tap], padded[:, :, tap : tap + row.shape[2]]) for tap in range(7)
        )
        mixed = mixed + bias[:, None]
        return torch.where(mixed > 0, mixed, slope * mixed)

    height = x.shape[2]
    down = [x[:, :, 0]]
    for i in range(1, height):
        down.append(phi(down[i - 1]) + x[:, :, i])
    both = {height - 1: down[height - 1]}
    for i in reversed(range(height - 1)):
        both[i] = phi(both[i + 1]) + down[i]
    return torch.stack([both[i] for i in range(height)], dim=2)


def literal_scan(scan, x):
    """Scan with the parameters of a LineScan; columns are the rows of the transposed map."""
    conv, prelu = scan.conv
    if scan.dim == 2:
        return literal_row_scan(x, conv.weight[:, :, 0], conv.bias, prelu.weight)
    return literal_row_scan(x.mT, conv.weight[..., 0], conv.bias, prelu.weight).mT


@pytest.mark.parametrize('lines', ['rows', 'columns'])
@pytest.mark.parametrize('size', [(5, 9), (9, 5), (1, 4), (4, 1), (2, 2)])
def test_scan_and_its_gradients_follow_the_definition(lines, size):
    torch.manual_seed(0)
    scan = LineScan(4, lines).double()
    x = torch.randn(2, 4, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 4, *size, dtype=torch.float64)
    wanted = [x, *scan.parameters()]
    result, literal = scan(x), literal_scan(scan, x)
    torch.testing.assert_close(result, literal)
    gradients = [torch.autograd.grad((y * weights).sum(), wanted, allow_unused=True) for y in (result, literal)]
    for ours, reference in zip(*gradients):
        if reference is None:  # a map of one line uses no convolution
            assert ours is None
        else:
            torch.testing.assert_close(ours, reference)


@pytest.mark.parametrize('lines', ['rows', 'columns'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_float32_equals_a_chain_of_single_steps(lines, memory_format):
    scan, plain = pair_of_scans(16, lines)
    x = torch.randn(3, 16, 24, 20).contiguous(memory_format=memory_format)
    ours, reference = result_and_gradients(scan, x), result_and_gradients(plain, x)
    for name, a, b in zip(['result', 'input', 'weight', 'bias', 'slope'], ours, reference):
        assert a.dtype == b.dtype, name
        assert relative_error(a, b) < 1e-5, name
    assert ours[0].is_contiguous(memory_format=memory_format)
    with torch.no_grad():  # nothing is kept, and the second sweep works in place
        assert relative_error(scan(x), reference[0]) < 1e-5


@pytest.mark.parametrize('lines', ['rows', 'columns'])
def test_derivative_equals_finite_differences(lines):
    scan, _ = pair_of_scans(2, lines)
    scan.double()
    x = torch.randn(1, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, *_: scan(x), (x, *scan.parameters()))


def test_bf16_is_nearer_to_float64_than_autograd_through_single_steps():
    # autograd adds up the gradients of the weights over the lines in bfloat16, which loses 10% over 64 lines
    scan, plain = pair_of_scans(16, 'rows')
    x = torch.randn(1, 16, 64, 32, dtype=torch.bfloat16)
    ours, naive = result_and_gradients(scan, x, autocast=True), result_and_gradients(plain, x, autocast=True)
    exact = result_and_gradients(plain.double(), x.double())
    assert ours[0].dtype == torch.bfloat16
    assert relative_error(ours[0], exact[0]) < 4e-3  # half a unit in the last place of bfloat16
    for a, b, reference in zip(ours[2:], naive[2:], exact[2:]):
        assert a.dtype == torch.float32
        assert relative_error(a, reference) < 0.02
        assert relative_error(a, reference) < max(relative_error(b, reference), 5e-3)


def test_autocast_keeps_the_lines_in_the_precision_of_the_map():
    scan, plain = pair_of_scans(8, 'columns')
    x = torch.randn(2, 8, 6, 7)
    ours, exact = result_and_gradients(scan, x, autocast=True), result_and_gradients(plain.double(), x.double())
    assert ours[0].dtype == torch.float32
    for a, b in zip(ours, exact):
        assert a.dtype == torch.float32
        assert relative_error(a, b) < 0.02


@pytest.mark.parametrize('keep', [False, True])
def test_operator_fulfils_what_pytorch_asks_of_operators(keep):
    scan, _ = pair_of_scans(4, 'rows')
    x = torch.randn(2, 4, 3, 5).contiguous(memory_format=torch.channels_last).requires_grad_(keep)
    weight, bias, slope = (p if keep else p.detach() for p in scan.parameters())
    torch.library.opcheck(line_scan, (x, weight, bias, slope, keep))
    if keep:
        with torch.no_grad():
            kept = line_scan(x, weight, bias, slope, keep)
        gradient = torch.randn(2, 4, 3, 5)
        checks = ('test_schema', 'test_faketensor')
        torch.library.opcheck(line_scan_backward, (gradient, *kept, weight, slope), test_utils=checks)


def test_compiled_network_sees_one_operator_per_scan():
    graphs = []

    def backend(graph, _):
        graphs.append(graph)
        return graph

    scans = torch.nn.Sequential(LineScan(4, 'rows'), LineScan(4, 'columns'))
    x = torch.randn(1, 4, 9, 8)
    torch.testing.assert_close(torch.compile(scans, backend=backend, fullgraph=True)(x), scans(x))
    assert sum(node.target is torch.ops.mulsr_plugin.line_scan.default for node in graphs[0].graph.nodes) == 2
    assert len(graphs[0].graph.nodes) < 30


@pytest.mark.parametrize('lines', ['rows', 'columns'])
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_input_is_left_alone(lines, memory_format):
    x = torch.randn(2, 4, 3, 5).contiguous(memory_format=memory_format)
    before = x.clone()
    with torch.no_grad():
        LineScan(4, lines)(x)
    assert torch.equal(x, before)


def test_wrong_direction():
    with pytest.raises(ValueError, match="'diagonals'.*'rows' or 'columns'"):
        LineScan(4, 'diagonals')


def test_even_kernel():
    with pytest.raises(ValueError, match='kernel_size is 4, expected an odd number'):
        LineScan(4, 'rows', kernel_size=4)
