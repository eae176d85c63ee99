"""CNMF: its updates against their definition, its constraints, what it recovers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from mulsr_plugin.archs import cnmf_arch
from mulsr_plugin.archs.cnmf_arch import CNMF, Factors
from mulsr_plugin.sensor.model import SensorModel
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
    assert all(new <= old * (1 + 1e-12) for old, new in pairwise(errors))
    assert errors[-1] < errors[0] / 3


def test_pure_materials_are_recovered_at_their_edges():
    """Patches of 6x6 pixels of one of three materials: some low-resolution pixels are pure, most are mixed."""
    rng = np.random.default_rng(0)
    material = np.kron(rng.integers(3, size=(8, 8)), np.ones((6, 6), dtype=int))
    spectra, response = rng.uniform(0.1, 0.9, (12, 3)), rng.random((4, 12)) / 6
    gt = torch.from_numpy(spectra[:, material])[None]
    sensor = SensorModel.from_degradation('noise_free', 4, response)
    lq, rgb = sensor.blur(gt), sensor.apply_response(gt)
    few, many = (psnr(CNMF(4, num_endmembers=3, num_updates=n)(lq, rgb, sensor), gt) for n in (200, 1000))
    # multiplicative updates are slow near zero, where most abundances belong
    assert psnr(sensor.enlarge(lq), gt) + 5 < few < many - 5


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
