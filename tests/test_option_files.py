"""Every option file that ships is legal, builds its network, and says what it claims."""

from __future__ import annotations

from pathlib import Path

import basicsr  # noqa: F401  (loads the registries)
import pytest
import yaml
from basicsr.archs import build_network

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.paired_hsi_rgb_dataset import _check_options
from mulsr_plugin.models.hsi_sr_model import HSISRModel
from mulsr_plugin.models.mulsr_model import MulSRModel
from mulsr_plugin.models.schema import check_model_options

OPTIONS = Path(__file__).parents[1] / 'options'
FILES = sorted(OPTIONS.rglob('*.yml'))
MODELS = {'MulSRModel': MulSRModel, 'HSISRModel': HSISRModel}
PARAMETERS = {
    'train_mulsr_cave_x8': 2_509_328,
    'train_mulsr_cave_x8_release': 4_635_548,
    'train_mulsr_cave_x8_1module': 1_446_218,
    'train_mulsr_cave_x8_3modules': 3_572_438,
    'train_mulsr_cave_x8_4modules': 4_635_548,
    'train_mulsr_cave_x8_no_mii': 2_389_710,
    'train_mulsr_cave_x8_no_dsca': 2_451_854,
    'train_mulsr_cave_x8_no_lfcc': 2_381_456,
    'train_mulsr_cave_x8_single_scale': 1_186_696,
}


def load(path):
    return yaml.safe_load(path.read_text())


def test_there_are_option_files():
    assert {'train_mulsr_cave_x4', 'train_mulsr_cave_x16', *PARAMETERS} <= {path.stem for path in FILES}


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_option_file_is_legal(path):
    opt = load(path)
    opt['is_train'] = 'train' in opt
    check_model_options(opt, MODELS[opt['model_type']].train_rules)
    for phase, dataset in opt['datasets'].items():
        _check_options({**dataset, 'phase': phase.split('_')[0], 'scale': opt['scale']})
        build_degradation(dataset['degradation'], dataset.get('upscale', opt['scale']))
    net = build_network(opt['network_g'])
    assert opt['network_g'].get('upscale', opt['scale']) == opt['scale']
    if path.stem in PARAMETERS:
        assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[path.stem]


@pytest.mark.parametrize('scale', [4, 8, 16])
def test_settings_of_the_paper(scale):
    opt = load(OPTIONS / f'train_mulsr_cave_x{scale}.yml')
    train, data = opt['train'], opt['datasets']['train']
    assert (data['gt_size'], data['batch_size_per_gpu'], data['crops_per_image']) == (12 * scale, 32, 1000)
    assert (train['optim_g']['type'], train['optim_g']['lr'], train['optim_g']['betas']) == ('Adam', 1e-4, [0.9, 0.99])
    epoch = 26 * data['crops_per_image'] // data['batch_size_per_gpu']
    assert train['scheduler']['milestones'] == [30 * epoch * i for i in range(1, 7)]
    assert train['scheduler']['gamma'] == 0.5
    assert train['total_iter'] == 200 * epoch
    assert train['band_update'] == 'per_band'


@pytest.mark.parametrize('path', sorted((OPTIONS / 'ablation').glob('*.yml')), ids=lambda path: path.stem)
def test_ablations_differ_in_the_network_only(path):
    base, ablation = load(OPTIONS / 'train_mulsr_cave_x8.yml'), load(path)
    assert ablation['name'] == path.stem
    for opt in (base, ablation):
        del opt['name'], opt['network_g']
    assert base == ablation
