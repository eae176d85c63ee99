from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.data.error_maps import angle_map, highest_error_shown, is_clipped
from mulsr_plugin.data.false_colour import comparison_panel, false_colour, results_panel, shown_bands, stretch_limits

VISIBLE = [400.0 + 10 * band for band in range(31)]
UNIT = np.array([[0.0, 1.0]] * 3)


def spectrum_cube(bands, num_bands=31):
    """One row: a pixel for each group of bands that is 1 there and 0 elsewhere."""
    cube = np.zeros((1, len(bands), num_bands), np.float32)
    for column, group in enumerate(bands):
        cube[0, column, group] = 1
    return cube


def test_visible_bands_become_natural_colours():
    red, green, blue = (slice(start, start + 5) for start in (23, 13, 3))
    picture = false_colour(spectrum_cube([red, green, blue, slice(9, 12)]), VISIBLE, UNIT)
    np.testing.assert_array_equal(picture[0], [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]])


@pytest.mark.parametrize('wavelengths', [None, [1000.0 + 20 * band for band in range(31)]])
def test_other_cubes_take_bands_spread_over_the_range(wavelengths):
    picture = false_colour(spectrum_cube([25, 15, 5, 10]), wavelengths, UNIT)
    np.testing.assert_array_equal(picture[0], [[255, 0, 0], [0, 255, 0], [0, 0, 255], [0, 0, 0]])


@pytest.mark.parametrize('num_bands', [1, 2, 3, 128, 224])
def test_any_number_of_bands(num_bands):
    cube = np.random.default_rng(0).random((6, 5, num_bands)).astype(np.float32)
    picture = false_colour(cube)
    assert picture.shape == (6, 5, 3) and picture.dtype == np.uint8
    if num_bands == 1:
        assert np.array_equal(picture, false_colour(cube[..., 0])) and np.ptp(picture, axis=-1).max() == 0


def test_display_gamma_and_limits():
    grey = np.full((1, 1, 31), 0.5)
    assert false_colour(grey, VISIBLE, UNIT)[0, 0, 0] == round(255 * 0.5 ** (1 / 2.2))
    assert false_colour(grey, VISIBLE, (0, 0.5))[0, 0, 0] == 255
    assert false_colour(grey, VISIBLE, UNIT + 0.5)[0, 0, 0] == 0


def test_stretch_limits_are_percentiles_joint_only_for_natural_colours():
    cube = np.linspace(0, 1, 1001)[:, None, None] * np.linspace(0.5, 1, 31)
    separate, joint = stretch_limits(cube), stretch_limits(cube, VISIBLE)
    gains = np.linspace(0.5, 1, 31)[[25, 15, 5]]
    np.testing.assert_allclose(separate, gains[:, None] * [0.005, 0.995], rtol=1e-4)
    assert (joint == joint[0]).all()


def test_constant_and_undefined_values_are_drawn():
    assert false_colour(np.zeros((3, 4, 31)), VISIBLE).max() == 0
    cube = np.full((3, 4, 31), 0.5)
    cube[0, 0] = np.nan
    assert false_colour(cube, VISIBLE, UNIT)[0, 0].max() == 0
    assert comparison_panel(cube, np.full((3, 4, 31), 0.5)).dtype == np.uint8


def test_wavelengths_must_match():
    with pytest.raises(ValueError, match='31 entries for a cube with 30 bands'):
        false_colour(np.zeros((3, 4, 30)), VISIBLE)


def test_no_cube_is_refused():
    with pytest.raises(ValueError, match=r'expected \(H, W, L\)'):
        false_colour(np.zeros((1, 3, 4, 30)))


@pytest.mark.parametrize(('side', 'panel'), [(16, 256), (128, 256), (512, 512), (1100, 1024)])
def test_panels_are_large_enough_to_read_and_small_enough_to_store(side, panel):
    cube = np.random.default_rng(0).random((side, side, 3)).astype(np.float32)
    picture = comparison_panel(cube, None, cube[::4, ::4])
    assert picture.shape[1] == 2 * (panel + 16)
    assert panel + 44 <= picture.shape[0] <= 1.15 * panel + 44


def test_panel_parts_share_the_stretch_of_the_reference():
    rng = np.random.default_rng(1)
    reference = rng.random((256, 256, 31)).astype(np.float32)
    result = reference / 2
    picture = comparison_panel(result, reference, reference[::8, ::8], VISIBLE)
    limits = stretch_limits(reference, VISIBLE)
    parts = [picture[-32 - 256 : -32, left : left + 256] for left in (8, 272 + 8, 544 + 8)]
    np.testing.assert_array_equal(parts[0][::8, ::8], false_colour(reference[::8, ::8], VISIBLE, limits))
    np.testing.assert_array_equal(parts[1], false_colour(result, VISIBLE, limits))
    np.testing.assert_array_equal(parts[2], false_colour(reference, VISIBLE, limits))


def test_error_map_grows_brighter_with_the_error():
    reference = np.zeros((256, 256, 4), np.float32)
    result = np.broadcast_to(np.linspace(0, 0.2, 256, dtype=np.float32)[:, None], (256, 256))[..., None] + reference
    error = comparison_panel(result, reference)[-32 - 256 : -32, 544 + 8 : 544 + 8 + 256].astype(float)
    luminance = error[:, 0] @ [0.299, 0.587, 0.114]
    assert luminance[-1] - luminance[0] > 100
    assert (np.diff(luminance[::16]) > 0).all()


def test_one_scale_serves_all_maps_and_the_worst_does_not_decide():
    rng = np.random.default_rng(0)
    good, fair, bad = (rng.uniform(0, top, (40, 50)) for top in (0.01, 0.02, 0.9))
    assert highest_error_shown([good, bad, fair]) == pytest.approx(0.02, rel=0.02)
    assert highest_error_shown([good, bad]) == pytest.approx((0.01 * 0.9) ** 0.5, rel=0.02)
    assert highest_error_shown([np.zeros((4, 4)), good]) == pytest.approx(0.01, rel=0.02)
    assert highest_error_shown([np.zeros((4, 4))]) > 0
    assert is_clipped([good, bad], 0.02) and not is_clipped([good], 0.02)


def test_clipped_scales_end_in_an_arrow():
    reference = np.zeros((256, 256, 4), np.float32)
    result = reference.copy()
    result[:, 128:] = 0.1
    even = comparison_panel(result, reference)
    result[0, 0] = 0.9
    pointed = comparison_panel(result, reference)
    bar = slice(3 * 272 - 8, 3 * 272 + 60)
    corner = np.argwhere((even != pointed).any(axis=-1))
    assert corner.size and (even[:60, bar] != pointed[:60, bar]).any()


def test_spectral_angles_of_known_spectra():
    reference = np.zeros((1, 4, 2)) + [1.0, 0.0]
    result = np.array([[[2.0, 0.0], [0.3, 0.3], [0.0, 1.0], [0.0, 0.0]]])
    np.testing.assert_allclose(angle_map(result, reference), [[0, 45, 90, 0]], atol=1e-4)


def test_bands_and_sizes_are_stated():
    assert shown_bands(102).startswith('Bands shown: red 85, green 5')
    cube = np.random.default_rng(0).random((64, 64, 31)).astype(np.float32)
    picture = comparison_panel(cube, lq=cube[::8, ::8], wavelengths=VISIBLE)
    assert (picture[-24:].min(axis=-1) < 100).any()


def test_labels_are_written():
    cube = np.ones((256, 256, 3), np.float32)
    picture = comparison_panel(cube, cube, cube)
    for panel in range(4):
        assert picture[:25, panel * 272 : panel * 272 + 200].min() < 100


def test_tensors_equal_arrays():
    cube = np.random.default_rng(2).random((20, 30, 5)).astype(np.float32)
    tensor = torch.from_numpy(cube)
    np.testing.assert_array_equal(comparison_panel(tensor, tensor, tensor), comparison_panel(cube, cube, cube))


def test_shapes_of_result_and_reference_must_match():
    with pytest.raises(ValueError, match=r'\(8, 8, 3\) and the reference \(8, 9, 3\)'):
        comparison_panel(np.zeros((8, 8, 3)), np.zeros((8, 9, 3)))


def test_guide_is_shown_in_its_own_colours_below_the_input():
    guide = np.zeros((64, 64, 3))
    guide[..., 0] = 1.0  # red
    guide[:32] = 0.0
    reference = np.random.default_rng(0).random((64, 64, 31))
    panel = results_panel({'Same': reference}, reference, reference[::8, ::8], VISIBLE, guide)
    without = results_panel({'Same': reference}, reference, reference[::8, ::8], VISIBLE)
    rows, columns = panel.shape[0] // 2, panel.shape[1] // 3
    assert panel.shape == without.shape
    np.testing.assert_array_equal(panel[:rows], without[:rows])
    assert panel[-30, columns // 2].tolist() == [255, 0, 0]
    assert (without[rows:, :columns] == 255).all()


def test_results_panel_shows_the_worse_result_brighter():
    rng = np.random.default_rng(0)
    reference = rng.random((64, 64, 5), np.float32)
    near, far = reference + 0.01, reference + 0.1
    lq = reference[::8, ::8]
    panel = results_panel({'Near': near, 'Far': far}, reference, lq)
    assert panel.dtype == np.uint8
    rows, columns = panel.shape[0] // 2, panel.shape[1] // 4
    assert panel.shape == (2 * rows, 4 * columns, 3)
    lower = panel[rows:].reshape(rows, 4, columns, 3)
    centre = lower[rows // 2, :, columns // 2].astype(int).sum(-1)
    assert (centre[0], centre[1] < centre[2]) == (3 * 255, True)
    with pytest.raises(ValueError, match='they must be equal'):
        results_panel({'Near': near[:32]}, reference, lq)
