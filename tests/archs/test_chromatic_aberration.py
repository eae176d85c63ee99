"""ChromaticAberration: finds what a lens does, from one scene or several, and reaches as far as it says."""

from __future__ import annotations

import torch

from mulsr_plugin.archs.axial_strength import axial_strength
from mulsr_plugin.archs.chromatic_aberration import (
    REACH,
    ChromaticAberration,
    along_radius,
    laplacian,
    places_in,
)
from mulsr_plugin.archs.mulsrcube_arch import MulSRCube
from tests.sensor.demo_pairs import degraded, guide_of, scene


def test_laplacian_of_a_parabola_is_constant():
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing='ij')
    assert torch.equal(laplacian((rows**2 + 2 * columns**2)[None])[0, 1:-1, 1:-1], torch.full((7, 5), 6.0))
    assert torch.equal(laplacian(torch.ones(2, 4, 4)), torch.zeros(2, 4, 4))


def test_derivative_along_the_radius_is_that_of_a_magnification():
    """Of the squared distance from the axis it is twice the squared distance."""
    places = places_in((33, 21), torch.zeros(1))
    squared = places.square().sum(dim=0)
    torch.testing.assert_close(
        256 * along_radius(squared[None], places)[0, 1:-1, 1:-1], 2 * squared[1:-1, 1:-1], rtol=0, atol=1e-6
    )
    window = slice(4, 10), slice(3, 20)
    assert torch.equal(places_in((33, 21), places, window), places[(..., *window)])


def planted_lens(num_bands):
    lens = ChromaticAberration(num_bands)
    lens.weight.data.normal_()
    lens.strength_weight.data.normal_()
    return lens


def test_the_correction_is_composed_of_the_derivatives():
    torch.manual_seed(0)
    lens, cube, places = planted_lens(3), torch.rand(3, 20, 24), places_in((20, 24), torch.zeros(1))
    derivatives = lens.derivatives(cube, places)
    expected = torch.einsum('kml,klhw->mhw', lens.weight.data, derivatives)
    expected += 0.7 * torch.einsum('km,kmhw->mhw', lens.strength_weight.data, derivatives[[0, 3]])
    torch.testing.assert_close(lens(cube, places, 0.7).data, expected, rtol=0, atol=1e-4)


def test_scenes_count_alike_and_add_up():
    torch.manual_seed(0)
    lens, planted = ChromaticAberration(3), planted_lens(3)
    for brightness, strength in ((1.0, 0.5), (100.0, -0.5)):
        x = brightness * torch.randn(5, 3, 40, 40)
        missing = torch.einsum('kml,klhw->mhw', planted.weight.data, x)
        missing += strength * torch.einsum('km,kmhw->mhw', planted.strength_weight.data, x[[0, 3]])
        lens.observe(x, missing, strength)
    lens.solve()
    torch.testing.assert_close(lens.weight.data, planted.weight.data, rtol=0.1, atol=0.1)  # shrunk by the ridge
    torch.testing.assert_close(lens.strength_weight.data, planted.strength_weight.data, rtol=0.1, atol=0.15)
    assert lens.normal.diagonal()[:15].max() / lens.normal.diagonal()[:15].min() < 20  # not 100 ** 2


def test_profile_is_zero_at_first_and_then_that_of_the_scenes():
    torch.manual_seed(0)
    lens = ChromaticAberration(4)
    assert not lens.profile().any()
    x = torch.randn(5, 4, 60, 60)
    profile = torch.tensor([[0.3, 0.1, 0.0, 0.2], [-0.2, -0.1, 0.0, 0.1]])
    lens.observe(x, profile[0][:, None, None] * x[0] + profile[1][:, None, None] * x[3])
    torch.testing.assert_close(lens.profile(), profile, rtol=0, atol=0.02)


def test_reach():
    lens = planted_lens(2)
    image = torch.zeros(2, 15, 15, requires_grad=True)
    lens(image, places_in((15, 15), image))[0, 7, 7].backward()
    seen = image.grad.abs().amax(dim=(0, 1)).nonzero()[:, 0]
    assert (int(seen.min()), int(seen.max())) == (7 - REACH, 7 + REACH)


AXIAL = torch.linspace(-1, 1, 31).square()[:, None, None] * 0.3
LATERAL = torch.linspace(-1, 1, 31)[:, None, None] * 0.3


def through_a_lens(gt, strength=1.0):
    """Blur and magnify the bands of a cube (L, H, W) as a lens does; the middle ones least."""
    places = places_in((gt.shape[1], gt.shape[2]), gt)
    return gt + strength * AXIAL * laplacian(gt) + LATERAL * along_radius(gt, places)


def pair_through_a_lens(part, strength=1.0):
    gt = through_a_lens(scene(192)[:, part, :], strength)
    return degraded(gt, 'noise_free', 8)[None], guide_of(gt)[None], gt


def test_the_lens_is_learned_from_one_scene_and_mends_another():
    """Bands of a camera that focuses blue and red less sharply than what lies between, and magnifies them unlike."""
    net = MulSRCube(8)
    lq, guide, gt = pair_through_a_lens(slice(0, 96))
    net.observe(net.starts(lq, guide)[0], gt)
    lq, guide, gt = pair_through_a_lens(slice(96, 192))
    (start,) = net.starts(lq, guide)
    with torch.no_grad():
        before, after = ((cube - gt).square().mean() for cube in (start.cube, net.corrected([start])[0]))
    assert after < 0.75 * before


def test_a_scene_is_corrected_by_its_own_strength():
    net = MulSRCube(8)
    lq, guide, gt = pair_through_a_lens(slice(0, 96))
    net.observe(net.starts(lq, guide)[0], gt)
    (start,) = net.starts(lq, guide)
    strength = start.units.axial_strength
    assert strength != 0
    with torch.no_grad():
        before = net(lq, guide)
        net.lens.strength_weight += 0.2
        after = net(lq, guide)
        share = 0.2 * strength * (laplacian(start.cube) + along_radius(start.cube, start.places))
    positive = (before[0] > 0) & (after[0] > 0)  # where nothing was cut off
    change, expected = (after - before)[0], start.unseen(share)
    torch.testing.assert_close(change[positive], expected[positive], rtol=0, atol=1e-4)


def test_axial_strength_follows_the_focus():
    """A scene out of focus shows more of the aberration; a pair without any learned profile shows none."""
    net = MulSRCube(8)
    profile = torch.stack([AXIAL[:, 0, 0], LATERAL[:, 0, 0]])

    def strength(scale, profile):
        lq, guide, _ = pair_through_a_lens(slice(None), scale)
        start, coefficients = net.start.prepared(lq, guide)
        pair = start.pairs[0]
        return axial_strength(pair, lq[0], pair.unpacked(coefficients[0]), guide[0], profile)

    none, some, much = (strength(scale, profile) for scale in (0.0, 1.5, 3.0))
    assert none == -1  # the least that counts
    assert none < some < much < 1
    assert much - some > 0.3
    assert strength(1.0, torch.zeros(2, 31)) == 0
