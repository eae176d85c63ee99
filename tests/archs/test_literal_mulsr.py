"""MulSR against its literal form: outputs and all gradients, in fp32."""

from __future__ import annotations

import pytest
import torch

from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.checkpoints.authors import convert_author_state
from mulsr_plugin.ops.weight_norm import fold_weight_norm
from tests.archs.golden_mulsr import CASES, author_state, load_case
from tests.archs.literal_mulsr import LiteralMulSR

CHANNELS_LAST = torch.channels_last
OPTIONS = {
    'full': {'small_scale_head': True, 'num_modules': 2},
    'no MII': {'use_mii': False},
    'no DSCA': {'use_dsca': False},
    'no LFCC': {'use_lfcc': False, 'small_scale_head': True},
    'single scale': {'multi_scale': False, 'num_modules': 2},
}


def networks(**options):
    """The fast and the literal network with the same weights; biases and gammas are no longer zeros and ones."""
    torch.manual_seed(0)
    options = {'upscale': 4, 'num_feat': 16, 'num_modules': 1, **options}
    net, literal = MulSR(**options), LiteralMulSR(**options)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith(('bias', 'gamma')):
                parameter.add_(0.1 * torch.randn_like(parameter))
    literal.load_state_dict(net.state_dict())
    return net, literal


def inputs(batch, size, num_bands=5, guide=3):
    generator = torch.Generator().manual_seed(1)
    lq = torch.rand(batch, num_bands, *size, generator=generator, requires_grad=True)
    rgb = torch.rand(batch, guide, 4 * size[0], 4 * size[1], generator=generator, requires_grad=True)
    return lq, rgb


def outputs_and_gradients(net, lq, rgb, bands, memory_format=torch.contiguous_format):
    """Outputs, and by name the gradients of the sum of their squares, whose parts do not cancel."""
    small = hasattr(net, 'end_small')
    outputs = net(lq, rgb.contiguous(memory_format=memory_format), bands, return_small_scale=small)
    outputs = outputs if small else (outputs,)
    loss = sum(output.square().sum() for output in outputs)
    wanted = {'lq': lq, 'rgb': rgb, **dict(net.named_parameters())}
    return outputs, dict(zip(wanted, torch.autograd.grad(loss, list(wanted.values()))))


def relative_error(result, reference):
    return ((result - reference).norm() / reference.norm()).item()


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, CHANNELS_LAST], ids=['contiguous', 'channels_last'])
@pytest.mark.parametrize(('batch', 'bands'), [(1, [2]), (2, [4, 0, 1])])
@pytest.mark.parametrize('options', OPTIONS)
def test_outputs_and_gradients_equal_the_literal_form(options, batch, bands, memory_format):
    net, literal = networks(**OPTIONS[options])
    lq, rgb = inputs(batch, size=(5, 3))
    expected, expected_gradients = outputs_and_gradients(literal, lq, rgb, bands)
    outputs, gradients = outputs_and_gradients(net, lq, rgb, bands, memory_format)
    assert [relative_error(*pair) for pair in zip(outputs, expected)] == pytest.approx([0] * len(expected), abs=1e-5)
    errors = {name: relative_error(gradients[name], expected_gradients[name]) for name in expected_gradients}
    assert {name: error for name, error in errors.items() if not error < 1e-5} == {}


@pytest.mark.parametrize('memory_format', [torch.contiguous_format, CHANNELS_LAST], ids=['contiguous', 'channels_last'])
@pytest.mark.parametrize('options', OPTIONS)
def test_inference_equals_the_literal_form(options, memory_format):
    """Without gradients the convolutions are fused; folded, the kernels of the cross fusion are stored."""
    net, literal = networks(**OPTIONS[options], num_guide_ch=2)
    lq, rgb = inputs(batch=2, size=(1, 6), guide=2)
    small = hasattr(literal, 'end_small')
    with torch.no_grad():
        expected = literal(lq, rgb, [3, 0], return_small_scale=small)
        rgb = rgb.contiguous(memory_format=memory_format)
        for fast in (net, fold_weight_norm(net)):
            results = [fast(lq, rgb, [3, 0], small, guide) for guide in (None, fast.encode_guide(rgb))]
            torch.testing.assert_close(results[0], expected, rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(results[1], results[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize('case', CASES)
def test_literal_form_equals_the_authors(case):
    """The reference itself is tested, against stored outputs of the release."""
    converted, data = convert_author_state(author_state(case)), load_case(case)
    literal = LiteralMulSR(num_modules=CASES[case][1])
    literal.load_state_dict(converted.params)
    cube = data['triple'][:, [0, 2, 1]]  # the triple of band 1
    with torch.no_grad():
        assert relative_error(literal(cube, data['rgb'], [1]), data['image']) < 1e-5
