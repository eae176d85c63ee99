"""Shift between cube and guide image: known shifts are found, registered images stay silent."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, shift

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.registration import measure_shift
from mulsr_plugin.data.sources.cave import cave_scenes
from mulsr_plugin.data.spectral_response import NIKON_D700


def landscape(height: int = 384, width: int = 512, seed: int = 0) -> np.ndarray:
    """Return a random image with structure at all sizes, (height, width, 1)."""
    noise = np.random.default_rng(seed).standard_normal((height, width))
    return sum(2.0**i * gaussian_filter(noise, 2.0**i) for i in range(5))[..., None]


def blocks(image: np.ndarray, scale: int) -> np.ndarray:
    height, width, channels = image.shape
    return image.reshape(height // scale, scale, width // scale, scale, channels).mean((1, 3))


@pytest.mark.parametrize('down, right', [(0, 0), (3, -2), (-7.5, 11.25), (20, 0), (-41, 30)])
def test_known_shifts_are_found(down, right):
    guide = landscape()
    cube = blocks(shift(guide, (down, right, 0), order=3, mode='wrap'), 8)
    # the guide has another brightness and contrast, and more channels
    found = measure_shift(cube, np.concatenate([100 + 7 * guide, 50 + 3 * guide, guide], axis=-1))
    assert (found.down, found.right) == (pytest.approx(down, abs=0.25), pytest.approx(right, abs=0.25))
    assert found.correlation > 0.9


def test_odd_scale_and_noise():
    guide = landscape(210, 180)
    cube = blocks(shift(guide, (2, 4, 0), order=3, mode='wrap'), 3)
    cube = cube + 0.3 * cube.std() * np.random.default_rng(1).standard_normal(cube.shape)
    found = measure_shift(cube, guide)
    assert (found.down, found.right) == (pytest.approx(2, abs=0.25), pytest.approx(4, abs=0.25))


def test_integers_are_measured_like_their_values():
    guide = (landscape() * 20 + 500).clip(0, 1000).astype(np.uint16)
    cube = np.rint(blocks(guide, 4)).astype(np.uint16)
    found = measure_shift(cube, guide)
    assert max(abs(found.down), abs(found.right)) < 0.1


@pytest.mark.parametrize(
    'cube, guide',
    [
        (np.zeros((16, 16, 3)), landscape(128, 128)),
        (landscape(16, 16), np.full((128, 128, 1), 0.5)),
        (landscape(4, 4), landscape(32, 32)),
        (landscape(32, 32, seed=1), landscape(256, 256, seed=2)),
    ],
    ids=['black cube', 'even guide', 'few pixels', 'nothing in common'],
)
def test_what_cannot_be_measured_is_none(cube, guide):
    assert measure_shift(cube, guide) is None


@pytest.mark.parametrize('scene', ['balloons', 'feathers'])
def test_scenes_of_cave(real_data, scene):
    scenes = cave_scenes(real_data / 'CAVE' / 'complete_ms_data')
    cube = next(each for each in scenes if each.key == scene).load()
    values = np.ascontiguousarray(cube.values.transpose(2, 0, 1)) * np.float32(cube.scale)
    guide = np.einsum('gl,lhw->hwg', NIKON_D700, values)
    for centring, expected in (('aligned', (0, 0)), ('legacy', (-3.4, -2.5))):
        options = {'preset': 'authors_fixed', 'kernel_centering': centring}
        lq = build_degradation(options, 8)(values, np.random.default_rng(0))
        found = measure_shift(lq.transpose(1, 2, 0), guide)
        # the released blur is off its centre by these pixels of 8
        assert (found.down, found.right) == (pytest.approx(expected[0], abs=0.5), pytest.approx(expected[1], abs=0.5))


def test_pansharpening_pairs(real_data):
    from scipy.io import loadmat

    for name in ('WorldView2/imgWV2.mat', 'IKONOS/imgIK.mat'):
        pair = loadmat(real_data / name)
        aligned = measure_shift(pair['I_MS'], pair['I_PAN'][..., None])
        moved = measure_shift(pair['I_MS'], np.roll(pair['I_PAN'], (6, -3), (0, 1))[..., None])
        assert max(abs(aligned.down), abs(aligned.right)) < 0.8, name
        assert moved.down - aligned.down == pytest.approx(-6, abs=0.25), name
        assert moved.right - aligned.right == pytest.approx(3, abs=0.25), name


@pytest.mark.parametrize('scene', ['feathers', 'stuffed_toys'])
def test_one_channel_repeated_is_no_shift(real_data, scene):
    """What only red or blue shows is bright elsewhere than the mean of all bands."""
    scenes = cave_scenes(real_data / 'CAVE' / 'complete_ms_data')
    cube = next(each for each in scenes if each.key == scene).load()
    values = np.ascontiguousarray(cube.values.transpose(2, 0, 1)) * np.float32(cube.scale)
    lq = build_degradation('noise_free', 8)(values, np.random.default_rng(0)).transpose(1, 2, 0)
    for band in (0, 30):
        found = measure_shift(lq, np.repeat(values[band, ..., None], 3, axis=-1))
        assert max(abs(found.down), abs(found.right)) < 0.1 * 8, band


def test_arguments_are_left_as_they_are():
    guide, cube = landscape(96, 96), blocks(landscape(96, 96), 4)
    before = guide.copy(), cube.copy()
    measure_shift(cube, guide)
    assert all(np.array_equal(*pair) for pair in zip(before, (guide, cube)))
