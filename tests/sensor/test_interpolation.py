"""Enlargement: polynomials, PyTorch's and Pillow's cubic convolution, shifts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mulsr_plugin.sensor.interpolation import enlarge, enlargement_matrix


@pytest.mark.parametrize('scale', [1, 2, 3, 4, 7, 8])
def test_equals_pillow_at_half_pixel_centres(scale):
    image = np.random.default_rng(0).random((9, 12), dtype=np.float32)
    result = enlarge(torch.from_numpy(image)[None, None], scale, ((scale - 1) / 2, (scale - 1) / 2))[0, 0].numpy()
    expected = np.asarray(Image.fromarray(image).resize((12 * scale, 9 * scale), Image.Resampling.BICUBIC))
    inside = slice(2 * scale, -2 * scale)  # Pillow leaves out what lies beyond the border
    np.testing.assert_allclose(result[inside, inside], expected[inside, inside], rtol=0, atol=1e-6)


@pytest.mark.parametrize('scale', [2, 3, 8])
@pytest.mark.parametrize('centre', [(0.0, 0.0), (3.5, 3.5), (6.94, 6.04), (-13.2, 20.0)])
def test_reproduces_quadratics(scale, centre):
    def surface(rows, columns):
        return 0.2 * rows**2 - 0.1 * columns**2 + 0.3 * rows * columns + rows + 2

    def grid(height, width):
        return torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (height, width)), indexing='ij')

    rows, columns = grid(24, 20)
    image = surface(rows * scale + centre[0], columns * scale + centre[1])
    rows, columns = grid(24 * scale, 20 * scale)
    result, expected = enlarge(image[None, None], scale, centre)[0, 0], surface(rows, columns)
    margin = [slice(int(c) + 2 * scale, n * scale + int(c) - 3 * scale) for c, n in zip(centre, (24, 20))]
    inside = tuple(slice(max(m.start, 0), min(m.stop, n * scale)) for m, n in zip(margin, (24, 20)))
    assert result[inside].numel() > 100
    torch.testing.assert_close(result[inside], expected[inside], rtol=1e-9, atol=1e-8)


def test_continues_by_reflection():
    image = torch.rand(1, 2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = torch.cat([image.flip(2), image, image.flip(2)], 2)
    result = enlarge(image, 4, (6.9, 1.5))
    torch.testing.assert_close(result, enlarge(whole, 4, (6.9, 1.5))[:, :, 20:40], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('scale', [1, 3, 8])
@pytest.mark.parametrize('centre', [(3.5, 3.5), (-9.2, 13.0)])
def test_matrices_do_the_same(scale, centre):
    image = torch.rand(2, 7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    rows, columns = (torch.from_numpy(enlargement_matrix(n, scale, c)) for n, c in zip((7, 5), centre))
    torch.testing.assert_close(rows @ image @ columns.T, enlarge(image[None], scale, centre)[0], rtol=0, atol=1e-13)
