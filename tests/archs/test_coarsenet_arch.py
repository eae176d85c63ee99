"""Tests of what is CoarseNet's own: the recurrence over bands and the parameters that nothing uses."""

from __future__ import annotations

import pytest
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from mulsr_plugin.archs.coarsenet_arch import CoarseNet
from tests.archs.test_comparison_networks import build, pair, without_gradient

# what only takes part from the second band on
RECURRENT = ('gamma_speContext', 'gamma_feaContext', 'spe_head', 'speFusion', 'feaFusion')


def gradients(net, lq, rgb, chunks):
    """Gradients of a sum over bands that is taken in chunks."""
    net.zero_grad()
    weights = torch.rand(lq.shape[1], generator=torch.Generator().manual_seed(1))
    for chunk in chunks:
        (net(lq, rgb, chunk) * weights[chunk].view(-1, 1, 1)).sum().backward()
    return {name: value.grad for name, value in net.named_parameters() if value.requires_grad}


def test_some_bands_equal_those_of_the_whole_cube():
    net, (lq, rgb) = build('CoarseNet'), pair(batch=2)
    with torch.no_grad():
        everything = net(lq, rgb)
        for bands in ([0], [4], [3, 1, 3], torch.tensor([2, 0])):
            assert torch.equal(net(lq, rgb, bands), everything[:, bands])


def test_gradients_of_chunks_add_up_to_those_of_the_whole_cube():
    net, (lq, rgb) = build('CoarseNet'), pair()
    whole = gradients(net, lq, rgb, [[0, 1, 2, 3, 4]])
    parts = gradients(net, lq, rgb, [[3, 4], [0], [1, 2]])
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-4 * gradient.abs().max().item())


def test_bands_see_the_band_before_without_gradient():
    net, (lq, rgb) = build('CoarseNet', num_bands=9), pair(num_bands=9)
    lq.requires_grad_()
    net(lq, rgb, [6]).sum().backward()
    reached = lq.grad.abs().sum(dim=(0, 2, 3)).nonzero().flatten().tolist()
    assert reached == [5, 6, 7]

    with torch.no_grad():
        changed = lq.clone()
        changed[:, 0] += 0.5
        difference = (net(changed, rgb) - net(lq, rgb)).abs().amax(dim=(0, 2, 3))
    assert (difference > 0).all()  # but a change of the first band is felt up to the last


def test_band_before_is_clamped_for_the_next_band_only():
    net, (lq, rgb) = build('CoarseNet'), pair()
    net.hsi_rgb_end[0].bias.data.fill_(3.0)  # every output is far above 1
    result = net(lq, rgb)
    assert result.min() > 1
    torch.nn.functional.l1_loss(result, torch.ones_like(result)).backward()
    assert net.hsi_rgb_end[0].bias.grad.item() == pytest.approx(1.0, rel=1e-5)  # slope of |x - 1| for all pixels


def test_first_band_alone_leaves_the_recurrent_layers_without_gradient():
    net, (lq, rgb) = build('CoarseNet'), pair()
    net(lq, rgb, [0]).square().sum().backward()
    assert {name.split('.')[0] for name in without_gradient(net)} == set(RECURRENT)


def test_unused_parameters_are_frozen():
    net = build('CoarseNet', num_units=3)
    frozen = [name for name, value in net.named_parameters() if not value.requires_grad]
    assert frozen == [f'inter_body.{unit}.fusion.aggregate.gamma' for unit in range(3)]


@pytest.fixture
def one_process_group():
    distributed.init_process_group('gloo', store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize(('bands', 'find_unused'), [(None, False), ([0, 1], False), ([0], True)])
def test_distributed_training(one_process_group, bands, find_unused):
    net, (lq, rgb) = build('CoarseNet'), pair()
    parallel = DistributedDataParallel(net, find_unused_parameters=find_unused)
    for _ in range(2):  # a parameter without gradient shows in the second step
        parallel(lq, rgb, bands).square().sum().backward()


def test_correct_similarities_are_the_default():
    net, (lq, rgb) = build('CoarseNet'), pair(size=(7, 7))  # one interior patch
    with torch.no_grad():
        result = net(lq, rgb)
        net.legacy = True
        assert (net(lq, rgb) - result).abs().max() > 1e-6


@pytest.mark.parametrize('size', [(3, 9), (9, 3)])
def test_too_small_images(size):
    lq, rgb = pair(size=size)
    with pytest.raises(ValueError, match='expected at least 2x2: give one of more than 12 pixels'):
        build('CoarseNet')(lq, rgb)


@pytest.mark.parametrize(
    ('options', 'message'),
    [({'num_feat': 7}, 'num_feat is 7, expected a positive multiple of 2'), ({'num_units': 0}, 'num_units is 0')],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        CoarseNet(**options)


def test_wrong_bands():
    lq, rgb = pair()
    with pytest.raises(ValueError, match=r'\[5\].*bands 0 to 4'):
        build('CoarseNet')(lq, rgb, [5])
