"""Vertex component analysis finds the vertices that are there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.archs.endmembers import vertex_components


@pytest.mark.parametrize('count', [1, 2, 3, 5])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_pure_pixels_are_found(count, dtype):
    rng = np.random.default_rng(0)
    endmembers = rng.random((8, count))
    abundances = np.concatenate([rng.dirichlet(np.ones(count), 200).T, np.eye(count)], axis=1)
    spectra = torch.from_numpy(endmembers @ abundances).to(dtype)
    for seed in range(5):
        found = vertex_components(spectra, count, np.random.default_rng(seed)).numpy()
        distances = np.linalg.norm(found[:, :, None] - endmembers[:, None], axis=0)
        assert found.dtype == spectra.numpy().dtype
        assert sorted(distances.argmin(axis=1)) == list(range(count))
        assert distances.min(axis=1).max() < 1e-5


def test_flat_images_and_few_pixels_are_no_trouble():
    for spectra in (torch.zeros(4, 10), torch.ones(4, 10), torch.rand(4, 4)):
        found = vertex_components(spectra, 4, np.random.default_rng(0))
        assert found.shape == (4, 4) and found.isfinite().all()
