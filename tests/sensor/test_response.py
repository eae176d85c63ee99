"""The response fitted to a pair."""

from __future__ import annotations

import torch

from mulsr_plugin.sensor.response import fit_response


def test_finds_the_response_that_made_the_guide():
    generator = torch.Generator().manual_seed(0)
    response = torch.rand(3, 6, generator=generator, dtype=torch.float64)
    response[0, 2:] = 0
    cube = torch.rand(6, 5, 7, generator=generator, dtype=torch.float64)
    guide = torch.einsum('gl,lhw->ghw', response, cube)
    torch.testing.assert_close(fit_response(cube, guide), response, rtol=1e-10, atol=1e-12)


def test_never_negative_and_finite_with_fewer_pixels_than_bands():
    generator = torch.Generator().manual_seed(0)
    cube, guide = torch.rand(40, 4, 5, generator=generator), torch.rand(2, 4, 5, generator=generator)
    response = fit_response(cube, guide)
    assert response.shape == (2, 40) and (response >= 0).all() and response.isfinite().all()
    assert torch.equal(fit_response(torch.zeros(40, 4, 5), torch.zeros(2, 4, 5)), torch.zeros(2, 40).double())
