"""Tests of MulSR's blocks against their definition in 3-D."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mulsr_plugin.archs.mulsr_blocks import CrossFusion, DepthConvolutions, add_per_image
from tests.archs.literal_mulsr import LiteralCrossFusion


def randomise(module):
    """Give every parameter a value, among them the biases and gammas, and return the module in double precision."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data.normal_(generator=generator)
    return module.double()


def assert_same_with_gradients(result, expected, wanted, wanted_of_expected):
    torch.testing.assert_close(result, expected)
    weights = torch.randn(result.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    gradients = torch.autograd.grad((result * weights).sum(), wanted)
    expected_gradients = torch.autograd.grad((expected * weights).sum(), wanted_of_expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_2d_kernels_equal_the_3d_convolutions():
    torch.manual_seed(0)
    module = randomise(DepthConvolutions(6))
    volume = torch.randn(2, 6, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    within, across = module.kernels_2d()
    inner = F.conv2d(torch.cat(volume.unbind(2), dim=1), *within, padding=1, groups=3)
    result = F.conv2d(inner, *across).unflatten(1, (3, 6)).transpose(1, 2)
    wanted = [volume, *module.parameters()]
    assert_same_with_gradients(result, module(volume), wanted, wanted)


@pytest.mark.parametrize('bands', [1, 3])
@pytest.mark.parametrize('num_feat', [8, 24])
def test_cross_fusion_equals_its_volume_form(num_feat, bands):
    torch.manual_seed(0)
    module, literal = randomise(CrossFusion(num_feat)), LiteralCrossFusion(num_feat).double()
    literal.load_state_dict(module.state_dict())
    hsi = torch.randn(2 * bands, num_feat, 5, 3, dtype=torch.float64, requires_grad=True)
    rgb = torch.randn(2, num_feat, 5, 3, dtype=torch.float64, requires_grad=True)
    expected = literal(hsi, rgb.repeat_interleave(bands, dim=0))
    wanted, wanted_of_expected = ([hsi, rgb, *net.parameters()] for net in (module, literal))
    assert_same_with_gradients(module(hsi, rgb), expected, wanted, wanted_of_expected)
    torch.testing.assert_close(module(hsi, rgb, module.encode_guide(rgb)), expected)
    torch.testing.assert_close(module.folded()(hsi, rgb), expected)


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_addition_to_all_bands_keeps_the_memory_format(memory_format):
    x, of_image = torch.rand(6, 4, 3, 5), torch.rand(2, 4, 3, 5)
    x, of_image = (value.contiguous(memory_format=memory_format) for value in (x, of_image))
    result = add_per_image(x, of_image, alpha=-1)
    assert torch.equal(result, x - torch.stack([of_image[band // 3] for band in range(6)]))
    assert result.is_contiguous(memory_format=memory_format)


def test_5d_weights_take_the_memory_format():
    """`nn.Module.to` itself refuses them."""
    module = DepthConvolutions(6)
    volume = torch.rand(1, 6, 3, 4, 5)
    state = {name: value.clone() for name, value in module.state_dict().items()}
    expected = module(volume)
    module.to(memory_format=torch.channels_last)
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    stored = module[0].parametrizations.weight.original1
    assert stored.squeeze(2).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(module(volume), expected)
