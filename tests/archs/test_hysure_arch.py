"""HySure: the minimum that it finds, and what it recovers."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize

from mulsr_plugin.archs.hysure_arch import HySure
from tests.archs.fusion_pairs import make_pair, psnr

BLUR = {'preset': 'gaussian', 'sigma': 1.2}


def objective(a, pair, basis, lambda_m, lambda_phi):
    """The paper's function of the coefficients (1, p, H, W), written out."""
    sensor = pair.sensor.with_boundary('circular')
    cube = torch.einsum('lp,bphw->blhw', basis, a)
    edges = [a - torch.roll(a, -1, dim) for dim in (2, 3)]
    total_variation = (edges[0].square().sum(1) + edges[1].square().sum(1) + 1e-14).sqrt().sum()
    fit = (pair.lq - sensor.blur(cube)).square().sum() / 2
    return fit + lambda_m * (pair.rgb - sensor.apply_response(cube)).square().sum() / 2 + lambda_phi * total_variation


@pytest.mark.parametrize(('basis_name', 'lambda_phi'), [('svd', 0.0), ('svd', 0.05), ('vca', 0.05)])
def test_minimises_its_objective(basis_name, lambda_phi):
    """A general minimiser that goes on from there finds nothing lower; the function is convex."""
    pair = make_pair(2, (4, 5), num_bands=5, num_guide_ch=2, rank=3, degradation=BLUR)
    unit = pair.lq.max()
    pair = pair._replace(lq=pair.lq / unit, rgb=pair.rgb / unit)
    net = HySure(2, num_components=3, basis=basis_name, lambda_m=0.7, lambda_phi=lambda_phi, num_iterations=1000)
    basis = net._basis(pair.lq[0].flatten(1))
    x = net(pair.lq, pair.rgb, pair.sensor)
    found = torch.einsum('pl,blhw->bphw', torch.linalg.pinv(basis), x)
    torch.testing.assert_close(torch.einsum('lp,bphw->blhw', basis, found), x, rtol=0, atol=1e-10)

    def value_and_gradient(flat):
        a = torch.from_numpy(flat).view_as(found).requires_grad_()
        value = objective(a, pair, basis, 0.7, lambda_phi)
        (gradient,) = torch.autograd.grad(value, a)
        return value.item(), gradient.flatten().numpy()

    start = found.flatten().numpy()
    value = value_and_gradient(start)[0]
    best = minimize(value_and_gradient, start, jac=True, method='L-BFGS-B', options={'maxiter': 200}).fun
    assert value <= best * (1 + 1e-3) + 1e-9
    assert value < value_and_gradient(1.02 * start)[0]


def test_a_guide_of_as_many_channels_as_components_fixes_every_pixel():
    pair = make_pair(4, (8, 8), num_bands=6, num_guide_ch=3, rank=3)
    net = HySure(4, num_components=3, basis='svd', lambda_m=1e4, lambda_phi=1e-7, num_iterations=300)
    assert psnr(net(pair.lq, pair.rgb, pair.sensor), pair.gt) > 60


def test_more_total_variation_is_smoother():
    pair = make_pair(4, (6, 6), num_guide_ch=1)
    rough, smooth = (
        HySure(4, num_components=3, lambda_phi=value, num_iterations=100)(pair.lq, pair.rgb, pair.sensor)
        for value in (1e-4, 1.0)
    )
    assert smooth.diff(dim=3).abs().sum() < rough.diff(dim=3).abs().sum() / 2


def test_brightness_scales_through():
    """Images are divided by the largest value of the cube, so that weights mean the same for any unit."""
    pair = make_pair(4, (6, 6))
    net = HySure(4, num_components=3, num_iterations=30)
    brighter = net(100 * pair.lq, 100 * pair.rgb, pair.sensor)
    torch.testing.assert_close(brighter, 100 * net(pair.lq, pair.rgb, pair.sensor), rtol=1e-9, atol=1e-9)
