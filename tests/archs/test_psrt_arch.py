"""PSRT: how pixels are shuffled, how far a pixel is seen, and sides that windows do not divide."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mulsr_plugin.archs.psrt_arch import PSRT, WindowAttention, reshuffle, shuffle


def test_blocks_of_even_and_odd_places_are_gathered():
    rows = torch.arange(8).reshape(1, 8, 1, 1).expand(1, 8, 4, 1)
    assert shuffle(rows, 2)[0, :, 0, 0].tolist() == [0, 1, 4, 5, 2, 3, 6, 7]
    columns = torch.arange(4).reshape(1, 1, 4, 1).expand(1, 8, 4, 1)
    assert shuffle(columns, 1)[0, 0, :, 0].tolist() == [0, 2, 1, 3]


@pytest.mark.parametrize('side', [1, 2, 4])
def test_reshuffling_undoes_shuffling(side):
    x = torch.rand(2, 16, 24, 3)
    assert torch.equal(reshuffle(shuffle(x, side), side), x)
    assert not torch.equal(shuffle(x, side), x)


def test_attention_stays_in_its_window():
    torch.manual_seed(0)
    layer, x = WindowAttention(4), torch.rand(1, 8, 8, 32)
    changed = x.clone()
    changed[:, 5, 2] += 5 * torch.randn(
        32
    )  # one number for all channels may change so little that it rounds to nothing
    with torch.no_grad():
        seen = (layer(changed) - layer(x)).abs().amax(dim=(0, 3)) > 0
    assert seen[4:, :4].all()
    assert seen.sum() == 16


def test_sides_that_windows_do_not_divide_are_extended_and_cut():
    net, lq, rgb = PSRT(upscale=3, num_bands=4), torch.rand(1, 4, 3, 5), torch.rand(1, 3, 9, 15)
    enlarged = F.interpolate(lq, scale_factor=3, mode='bicubic', align_corners=False)
    joint = torch.cat([enlarged, rgb], dim=1)
    rows, columns = [*range(9), *[8] * 7], [*range(15), 14]
    extended = joint[:, :, rows][..., columns]
    whole = PSRT(upscale=1, num_bands=4)
    whole.load_state_dict(net.state_dict())
    with torch.no_grad():
        expected = whole(extended[:, :4], extended[:, 4:])[..., :9, :15]
        torch.testing.assert_close(net(lq, rgb), expected, rtol=1e-4, atol=1e-5)
