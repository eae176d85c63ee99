"""Tests of the band triples."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.archs.bands import band_triples, neighbour_indices


def test_neighbours_of_three_bands():
    assert neighbour_indices(3).tolist() == [[1, 2], [0, 2], [1, 0]]


def test_neighbours_of_thirty_one_bands():
    table = neighbour_indices(31)
    assert table.dtype == torch.int64
    assert table[[0, 1, 15, 29, 30]].tolist() == [[1, 2], [0, 2], [14, 16], [28, 30], [29, 28]]


@pytest.mark.parametrize('num_bands', [1, 2])
def test_too_few_bands(num_bands):
    with pytest.raises(ValueError, match=f'{num_bands} band.* at least 3'):
        neighbour_indices(num_bands)


@pytest.mark.parametrize(('current', 'expected'), [('last', [1, 2, 0, 4, 3, 5]), ('middle', [1, 0, 2, 4, 5, 3])])
def test_triples_hold_neighbours_and_band_in_order(current, expected):
    cube = torch.arange(6.0).view(1, 6, 1, 1)
    triples = band_triples(cube, [0, 5], current)
    assert triples.shape == (2, 3, 1, 1)
    assert triples.flatten().tolist() == expected


def test_triples_of_an_image_stay_together():
    cube = torch.arange(8.0).view(2, 4, 1, 1)
    assert band_triples(cube, [1, 2])[:, 2].flatten().tolist() == [1, 2, 5, 6]


@pytest.mark.parametrize('bands', [range(1, 3), torch.tensor([1, 2]), np.array([1, 2]), (1, 2)])
def test_any_kind_of_index_list(bands):
    cube = torch.rand(1, 4, 2, 3)
    assert torch.equal(band_triples(cube, bands), band_triples(cube)[1:3])


@pytest.mark.parametrize(
    ('bands', 'message'),
    [
        ([0, 4], r'\[4\] .* bands 0 to 3'),
        ([-1], r'\[-1\] .* bands 0 to 3'),
        ([], 'non-empty list'),
        ([0.5], 'non-empty list'),
        (torch.tensor(1), 'non-empty list'),
        (torch.tensor([[1, 2]]), 'non-empty list'),
    ],
)
def test_wrong_bands(bands, message):
    with pytest.raises(ValueError, match=message):
        band_triples(torch.rand(1, 4, 2, 2), bands)


def test_wrong_place_of_the_band():
    with pytest.raises(ValueError, match="'first'.*'last' or 'middle'"):
        band_triples(torch.rand(1, 4, 2, 2), None, 'first')
