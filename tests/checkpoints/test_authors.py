"""Tests of the conversion of the authors' checkpoints."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.archs import build_network
from basicsr.models.base_model import BaseModel

from mulsr_plugin.__main__ import main
from mulsr_plugin.archs.mulsr_arch import MulSR
from mulsr_plugin.checkpoints.authors import convert_author_checkpoint, convert_author_state
from tests.archs.golden_mulsr import CASES, author_state, load_case
from tests.archs.golden_networks import author_file as author_file_of
from tests.archs.golden_networks import author_state as author_state_of
from tests.archs.golden_networks import load_case as load_case_of

REPOSITORY = Path(__file__).parents[2]
SCRIPT = REPOSITORY / 'scripts' / 'convert_author_checkpoint.py'


def author_file(case, prefix='module.'):
    """What the authors' training script saves."""
    model = OrderedDict((prefix + name, value) for name, value in author_state(case).items())
    optimizer = torch.optim.Adam([torch.nn.Parameter(value) for value in list(model.values())[:2]]).state_dict()
    return {'epoch': 7, 'model': model, 'optimizer': optimizer}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / 'model_epoch_7.pth'
    torch.save(author_file('x4_m1'), path)
    return path


@pytest.mark.parametrize(
    ('case', 'content', 'zipped'),
    [
        ('x8_m2', author_file('x8_m2'), True),
        ('x4_m1', author_file('x4_m1', prefix=''), True),
        ('x4_m1', author_file('x4_m1')['model'], True),  # a bare state dict
        ('x4_m1', author_file('x4_m1'), False),  # the file format before PyTorch 1.6
    ],
)
def test_basicsr_loads_the_result_and_it_gives_the_authors_output(tmp_path, case, content, zipped):
    torch.save(content, tmp_path / 'author.pth', _use_new_zipfile_serialization=zipped)
    converted = convert_author_checkpoint(tmp_path / 'author.pth', tmp_path / 'new' / 'mulsr.pth')
    scale, num_modules = CASES[case]
    assert converted.network_g == {'type': 'MulSR', 'num_feat': 64, 'num_guide_ch': 3, 'num_modules': num_modules}

    net = MulSR(upscale=scale, num_modules=num_modules)
    BaseModel({'num_gpu': 0, 'is_train': False}).load_network(net, tmp_path / 'new' / 'mulsr.pth', True, 'params')
    data = load_case(case)
    with torch.no_grad():
        result, _ = net.forward_triples(data['triple'], data['rgb'])
    assert (result - data['image']).abs().max() < 1e-5 * data['image'].abs().max()
    assert [path.name for path in (tmp_path / 'new').iterdir()] == ['mulsr.pth']


@pytest.mark.parametrize(
    ('network', 'case', 'scale', 'output', 'options'),
    [
        ('PZResNet', 'x4', 4, 'refined', {'num_bands': 31}),
        ('MoGDCN', 'x8', 8, 'output', {'num_bands': 31}),
        ('UAL', 'x4', 4, 'output', {'num_bands': 31}),
        ('PSRT', 'x8', 8, 'output', {'num_bands': 31}),
        ('CoarseNet', 'x8_u1', 8, 'output', {'num_feat': 64, 'num_units': 1, 'legacy': True}),
    ],
)
def test_released_files_of_other_networks_are_recognised(tmp_path, network, case, scale, output, options):
    torch.save({'module.' + name: value for name, value in author_file_of(network, case).items()}, tmp_path / 'a.pth')
    converted = convert_author_checkpoint(tmp_path / 'a.pth', tmp_path / 'b.pth')
    assert converted.network_g == {'type': network, 'num_guide_ch': 3, **options}

    net = build_network({**converted.network_g, 'upscale': scale})
    BaseModel({'num_gpu': 0, 'is_train': False}).load_network(net, tmp_path / 'b.pth', True, 'params')
    data = load_case_of(network, case)
    with torch.no_grad():
        assert (net(data['lq'], data['rgb']) - data[output]).abs().max() < 1e-4


@pytest.mark.parametrize(('network', 'entries'), [('PZResNet', 228), ('MoGDCN', 138), ('UAL', 78), ('PSRT', 220)])
def test_files_have_as_many_entries_as_the_released_ones_and_dead_ones_are_dropped(network, entries):
    content = author_file_of(network, 'x8')
    assert len(content) == entries
    params = convert_author_state(content).params
    live = author_state_of(network, 'x8')
    assert sorted(value.sum().item() for value in params.values()) == sorted(v.sum().item() for v in live.values())


class Malicious:
    """Creates a file when a careless loader unpickles it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_run(tmp_path):
    torch.save({'model': {'weight': Malicious(tmp_path / 'owned')}}, tmp_path / 'bad.pth')
    (tmp_path / 'bare.pth').write_bytes(pickle.dumps(Malicious(tmp_path / 'owned')))
    for name in ('bad.pth', 'bare.pth'):
        with pytest.raises(ValueError, match=f'{name}: .*would run code'):
            convert_author_checkpoint(tmp_path / name, tmp_path / 'out.pth')
    assert not (tmp_path / 'owned').exists()
    assert not (tmp_path / 'out.pth').exists()


@pytest.mark.parametrize('kept', [0, 10, 0.5, 0.999])
def test_cut_off_file(tmp_path, source, kept):
    content = source.read_bytes()
    source.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(ValueError, match='cut off'):
        convert_author_checkpoint(source, tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def without(state, name):
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ({'conv.weight': torch.zeros(3)}, "not the weights of the authors' MulSR"),
        ({'params': {'x': torch.zeros(3)}}, 'form of BasicSR already'),
        ({'model': {}}, 'no weights by name'),
        ({'model': {'epoch': 3}}, 'no weights by name'),
        ([1, 2], 'no weights by name'),
        (torch.zeros(3), 'no weights by name'),
        (without(author_state('x4_m1'), 'reduce.bias'), r'1 missing \(such as reduce.bias\)'),
        (without(author_state('x8_m2'), 'inter_body_x2.1.hsi_end.m.2.bias'), '1 missing'),
        ({**author_state('x4_m1'), 'extra.weight': torch.zeros(1)}, r'1 unknown \(such as extra.weight\)'),
        ({**author_state('x4_m1'), 'down.bias': torch.zeros(3)}, r'1 of another shape \(such as down.bias\)'),
        ({**author_state('x4_m1'), 'inter_body_x2.5.x.bias': torch.zeros(1)}, '80 missing .* 1 unknown'),
        ({**author_state('x4_m1'), 'rgb_head_x2.weight_v': torch.zeros(3)}, "authors' MulSR: give .*qianngli/MulSR"),
        (without(author_state('x4_m1'), 'rgb_head_x2.weight_v'), "authors' MulSR: give .*qianngli/MulSR"),
        ({'conv_torgb.weight': torch.zeros(0, 31, 3, 3)}, "authors' MoGDCN: give .*chengerr"),
        ({'feaFusion.weight_v': torch.zeros(1)}, "authors' CoarseNet: give .*qianngli/SFPN"),
        (without(author_file_of('UAL', 'x4'), 'layerX_G.bias'), r'1 missing \(such as exchange.gates.0.bias\)'),
        ({**author_file_of('UAL', 'x4'), 'layerOut4.bias': torch.zeros(1)}, r'1 unknown \(such as layerOut4.bias\)'),
    ],
)
def test_foreign_file(tmp_path, content, message):
    torch.save(content, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=f'other.pth: .*{message}'):
        convert_author_checkpoint(tmp_path / 'other.pth', tmp_path / 'out.pth')
    assert not (tmp_path / 'out.pth').exists()


def test_existing_target_is_kept_unless_forced(tmp_path, source):
    target = tmp_path / 'out.pth'
    target.write_text('precious')
    with pytest.raises(FileExistsError, match='--force'):
        convert_author_checkpoint(source, target)
    assert target.read_text() == 'precious'
    convert_author_checkpoint(source, target, force=True)
    assert set(torch.load(target, weights_only=True)) == {'params'}


def test_wrong_paths_and_names(tmp_path, source):
    with pytest.raises(FileNotFoundError, match='no file .*absent.pth'):
        convert_author_checkpoint(tmp_path / 'absent.pth', tmp_path / 'out.pth')
    with pytest.raises(FileExistsError, match='is a folder'):
        convert_author_checkpoint(source, tmp_path)
    with pytest.raises(FileExistsError, match='the file to convert itself'):
        convert_author_checkpoint(source, source, force=True)
    with pytest.raises(OSError, match='cannot be made'):
        convert_author_checkpoint(source, source / 'out.pth')
    with pytest.raises(ValueError, match="authors' UAL: give .*UAL-CVPR2020"):
        convert_author_checkpoint(source, tmp_path / 'out.pth', network='UAL')
    with pytest.raises(ValueError, match="'Other': choose one of .*MulSR"):
        convert_author_checkpoint(source, tmp_path / 'out.pth', network='Other')


def test_command_line(tmp_path, source, capsys):
    with pytest.raises(SystemExit, match='0'):
        main(['convert', '--help'])
    assert 'SRC' in capsys.readouterr().out

    assert main(['convert', str(source), str(tmp_path / 'out.pth')]) == 0
    shown = capsys.readouterr().out
    assert '1,446,218 parameters' in shown
    options = yaml.safe_load(shown.split('\n', 1)[1])
    assert options['path']['pretrain_network_g'] == str(tmp_path / 'out.pth')
    build_network(options['network_g']).load_state_dict(
        torch.load(tmp_path / 'out.pth')[options['path']['param_key_g']]
    )

    assert main(['convert', str(source), str(tmp_path / 'out.pth')]) == 1
    assert main(['convert', str(source), str(tmp_path / 'out.pth'), '--force']) == 0


def test_script_tells_a_foreign_file_in_one_line(tmp_path):
    command = [sys.executable, SCRIPT, REPOSITORY / 'pyproject.toml', tmp_path / 'out.pth']
    environment = {**os.environ, 'PYTHONPATH': str(REPOSITORY)}
    failed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert failed.returncode == 1
    assert failed.stderr.startswith('error: ') and failed.stderr.count('\n') == 1
