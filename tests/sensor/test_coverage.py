"""Which low-resolution pixels are covered by the guide, and how far a model looks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.sensor.coverage import covered, misfit_ratio, within_guide
from mulsr_plugin.sensor.model import SensorModel
from tests.sensor.demo_pairs import guide_of, scene


def box(scale, offset):
    """Return the mean over blocks that are displaced by an offset."""
    return SensorModel.from_kernel(np.full((scale, scale), scale**-2), scale, offset)


@pytest.mark.parametrize(
    ('offset', 'expected', 'reach'),
    [
        ((0, 0), (slice(0, 12), slice(0, 10)), 0),
        ((1, -1), (slice(0, 11), slice(1, 10)), 1),
        ((-8, 5), (slice(2, 12), slice(0, 8)), 2),
        ((-8, 9), (slice(0, 12), slice(0, 10)), 3),  # fewer than eight columns are left
    ],
)
def test_pixels_within_the_guide(offset, expected, reach):
    sensor = box(4, offset)
    assert within_guide(sensor, (12, 10)) == expected
    assert sensor.reach == reach


def test_a_continuation_is_believed_where_it_agrees_alone():
    gt = scene(192)
    sensor = SensorModel.from_gaussian(4, 2.0, shift=(3.0, 0.0), boundary='symmetric')
    guide = guide_of(gt)
    reduced = sensor.blur(guide[None])[0]
    simulated = sensor.blur(gt[None])[0][::4]
    assert covered(sensor, simulated, reduced) == (slice(0, 48), slice(0, 48))
    larger = torch.nn.functional.pad(gt[None], (0, 0, 0, 16), mode='constant')  # ground that the guide does not show
    true = sensor.blur(larger)[0][::4, :48]
    rows, columns = covered(sensor, true, reduced)
    assert (rows, columns) == within_guide(sensor, (48, 48)) and rows.stop < 48
    assert misfit_ratio(true, reduced, (rows, columns)) > 4 > misfit_ratio(simulated, reduced, (rows, columns))
