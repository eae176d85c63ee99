"""Tests of MulSR's blocks against the 3-D definition of the cross fusion."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mulsr_plugin.archs.mulsr_blocks import CrossFusion, DepthConvolutions, expand_to_bands


def randomise(module):
    """Give every parameter a value, among them the biases and gammas, and return the module in double precision."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    return module.double()


def literal_depth_convolutions(module, volume):
    """Convolve (B, C, 3, H, W) with the real 3-D convolutions."""
    first, second = module
    volume = F.conv3d(volume, first.weight, first.bias, padding=(0, 1, 1))
    return F.conv3d(volume, second.weight, second.bias, padding=(1, 0, 0))


def literal_cross_fusion(module, hsi, rgb):
    """Fuse with a real depth-3 volume, slice by slice."""
    n = hsi.shape[1]
    fused, difference = module.reduce_D(torch.cat([hsi, rgb], 1)), module.conv_diff(hsi - rgb)
    slices = [
        module.gamma[0] * fused[:, : n * 3 // 4],
        module.gamma[1] * torch.cat([fused[:, n * 3 // 4 :], difference[:, : n * 3 // 8]], 1),
        module.gamma[2] * difference[:, n * 3 // 8 :],
    ]
    volume = torch.stack(slices, dim=2)
    volume = volume + literal_depth_convolutions(module.conv3D, volume)
    return module.conv(torch.cat(volume.unbind(2), dim=1))


def assert_same_with_gradients(result, literal, wanted):
    torch.testing.assert_close(result, literal)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for ours, reference in zip(*(torch.autograd.grad((y * weights).sum(), wanted) for y in (result, literal))):
        torch.testing.assert_close(ours, reference)


def test_depth_convolutions_equal_real_3d_convolutions():
    torch.manual_seed(0)
    module = randomise(DepthConvolutions(6))
    volume = torch.randn(2, 6, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    result = module(torch.cat(volume.unbind(2), dim=1)).unflatten(1, (3, 6)).transpose(1, 2)
    assert_same_with_gradients(result, literal_depth_convolutions(module, volume), [volume, *module.parameters()])


@pytest.mark.parametrize('num_feat', [8, 24])
def test_cross_fusion_equals_its_volume_form(num_feat):
    torch.manual_seed(0)
    module = randomise(CrossFusion(num_feat))
    hsi, rgb = (torch.randn(2, num_feat, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    literal = literal_cross_fusion(module, hsi, rgb)
    assert_same_with_gradients(module(hsi, rgb), literal, [hsi, rgb, *module.parameters()])


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_repetition_for_bands_keeps_the_memory_format(memory_format):
    x = torch.rand(2, 4, 3, 5).contiguous(memory_format=memory_format)
    repeated = expand_to_bands(x, 6)
    assert torch.equal(repeated, torch.stack([x[0], x[0], x[0], x[1], x[1], x[1]]))
    assert repeated.is_contiguous(memory_format=memory_format)
