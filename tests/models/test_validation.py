"""Validation: crops, bands, files, records, images without ground truth."""

from __future__ import annotations

import csv

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils.registry import METRIC_REGISTRY
from scipy.io import loadmat
from torch.utils.data import DataLoader

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.metrics.psnr import calculate_hsi_psnr
from mulsr_plugin.metrics.qnr import calculate_d_lambda, calculate_qnr
from mulsr_plugin.metrics.sam import calculate_sam
from mulsr_plugin.utils.options import RunError
from tests.models.tiny import dataset_options, make_options, parsed


class Writer:
    """Stands in for TensorBoard's writer and keeps what it is given."""

    def __init__(self):
        self.scalars, self.images = {}, {}

    def add_scalar(self, name, value, step):
        self.scalars[name, step] = value

    def add_image(self, name, picture, step, dataformats):
        assert dataformats == 'HWC'
        self.images[name, step] = picture


def prepare(folder, tmp_path, change=lambda opt: None, is_train=True, **val):
    opt = make_options(folder)
    opt['val'].update(val)
    opt['logger']['use_tb_logger'] = True
    change(opt)
    opt = parsed(opt, tmp_path, is_train)
    torch.manual_seed(0)
    model = build_model(opt)
    return model, DataLoader(build_dataset(opt['datasets']['val']))


def rows(tmp_path):
    with open(tmp_path / 'metrics_tiny.csv', encoding='utf-8') as file:
        file.readline()
        return list(csv.DictReader(file))


def test_values_files_and_records(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path, save_cube='mat')
    writer = Writer()
    model.validation(loader, 4, writer, save_img=True)

    sample = loader.dataset[1]
    model.feed_data(torch.utils.data.default_collate([sample]))
    result = model.predict()['result'][0].permute(1, 2, 0)
    expected = calculate_hsi_psnr(result, sample['gt'].permute(1, 2, 0))
    table = rows(tmp_path)
    assert [row['image'] for row in table] == ['scene10', 'scene11', 'scene12']
    assert float(table[1]['psnr']) == pytest.approx(expected, rel=1e-6)
    mean = np.mean([float(row['psnr']) for row in table])
    assert writer.scalars['metrics/tiny/psnr', 4] == pytest.approx(mean)
    scenes = {'tiny/scene10', 'tiny/scene11', 'tiny/scene12'}
    assert {name for name, _ in writer.images} == scenes | {f'{scene}/bands' for scene in scenes}
    assert model.best_metric_results['tiny']['psnr']['iter'] == 4
    assert model.best_metric_results['tiny']['sam']['better'] == 'lower'

    stem = tmp_path / 'visualization' / 'scene11' / 'scene11_4'
    saved = loadmat(f'{stem}.mat')
    np.testing.assert_allclose(saved['hsi'], result.numpy(), atol=1e-6)
    np.testing.assert_allclose(saved['wavelength'].ravel(), np.linspace(450, 650, 5))
    assert cv2.imread(f'{stem}.png').shape == (32, 32, 3)


def test_the_best_value_is_kept(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path)
    model.validation(loader, 2, Writer())
    best = model.best_metric_results['tiny']['psnr']['val']
    with torch.no_grad():
        model.net_g.end_x2[1].bias.add_(5)  # spoils every pixel
    model.validation(loader, 4, Writer())
    assert model.best_metric_results['tiny']['psnr'] == {'better': 'higher', 'val': best, 'iter': 2}
    assert [row['iter'] for row in rows(tmp_path)] == ['2'] * 3 + ['4'] * 3


def test_crop_images_and_bands(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path, crop_size=16, max_images=2, bands=[4, 1], save_cube='npy')
    model.validation(loader, 4, Writer())
    sample = loader.dataset[0]
    # the network sees the central crop alone, and the bands come in the order asked for
    model.feed_data({'lq': sample['lq'][None, :, 2:6, 2:6], 'rgb': sample['rgb'][None, :, 8:24, 8:24]})
    expected = model.predict([4, 1])['result'][0].permute(1, 2, 0).numpy()
    saved = np.load(tmp_path / 'visualization' / 'scene10' / 'scene10_4.npy')
    np.testing.assert_allclose(saved, expected, atol=1e-6)
    truth = sample['gt'][[4, 1], 8:24, 8:24].permute(1, 2, 0).numpy()
    assert float(rows(tmp_path)[0]['psnr']) == pytest.approx(calculate_hsi_psnr(expected, truth), rel=1e-6)
    assert len(rows(tmp_path)) == 2


def test_evenly_spaced_bands(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path, bands=3, max_images=1, save_cube='npy')
    model.validation(loader, 3, Writer())
    few = np.load(tmp_path / 'visualization' / 'scene10' / 'scene10_3.npy')
    model.opt['val']['bands'] = None
    model.validation(loader, 4, Writer())
    every = np.load(tmp_path / 'visualization' / 'scene10' / 'scene10_4.npy')
    np.testing.assert_allclose(few, every[..., [0, 2, 4]], atol=1e-6)


@pytest.mark.parametrize(
    ('val', 'message'),
    [
        ({'crop_size': 64}, r'crop_size 64 is larger than scene10 \(32x32\)'),
        ({'bands': [5]}, 'names band 5, but the cubes have bands 0 to 4'),
    ],
)
def test_impossible_requests(tiny_stores, tmp_path, val, message):
    model, loader = prepare(tiny_stores, tmp_path, **val)
    with pytest.raises(ValueError, match=message):
        model.validation(loader, 4, Writer())


def test_a_metric_of_another_package(tiny_stores, tmp_path):
    def calculate_bias(img, img2):
        return float((img - img2).mean())

    if 'calculate_bias' not in METRIC_REGISTRY:
        METRIC_REGISTRY.register(calculate_bias)
    model, loader = prepare(tiny_stores, tmp_path, metrics={'bias': {'type': 'calculate_bias'}})
    model.validation(loader, 4, Writer())
    assert list(rows(tmp_path)[0]) == ['iter', 'image', 'seconds', 'bias']


def without_ground_truth(tmp_path, tiny_stores):
    """Change of the options: low-resolution cubes of 32 x 32 and random guides of 128 x 128 as stored images."""

    def change(opt):
        opt['datasets']['val'] = dataset_options(tiny_stores, 'val', dataroot_gt=None)
        opt['datasets']['val'].update(
            dataroot_lq=str(tiny_stores / 'test.lmdb'),
            upscale=4,
            dataroot_rgb=str(_guides(tmp_path)),
            degradation=None,
            spectral_response=None,
        )

    return change


def _guides(folder):
    from mulsr_plugin.data.store.writer import CubeStoreWriter

    path = folder / 'guides.lmdb'
    with CubeStoreWriter(path) as writer:
        for scene in (10, 11, 12):
            writer.add(f'scene{scene}', np.random.default_rng(scene).random((128, 128, 3), np.float32), 1.0)
    return path


def test_consistency_stands_in_for_metrics_that_need_a_ground_truth(tiny_stores, tmp_path, caplog):
    model, loader = prepare(tiny_stores, tmp_path, without_ground_truth(tmp_path, tiny_stores), save_cube='npy')
    writer = Writer()
    with caplog.at_level('INFO', 'basicsr'):
        model.validation(loader, 4, writer)
    assert list(rows(tmp_path)[0]) == ['iter', 'image', 'seconds', 'spectral_consistency']
    result = np.load(tmp_path / 'visualization' / 'scene10' / 'scene10_4.npy')
    block_means = result.reshape(32, 4, 32, 4, 5).mean((1, 3), dtype=np.float64)
    lq = loader.dataset[0]['lq'].numpy().transpose(1, 2, 0)
    expected = np.sqrt(np.square(block_means - lq).mean())
    assert float(rows(tmp_path)[0]['spectral_consistency']) == pytest.approx(expected, rel=1e-6)
    mean = np.mean([float(row['spectral_consistency']) for row in rows(tmp_path)])
    assert writer.scalars == {('metrics/tiny/spectral_consistency', 4): pytest.approx(mean)}
    assert model.best_metric_results['tiny']['spectral_consistency']['better'] == 'lower'
    assert len(writer.images) == 3
    (line,) = (record.getMessage() for record in caplog.records if 'left out' in record.getMessage())
    assert line == (
        'tiny: left out psnr (needs a ground truth), sam (needs a ground truth), ergas (needs a ground truth).'
    )
    protocol = (tmp_path / 'metrics_tiny.csv').read_text().splitlines()[0]
    assert protocol.endswith('; block means as degradation in spectral_consistency')


def test_no_reference_metrics_asked_for_without_ground_truth(tiny_stores, tmp_path):
    metrics = {
        'psnr': {'type': 'calculate_hsi_psnr'},
        'd_lambda': {'type': 'calculate_d_lambda'},
        'qnr': {'type': 'calculate_qnr'},
        'spectral': {'type': 'calculate_spectral_consistency', 'degradation': 'noise_free', 'measure': 'sam'},
        'spatial': {
            'type': 'calculate_spatial_consistency',
            'response': str(tiny_stores / 'response.npy'),
            'measure': 'psnr',
        },
    }
    change = without_ground_truth(tmp_path, tiny_stores)
    model, loader = prepare(tiny_stores, tmp_path, change, metrics=metrics, save_cube='npy')
    model.validation(loader, 4, Writer())
    row = rows(tmp_path)[0]
    assert list(row)[3:] == ['d_lambda', 'qnr', 'spectral', 'spatial']
    result = np.load(tmp_path / 'visualization' / 'scene10' / 'scene10_4.npy')
    sample = loader.dataset[0]
    lq, rgb = (sample[key].numpy().transpose(1, 2, 0) for key in ('lq', 'rgb'))
    assert float(row['d_lambda']) == pytest.approx(calculate_d_lambda(result, lq), rel=1e-6)
    assert float(row['qnr']) == pytest.approx(calculate_qnr(result, lq, rgb), rel=1e-6)
    degraded = build_degradation('noise_free', 4)(result.transpose(2, 0, 1), np.random.default_rng(0))
    assert float(row['spectral']) == pytest.approx(calculate_sam(degraded.transpose(1, 2, 0), lq), rel=1e-5)
    guide = result @ np.load(tiny_stores / 'response.npy').T
    assert float(row['spatial']) == pytest.approx(calculate_hsi_psnr(guide, rgb), rel=1e-6)
    directions = {name: best['better'] for name, best in model.best_metric_results['tiny'].items()}
    assert directions == {'d_lambda': 'lower', 'qnr': 'higher', 'spectral': 'lower', 'spatial': 'higher'}


def test_no_reference_metrics_with_ground_truth_use_what_the_data_set_knows(tiny_stores, tmp_path):
    metrics = {
        'psnr': {'type': 'calculate_hsi_psnr'},
        'spectral': {'type': 'calculate_spectral_consistency'},
        'spatial': {'type': 'calculate_spatial_consistency'},
    }
    model, loader = prepare(tiny_stores, tmp_path, metrics=metrics)
    truths = iter([loader.dataset[index]['gt'] for index in range(3)])
    model.predict = lambda bands: {'result': next(truths)[None]}  # a perfect network
    model.validation(loader, 4, Writer())
    for row in rows(tmp_path):
        assert row['psnr'] == 'inf'
        assert float(row['spectral']) == pytest.approx(3 / 255, rel=0.1)  # the noise of authors_fixed
        assert float(row['spatial']) < 1e-6


def test_random_degradations_are_repeated_for_consistency(tiny_stores, tmp_path):
    def random(opt):
        opt['datasets']['val']['degradation'] = {'preset': 'authors_random', 'noise_sigma': 0}

    metrics = {'spectral': {'type': 'calculate_spectral_consistency'}}
    model, loader = prepare(tiny_stores, tmp_path, random, metrics=metrics)
    truths = iter([loader.dataset[index]['gt'] for index in range(3)])
    model.predict = lambda bands: {'result': next(truths)[None]}
    model.validation(loader, 4, Writer())
    assert max(float(row['spectral']) for row in rows(tmp_path)) < 1e-6


def test_some_bands_only_leave_out_the_spatial_consistency(tiny_stores, tmp_path, caplog):
    metrics = {name: {'type': f'calculate_{name}'} for name in ('spatial_consistency', 'd_lambda')}
    model, loader = prepare(tiny_stores, tmp_path, metrics=metrics, bands=[4, 1], max_images=1)
    with caplog.at_level('INFO', 'basicsr'):
        model.validation(loader, 4, Writer())
    assert 'left out spatial_consistency (needs the spectral response and all bands).' in caplog.text
    assert list(rows(tmp_path)[0])[3:] == ['d_lambda']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'type': 'calculate_qnr', 'lq': 'x'}, "Unknown option 'lq' in val: metrics: it"),
        ({'type': 'calculate_spatial_consistency', 'response': 3}, 'response is 3'),
        ({'type': 'calculate_hsi_psnr', 'degradation': 'noise_free'}, "Unknown option 'degradation'"),
    ],
)
def test_wrong_options_of_a_metric_are_refused_when_the_model_is_built(tiny_stores, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        prepare(tiny_stores, tmp_path, metrics={'it': options})


def test_small_scale_image_is_measured_too(tiny_stores, tmp_path):
    def head(opt):
        opt['network_g']['small_scale_head'] = True
        opt['train']['small_scale_opt'] = opt['train']['pixel_opt']

    metrics = {**make_options(tiny_stores)['val']['metrics'], 'd_lambda': {'type': 'calculate_d_lambda'}}
    model, loader = prepare(tiny_stores, tmp_path, head, metrics=metrics)
    model.validation(loader, 4, Writer())
    sample = loader.dataset[0]
    model.feed_data(torch.utils.data.default_collate([sample]))
    small = model.predict()['small'][0]
    truth = torch.nn.functional.avg_pool2d(sample['gt'], 2)
    expected = calculate_hsi_psnr(small.permute(1, 2, 0), truth.permute(1, 2, 0))
    assert float(rows(tmp_path)[0]['psnr_x2']) == pytest.approx(expected, rel=1e-6)
    assert model.best_metric_results['tiny']['sam_x2']['better'] == 'lower'
    assert 'd_lambda_x2' not in rows(tmp_path)[0]  # its input is that of the full scale


def test_averaged_weights_are_validated(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path, lambda opt: opt['train'].update(ema_decay=0.9))
    with torch.no_grad():
        model.net_g.end_x2[1].bias.fill_(100)  # not yet in the average
    model.validation(loader, 4, Writer())
    assert max(float(row['psnr']) for row in rows(tmp_path)) > 0
    assert model.net_g.training


def test_a_scale_of_its_own(tiny_stores, tmp_path):
    def other_scale(opt):
        opt['network_g']['upscale'] = [4, 8]
        opt['datasets']['val']['upscale'] = 8

    model, loader = prepare(tiny_stores, tmp_path, other_scale)
    model.validation(loader, 4, Writer())
    sample = loader.dataset[0]
    assert sample['lq'].shape == (5, 4, 4)
    model.feed_data(torch.utils.data.default_collate([sample]))
    result, truth = (x.permute(1, 2, 0).double() for x in (model.predict()['result'][0], sample['gt']))
    band_rmse = (result - truth).square().mean((0, 1)).sqrt()
    ergas = 100 / 8 * (band_rmse / truth.mean((0, 1))).square().mean().sqrt()  # with the scale of the data set
    assert float(rows(tmp_path)[0]['ergas']) == pytest.approx(ergas.item(), rel=1e-5)


def test_the_protocol_names_crops_bands_and_images(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path, crop_size=16, max_images=2, bands=2)
    model.validation(loader, 4, Writer())
    protocol = (tmp_path / 'metrics_tiny.csv').read_text().splitlines()[0]
    assert protocol.endswith('; central 16x16 crops; bands [0, 4]; first 2 images')
    assert protocol.startswith('# tiny: 3 scenes, 5 bands, x4; lq: authors_fixed x4')


def test_the_protocol_names_what_changes_the_result(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path, tile_size=16, precision='bf16', max_images=1)
    model.validation(loader, 4, Writer())
    protocol = (tmp_path / 'metrics_tiny.csv').read_text().splitlines()[0]
    assert protocol.endswith('; first 1 images; tiles of 16 pixels, halo 64; computed in bf16')


def test_other_metrics_after_a_resume_start_a_new_table(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path)
    model.validation(loader, 2, Writer())
    model.opt['val']['metrics'] = {'rmse': {'type': 'calculate_rmse'}}
    model.validation(loader, 4, Writer())
    assert list(rows(tmp_path)[0]) == ['iter', 'image', 'seconds', 'rmse']
    (old,) = tmp_path.glob('metrics_tiny_archived_*.csv')
    assert 'psnr,sam,ergas' in old.read_text()
    assert model.best_metric_results['tiny']['rmse']['better'] == 'lower'


def test_a_validation_that_fails_saves_the_state_of_the_training(tiny_stores, tmp_path, monkeypatch):
    model, loader = prepare(tiny_stores, tmp_path)
    monkeypatch.setattr(loader.dataset, 'keys', ['absent'])
    with pytest.raises(RunError, match='The validation at iteration 3 failed .* the state of the training was saved'):
        model.validation(loader, 3, Writer())
    assert torch.load(tmp_path / 'training_states' / '3.state', weights_only=True)['iter'] == 3
    assert (tmp_path / 'models' / 'net_g_3.pth').is_file()
