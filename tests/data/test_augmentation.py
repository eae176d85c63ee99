"""The five augmentation operations against NumPy's own, and their law."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from mulsr_plugin.data.augmentation import Augmentation, augment, draw_augmentation

NONE = Augmentation(False, False, False, False, False)
IMAGE = np.arange(16).reshape(1, 4, 4)


@pytest.mark.parametrize(
    ('operation', 'expected'),
    [
        ('hflip', [[3, 2, 1, 0], [7, 6, 5, 4], [11, 10, 9, 8], [15, 14, 13, 12]]),
        ('vflip', [[12, 13, 14, 15], [8, 9, 10, 11], [4, 5, 6, 7], [0, 1, 2, 3]]),
        ('roll', [[8, 9, 10, 11], [12, 13, 14, 15], [0, 1, 2, 3], [4, 5, 6, 7]]),
        ('rot_left', [[3, 7, 11, 15], [2, 6, 10, 14], [1, 5, 9, 13], [0, 4, 8, 12]]),
        ('rot_right', [[12, 8, 4, 0], [13, 9, 5, 1], [14, 10, 6, 2], [15, 11, 7, 3]]),
    ],
)
def test_each_operation_alone(operation: str, expected: list[list[int]]) -> None:
    np.testing.assert_array_equal(augment(IMAGE, NONE._replace(**{operation: True}))[0], expected)


def test_operations_are_applied_in_the_authors_order() -> None:
    result = augment(IMAGE, Augmentation(True, True, True, True, False))
    expected = np.rot90(np.roll(np.flipud(np.fliplr(IMAGE[0])), 2, axis=0))
    np.testing.assert_array_equal(result[0], expected)


def test_both_rotations_cancel() -> None:
    np.testing.assert_array_equal(augment(IMAGE, NONE._replace(rot_left=True, rot_right=True)), IMAGE)


@pytest.mark.parametrize('operations', [Augmentation(*flags) for flags in product([False, True], repeat=5)])
def test_values_are_moved_whole_and_the_input_is_left_alone(operations: Augmentation) -> None:
    cube = np.random.default_rng(0).random((3, 6, 4))
    kept = cube.copy()
    result = augment(cube, operations)
    assert (cube == kept).all()
    rotated = operations.rot_left != operations.rot_right
    assert result.shape == ((3, 4, 6) if rotated else (3, 6, 4))
    # every pixel keeps its spectrum: the sets of spectra agree
    assert sorted(map(tuple, result.reshape(3, -1).T)) == sorted(map(tuple, cube.reshape(3, -1).T))


def test_low_resolution_cube_follows_its_high_resolution_cube() -> None:
    cube = np.random.default_rng(0).random((2, 16, 16))

    def shrink(array: np.ndarray) -> np.ndarray:
        return array.reshape(2, 4, 4, 4, 4).mean(axis=(2, 4))

    for flags in product([False, True], repeat=5):
        operations = Augmentation(*flags)
        np.testing.assert_allclose(augment(shrink(cube), operations), shrink(augment(cube, operations)))


def test_operations_are_independent_coin_tosses() -> None:
    rng = np.random.default_rng(0)
    draws = np.array([draw_augmentation(rng) for _ in range(4000)], dtype=float)
    np.testing.assert_allclose(draws.mean(axis=0), 0.5, atol=0.04)
    np.testing.assert_allclose(np.corrcoef(draws.T), np.eye(5), atol=0.08)


@pytest.mark.parametrize(
    ('switch', 'fields'),
    [('hflip', ['hflip']), ('vflip', ['vflip']), ('roll', ['roll']), ('rot', ['rot_left', 'rot_right'])],
)
def test_switched_off_operations_never_come_and_leave_the_others_as_they_were(switch: str, fields: list[str]) -> None:
    full = [draw_augmentation(np.random.default_rng(seed)) for seed in range(50)]
    less = [draw_augmentation(np.random.default_rng(seed), **{switch: False}) for seed in range(50)]
    assert less == [draw._replace(**dict.fromkeys(fields, False)) for draw in full]
