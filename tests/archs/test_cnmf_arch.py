"""CNMF: its updates against their definition, its constraints, what it recovers."""

from __future__ import annotations

import numpy as np
import torch

from mulsr_plugin.archs import cnmf_arch
from mulsr_plugin.archs.cnmf_arch import CNMF, Factors
from tests.archs.fusion_pairs import make_pair, psnr


def random_problem(seed=0, channels=4, count=3, pixels=50):
    rng = np.random.default_rng(seed)
    return rng.random((channels, pixels)), rng.random((channels, count)), rng.random((count, pixels))


def test_updates_by_their_definition(monkeypatch):
    """With the row of sums written out as in the paper, pixel by pixel; blocks of pixels change nothing."""
    v, w, h = random_problem()
    pull = 0.3
    extended_v = np.vstack([v, np.full((1, v.shape[1]), pull)])
    extended_w = np.vstack([w, np.full((1, w.shape[1]), pull)])
    expected = np.empty_like(h)
    for n in range(v.shape[1]):
        expected[:, n] = h[:, n] * (extended_w.T @ extended_v[:, n]) / (extended_w.T @ extended_w @ h[:, n])
    for block in (7, 50, 10_000):
        monkeypatch.setattr(cnmf_arch, 'PIXELS_AT_A_TIME', block)
        factors = Factors(torch.from_numpy(w), torch.from_numpy(h))
        updated = cnmf_arch._updated(torch.from_numpy(v), factors, pull, 'abundances')
        np.testing.assert_allclose(updated.abundances, expected, rtol=1e-12)
        assert torch.equal(updated.endmembers, torch.from_numpy(w))
    updated = cnmf_arch._updated(torch.from_numpy(v), factors, pull, 'endmembers')
    np.testing.assert_allclose(updated.endmembers, w * (v @ h.T) / (w @ h @ h.T), rtol=1e-12)


def test_updates_never_raise_the_error():
    v, w, h = (torch.from_numpy(array) for array in random_problem())
    factors, errors = Factors(w, h), []
    for _ in range(100):
        for name in ('abundances', 'endmembers'):
            factors = cnmf_arch._updated(v, factors, 0.0, name)
            errors.append(cnmf_arch._error(v, factors))
    assert all(new <= old * (1 + 1e-12) for old, new in zip(errors, errors[1:]))
    assert errors[-1] < errors[0] / 10


def test_materials_that_the_guide_tells_apart_are_recovered():
    pair = make_pair(4, (16, 16), num_bands=12, num_guide_ch=4, rank=3)
    result = CNMF(4, num_endmembers=3, num_updates=2000)(pair.lq, pair.rgb, pair.sensor)
    assert psnr(result, pair.gt) > 45 > psnr(pair.sensor.enlarge(pair.lq), pair.gt) + 20


def test_result_is_not_negative_and_alternations_change_it():
    pair = make_pair(4, (8, 8), num_bands=12, num_guide_ch=4, rank=6, degradation='authors_fixed')
    results = [
        CNMF(4, num_endmembers=6, num_updates=40, num_alternations=count)(pair.lq, pair.rgb, pair.sensor)
        for count in (1, 2, 3)
    ]
    assert all((result >= 0).all() for result in results)
    assert not torch.equal(results[0], results[1])
    assert psnr(results[1], pair.gt) > psnr(results[0], pair.gt) - 0.5


def test_seed_and_number_of_endmembers_matter():
    pair = make_pair(4, (8, 8), num_bands=12, rank=6)
    first, again, other, fewer = (
        CNMF(4, num_endmembers=count, num_updates=20, seed=seed)(pair.lq, pair.rgb, pair.sensor)
        for count, seed in ((5, 0), (5, 0), (5, 1), (2, 0))
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other) and not torch.equal(first, fewer)
