"""State dicts out of checkpoints: which is taken, and what does not fit says why."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs import build_network

from mulsr_plugin.__main__ import main
from mulsr_plugin.checkpoints.files import save_atomically
from mulsr_plugin.checkpoints.networks import network_from_weights, read_weights
from mulsr_plugin.checkpoints.weights import check_weights_fit, check_weights_overlap, select_weights
from mulsr_plugin.checkpoints.wrappers import named_as, without_wrappers
from tests.archs.golden_mulsr import author_state

MULSR = {'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1}


def network(**changes):
    return build_network({**MULSR, **changes})


# ---- the command


def test_command_takes_the_averaged_weights_there_and_back(tmp_path, capsys):
    first, averaged = network().state_dict(), network().state_dict()
    save_atomically({'params': first, 'params_ema': averaged}, tmp_path / 'a.pth')
    there, back = str(tmp_path / 'b.safetensors'), str(tmp_path / 'c.pth')
    assert main(['convert', str(tmp_path / 'a.pth'), there]) == 0
    assert main(['convert', there, back]) == 0
    read = torch.load(back, weights_only=True)
    assert list(read) == ['params']
    assert all(torch.equal(read['params'][name], averaged[name]) for name in averaged)
    assert f'{sum(value.numel() for value in first.values()):,} parameters' in capsys.readouterr().out
    assert main(['convert', str(tmp_path / 'a.pth'), back]) == 1
    assert 'give --force to replace it' in capsys.readouterr().err
    assert main(['convert', str(tmp_path / 'a.pth'), back, '--param-key', 'params', '--force']) == 0
    read = torch.load(back, weights_only=True)['params']
    assert all(torch.equal(read[name], first[name]) for name in first)
    assert main(['convert', str(tmp_path / 'absent.pth'), there, '--force']) == 1
    assert 'error: There is no checkpoint' in capsys.readouterr().err


# ---- what does not fit


@pytest.mark.parametrize(
    ('content', 'key', 'hint'),
    [
        ({'params_ema': {'w': torch.ones(1)}}, 'params', 'it has params_ema; set path: param_key_g: params_ema.'),
        ({'epoch': 1, 'model': {'w': torch.ones(1)}, 'optimizer': {}}, 'params', "looks like an authors' file"),
        ({'params': {'w': torch.ones(1)}}, 'parms_ema', 'it has params; set path: param_key_g: params.'),
        ({'w': torch.ones(1)}, 'params', 'it is a bare state dict'),
        ({'epoch': 1, 'iter': 2, 'optimizers': [], 'schedulers': []}, 'params', 'it is a training state'),
        ([1, 2], 'params', 'it holds list; give a checkpoint in the form of BasicSR.'),
        ({'params': {'w': 1}}, 'params', 'it is not a checkpoint in the form of BasicSR'),
    ],
)
def test_files_without_the_weights_wanted_say_what_they_hold(content, key, hint):
    with pytest.raises(ValueError, match='a.pth holds no network weights under') as caught:
        select_weights(content, key, 'a.pth')
    assert hint in str(caught.value)


def test_params_stand_in_for_missing_averaged_weights_and_prefixes_go():
    content = {'params': {'module.w': torch.ones(1)}}
    assert list(select_weights(content, 'params_ema', 'a.pth')) == ['w']
    assert list(select_weights({'w': torch.ones(1)}, None, 'a.pth')) == ['w']
    assert select_weights({'params': {}}, 'params', 'a.pth') == {}  # a network without parameters


@pytest.mark.parametrize(
    ('weights', 'first', 'reason'),
    [
        (lambda: network(num_modules=3).state_dict(), 'unknown (first: inter_body', 'written with num_modules: 3: set'),
        (
            lambda: network(num_feat=16).state_dict(),
            'of other shape (first: hsi_head',
            'num_feat: 16: set network_g so',
        ),
        (lambda: network(multi_scale=False).state_dict(), 'missing (first: ', 'multi_scale: False'),
        (
            lambda: author_state('x4_m1'),
            'unknown (first: ',
            "names of the authors' MulSR: convert the file with `mulsr convert`",
        ),
        (
            lambda: build_network({'type': 'UAL', 'upscale': 4, 'num_bands': 31}).state_dict(),
            'missing (first: ',
            'the file holds weights of UAL: set network_g: type: UAL',
        ),
        (lambda: {'conv.weight': torch.ones(3)}, 'missing (first: ', 'names agree, so it is of another network, or'),
    ],
)
def test_weights_that_do_not_fit_name_the_first_difference_and_the_reason(weights, first, reason):
    with pytest.raises(ValueError, match='a.pth does not fit network MulSR: ') as caught:
        check_weights_fit(network(), weights(), 'a.pth')
    assert first in str(caught.value)
    assert reason in str(caught.value)
    assert '\n' not in str(caught.value)


def test_weights_that_fit_pass():
    check_weights_fit(network(), network().state_dict(), 'a.pth')


def test_part_of_the_weights_must_fit():
    """With ``strict_load_g: false``, which leaves out what does not."""
    weights = network().state_dict()
    check_weights_overlap(network(), {'hsi_head.bias': weights['hsi_head.bias']}, 'a.pth')
    with pytest.raises(ValueError, match='a.pth has no weights that fit network MulSR, so nothing would be loaded'):
        check_weights_overlap(network(), {'hsi_head.bias': torch.ones(3), 'other': torch.ones(3)}, 'a.pth')


# ---- wrapped networks


def wrapped(wrap):
    net = network()
    if wrap == 'compiled':
        return torch.compile(net).state_dict()
    if wrap == 'compiled inside':
        net.hsi_head = torch.compile(net.hsi_head)
        return net.state_dict()
    if wrap == 'parallel':
        return torch.nn.DataParallel(torch.compile(net)).state_dict()
    if wrap == 'averaged':
        return torch.optim.swa_utils.AveragedModel(net).state_dict()
    return {f'{wrap}.{name}': value for name, value in net.state_dict().items()}


WRAPS = ('compiled', 'compiled inside', 'parallel', 'averaged', '_orig_mod.module', 'net_g', 'model.net_g._orig_mod')


@pytest.mark.parametrize('wrap', WRAPS)
@pytest.mark.parametrize('key', ['params', 'state_dict', None])
def test_weights_of_wrapped_networks_load(tmp_path, wrap, key):
    state = wrapped(wrap)
    save_atomically(state if key is None else {key: state}, tmp_path / 'a.pth')
    net, options = network_from_weights(read_weights(tmp_path / 'a.pth'), 4)
    assert options['type'] == 'MulSR'
    inner = {name.rpartition('hsi_head.')[2]: value for name, value in state.items() if 'hsi_head.' in name}
    for name, value in net.hsi_head.state_dict().items():
        assert any(torch.equal(value, other) for other in inner.values()), name


def test_names_that_would_become_one_are_left_alone():
    state = {'module.w': torch.ones(1), 'w': torch.zeros(1)}
    assert without_wrappers(state) == state


def test_the_part_of_a_larger_module_that_is_the_network_is_found():
    own = network().state_dict()
    larger = {f'generator.{name}': value for name, value in own.items()} | {'discriminator.conv.weight': torch.ones(1)}
    assert named_as(larger, own).keys() == own.keys()
    del larger['generator.hsi_head.bias']
    assert named_as(larger, own) is larger
