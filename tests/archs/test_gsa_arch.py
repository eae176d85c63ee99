"""GSA against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import torch

from mulsr_plugin.archs.gsa_arch import GSA
from tests.archs.fusion_pairs import make_pair


def test_one_band_seen_by_the_guide_becomes_the_guide():
    """The intensity is the band itself, its gain 1: x = up(y) + p - mean(p) - (up(y) - mean(up(y)))."""
    pair = make_pair(4, num_bands=1, num_guide_ch=1, rank=2)
    result = GSA(4)(pair.lq, pair.rgb, pair.sensor)
    level = pair.sensor.enlarge(pair.lq).mean() - pair.rgb.mean()
    torch.testing.assert_close(result, pair.rgb + level, rtol=0, atol=1e-12)


def test_bands_that_the_guide_spans_are_recovered():
    """With bands a_l p + b_l the gains are a_l, so that only the mean of the enlargement is not exact."""
    pair = make_pair(4, num_bands=1, num_guide_ch=1, rank=2)
    gains, offsets = torch.tensor([0.5, 2.0, -1.0]).double(), torch.tensor([0.1, 0.0, 1.5]).double()
    gt = gains[:, None, None] * pair.rgb + offsets[:, None, None]
    lq = gains[:, None, None] * pair.lq + offsets[:, None, None]
    result = GSA(4)(lq, pair.rgb, pair.sensor)
    level = pair.sensor.enlarge(lq).mean(dim=(2, 3), keepdim=True) - gt.mean(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(result, gt + level, rtol=0, atol=1e-11)


def test_each_band_goes_with_its_channel():
    """Two scenes one after the other in the bands: fusing them together is fusing each with its channel alone."""
    scenes = [make_pair(4, num_bands=1, num_guide_ch=1, rank=2, seed=seed) for seed in (0, 1)]
    cubes = [torch.cat([pair.lq, 0.5 * pair.lq.square() + 0.1], 1) for pair in scenes]
    guides = torch.cat([pair.rgb for pair in scenes[::-1]], 1)
    together = GSA(4)(torch.cat(cubes, 1), guides, scenes[0].sensor)
    for part, cube, pair in zip((slice(0, 2), slice(2, 4)), cubes, scenes):
        torch.testing.assert_close(together[:, part], GSA(4)(cube, pair.rgb, pair.sensor), rtol=0, atol=1e-11)


def test_gains_by_covariances_of_numpy():
    pair = make_pair(4, num_bands=4, num_guide_ch=1, rank=4)
    y, p = pair.lq[0].flatten(1).numpy(), pair.sensor.blur(pair.rgb).flatten().numpy()
    weights = np.linalg.lstsq(np.c_[(y - y.mean(1, keepdims=True)).T, np.ones(y.shape[1])], p - p.mean(), rcond=None)[0]
    enlarged = pair.sensor.enlarge(pair.lq)[0].flatten(1).numpy()
    intensity = weights[:4] @ (enlarged - enlarged.mean(1, keepdims=True))
    guide = pair.rgb.flatten().numpy()
    expected = [
        band + np.cov(band, intensity)[0, 1] / np.var(intensity, ddof=1) * (guide - guide.mean() - intensity)
        for band in enlarged
    ]
    result = GSA(4)(pair.lq, pair.rgb, pair.sensor)[0].flatten(1)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-10)


def test_gradients_flow():
    pair = make_pair(2, (5, 6))
    lq, rgb = pair.lq.requires_grad_(), pair.rgb.requires_grad_()
    GSA(2)(lq, rgb, pair.sensor).square().sum().backward()
    assert lq.grad.isfinite().all() and rgb.grad.isfinite().all() and rgb.grad.abs().sum() > 0
