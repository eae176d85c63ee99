"""Weights say of what network they are and what they were trained for; whoever loads them goes by it."""

from __future__ import annotations

import json
import logging

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.models.base_model import BaseModel
from basicsr.utils.registry import ARCH_REGISTRY

from mulsr_plugin import __version__
from mulsr_plugin.__main__ import main
from mulsr_plugin.checkpoints.description import describe_weights, description_in
from mulsr_plugin.checkpoints.files import load_safely, save_atomically
from mulsr_plugin.checkpoints.networks import network_from_weights, read_weights
from mulsr_plugin.cli.export import add_arguments
from mulsr_plugin.cli.export import load as load_for_export
from mulsr_plugin.cli.parsing import CommandParser
from tests.models.tiny import make_options, make_stores, parsed

COARSENET = {'type': 'CoarseNet', 'upscale': [2, 4], 'num_feat': 8, 'num_units': 1, 'legacy': True}
KEY = 'mulsr_plugin'


def options_of(folder, network_g=None, **train):
    opt = make_options(folder, **train)
    opt['network_g'] = network_g or opt['network_g']
    return parsed(opt, folder)


def described(network, scale=4, **changes):
    """What a training of the network would save."""
    torch.manual_seed(0)
    opt = {'network_g': network, 'scale': scale, 'train': {}, 'datasets': {'train': {'type': 'Other'}}}
    description = {**describe_weights(opt, 5, 3), **changes}
    return {'params': build_network(network).state_dict(), KEY: description}


@pytest.fixture
def saved(tmp_path):
    """A file of weights that describe themselves."""

    def save(*arguments, name='net.pth', **changes):
        save_atomically(described(*arguments, **changes), tmp_path / name)
        return tmp_path / name

    return save


def test_models_write_what_a_user_of_the_weights_needs(tmp_path):
    make_stores(tmp_path)
    opt = options_of(tmp_path, COARSENET, ema_decay=0.5)
    model = build_model(opt)
    model.feed_data({'lq': torch.rand(1, 5, 4, 4), 'rgb': torch.rand(1, 3, 16, 16), 'gt': torch.rand(1, 5, 16, 16)})
    model.save(0, 3)
    path = tmp_path / 'models' / 'net_g_3.pth'
    content = torch.load(path, weights_only=True)
    assert content.keys() == {'params', 'params_ema', KEY}
    assert content[KEY] == {
        'plugin_version': __version__,
        'network_g': {**COARSENET, 'num_guide_ch': 3},
        'scales': [4],
        'num_bands': 5,
        'num_guide_ch': 3,
        'degradation': 'authors_random',
        'spectral_response': str(tmp_path / 'response.npy'),
    }
    json.dumps(content[KEY])
    # BasicSR's own reader takes what it knows
    net = build_network(COARSENET)
    BaseModel(opt).load_network(net, str(path), True, 'params_ema')
    assert all(torch.equal(value, content['params_ema'][name]) for name, value in net.state_dict().items())
    loaded, options = network_from_weights(read_weights(path), 4)
    assert loaded.legacy and options['upscale'] == [2, 4]


def test_scales_of_a_mixed_training():
    opt = {'network_g': COARSENET, 'scale': 4, 'train': {'scales': [2, 4]}, 'datasets': {'train': {'type': 'Other'}}}
    assert describe_weights(opt)['scales'] == [2, 4]
    opt = {**opt, 'train': {}, 'datasets': {'train': {'type': 'Other', 'upscale': 2}}}
    assert describe_weights(opt)['scales'] == [2]


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_what_shapes_do_not_tell_comes_from_the_description(saved, suffix, tmp_path):
    """CoarseNet's `legacy` changes results and no shape; without the description it is taken for the default."""
    source = saved(COARSENET)
    if suffix == '.safetensors':
        assert main(['convert', str(source), str(tmp_path / 'net.safetensors')]) == 0
        source = tmp_path / 'net.safetensors'
    assert load_safely(source)[KEY] == described(COARSENET)[KEY]
    net, options = network_from_weights(read_weights(source), 4)
    assert net.legacy and options['legacy'] is True
    torch.save({'params': load_safely(source)['params']}, tmp_path / 'bare.pth')
    assert not network_from_weights(read_weights(tmp_path / 'bare.pth'), 4)[0].legacy


def test_networks_of_basicsr_need_no_option_file(saved):
    network = {'type': 'RRDBNet', 'num_in_ch': 5, 'num_out_ch': 5, 'num_feat': 4, 'num_block': 1, 'num_grow_ch': 2}
    net, options = network_from_weights(read_weights(saved(network)), 4)
    assert type(net).__name__ == 'RRDBNet'
    assert options['scale'] == 4  # the default, written out


class TupleNetwork(torch.nn.Module):
    """As networks of other packages are: with defaults that must be what they are."""

    def __init__(self, num_feat=4, kernel=(3, 3), layers=(torch.nn.ReLU,), upscale=4):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros((num_feat,) + kernel))
        self.layers = torch.nn.Sequential(*(layer() for layer in layers))


def test_defaults_of_other_packages_stay_what_they_are(saved, monkeypatch):
    """A file holds no tuples and no classes, so the network takes its own defaults."""
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, 'TupleNetwork', TupleNetwork)
    net, _ = network_from_weights(read_weights(saved({'type': 'TupleNetwork', 'num_feat': 8})), 4)
    assert net.weight.shape == (8, 3, 3)


@pytest.mark.parametrize(
    'network', [{'type': 'SpyNet', 'load_path': 'a.pth'}, {'type': 'Unguided', 'network': {'load_path': 'a.pth'}}]
)
def test_description_names_no_file_to_load(saved, network):
    """BasicSR's networks load it with PyTorch's default, which runs code before 2.6."""
    with pytest.raises(ValueError, match=r'net.pth names a file for its network to load .load_path.'):
        network_from_weights(read_weights(saved(COARSENET, network_g=network)), 4)


@pytest.mark.parametrize('nested', [False, True])
def test_a_description_fetches_nothing(saved, nested):
    vgg = {'type': 'VGGFeatureExtractor', 'layer_name_list': ['relu1_1']}
    with pytest.raises(ValueError, match=r'net.pth names VGGFeatureExtractor, .* fetched over the network'):
        network = {'type': 'Unguided', 'network': vgg} if nested else vgg
        network_from_weights(read_weights(saved(COARSENET, network_g=network)), 4)


def test_a_scale_not_trained_for_is_refused_unless_an_option_file_says_so(saved, tmp_path):
    path = saved({'type': 'MulSR', 'upscale': 8, 'num_feat': 8, 'num_modules': 1}, 8)
    with pytest.raises(ValueError, match=r'net.pth was trained for x8, not for x4: .* or --opt with an option file'):
        network_from_weights(read_weights(path), 4)
    network = {'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1}
    (tmp_path / 'x4.yml').write_text(yaml.safe_dump({'network_g': network}))
    assert network_from_weights(read_weights(path), 4, tmp_path / 'x4.yml')[1] == network


def test_contradictions(saved, tmp_path):
    content = described(COARSENET)
    content['params'] = build_network({**COARSENET, 'num_feat': 16}).state_dict()
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(
        ValueError, match=r'other.pth is not what it says it is.*of other shape.*num_feat: 16'
    ) as caught:
        network_from_weights(read_weights(tmp_path / 'other.pth'), 4)
    assert '\n' not in str(caught.value)
    for network, message in (
        ({'type': 'Elsewhere'}, r"written for the network 'Elsewhere', which is not registered"),
        ({**COARSENET, 'num_fat': 3}, "Unknown option 'num_fat' in the description in .*did you mean 'num_feat'"),
        ({**COARSENET, 'num_feat': -1}, 'The network of .*net.pth: num_feat'),
    ):
        with pytest.raises(ValueError, match=message):
            network_from_weights(read_weights(saved(COARSENET, network_g=network)), 4)


@pytest.mark.parametrize(
    'foreign',
    ['text', 3, {}, {'network_g': {}}, {'network_g': {'type': 'MulSR'}, 'scales': ['4']}, {'network_g': {'type': 3}}],
)
def test_what_is_no_description_counts_as_none(foreign):
    assert description_in({'params': {}, KEY: foreign}) is None
    assert description_in([1]) is None


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda opt: opt['network_g'].update(legacy=False), 'network_g: legacy: True (here False)'),
        (lambda opt: [data.update(upscale=2) for data in opt['datasets'].values()], 'x4 (here x2)'),
        (lambda opt: None, None),
    ],
)
def test_other_use_in_a_training_or_test_is_told_once(saved, tmp_path, caplog, change, message):
    make_stores(tmp_path)
    opt = options_of(tmp_path, dict(COARSENET), ema_decay=0.5)
    opt['path']['pretrain_network_g'] = str(saved(COARSENET))
    change(opt)
    logger = logging.getLogger('basicsr')
    logger.addHandler(caplog.handler)
    try:
        build_model(opt)
    finally:
        logger.removeHandler(caplog.handler)
    told = [record.getMessage() for record in caplog.records if 'was trained for' in record.getMessage()]
    assert len(told) == (message is not None)
    assert message is None or f'net.pth was trained for {message}; make sure' in told[0]


def test_export_takes_scale_and_bands_from_the_description(saved, tmp_path):
    parser = CommandParser()
    add_arguments(parser)

    def sizes(path, *options):
        return load_for_export(parser.parse_args([str(path), 'x.pt2', *options]))[1][:3]

    mulsr = {'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1}
    assert sizes(saved(mulsr)) == (5, 4, 3)
    assert sizes(saved(mulsr), '--bands', '7') == (7, 4, 3)
    assert sizes(saved({'type': 'UAL', 'upscale': 4, 'num_bands': 6, 'num_guide_ch': 1})) == (6, 4, 1)
    both = saved({**mulsr, 'upscale': [2, 4]}, scales=[2, 4])
    assert sizes(both, '--scale', '2') == (5, 2, 3)
    bare = tmp_path / 'bare.pth'
    torch.save({'params': load_safely(both)['params']}, bare)
    for path, options, message in (
        (both, (), 'net.pth is for x2 and x4: give --scale'),
        (bare, (), 'bare.pth does not state its scale: give --scale'),
        (bare, ('--scale', '4'), 'does not state how many bands its cubes have: give --bands'),
    ):
        with pytest.raises(ValueError, match=message):
            sizes(path, *options)
