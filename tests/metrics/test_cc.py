from __future__ import annotations

import numpy as np
import pytest

from mulsr_plugin.metrics.cc import calculate_cc


def test_equals_numpy(pair):
    result, reference = pair
    bands = range(result.shape[-1])
    expected = np.mean([np.corrcoef(result[..., b].ravel(), reference[..., b].ravel())[0, 1] for b in bands])
    assert calculate_cc(result, reference) == pytest.approx(expected, abs=1e-7)


def test_gain_and_offset_do_not_matter_but_sign_does(pair):
    reference = pair[1].astype(np.float64)
    gains = np.array([2, -3, 0.1, 5, -1, 7, 1e-6])
    assert calculate_cc(gains * reference - 0.2, reference) == pytest.approx(3 / 7, abs=1e-9)


def test_single_precision_offset_does_not_swamp_the_signal():
    rng = np.random.default_rng(2)
    signal = np.round(rng.random((20, 20, 1)) * 255) / 2**12
    noise = np.round(rng.random((20, 20, 1)) * 255) / 2**12
    expected = np.corrcoef(signal.ravel(), noise.ravel())[0, 1]
    assert calculate_cc((1024 + signal).astype(np.float32), noise) == pytest.approx(expected, abs=1e-9)


def test_bands_without_contrast():
    ramp = np.linspace(0, 1, 12).reshape(3, 4, 1)
    flat = np.full_like(ramp, 0.1)
    # Per band: ramp against ramp, flat against flat, ramp against flat.
    assert calculate_cc(np.dstack([ramp, flat, ramp]), np.dstack([ramp, 3 * flat, flat])) == pytest.approx(2 / 3)
