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

from mulsr_plugin.metrics.psnr import calculate_hsi_psnr
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
    assert {name for name, _ in writer.images} == {'tiny/scene10', 'tiny/scene11', 'tiny/scene12'}
    assert model.best_metric_results['tiny']['psnr']['iter'] == 4
    assert model.best_metric_results['tiny']['sam']['better'] == 'lower'

    stem = tmp_path / 'visualization' / 'scene11' / 'scene11_4'
    saved = loadmat(f'{stem}.mat')
    np.testing.assert_allclose(saved['hsi'], result.numpy(), atol=1e-6)
    np.testing.assert_allclose(saved['wavelength'].ravel(), np.linspace(450, 650, 5))
    assert cv2.imread(f'{stem}.png').shape == (32, 32, 3)


def test_the_best_value_is_kept(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path)
    model.validation(loader, 4, Writer())
    best = model.best_metric_results['tiny']['psnr']['val']
    with torch.no_grad():
        model.net_g.end_x2[1].bias.add_(5)  # spoils every pixel
    model.validation(loader, 8, Writer())
    assert model.best_metric_results['tiny']['psnr'] == {'better': 'higher', 'val': best, 'iter': 4}
    assert [row['iter'] for row in rows(tmp_path)] == ['4'] * 3 + ['8'] * 3


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
    model.validation(loader, 4, Writer())
    few = np.load(tmp_path / 'visualization' / 'scene10' / 'scene10_4.npy')
    model.opt['val']['bands'] = None
    model.validation(loader, 5, Writer())
    every = np.load(tmp_path / 'visualization' / 'scene10' / 'scene10_5.npy')
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


def test_without_ground_truth(tiny_stores, tmp_path):
    def stored(opt):
        opt['datasets']['val'] = dataset_options(tiny_stores, 'val', dataroot_gt=None)
        opt['datasets']['val'].update(
            dataroot_lq=str(tiny_stores / 'test.lmdb'),
            upscale=4,
            dataroot_rgb=str(_guides(tmp_path)),
            degradation=None,
            spectral_response=None,
        )

    model, loader = prepare(tiny_stores, tmp_path, stored, save_cube='npy')
    writer = Writer()
    model.validation(loader, 4, writer)
    assert np.load(tmp_path / 'visualization' / 'scene10' / 'scene10_4.npy').shape == (128, 128, 5)
    assert list(rows(tmp_path)[0]) == ['iter', 'image', 'seconds']
    assert writer.scalars == {}
    assert len(writer.images) == 3


def _guides(folder):
    from mulsr_plugin.data.cube_store import CubeStoreWriter

    path = folder / 'guides.lmdb'
    with CubeStoreWriter(path) as writer:
        for scene in (10, 11, 12):
            writer.add(f'scene{scene}', np.random.default_rng(scene).random((128, 128, 3), np.float32), 1.0)
    return path


def test_small_scale_image_is_measured_too(tiny_stores, tmp_path):
    def head(opt):
        opt['network_g']['small_scale_head'] = True
        opt['train']['small_scale_opt'] = opt['train']['pixel_opt']

    model, loader = prepare(tiny_stores, tmp_path, head)
    model.validation(loader, 4, Writer())
    sample = loader.dataset[0]
    model.feed_data(torch.utils.data.default_collate([sample]))
    small = model.predict()['small'][0]
    truth = torch.nn.functional.avg_pool2d(sample['gt'], 2)
    expected = calculate_hsi_psnr(small.permute(1, 2, 0), truth.permute(1, 2, 0))
    assert float(rows(tmp_path)[0]['psnr_x2']) == pytest.approx(expected, rel=1e-6)
    assert model.best_metric_results['tiny']['sam_x2']['better'] == 'lower'


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


def test_other_metrics_after_a_resume_start_a_new_table(tiny_stores, tmp_path):
    model, loader = prepare(tiny_stores, tmp_path)
    model.validation(loader, 4, Writer())
    model.opt['val']['metrics'] = {'rmse': {'type': 'calculate_rmse'}}
    model.validation(loader, 8, Writer())
    assert list(rows(tmp_path)[0]) == ['iter', 'image', 'seconds', 'rmse']
    (old,) = tmp_path.glob('metrics_tiny_archived_*.csv')
    assert 'psnr,sam,ergas' in old.read_text()
    assert model.best_metric_results['tiny']['rmse']['better'] == 'lower'
