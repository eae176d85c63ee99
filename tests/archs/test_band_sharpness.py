"""BandSharpness: finds the profile of a camera, from one scene or several, and reaches as far as it says."""

from __future__ import annotations

import torch

from mulsr_plugin.archs.band_sharpness import REACH, BandSharpness, laplacian
from mulsr_plugin.archs.mulsrcube_arch import MulSRCube
from tests.sensor.demo_pairs import degraded, guide_of, scene


def test_laplacian_of_a_parabola_is_constant():
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing='ij')
    assert torch.equal(laplacian((rows**2 + 2 * columns**2)[None])[0, 1:-1, 1:-1], torch.full((7, 5), 6.0))
    assert torch.equal(laplacian(torch.ones(2, 4, 4)), torch.zeros(2, 4, 4))


def test_scenes_count_alike_and_add_up():
    torch.manual_seed(0)
    sharpness = BandSharpness(3)
    planted = torch.randn(2, 3, 3)
    for brightness in (1.0, 100.0):
        x = brightness * torch.randn(6, 40, 40)
        sharpness.observe(x, torch.einsum('ml,mhw->lhw', planted.view(6, 3), x))
    sharpness.solve()
    torch.testing.assert_close(sharpness.weight.data, planted / 1.03, rtol=0.1, atol=0.02)  # shrunk by the ridge
    assert sharpness.normal.diagonal().max() / sharpness.normal.diagonal().min() < 20  # not 100 ** 2


def test_reach():
    sharpness = BandSharpness(2)
    sharpness.weight.data.normal_()
    image = torch.zeros(2, 15, 15, requires_grad=True)
    sharpness(image)[0, 7, 7].backward()
    seen = image.grad.abs().amax(dim=(0, 1)).nonzero()[:, 0]
    assert (int(seen.min()), int(seen.max())) == (7 - REACH, 7 + REACH)


def test_the_blur_of_single_bands_is_learned_from_one_scene_and_mends_another():
    """Bands of a camera that focuses blue and red less sharply than what lies between."""
    profile = torch.linspace(-1, 1, 31).square()[:, None, None] * 0.3
    net = MulSRCube(8)

    def pair(part):
        gt = scene(192)[:, part, :]
        gt = gt + profile * laplacian(gt)
        return degraded(gt, 'noise_free', 8)[None], guide_of(gt)[None], gt

    lq, guide, gt = pair(slice(0, 96))
    net.observe(net.starts(lq, guide)[0], gt)
    lq, guide, gt = pair(slice(96, 192))
    (start,) = net.starts(lq, guide)
    with torch.no_grad():
        before, after = ((cube - gt).square().mean() for cube in (start.cube, net.corrected([start])[0]))
    assert after < 0.8 * before
