"""Brightness and contrast of a guide against its response."""

from __future__ import annotations

import numpy as np
import pytest

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.radiometry import guide_radiometry
from mulsr_plugin.data.sources.demo_scenes import demo_scene
from mulsr_plugin.data.spectral_response import NIKON_D700


@pytest.fixture(scope='module')
def scene():
    values = demo_scene(256, seed=3).values / np.float32(65535)
    lq = build_degradation('authors_fixed', 8)(values.transpose(2, 0, 1).copy(), np.random.default_rng(0))
    return lq.transpose(1, 2, 0), values @ NIKON_D700.T.astype(np.float32)


def test_right_guides_are_right_though_shifted_and_noisy(scene):
    lq, guide = scene
    assert guide_radiometry(lq, guide, NIKON_D700).is_right
    assert guide_radiometry(lq, np.roll(guide, (4, -4), (0, 1)), NIKON_D700).is_right


def test_dimmed_guides_get_the_scale_to_give(scene):
    lq, guide = scene
    found = guide_radiometry(lq, 0.4 * guide, NIKON_D700)
    np.testing.assert_allclose(found.brightness, 0.4, rtol=0.03)
    np.testing.assert_allclose(found.contrast, 0.4, rtol=0.08)
    assert not found.is_right and '--guide-value-scale) 0.0' in found.describe(0.4 / 102)


@pytest.mark.parametrize('change', [lambda g: 0.3 + 0.7 * g, lambda g: g ** (1 / 2.2), lambda g: g[..., ::-1]])
def test_other_contrasts_and_orders_are_found(change, scene):
    lq, guide = scene
    found = guide_radiometry(lq, change(guide), NIKON_D700)
    assert not found.is_right and 'undo a gamma' in found.describe(1.0)


def test_even_and_black_images():
    even, guide = np.full((8, 8, 31), 0.5), np.full((64, 64, 3), 0.5)
    found = guide_radiometry(even, guide, NIKON_D700)
    assert found.is_right and np.isnan(found.contrast).all()
    assert '--guide-value-scale) 2' in guide_radiometry(even, guide / 2, NIKON_D700).describe(1.0)
    assert guide_radiometry(0 * even, guide, NIKON_D700) is None
