"""A run is tried out before anything is made: what is found, and that nothing is changed by it."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch
import yaml
from basicsr.utils.logger import initialized_logger

from mulsr_plugin import doctor
from mulsr_plugin.models.hsi_sr_model import HSISRModel
from mulsr_plugin.training.rehearsal import check_length, rehearse
from tests.models.tiny import make_options, make_stores


@pytest.fixture(scope='module')
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp('rehearsal')
    make_stores(folder)
    return folder


@pytest.fixture
def opt(stores, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return make_options(stores) | {'is_train': True}


def put(opt, place, value):
    *blocks, key = place.split(': ')
    for block in blocks:
        opt = opt.setdefault(block, {})
    opt[key] = value


SSIM = {'ssim': {'type': 'calculate_hsi_ssim'}}
BORDER = {'ssim': {'type': 'calculate_hsi_ssim', 'crop_border': 11}}


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'datasets: train: batch_size_per_gpu': 9}, 'One epoch has 8 samples per process, fewer than .* 9'),
        (
            {'datasets: train: batch_size_per_gpu': 5, 'train: total_iter': 20, 'logger: save_checkpoint_freq': 5},
            r'train\.py would end after 11 of 20 iterations',
        ),
        ({'logger: wandb': {'project': 'demo'}}, 'project needs use_tb_logger: true'),
        ({'logger: wandb': {'projct': 'demo'}}, "Unknown option 'projct' in logger: wandb"),
        ({'val: crop_size': 8, 'val: metrics': SSIM}, r'ssim cannot be computed on images of tiny of 8x8 .* 11 x 11'),
        ({'val: metrics': BORDER}, 'ssim cannot be computed on images of tiny of 32x32 .* 10 x 10'),
        ({'val: crop_size': 36}, 'crop_size 36 is larger than the smallest scene of tiny, 32x32'),
        ({'val: bands': [7]}, 'val: bands names band 7'),
        ({'datasets: train: persistent_workers': True}, 'persistent_workers needs workers'),
        ({'datasets: val: persistent_workers': True}, 'persistent_workers has no workers to keep'),
        ({'datasets: train: prefetch_mode': 'cuda'}, 'prefetch_mode: cuda needs a GPU and pin_memory'),
        ({'path: pretrain_network_g': 'absent.pth'}, r'There is no .*absent\.pth'),
        ({'network_g: num_guide_ch': 4}, 'cannot compute a batch of'),
        ({'network_g: num_modules': 0}, 'network_g'),
        ({'datasets: train: dataroot_gt': 'absent.lmdb'}, r'absent\.lmdb'),
        ({'train: bands_per_step': 2, 'train: band_update': 'joint'}, 'bands_per_step groups'),
    ],
)
def test_runs_that_cannot_be_done_are_refused_by_launchers_and_doctor_alike(opt, changes, message, tmp_path, capsys):
    for place, value in changes.items():
        put(opt, place, value)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        rehearse(opt, stock_script=True)
    assert not list(tmp_path.iterdir())
    report = doctor.Report()
    del opt['is_train']
    (tmp_path / 'options.yml').write_text(yaml.safe_dump(opt))
    doctor.check_option_file(report, str(tmp_path / 'options.yml'))
    assert report.num_problems >= 1, capsys.readouterr().out


@pytest.mark.parametrize(
    ('datasets', 'message'),
    [
        (lambda d: {'val': d['val']}, "datasets has no block 'train'"),
        (lambda d: {**d, 'test': d['val']}, 'test is neither train nor for validation'),
        (lambda d: {**d, 'train_2': d['train']}, 'train_2 is neither train nor for validation'),
    ],
)
def test_data_sets_of_a_training(opt, datasets, message):
    with pytest.raises(ValueError, match=message):
        rehearse({**opt, 'datasets': datasets(opt['datasets'])})


def test_data_sets_of_a_test(opt):
    opt = {**opt, 'is_train': False, 'val': {'save_img': False, 'metrics': SSIM}}
    with pytest.raises(ValueError, match='datasets: train is not for a test'):
        rehearse(opt)
    rehearse({**opt, 'datasets': {'test': opt['datasets']['val']}})


def test_nothing_is_changed(opt, tmp_path):
    before, state, known = deepcopy(opt), torch.get_rng_state(), dict(initialized_logger)
    drawn = np.random.get_state()[1].copy()
    rehearse(opt)
    assert opt == before and torch.equal(torch.get_rng_state(), state) and initialized_logger == known
    assert np.array_equal(np.random.get_state()[1], drawn)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('num_feat_head', [{'small_scale_head': True}, {}])
def test_sound_runs_pass(opt, num_feat_head):
    opt['network_g'].update(num_feat_head)
    if num_feat_head:
        opt['train']['small_scale_opt'] = {'type': 'L1Loss'}
        opt['val']['metrics'] = SSIM
    rehearse(opt, resumes=True, stock_script=True)


@pytest.mark.parametrize('batch', range(1, 13))
@pytest.mark.parametrize('total', [1, 7, 12, 100])
def test_the_end_of_basicsrs_script_is_foreseen(batch, total):
    """Against its loops, written out."""
    opt = {'datasets': {'train': {'batch_size_per_gpu': batch}}, 'train': {'total_iter': total}}
    done = 0
    for _ in range(-(-total // -(-12 // batch)) + 1):
        done += len(range(0, 12 - batch + 1, batch))
    if done < total:
        with pytest.raises(ValueError, match=f'would end after {done} of {total}'):
            check_length(opt, 12, 1, stock_script=True)
    else:
        check_length(opt, 12, 1, stock_script=True)
    check_length(opt, 12, 1, stock_script=False)


def test_models_of_other_packages_are_left_to_them(opt):
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(HSISRModel, 'train_rules')
        patch.setitem(opt, 'model_type', 'HSISRModel')
        patch.setitem(opt['datasets']['train'], 'batch_size_per_gpu', 9)
        rehearse(opt)
