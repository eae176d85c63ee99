"""Blocks cover images once, and local functions do not change by them."""

from __future__ import annotations

import pytest
import torch

from mulsr_plugin.ops.blocks import blocks, by_blocks
from mulsr_plugin.ops.windows import gaussian_mean


@pytest.mark.parametrize(('size', 'side', 'halo'), [((10, 7), 4, 0), ((10, 7), 3, 2), ((5, 5), 9, 3), ((1, 8), 1, 1)])
@pytest.mark.parametrize('scale', [1, 3])
def test_every_pixel_is_kept_once(size, side, halo, scale):
    count, image = torch.zeros([n * scale for n in size]), torch.arange(size[0] * size[1] * scale**2)
    image = image.view_as(count)
    for block in blocks(size, side, halo):
        block = block.enlarged(scale)
        assert max(s.stop - s.start for s in block.target) <= side * scale
        assert torch.equal(image[block.window][block.kept], image[block.target])
        count[block.target] += 1
    assert (count == 1).all()


def test_local_functions_are_exact_with_their_halo():
    images = torch.rand(2, 40, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    result = by_blocks(lambda part: gaussian_mean(part, 2.0), images, 11, 5)
    torch.testing.assert_close(result, gaussian_mean(images, 2.0), rtol=0, atol=1e-14)
    assert not torch.equal(by_blocks(lambda part: gaussian_mean(part, 2.0), images, 11, 1), result)
