"""What the networks that MulSR is compared with have in common: outputs, counts, gradients, sizes, errors."""

from __future__ import annotations

import copy

import pytest
import torch
from basicsr.archs import build_network

from mulsr_plugin.archs.mogdcn_arch import MoGDCN
from mulsr_plugin.archs.pzresnet_arch import PZResNet, every_nth_band
from mulsr_plugin.checkpoints.authors import convert_author_state
from tests.archs.golden_networks import CASES, author_file, load_case

CUBE_WISE = ['PZResNet', 'MoGDCN', 'UAL', 'SSRNet', 'PSRT']
ALL = [*CUBE_WISE, 'CoarseNet']


def build(network, num_bands=5, **options):
    """A network with repeatable weights; the band-wise one knows no number of bands, and is made narrow."""
    torch.manual_seed(0)
    fixed = {'num_feat': 8} if network == 'CoarseNet' else {'num_bands': num_bands}
    return build_network({'type': network, 'upscale': 4, **fixed, **options})


def pair(num_bands=5, size=(4, 5), scale=4, batch=1, guide=3):
    """A repeatable low-resolution cube and guide image."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    lq = torch.rand(batch, num_bands, height, width, generator=generator)
    return lq, torch.rand(batch, guide, scale * height, scale * width, generator=generator)


def without_gradient(net):
    """Names of the parameters that take part in training and got no gradient."""
    live = [(name, value.grad) for name, value in net.named_parameters() if value.requires_grad]
    return [name for name, gradient in live if gradient is None or not gradient.abs().sum() > 0]


@pytest.mark.parametrize(('network', 'case'), CASES)
def test_output_equals_the_authors(network, case):
    data = load_case(network, case)
    converted = convert_author_state(author_file(network, case))
    net = build_network({**converted.network_g, 'upscale': CASES[network, case]})
    net.load_state_dict(converted.params)
    lq, rgb = data.pop('lq'), data.pop('rgb')
    with torch.no_grad():
        if network == 'PZResNet':
            results = dict(zip(['refined', 'coarse'], net(lq, rgb, return_coarse=True)))
        elif network == 'CoarseNet' and case != 'x8_u1':
            results = {'output_legacy': net(lq, rgb)}
            net.legacy = False
            results['output_corrected'] = net(lq, rgb)
        else:
            results = {'output': net(lq, rgb)}
    assert results.keys() == data.keys()
    for name, stored in data.items():
        assert (results[name] - stored).abs().max() < 1e-5 * max(stored.abs().max(), 1), name


@pytest.mark.parametrize(
    ('network', 'options', 'count'),
    [
        ('PZResNet', {}, 517_852),
        ('PZResNet', {'upscale': 16}, 517_852),
        ('MoGDCN', {}, 7_070_824),  # 7,070,929 less 105 without effect
        ('MoGDCN', {'upscale': 4}, 7_070_824),
        ('UAL', {}, 7_097_695),
        ('SSRNet', {}, 26_040),  # 26,041 less one without effect
        ('SSRNet', {'num_bands': 102, 'num_guide_ch': 5, 'upscale': 4}, 281_214),
        ('PSRT', {}, 247_455),
        ('CoarseNet', {'num_units': 1}, 629_581),
        ('CoarseNet', {}, 1_163_602),
        ('CoarseNet', {'num_units': 3}, 1_697_623),
        ('CoarseNet', {'num_units': 4, 'upscale': 32}, 2_231_644),
    ],
)
def test_published_parameter_counts(network, options, count):
    net = build_network({'type': network, **options})
    assert sum(parameter.numel() for parameter in net.parameters()) == count


@pytest.mark.parametrize('network', ALL)
def test_gradient_reaches_every_live_parameter(network):
    net, (lq, rgb) = build(network), pair()
    net(lq, rgb).square().sum().backward()
    assert without_gradient(net) == []


@pytest.mark.parametrize('network', ALL)
@pytest.mark.parametrize(
    ('scale', 'size', 'num_bands', 'guide', 'batch'),
    [(4, (5, 4), 3, 1, 2), (8, (4, 6), 7, 4, 1), (3, (7, 4), 102, 3, 1)],
)
def test_scales_sizes_bands_and_guides(network, scale, size, num_bands, guide, batch):
    net = build(network, num_bands, upscale=scale, num_guide_ch=guide)
    lq, rgb = pair(num_bands, size, scale, batch, guide)
    with torch.no_grad():
        result = net(lq, rgb)
    assert result.shape == (batch, num_bands, scale * size[0], scale * size[1])
    assert result.isfinite().all()


@pytest.mark.parametrize('network', CUBE_WISE)
def test_one_pixel_at_scale_16(network):
    lq, rgb = pair(size=(1, 1), scale=16)
    assert build(network, upscale=16)(lq, rgb).shape == (1, 5, 16, 16)


@pytest.mark.parametrize('network', ['PZResNet', 'UAL', 'CoarseNet', 'SSRNet', 'PSRT'])
def test_several_scales(network):
    net = build(network, upscale=[4, 2])
    for scale in (2, 4):
        lq, rgb = pair(scale=scale)
        assert net(lq, rgb).shape == (1, 5, 4 * scale, 5 * scale)


@pytest.mark.parametrize('network', ALL)
def test_images_of_a_batch_do_not_meet(network):
    net, (lq, rgb) = build(network), pair(batch=2)
    with torch.no_grad():
        together, alone = net(lq, rgb), net(lq[1:], rgb[1:])
    torch.testing.assert_close(together[1:], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('network', ALL)
def test_inputs_are_left_alone_and_a_copy_computes_the_same(network):
    net, (lq, rgb) = build(network), pair()
    before = lq.clone(), rgb.clone()
    with torch.no_grad():
        result = net(lq, rgb)
        assert torch.equal(copy.deepcopy(net)(lq, rgb), result)
    assert torch.equal(lq, before[0]) and torch.equal(rgb, before[1])


@pytest.mark.parametrize('network', ALL)
def test_mixed_precision(network):
    net, (lq, rgb) = build(network), pair()
    with torch.no_grad():
        exact = net(lq, rgb)
        with torch.autocast('cpu', torch.bfloat16):
            rough = net(lq, rgb)
    # PSRT begins with features that its six skips have doubled six times, and rounds these
    tolerance = 0.05 * max(exact.abs().max().item(), 1)
    torch.testing.assert_close(rough.float(), exact, rtol=0.1, atol=tolerance)


@pytest.mark.parametrize('network', ALL)
@pytest.mark.parametrize(
    ('lq', 'rgb', 'message'),
    [
        (torch.rand(5, 4, 4), torch.rand(1, 3, 16, 16), r'\(5, 4, 4\).*expected \(B, L, h, w\)'),
        (torch.rand(2, 5, 4, 4), torch.rand(1, 3, 16, 16), 'one guide image per cube'),
        (torch.rand(1, 5, 4, 4), torch.rand(1, 4, 16, 16), '4 channel.*built for 3'),
        (torch.rand(1, 5, 4, 4), torch.rand(1, 3, 17, 16), '17x16 .* 4x4 at x4: crop'),
        (torch.rand(1, 5, 4, 4), torch.rand(1, 3, 32, 32), '32x32 .* 4x4 at x4: crop'),
        (torch.rand(1, 2, 4, 4), torch.rand(1, 3, 16, 16), '2 band'),
        (torch.rand(1, 5, 4, 4).double(), torch.rand(1, 3, 16, 16), 'float64 .* float32'),
    ],
)
def test_wrong_inputs(network, lq, rgb, message):
    with pytest.raises(ValueError, match=message):
        build(network)(lq, rgb)


@pytest.mark.parametrize('network', CUBE_WISE)
def test_other_number_of_bands(network):
    lq, rgb = pair(num_bands=7)
    with pytest.raises(ValueError, match='7 band.* built for 5: .*num_bands'):
        build(network)(lq, rgb)


@pytest.mark.parametrize('network', ALL)
@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'upscale': 0}, 'upscale is 0, expected a positive whole number'),
        ({'upscale': '8'}, "upscale is '8'"),
        ({'upscale': 2.5}, 'upscale is 2.5'),
        ({'num_guide_ch': 0}, 'num_guide_ch is 0'),
    ],
)
def test_wrong_options(network, options, message):
    with pytest.raises(ValueError, match=message):
        build(network, **options)


@pytest.mark.parametrize('network', CUBE_WISE)
def test_wrong_number_of_bands_as_option(network):
    with pytest.raises(ValueError, match='num_bands is 0'):
        build(network, num_bands=0)


def test_mogdcn_has_one_scale():
    with pytest.raises(ValueError, match=r'upscale is \[4, 8\], expected a positive whole number'):
        MoGDCN(upscale=[4, 8])


def test_mogdcn_begins_with_the_step_sizes_of_the_paper():
    net = MoGDCN(num_bands=3)
    sizes = [net.inner_step, net.inner_weight, net.outer_step, net.outer_weight]
    assert [size.item() for size in sizes] == pytest.approx([0.1, 0.9, 0.1, 0.9])


@pytest.mark.parametrize(
    ('num_bands', 'step', 'expected'),
    [
        (31, 4, [0, 4, 8, 12, 16, 20, 24, 30]),
        (31, 2, [*range(0, 31, 2)]),
        (31, 1, [*range(31)]),
        (32, 4, [0, 4, 8, 12, 16, 20, 24, 31]),
        (3, 4, [2]),
        (1, 2, [0]),
    ],
)
def test_band_subsets_of_pzresnet(num_bands, step, expected):
    assert every_nth_band(num_bands, step) == expected


def test_refinement_of_pzresnet_only_adds():
    net, (lq, rgb) = build('PZResNet'), pair()
    with torch.no_grad():
        refined, coarse = net(lq, rgb, return_coarse=True)
        assert torch.equal(net(lq, rgb), refined)
    assert (refined - coarse).min() >= 0
    assert (refined - coarse).max() > 0


def test_pzresnet_ignores_the_brightness_of_the_guide():
    net, (lq, rgb) = build('PZResNet'), pair()
    with torch.no_grad():
        brighter = net(lq, rgb + torch.tensor([0.5, -0.25, 1.0]).view(3, 1, 1))
        torch.testing.assert_close(brighter, net(lq, rgb), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('num_bands', [1, 2])
def test_pzresnet_of_few_bands(num_bands):
    lq, rgb = pair(num_bands)
    assert PZResNet(upscale=4, num_bands=num_bands)(lq, rgb).shape == (1, num_bands, 16, 20)
