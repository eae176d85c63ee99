"""MTF-GLP against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.archs.mtfglp_arch import INJECTIONS, LARGEST_MODULATION, MTFGLP
from tests.archs.fusion_pairs import make_pair


@pytest.mark.parametrize('degradation', ['noise_free', {'preset': 'authors_fixed', 'noise_sigma': 0.0}])
@pytest.mark.parametrize('injection', INJECTIONS)
def test_bands_that_the_guide_spans_are_recovered(injection, degradation):
    """Three materials and three channels: every band is a linear combination of the channels, and so its own guide."""
    pair = make_pair(4, num_bands=6, num_guide_ch=3, rank=3, degradation=degradation)
    result = MTFGLP(4, injection=injection)(pair.lq, pair.rgb, pair.sensor)
    torch.testing.assert_close(result, pair.gt, rtol=0, atol=1e-9)


@pytest.mark.parametrize('injection', INJECTIONS)
def test_formula_with_one_channel(injection):
    pair = make_pair(3, num_bands=4, num_guide_ch=1, rank=4)
    reduced = pair.sensor.blur(pair.rgb)
    low, enlarged = pair.sensor.enlarge(reduced)[0, 0].numpy(), pair.sensor.enlarge(pair.lq)[0].numpy()
    result = MTFGLP(3, injection=injection)(pair.lq, pair.rgb, pair.sensor)[0].numpy()
    for band in range(4):
        slope, constant = np.polyfit(reduced.flatten().numpy(), pair.lq[0, band].flatten().numpy(), 1)
        guide, low_pass = slope * pair.rgb[0, 0].numpy() + constant, slope * low + constant
        if injection == 'modulation':
            expected = enlarged[band] * guide / low_pass
        else:
            gain = np.cov(enlarged[band].ravel(), low_pass.ravel())[0, 1] / np.var(low_pass, ddof=1)
            expected = enlarged[band] + gain * (guide - low_pass)
        np.testing.assert_allclose(result[band], expected, rtol=0, atol=1e-9)


def test_modulation_is_bounded_where_the_low_pass_is_dark():
    pair = make_pair(4, num_bands=3, num_guide_ch=1, rank=3, dtype=torch.float32)
    lq, rgb = pair.lq.clone(), pair.rgb.clone()
    rgb[..., 20:] = 0  # the cube does not know of this shadow
    result = MTFGLP(4)(lq, rgb, pair.sensor)
    enlarged = pair.sensor.enlarge(lq)
    assert (result - enlarged).abs().max() <= LARGEST_MODULATION * (rgb.max() - rgb.min()) * 4


def test_gradients_flow():
    pair = make_pair(2, (5, 6), rank=5)
    lq, rgb = pair.lq.requires_grad_(), pair.rgb.requires_grad_()
    MTFGLP(2)(lq, rgb, pair.sensor).square().sum().backward()
    assert lq.grad.isfinite().all() and rgb.grad.isfinite().all() and rgb.grad.abs().sum() > 0
