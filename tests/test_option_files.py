"""Every option file that ships is legal, builds its network, and says what it claims."""

from __future__ import annotations

import inspect
import runpy
from pathlib import Path

import basicsr  # noqa: F401  (loads the registries)
import pytest
import yaml
from basicsr.archs import build_network
from basicsr.utils.registry import ARCH_REGISTRY

from mulsr_plugin.apps.benchmark.options import METRICS, load_benchmark_options
from mulsr_plugin.checkpoints.shipped import shipped_weights
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.paired_hsi_rgb_dataset import _check_options
from mulsr_plugin.data.scene_splits import read_split
from mulsr_plugin.models.hsi_sr_model import HSISRModel
from mulsr_plugin.models.mulsr_model import MulSRModel
from mulsr_plugin.models.schema import check_model_options, check_network
from mulsr_plugin.models.sensorstart_model import SensorStartModel

OPTIONS = Path(__file__).parents[1] / 'options'
BENCHMARKS = [
    OPTIONS / f'benchmark_{name}.yml'
    for name in (
        'cave_x8',
        'ablation_cave_x8',
        'cave_x8_noise_free_cpu',
        'sensorstart_cave_x8_noise_free_cpu',
        'classical_cave_x8',
        'classical_cave_x8_noise_free',
        'classical_pan_x4',
        'classical_airborne_x4',
        'classical_hyperion_x3',
    )
]
FILES = sorted(set(OPTIONS.rglob('*.yml')) - set(BENCHMARKS) - set(OPTIONS.glob('search/*.yml')))
MODELS = {'MulSRModel': MulSRModel, 'HSISRModel': HSISRModel, 'SensorStartModel': SensorStartModel}
PARAMETERS = {
    'train_mulsr_cave_x8': 2_509_328,
    'train_mulsr_cave_x8_release': 4_635_548,
    'train_mulsr_cave_x8_joint_bf16': 2_509_328,
    'train_mulsr_cave_x8_fast': 2_509_328,
    'train_mulsr_cave_x8_1module': 1_446_218,
    'train_mulsr_cave_x8_3modules': 3_572_438,
    'train_mulsr_cave_x8_4modules': 4_635_548,
    'train_mulsr_cave_x8_no_mii': 2_389_710,
    'train_mulsr_cave_x8_no_dsca': 2_451_854,
    'train_mulsr_cave_x8_no_lfcc': 2_381_456,
    'train_mulsr_cave_x8_single_scale': 1_186_696,
    'train_pzresnet_cave_x8': 517_852,
    'train_mogdcn_cave_x8': 7_070_824,
    'train_ual_cave_x8': 7_097_695,
    'train_coarsenet_cave_x8': 1_163_602,
    'train_ssrnet_cave_x8': 26_040,
    'train_psrt_cave_x8': 247_455,
    'train_mulsrcube_cave_mixed': 609_249,
}


def load(path):
    return yaml.safe_load(path.read_text())


def _block_and_scale(block, scale):
    """Take the scale out of a degradation that has one of its own, as SensorStartModel does."""
    if isinstance(block, str):
        return block, scale
    return {key: value for key, value in block.items() if key != 'scale'}, block.get('scale', scale)


def test_there_are_option_files():
    assert {'train_mulsr_cave_x4', 'train_mulsr_cave_x16', *PARAMETERS} <= {path.stem for path in FILES}


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_option_file_is_legal(path):
    opt = load(path)
    opt['is_train'] = 'train' in opt
    check_model_options(opt, MODELS[opt['model_type']].train_rules)
    for phase, dataset in opt['datasets'].items():
        _check_options({**dataset, 'phase': phase.split('_')[0], 'scale': opt['scale']})
        if 'dataroot_lq' not in dataset:
            scale = dataset.get('upscale', opt['scale'])
            for block in [dataset['degradation']] if 'degradation' in dataset else opt['train']['degradations']:
                build_degradation(*_block_and_scale(block, scale))
    net = build_network(opt['network_g'])
    scales = opt['network_g'].get('upscale', opt['scale'])
    assert opt['scale'] in (scales if isinstance(scales, list) else [scales])
    if path.stem in PARAMETERS:
        assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[path.stem]


@pytest.mark.parametrize(
    ('data_set', 'scale'), [('cave', 4), ('cave', 8), ('cave', 16), ('harvard', 8), ('harvard', 16)]
)
def test_settings_of_the_paper(data_set, scale):
    opt = load(OPTIONS / f'train_mulsr_{data_set}_x{scale}.yml')
    train, data = opt['train'], opt['datasets']['train']
    assert (data['gt_size'], data['batch_size_per_gpu'], data['crops_per_image']) == (12 * scale, 32, 1000)
    assert (train['optim_g']['type'], train['optim_g']['lr'], train['optim_g']['betas']) == ('Adam', 1e-4, [0.9, 0.99])
    epoch = len(read_split(f'{data_set}_80_20').train) * data['crops_per_image'] // data['batch_size_per_gpu']
    assert train['scheduler']['milestones'] == [30 * epoch * i for i in range(1, 7)]
    assert train['scheduler']['gamma'] == 0.5
    assert train['total_iter'] == 200 * epoch
    assert train['band_update'] == 'per_band'


def test_colosseum_trains_as_the_release_names_for_its_real_data_set():
    opt = load(OPTIONS / 'train_mulsr_colosseum_x4.yml')
    train, data = opt['train'], opt['datasets']['train']
    assert (data['gt_size'], data['crops_per_image'], opt['scale']) == (12 * 4, 64, 4)
    epoch = data['crops_per_image'] // data['batch_size_per_gpu']
    assert train['scheduler']['milestones'] == [30 * epoch * i for i in range(1, 7)]
    assert train['total_iter'] == 200 * epoch


@pytest.mark.parametrize('path', sorted((OPTIONS / 'ablation').glob('*.yml')), ids=lambda path: path.stem)
def test_ablations_differ_in_the_network_only(path):
    base, ablation = load(OPTIONS / 'train_mulsr_cave_x8.yml'), load(path)
    assert ablation['name'] == path.stem
    for opt in (base, ablation):
        del opt['name'], opt['network_g']
    assert base == ablation


def test_the_file_for_speed_differs_in_what_it_says_only():
    paper, fast = (load(OPTIONS / f'train_mulsr_cave_x8{suffix}.yml') for suffix in ('', '_joint_bf16'))
    speed = ('band_update', 'bands_per_chunk', 'precision', 'channels_last', 'compile', 'grad_clip')
    first_line = (OPTIONS / 'train_mulsr_cave_x8_joint_bf16.yml').read_text().partition('\n')[0]
    assert 'with the options for speed on' in first_line
    assert fast['train']['optim_g'].pop('fused')
    for opt in (paper, fast):
        for block, keys in (
            (opt, ('name',)),
            (opt['train'], speed),
            (opt['val'], ('bands_per_chunk', 'precision')),
            (opt['datasets']['train'], ('num_worker_per_gpu', 'pin_memory', 'device_degradation')),
        ):
            for key in keys:
                block.pop(key, None)
    assert fast == paper


def test_the_fast_file_is_the_best_trial_of_the_search():
    base, fast = (load(OPTIONS / f'train_mulsr_cave_x8_{suffix}.yml') for suffix in ('joint_bf16', 'fast'))
    changes = load(OPTIONS / 'search' / 'recipe_mulsr_cave_x8_cpu.yml')['trials']['ema_0.9_bands_per_step_4_lr_3e-4']
    changed = runpy.run_module('scripts.dev.timed.search_recipe')['changed']
    best = changed(base, {**changes, 'train:bands_per_chunk': None, 'train:compile': None})
    for opt in (best, fast):
        for block, keys in ((opt, ('name',)), (opt['train'], ('scheduler', 'total_iter'))):
            for key in keys:
                del block[key]
    assert fast == best


def test_recipes_of_the_compared_networks():
    recipes = {
        # lr, batch, crop, epochs of how many iterations, as their authors trained
        'pzresnet': (1e-3, 6, 128, 1000 * (16 * 26 // 6)),
        'mogdcn': (1e-4, 4, 96, 100_500 * 5),
        'ual': (1e-4, 6, 128, 150 * (98 * 26 // 6)),
        'coarsenet': (1e-4, 16, 96, 200 * (64 * 26 // 16)),
        'ssrnet': (1e-4, 1, 128, 10_000 * 26),
        'psrt': (1e-4, 32, 64, 2000 * (150 * 26 // 32)),
    }
    for name, (lr, batch, side, iterations) in recipes.items():
        opt = load(OPTIONS / f'train_{name}_cave_x8.yml')
        data, train = opt['datasets']['train'], opt['train']
        assert (train['optim_g']['lr'], data['batch_size_per_gpu'], data['gt_size']) == (lr, batch, side), name
        loss = 'MSELoss' if name == 'ssrnet' else 'L1Loss'
        assert (train['total_iter'], train['pixel_opt']['type']) == (iterations, loss), name


@pytest.mark.parametrize('name', ['mogdcn', 'ssrnet', 'psrt'])
def test_networks_of_the_noise_free_comparison_see_the_same_images(name):
    mulsr, peer = (load(OPTIONS / f'train_{name}_cave_x8_noise_free_cpu.yml') for name in ('mulsr', name))
    assert mulsr['datasets'] == peer['datasets']
    assert {data['degradation'] for data in mulsr['datasets'].values()} == {'noise_free'}
    assert mulsr['train'].pop('band_update') and mulsr['train'].pop('bands_per_step')
    for train in (mulsr['train'], peer['train']):
        del train['scheduler'], train['total_iter'], train['optim_g']['lr'], train['precision']
    assert mulsr['train'] == peer['train']


def test_networks_on_the_start_are_trained_as_without():
    for name in ('mulsr', 'mogdcn', 'edsr', 'swinir'):
        guided = '' if name in ('mulsr', 'mogdcn') else '_guided'
        without, on_start = (
            load(OPTIONS / f'train_{name}{kind}_cave_x8_noise_free_cpu.yml') for kind in (guided, '_sensorstart')
        )
        for key in ('ema_decay', 'precision', 'grad_clip', 'optim_g', 'pixel_opt', 'bands_per_step'):
            assert without['train'].get(key) == on_start['train'].get(key), (name, key)
        assert on_start['train']['part_size'] == without['datasets']['train']['gt_size']
        assert on_start['train']['parts_per_step'] == without['datasets']['train']['batch_size_per_gpu']
        assert on_start['network_g']['network']['type'] == without['network_g']['type']


def test_networks_without_a_recipe_of_their_own_share_one():
    common = load(OPTIONS / 'benchmark_train_cave_x8.yml')
    del common['train']['bands_per_chunk'], common['val']['bands_per_chunk']
    for name in ('edsr', 'rcan', 'swinir', 'rrdbnet'):
        for suffix in ('', '_guided'):
            opt = load(OPTIONS / f'train_{name}{suffix}_cave_x8.yml')
            assert {key: opt[key] for key in ('datasets', 'train', 'val')} == {
                key: common[key] for key in ('datasets', 'train', 'val')
            }


@pytest.mark.parametrize('path', BENCHMARKS, ids=lambda path: path.stem)
def test_benchmark_names_what_the_training_files_write(path):
    """Every network is that of the file which trains it, so that its checkpoint fits."""
    opt = load_benchmark_options(path)
    assert opt['name'] == path.stem
    if 'classical' not in path.stem:  # which are measured as in the literature of satellites
        assert opt['metrics'] == METRICS
    for dataset in opt['datasets']:
        if 'dataroot_lq' not in dataset:
            build_degradation(dataset['degradation'], opt['scale'])
    trained = {load(file)['name']: load(file)['network_g'] for file in FILES if 'train' in load(file)}
    for entry in opt['entries']:
        check_network(entry['network_g'])
        if entry['checkpoint'] == 'untrained':
            continue
        if entry['checkpoint'] in shipped_weights():
            network = shipped_weights()[entry['checkpoint']].network_g
        else:
            folder, experiment, *rest = entry['checkpoint'].split('/')
            assert (folder, rest) == ('experiments', ['models', 'net_g_latest.pth'])
            network = trained.get(experiment) or {'type': entry['network_g']['type'], 'upscale': 8}
        assert with_defaults(network) == with_defaults(entry['network_g'])


@pytest.mark.parametrize('path', BENCHMARKS, ids=lambda path: path.stem)
def test_every_benchmark_has_a_floor(path):
    """Interpolation, a classical method and SensorFusion stand beside whatever is compared."""
    types = {entry['network_g']['type'] for entry in load_benchmark_options(path)['entries']}
    assert {'BicubicUpsampler', 'SensorFusion'} <= types and types & {'GSA', 'MTFGLP', 'CNMF', 'HySure'}


def with_defaults(network):
    parameters = inspect.signature(ARCH_REGISTRY.get(network['type'])).parameters.values()
    return {**{p.name: p.default for p in parameters if p.default is not p.empty}, **network}
