"""Diagrams of a validation for TensorBoard."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mulsr_plugin.models.validation_plots import marked_pixels, validation_plots


def test_marked_pixels_vary_most_in_each_third() -> None:
    reference = np.full((5, 9, 4), 0.5)
    for row, column in ((0, 2), (4, 3), (2, 8)):
        reference[row, column] = (0, 1, 0, 1)
    assert marked_pixels(reference) == [(0, 2), (4, 3), (2, 8)]
    assert len(marked_pixels(reference[:, :1])) == 1


@pytest.mark.parametrize('bands', [1, 31])
@pytest.mark.parametrize('with_wavelengths', [False, True])
def test_plots(bands: int, with_wavelengths: bool) -> None:
    pytest.importorskip('matplotlib')
    reference = torch.rand(12, 10, bands)
    wavelengths = list(np.linspace(400, 700, bands)) if with_wavelengths else None
    (picture,) = validation_plots(reference.clone(), reference, wavelengths).values()
    other = validation_plots((reference + 0.1).clamp(0, 1), reference, wavelengths)['bands']
    assert picture.dtype == np.uint8 and picture.shape == (260, 800, 3) == other.shape
    assert (picture != other).any()


def test_nothing_without_reference() -> None:
    assert validation_plots(torch.rand(4, 4, 3), None) == {}
