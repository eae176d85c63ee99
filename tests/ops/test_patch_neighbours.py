"""Tests of the patches and of the choice among their neighbours, on images whose similarities are known."""

from __future__ import annotations

import math

import pytest
import torch

from mulsr_plugin.ops.patch_neighbours import PatchGrid, find_neighbours


def image_of_angles(degrees):
    """An image of unit vectors, whose cosine similarity is the cosine of the difference of their angles."""
    angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angles.cos(), angles.sin()])[None]


def cosines(*degrees):
    return [pytest.approx(math.cos(math.radians(difference))) for difference in degrees]


# patches of one pixel; the centre has 0 degrees, its neighbours are numbered 0 1 2 3 5 6 7 8
NINE = image_of_angles([[80, 20, 50], [60, 0, 70], [30, 85, 40]])


def test_three_most_similar_neighbours_in_order():
    found = find_neighbours(NINE, side=1)
    assert found.indices[0, 4].tolist() == [1, 6, 8]
    assert found.similarities[0, 4].tolist() == cosines(20, 30, 40)
    assert found.indices[0, 0].tolist() == [3, 1, 4]  # a corner: of its three neighbours none is left out
    assert found.similarities[0, 0].tolist() == cosines(20, 60, 80)
    assert found.indices[0, 5].tolist() == [7, 2, 8]  # at the right edge: 15, 20, 30 degrees away


def test_legacy_gives_the_patch_below_the_similarity_of_the_one_below_left():
    found, legacy = find_neighbours(NINE, side=1), find_neighbours(NINE, side=1, legacy=True)
    assert legacy.indices[0, 4, 0] == 1
    assert set(legacy.indices[0, 4, 1:].tolist()) == {6, 7}  # equal by the fault, though 7 is 85 degrees away
    assert legacy.similarities[0, 4].tolist() == cosines(20, 30, 30)
    border = [0, 1, 2, 3, 5, 6, 7, 8]
    assert torch.equal(legacy.indices[:, border], found.indices[:, border])
    assert torch.equal(legacy.similarities[:, border], found.similarities[:, border])


def test_brightness_and_black_patches():
    image = NINE.clone()
    image[:, :, 0, 1] *= 7
    image[:, :, 2, 0] = 0
    found = find_neighbours(image, side=1)
    assert found.indices[0, 4].tolist() == [1, 8, 2]
    assert found.similarities[0, 6].tolist() == [0, 0, 0]


def test_features_of_neighbours_are_gathered_with_their_similarities():
    found = find_neighbours(NINE.expand(2, -1, -1, -1), side=1)
    features = torch.arange(1, 19, dtype=torch.float64).view(2, 1, 3, 3)
    result = found.gather(features)
    assert result.shape == (2, 4, 3, 3)
    assert torch.equal(result[:, :1], features)
    c20, c30, c40 = (math.cos(math.radians(degrees)) for degrees in (20, 30, 40))
    assert result[0, :, 1, 1].tolist() == pytest.approx([5, 2 * c20, 7 * c30, 9 * c40])
    assert result[1, :, 1, 1].tolist() == pytest.approx([14, 11 * c20, 16 * c30, 18 * c40])


@pytest.mark.parametrize(('height', 'width', 'side'), [(8, 8, 4), (7, 10, 4), (5, 13, 3), (4, 4, 3)])
def test_patches_join_to_the_image(height, width, side):
    image = torch.rand(2, 3, height, width)
    grid = PatchGrid(height, width, side)
    patches = grid.cut(image)
    assert patches.shape == (2, math.ceil(height / side) * math.ceil(width / side), 3, side, side)
    assert patches.sum().item() == pytest.approx(image.sum().item(), rel=1e-5)
    assert torch.equal(grid.join(patches), image)


def test_padding_is_even_with_the_odd_pixel_at_the_end():
    first, *_, last = PatchGrid(5, 8, 4).cut(torch.ones(1, 1, 5, 8))[0, :, 0]
    assert first.sum(dim=1).tolist() == [0, 4, 4, 4]
    assert last.sum(dim=1).tolist() == [4, 4, 0, 0]


@pytest.mark.parametrize('size', [(4, 9), (9, 4)])
def test_image_of_one_row_or_column_of_patches(size):
    with pytest.raises(ValueError, match='expected at least 2x2: give one of more than 4 pixels'):
        find_neighbours(torch.rand(1, 3, *size), side=4)
