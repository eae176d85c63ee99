"""Least squares of full and deficient rank."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.ops.least_squares import least_squares


@pytest.mark.parametrize(('rows', 'columns', 'rank'), [(30, 4, 4), (30, 4, 2), (3, 5, 3), (30, 4, 0)])
def test_equals_numpy(rows, columns, rank):
    rng = np.random.default_rng(0)
    a = rng.random((rows, rank)) @ rng.random((rank, columns))
    b = rng.random((rows, 2))
    expected = np.linalg.lstsq(a, b, rcond=1e-12)[0]
    np.testing.assert_allclose(least_squares(*map(torch.from_numpy, (a, b))), expected, rtol=1e-9, atol=1e-11)
