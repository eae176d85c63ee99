"""Tests of the network MulSR."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from basicsr.archs import build_network

from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.checkpoints.authors import convert_author_state
from tests.archs.golden_mulsr import CASES, author_state, load_case

SWITCHES = ('use_mii', 'use_dsca', 'use_lfcc', 'multi_scale', 'small_scale_head')


def is_legal(options):
    if options['multi_scale']:
        return options['use_mii'] or options['use_lfcc'] or options['small_scale_head']
    return not options['small_scale_head']


ALL_OPTIONS = [dict(zip(SWITCHES, values)) for values in product([True, False], repeat=len(SWITCHES))]
LEGAL_OPTIONS = [options for options in ALL_OPTIONS if is_legal(options)]


def tiny(**options):
    """A network of 8 features and 1 module with repeatable weights."""
    torch.manual_seed(0)
    return MulSR(**{'upscale': 4, 'num_feat': 8, 'num_modules': 1, **options})


def pair(num_bands=5, size=(3, 4), scale=4, batch=1, guide=3):
    """A repeatable low-resolution cube and guide image."""
    generator = torch.Generator().manual_seed(0)
    height, width = size
    lq = torch.rand(batch, num_bands, height, width, generator=generator)
    return lq, torch.rand(batch, guide, scale * height, scale * width, generator=generator)


def golden_network(case):
    scale, _ = CASES[case]
    converted = convert_author_state(author_state(case))
    net = build_network({**converted.network_g, 'upscale': scale})
    net.load_state_dict(converted.params)
    return net


def relative_error(result, reference):
    return ((result - reference).abs().max() / reference.abs().max()).item()


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('memory_format', [torch.contiguous_format, torch.channels_last])
def test_output_equals_the_authors(case, memory_format):
    data = load_case(case)
    rgb = data['rgb'].contiguous(memory_format=memory_format)
    with torch.no_grad():
        result, small = golden_network(case).forward_triples(data['triple'], rgb)
    assert small is None
    assert relative_error(result, data['image']) < 1e-5


# where neighbour A, neighbour B and the band itself lie in a cube of three bands
@pytest.mark.parametrize(('band', 'places'), [(0, [1, 2, 0]), (1, [0, 2, 1]), (2, [1, 0, 2])])
@pytest.mark.parametrize('case', CASES)
def test_first_inner_and_last_band_equal_the_authors(case, band, places):
    data = load_case(case)
    cube = torch.empty_like(data['triple'])
    cube[:, places] = data['triple']
    with torch.no_grad():
        result = golden_network(case)(cube, data['rgb'], [band])
    assert relative_error(result, data['image']) < 1e-5


def test_every_band_sees_its_own_triple_and_guide():
    net, (lq, rgb) = tiny(), pair(num_bands=5, batch=2)
    triples = {0: (1, 2), 1: (0, 2), 2: (1, 3), 3: (2, 4), 4: (3, 2)}
    with torch.no_grad():
        result = net(lq, rgb)
        for image, (band, neighbours) in product(range(2), triples.items()):
            alone, _ = net.forward_triples(lq[image, [*neighbours, band]][None], rgb[image][None])
            torch.testing.assert_close(result[image, band], alone[0, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'count'),
    [
        ({'num_modules': 1}, 1_446_218),
        ({}, 2_509_328),
        ({'num_modules': 3}, 3_572_438),
        ({'num_modules': 4, 'upscale': 16}, 4_635_548),
        ({'use_mii': False}, 2_389_710),  # 2,426,638 less the 36,928 of the layer that would not be used
        ({'use_dsca': False}, 2_451_854),
        ({'use_lfcc': False}, 2_381_456),
        ({'multi_scale': False}, 1_186_696),
        ({'multi_scale': False, 'use_mii': False, 'use_lfcc': False}, 1_186_696),
    ],
)
def test_parameter_counts_of_the_paper(options, count):
    assert sum(parameter.numel() for parameter in MulSR(**options).parameters()) == count


@pytest.mark.parametrize('options', LEGAL_OPTIONS, ids=lambda options: '-'.join(k for k, on in options.items() if on))
def test_gradient_reaches_every_parameter(options):
    net, (lq, rgb) = tiny(**options), pair(num_bands=3)
    outputs = net(lq, rgb, return_small_scale=options['small_scale_head'])
    outputs = outputs if options['small_scale_head'] else (outputs,)
    sum(output.square().sum() for output in outputs).backward()
    without = [name for name, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0]
    assert without == []


@pytest.mark.parametrize('options', [options for options in ALL_OPTIONS if not is_legal(options)])
def test_options_without_effect_are_refused(options):
    with pytest.raises(ValueError, match='multi_scale'):
        tiny(**options)


@pytest.mark.parametrize('num_bands', [3, 7, 31, 102, 224])
def test_bands_alone_equal_all_bands(num_bands):
    net, (lq, rgb) = tiny(), pair(num_bands, size=(2, 3))
    bands = [num_bands - 1, 0, num_bands // 2]
    with torch.no_grad():
        everything, some = net(lq, rgb), net(lq, rgb, torch.tensor(bands))
    assert everything.shape == (1, num_bands, 8, 12)
    torch.testing.assert_close(some, everything[:, bands], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('scale', [2, 4, 6, 8, 16])
@pytest.mark.parametrize('size', [(3, 5), (1, 1)])
def test_scales_and_odd_sizes(scale, size):
    net, (lq, rgb) = tiny(upscale=[2, 4, 6, 8, 16], small_scale_head=True), pair(size=size, scale=scale, batch=2)
    large, small = net(lq, rgb, [4, 1], return_small_scale=True)
    assert large.shape == (2, 2, scale * size[0], scale * size[1])
    assert small.shape == (2, 2, scale * size[0] // 2, scale * size[1] // 2)
    assert large.isfinite().all() and small.isfinite().all()


@pytest.mark.parametrize('num_feat', [16, 24])
@pytest.mark.parametrize('guide', [1, 4])
def test_other_widths_and_guides(num_feat, guide):
    lq, rgb = pair(guide=guide)
    assert tiny(num_feat=num_feat, num_guide_ch=guide)(lq, rgb, [2]).shape == (1, 1, 12, 16)


def test_small_scale_head_leaves_the_large_image_alone():
    net, (lq, rgb) = tiny(small_scale_head=True), pair()
    plain = tiny()
    plain.load_state_dict({name: value for name, value in net.state_dict().items() if 'end_small' not in name})
    with torch.no_grad():
        large, small = net(lq, rgb, return_small_scale=True)
        assert torch.equal(large, net(lq, rgb))
        torch.testing.assert_close(large, plain(lq, rgb), rtol=1e-5, atol=1e-6)
    assert small.shape == (1, 5, 6, 8)


def test_features_follow_the_memory_format_of_the_guide():
    net, (lq, rgb) = tiny(), pair()
    formats = []
    for layer in (net.reduce_x2, net.reduce, net.end_x2[0]):
        layer.register_forward_hook(lambda _, inputs, __: formats.append(inputs[0].stride(1) == 1))
    net(lq, rgb)
    assert formats == [False] * 3
    net(lq, rgb.contiguous(memory_format=torch.channels_last))
    assert formats[3:] == [True] * 3


def test_guide_is_encoded_once_per_image():
    net, (lq, rgb) = tiny(), pair(batch=2)
    batches = []
    for layer in (net.rgb_head, net.rgb_head_x2, net.inter_body[0].rgb_first, net.inter_body_x2[0].rgb_first):
        layer.register_forward_hook(lambda _, inputs, __: batches.append(len(inputs[0])))
    net(lq, rgb)
    assert batches == [2] * 4


def test_copy_computes_the_same():
    net, (lq, rgb) = tiny(), pair()
    assert torch.equal(copy.deepcopy(net)(lq, rgb), net(lq, rgb))


def test_mixed_precision():
    net, (lq, rgb) = tiny(), pair()
    with torch.no_grad():
        exact = net(lq, rgb)
        with torch.autocast('cpu', torch.bfloat16):
            rough = net(lq, rgb)
    assert rough.dtype == torch.float32  # the image itself is not rounded to the 8 bits of bf16
    torch.testing.assert_close(rough, exact, rtol=0.1, atol=0.02)
    assert ((rough - exact).norm() / exact.norm()).item() < 0.01


def test_mixed_precision_learns():
    net, (lq, rgb) = tiny(), pair()
    with torch.autocast('cpu', torch.bfloat16):
        net(lq, rgb).square().sum().backward()
    rough = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    net(lq, rgb).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert (rough[name] - parameter.grad).norm() < 0.1 * parameter.grad.norm(), name


def test_weights_in_channels_last_change_nothing():
    net, (lq, rgb) = tiny(), pair()
    with torch.no_grad():
        expected = net(lq, rgb)
        net.to(memory_format=torch.channels_last)
        torch.testing.assert_close(net(lq, rgb), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('bands', [None, [0, 2]])
def test_compiles_to_one_graph(bands):
    net, (lq, rgb) = tiny(), pair()
    with torch.no_grad():
        compiled = torch.compile(net, backend='eager', fullgraph=True)(lq, rgb, bands)
        torch.testing.assert_close(compiled, net(lq, rgb, bands), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'upscale': 3}, 'upscale is 3, expected an even'),
        ({'upscale': 0}, 'upscale is 0'),
        ({'upscale': []}, r'upscale is \[\]'),
        ({'upscale': [4, 5]}, r'upscale is \[4, 5\]'),
        ({'upscale': '8'}, "upscale is '8'"),
        ({'upscale': None}, 'upscale is None'),
        ({'num_feat': 60}, 'num_feat is 60, expected a positive multiple of 8'),
        ({'num_modules': 0}, 'num_modules is 0'),
        ({'num_guide_ch': -1}, 'num_guide_ch is -1'),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        tiny(**options)


@pytest.mark.parametrize(
    ('lq', 'rgb', 'message'),
    [
        (torch.rand(5, 3, 4), torch.rand(1, 3, 12, 16), r'\(5, 3, 4\).*expected \(B, L, h, w\)'),
        (torch.rand(2, 5, 3, 4), torch.rand(1, 3, 12, 16), 'one guide image per cube'),
        (torch.rand(1, 5, 3, 4), torch.rand(1, 4, 12, 16), '4 channel.*built for 3'),
        (torch.rand(1, 5, 3, 4), torch.rand(1, 3, 13, 16), '13x16 .* 3x4 at x4, x8: crop'),
        (torch.rand(1, 5, 3, 4), torch.rand(1, 3, 12, 32), '12x32'),
        (torch.rand(1, 5, 3, 4), torch.rand(1, 3, 6, 8), '6x8'),
        (torch.rand(1, 5, 3, 4), torch.rand(1, 3, 9, 12), '9x12'),
        (torch.rand(1, 2, 3, 4), torch.rand(1, 3, 12, 16), 'at least 3'),
        (torch.rand(1, 5, 3, 4).double(), torch.rand(1, 3, 12, 16), 'float64 .* float32'),
        (torch.zeros(1, 5, 3, 4, dtype=torch.uint8), torch.zeros(1, 3, 12, 16, dtype=torch.uint8), 'uint8'),
    ],
)
def test_wrong_inputs(lq, rgb, message):
    with pytest.raises(ValueError, match=message):
        tiny(upscale=[8, 4])(lq, rgb)


def test_wrong_requests():
    net, (lq, rgb) = tiny(), pair()
    with pytest.raises(ValueError, match=r'\[5\].*bands 0 to 4'):
        net(lq, rgb, [5])
    with pytest.raises(ValueError, match='small_scale_head: true'):
        net(lq, rgb, return_small_scale=True)
