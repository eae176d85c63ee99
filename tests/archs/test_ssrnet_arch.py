"""SSR-NET: outputs of the published model, the bands that the guide replaces, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mulsr_plugin.archs.ssrnet_arch import SSRNet, replaced_bands

GOLDEN = Path(__file__).parents[1] / 'golden' / 'ssrnet_forward.npz'


@pytest.mark.parametrize(('case', 'scale'), [('x8', 8), ('x4_5guides', 4)])
def test_output_equals_the_authors(case, scale):
    with np.load(GOLDEN) as stored:
        data = {name.split('.')[1]: stored[name] for name in stored.files if name.startswith(f'{case}.')}
    num_bands, num_guide_ch = data['lq'].shape[1], data['rgb'].shape[1]
    net = SSRNet(scale, num_bands, num_guide_ch)
    random = np.random.RandomState(0)  # draws in the order in which the release registers its layers
    for layer in (net.fuse, net.spatial, net.spectral):
        for parameter, factor in ((layer.weight, 1.4 / np.sqrt(9 * num_bands)), (layer.bias, 0.02)):
            draw = (factor * random.standard_normal(tuple(parameter.shape))).astype(np.float32)
            parameter.data.copy_(torch.from_numpy(draw))
    with torch.no_grad():
        result, spatial = net(torch.from_numpy(data['lq']), torch.from_numpy(data['rgb']), return_spatial=True)
    for name, output in (('result', result), ('spatial', spatial)):
        assert np.abs(output.numpy() - data[name]).max() < 1e-5 * np.abs(data[name]).max(), name


@pytest.mark.parametrize(
    ('num_bands', 'num_guide_ch', 'expected'),
    [(31, 3, [0, 15, 30]), (102, 5, [0, 25, 51, 76, 101]), (31, 1, [30]), (4, 4, [0, 1, 2, 3]), (2, 2, [0, 1])],
)
def test_bands_that_the_guide_replaces(num_bands, num_guide_ch, expected):
    assert replaced_bands(num_bands, num_guide_ch) == expected


def test_the_cube_is_not_seen_in_replaced_bands():
    net, lq, rgb = SSRNet(4, num_bands=5), torch.rand(1, 5, 4, 4), torch.rand(1, 3, 16, 16)
    other = lq.clone()
    other[:, replaced_bands(5, 3)] += 1
    with torch.no_grad():
        assert torch.equal(net(other, rgb), net(lq, rgb))
        assert not torch.equal(net(lq + 1, rgb), net(lq, rgb))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'num_bands': 3, 'num_guide_ch': 4}, 'num_guide_ch is 4 and num_bands 3, .* replaces a band'),
        ({'num_bands': 1, 'num_guide_ch': 1}, 'num_bands is 1, expected at least 2'),
    ],
)
def test_what_has_no_place_for_the_guide_or_no_edges_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SSRNet(**options)
