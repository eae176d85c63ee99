"""Safetensors files hold the same weights as those of PyTorch; kills and full disks are in tests/reliability."""

from __future__ import annotations

import os
import sys

import pytest
import torch
from basicsr.archs import build_network

from mulsr_plugin.checkpoints.files import load_safely, save_atomically


@pytest.fixture
def state():
    return build_network({'type': 'MulSR', 'upscale': 4, 'num_feat': 8, 'num_modules': 1}).state_dict()


def test_safetensors_hold_the_same_weights(tmp_path, state):
    from safetensors.torch import load_file, save_file

    weights = {**state, 'scalar': torch.tensor(3.0), 'shared': state['hsi_head.bias']}
    weights['view'] = torch.arange(12.0).reshape(3, 4).T
    save_atomically({'params': weights}, tmp_path / 'a.safetensors')
    # read by the library itself, and what it wrote read by us
    for read in (load_file(tmp_path / 'a.safetensors'), load_safely(tmp_path / 'a.safetensors')['params']):
        assert read.keys() == weights.keys()
        assert all(torch.equal(read[name], weights[name]) for name in weights)
    save_file({'half': torch.ones(2, dtype=torch.bfloat16)}, tmp_path / 'b.safetensors')
    assert torch.equal(load_safely(tmp_path / 'b.safetensors')['params']['half'], torch.ones(2, dtype=torch.bfloat16))


@pytest.mark.parametrize('keep', [0, 4, 9, 200, -1])
def test_cut_safetensors(tmp_path, state, keep):
    path = tmp_path / 'a.safetensors'
    save_atomically({'params': state}, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r'a\.safetensors is damaged or is not a checkpoint of tensors alone'):
        load_safely(path)


def test_safetensors_hold_weights_alone(tmp_path):
    with pytest.raises(ValueError, match='can hold the weights of one network and nothing else'):
        save_atomically({'params': {}, 'params_ema': {}}, tmp_path / 'a.safetensors')
    assert os.listdir(tmp_path) == []


def test_without_the_package_safetensors_say_how_to_get_it(tmp_path, state, monkeypatch):
    save_atomically({'params': state}, tmp_path / 'a.safetensors')
    for name in ('safetensors', 'safetensors.torch'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'a\.safetensors needs the package safetensors: pip install mulsr-plugin'):
        load_safely(tmp_path / 'a.safetensors')
    with pytest.raises(ImportError, match='needs the package safetensors'):
        save_atomically({'params': {}}, tmp_path / 'b.safetensors')
