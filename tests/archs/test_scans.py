"""Tests of the line scans against the definition, written out line by line and tap by tap."""

from __future__ import annotations

import pytest
import torch

from mulsr_plugin.archs.scans import LineScan


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


def test_input_is_left_alone():
    x = torch.randn(1, 4, 3, 3)
    before = x.clone()
    LineScan(4, 'rows')(x)
    assert torch.equal(x, before)


def test_wrong_direction():
    with pytest.raises(ValueError, match="'diagonals'.*'rows' or 'columns'"):
        LineScan(4, 'diagonals')
