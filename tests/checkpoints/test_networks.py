"""Networks built from the files of their weights."""

from __future__ import annotations

import pytest
import torch
import yaml
from basicsr.archs import build_network

from mulsr_plugin.checkpoints.networks import network_from_weights, read_weights


def test_averaged_weights_are_preferred(tmp_path):
    state, averaged = ({'a': torch.full((2,), value)} for value in (1.0, 2.0))
    torch.save({'params': state, 'params_ema': averaged}, tmp_path / 'both.pth')
    torch.save({'module.a': torch.ones(2)}, tmp_path / 'bare.pth')
    assert torch.equal(read_weights(tmp_path / 'both.pth').state['a'], averaged['a'])
    assert list(read_weights(tmp_path / 'bare.pth').state) == ['a']


def test_option_file_says_what_weights_do_not(tmp_path):
    options = {
        'type': 'Unguided',
        'upscale': 4,
        'num_bands': 5,
        'network': {'type': 'RRDBNet', 'num_in_ch': 5, 'num_out_ch': 5, 'scale': 4, 'num_feat': 4, 'num_block': 1},
    }
    net = build_network(options)
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    (tmp_path / 'train.yml').write_text(yaml.safe_dump({'name': 'x', 'network_g': options}))
    with pytest.raises(
        ValueError, match='holds weights of none of CoarseNet, MoGDCN, MulSR.*give --opt with the option file'
    ):
        network_from_weights(read_weights(tmp_path / 'net.pth'), 4)
    loaded, found = network_from_weights(read_weights(tmp_path / 'net.pth'), 4, tmp_path / 'train.yml')
    assert found == options
    lq = torch.rand(1, 5, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(loaded(lq), net.eval()(lq))
    with pytest.raises(ValueError, match='describes a network for x4, but the images are given at x8'):
        network_from_weights(read_weights(tmp_path / 'net.pth'), 8, tmp_path / 'train.yml')


@pytest.mark.parametrize(
    'content, message',
    [
        ('a: [', 'is not a YAML file'),
        ('name: x', 'has no block network_g'),
        ('network_g: {type: Nobody}', "names the network 'Nobody', which is not registered"),
        ('network_g: {type: MulSR, num_fat: 8}', "Unknown option 'num_fat' in network_g of .*did you mean 'num_feat'"),
        ('network_g: {type: MulSR, num_feat: 16}', 'does not fit network MulSR'),
    ],
)
def test_faulty_option_files(content, message, tmp_path):
    net = build_network({'type': 'MulSR', 'num_feat': 8, 'num_modules': 1})
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    (tmp_path / 'opt.yml').write_text(content)
    with pytest.raises(ValueError, match=message):
        network_from_weights(read_weights(tmp_path / 'net.pth'), 4, tmp_path / 'opt.yml')
    with pytest.raises(FileNotFoundError, match=r'There is no option file .*none\.yml'):
        network_from_weights(read_weights(tmp_path / 'net.pth'), 4, tmp_path / 'none.yml')


def test_files_that_hold_no_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no checkpoint'):
        network_from_weights(read_weights(tmp_path / 'none.pth'), 4)
    (tmp_path / 'text.pth').write_text('no checkpoint')
    with pytest.raises(ValueError, match='is damaged or is not a checkpoint'):
        network_from_weights(read_weights(tmp_path / 'text.pth'), 4)
    for content in ([1, 2], {'epoch': 3}, {}):
        torch.save(content, tmp_path / 'other.pth')
        with pytest.raises(ValueError, match='holds .*no network weights: give a checkpoint of BasicSR'):
            network_from_weights(read_weights(tmp_path / 'other.pth'), 4)


def test_authors_weights_are_to_be_converted(tmp_path):
    torch.save({'epoch': 1, 'model': {'module.hsi_head_x2.weight_v': torch.ones(64, 3, 3, 3)}}, tmp_path / 'model.pth')
    with pytest.raises(ValueError, match=r"holds the authors' own weights of MulSR: convert .*mulsr convert"):
        network_from_weights(read_weights(tmp_path / 'model.pth'), 4)


def test_incomplete_weights(tmp_path):
    state = build_network({'type': 'UAL', 'upscale': 4, 'num_bands': 4}).state_dict()
    torch.save({'params': {name: state[name] for name in state if name != 'tail.0.bias'}}, tmp_path / 'net.pth')
    with pytest.raises(ValueError, match=r'does not fit network UAL: 1 missing \(first: tail.0.bias\)'):
        network_from_weights(read_weights(tmp_path / 'net.pth'), 4)
