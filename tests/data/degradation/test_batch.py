"""Batches made on a device are those that the CPU makes sample by sample."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from mulsr_plugin.data.augmentation import Augmentation, augment
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.degradation.batch import (
    add_noise_batch,
    apply_response_batch,
    blur_and_downsample_batch,
    degrade_batch,
    storable,
    unpack_crops,
)
from mulsr_plugin.data.degradation.correlation import blur_and_downsample
from mulsr_plugin.data.degradation.presets import NOISE_SIGMAS, RESAMPLINGS
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.spectral_response import NIKON_D700, apply_spectral_response
from mulsr_plugin.data.store.writer import CubeStoreWriter
from tests.models.tiny import dataset_options, make_stores

ALL_OPERATIONS = [Augmentation(*(bool(code >> bit & 1) for bit in range(5))) for code in range(32)]


def generators(count, seed=0):
    return [np.random.default_rng((seed, number)) for number in range(count)]


@pytest.mark.parametrize('scale', [2, 3, 4, 8, 16])
@pytest.mark.parametrize(
    'preset',
    [
        'authors_random',
        {'preset': 'authors_random', 'kernel_centering': 'aligned'},
        'authors_fixed',
        'noise_free',
        {'preset': 'gaussian', 'sigma': [1.0, 2.5], 'angle': 30, 'resampling': 'bicubic'},
        'bicubic',
        {'preset': 'bicubic', 'antialias': False},
        'average',
        {'preset': 'strided', 'phase': 1},
    ],
    ids=str,
)
def test_the_same_draw_gives_the_same_image(preset, scale):
    degradation = build_degradation(preset, scale)
    side = 48 // scale * scale
    cubes = np.random.default_rng(0).random((10, 3, side, side + scale), np.float32)
    draws = [degradation.draw(rng) for rng in generators(len(cubes))]
    expected = np.stack([blur_and_downsample(cube, draw, scale) for cube, draw in zip(cubes, draws)])
    result = blur_and_downsample_batch(torch.from_numpy(cubes), draws, scale)
    np.testing.assert_allclose(result.numpy(), expected, rtol=0, atol=1e-6)


def test_a_kernel_wider_than_the_image():
    degradation = build_degradation({'preset': 'gaussian', 'sigma': 6, 'resampling': 'bilinear'}, 4)
    cubes = np.random.default_rng(0).random((2, 3, 8, 12), np.float32)
    draws = [degradation.draw(rng) for rng in generators(2)]
    assert len(draws[0].kernel) > 4 * cubes.shape[2]
    expected = np.stack([blur_and_downsample(cube, draw, 4) for cube, draw in zip(cubes, draws)])
    np.testing.assert_allclose(
        blur_and_downsample_batch(torch.from_numpy(cubes), draws, 4).numpy(), expected, atol=1e-6
    )


@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'float32'])
def test_crops_are_varied_and_scaled_as_on_the_cpu(dtype):
    rng = np.random.default_rng(0)
    top = 1 if dtype == 'float32' else np.iinfo(dtype).max
    crops = (rng.random((32, 6, 6, 4)) * top).astype(dtype)
    scales = rng.uniform(0.5, 1, 32) / top
    values = torch.stack([storable(crop) for crop in crops])
    result = unpack_crops(values, torch.from_numpy(scales), torch.tensor(ALL_OPERATIONS))
    assert result.is_contiguous()
    for cube, crop, scale, operations in zip(result, crops, scales, ALL_OPERATIONS):
        moved = augment(crop.transpose(2, 0, 1), operations)
        assert np.array_equal(cube.numpy(), moved.astype(np.float32) * np.float32(scale)), operations


def test_guides_of_a_batch():
    cubes = np.random.default_rng(0).random((3, 31, 4, 6), np.float32)
    response = NIKON_D700.astype(np.float32)
    expected = np.stack([apply_spectral_response(response, cube) for cube in cubes])
    responses = torch.from_numpy(response).expand(3, -1, -1)
    np.testing.assert_allclose(apply_response_batch(responses, torch.from_numpy(cubes)).numpy(), expected, atol=1e-6)


def test_noise_follows_its_laws():
    flat = torch.full((4, 8, 100, 100), 0.5)
    fixed = build_degradation('noise_free', 2).draw(np.random.default_rng(0))
    draws = [
        fixed,
        fixed._replace(noise_sigma=0.01),
        fixed._replace(poisson_peak=200.0),
        fixed._replace(noise_sigma=0.02, poisson_peak=1000.0),
    ]
    noise = (add_noise_batch(flat.clone(), draws, range(4)) - flat).double()
    # a Poisson count of mean n has variance n
    deviations = [0, 0.01, (0.5 / 200) ** 0.5, (0.02**2 + 0.5 / 1000) ** 0.5]
    for image, deviation in zip(noise, deviations):
        count = image.numel()
        assert abs(image.mean().item()) <= 5 * deviation / count**0.5
        assert image.std().item() == pytest.approx(deviation, rel=5 / (2 * count) ** 0.5, abs=0)
    # white: neighbours in band, row and column are unrelated
    white = noise[1]
    for dim in range(3):
        product = white * white.roll(1, dim)
        assert abs(product.mean().item()) < 5 * 0.01**2 / white.numel() ** 0.5


def test_noise_of_an_image_follows_from_its_seed_alone():
    images = torch.rand(3, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    draws = [build_degradation('authors_fixed', 2).draw(np.random.default_rng(0))] * 3
    first = add_noise_batch(images.clone(), draws, [5, 6, 2**63 - 1])
    assert torch.equal(add_noise_batch(images[1:].clone(), draws[1:], [6, 2**63 - 1]), first[1:])
    other = add_noise_batch(images[:1].clone(), draws[:1], [6])
    assert not torch.equal(other[0], first[0])


def test_draws_follow_the_law_of_the_training_degradation():
    degradation = build_degradation('authors_random', 4)
    count = 1500
    draws = [
        degradation.draw(np.random.default_rng(seed)) for seed in np.random.default_rng(1).integers(2**63, size=count)
    ]
    laws = [
        (lambda draw: draw.resampling, dict.fromkeys(RESAMPLINGS, 1 / 3)),
        (lambda draw: draw.kind, {'isotropic': 0.5, 'anisotropic': 0.5}),
        (lambda draw: len(draw.kernel), dict.fromkeys((7, 9, 13, 15, 21), 0.2)),
        (lambda draw: draw.noise_sigma, {0.0: 0.2, **dict.fromkeys(NOISE_SIGMAS, 0.2)}),
    ]
    for of, law in laws:
        found = Counter(map(of, draws))
        assert set(found) == set(law)
        for value, probability in law.items():
            assert abs(found[value] - count * probability) < 5 * (count * probability * (1 - probability)) ** 0.5


def test_a_batch_stays_within_the_range_and_reads_no_foreign_generator():
    cubes = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0)).round()
    degradation = build_degradation({'preset': 'authors_random', 'noise_sigma': 0.3, 'poisson_peak': 20.0}, 4)
    torch.manual_seed(0)
    first = degrade_batch(cubes, degradation, generators(4))
    torch.manual_seed(1)
    assert torch.equal(degrade_batch(cubes, degradation, generators(4)), first)
    assert first.min() == 0
    assert first.max() == 1


@pytest.fixture(scope='module')
def tiny_stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tiny')
    make_stores(folder)
    return folder


def dataset(folder, **changes):
    opt = {**dataset_options(folder, 'train'), 'phase': 'train', 'scale': 4, **changes}
    made = PairedHSIRGBDataset(opt)
    made.set_epoch(0, 1)
    return made


def test_stored_samples_are_the_crops_of_the_cpu(tiny_stores):
    """Same place and same operations for the same epoch, seed and index, in the type of the store."""
    cpu, stored = dataset(tiny_stores), dataset(tiny_stores, device_degradation=True)
    assert stored.describe().endswith('lq: made by the model; rgb: response ' + stored.opt['spectral_response'])
    batch = torch.utils.data.default_collate([stored[index] for index in range(len(stored))])
    assert batch['gt_raw'].dtype == torch.int16
    assert batch['gt_raw'].shape == (8, 16, 16, 5)
    assert len(set(batch['seed'].tolist())) == 8
    result = unpack_crops(batch['gt_raw'], batch['gt_scale'], batch['augmentation'])
    for index in range(8):
        assert torch.equal(result[index], cpu[index]['gt'])
        assert batch['gt_path'][index] == cpu[index]['gt_path']
    guides = apply_response_batch(batch['response'], result)
    torch.testing.assert_close(guides, torch.stack([cpu[index]['rgb'] for index in range(8)]))


def test_stores_of_mixed_types_travel_as_float(tmp_path):
    with CubeStoreWriter(tmp_path / 'train.lmdb') as writer:
        for name, dtype in (('a', np.uint8), ('b', np.uint16)):
            top = np.iinfo(dtype).max
            values = np.random.default_rng(0).integers(0, top, (16, 16, 5), dtype=dtype, endpoint=True)
            writer.add(name, values, 1 / top)
    np.save(tmp_path / 'response.npy', np.full((3, 5), 0.2))
    cpu, stored = dataset(tmp_path), dataset(tmp_path, device_degradation=True)
    batch = torch.utils.data.default_collate([stored[0], stored[1]])
    result = unpack_crops(batch['gt_raw'], batch['gt_scale'], batch['augmentation'])
    for index in range(2):
        assert torch.equal(result[index], cpu[index]['gt'])


def test_stored_low_resolution_cubes_are_not_degraded_again(tiny_stores):
    with pytest.raises(ValueError, match='dataroot_lq and device_degradation: true; remove one of them'):
        dataset(tiny_stores, device_degradation=True, dataroot_lq='x', degradation=None)
    with pytest.raises(ValueError, match='device_degradation has no effect in phase val'):
        dataset(tiny_stores, device_degradation=True, phase='val', gt_size=None, crops_per_image=None)
