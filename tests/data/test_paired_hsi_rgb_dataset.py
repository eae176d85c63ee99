"""The dataset: what its samples hold, how they are drawn, and what is said about wrong options and data."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.data_sampler import EnlargedSampler
from torch.utils.data import DataLoader

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.sample_seeds import key_generator
from mulsr_plugin.data.spectral_response import NIKON_D700
from mulsr_plugin.data.store.writer import CubeStoreWriter

NUM_BANDS, SCALE = 31, 4
SIZES = {'beads': (50, 43), 'cloth': (40, 48)}
WAVELENGTHS = tuple(400.0 + 10 * i for i in range(NUM_BANDS))


def make_cube(key: str, bands: int = NUM_BANDS) -> np.ndarray:
    """16-bit cube whose first two bands hold the row and the column of each pixel."""
    height, width = SIZES[key]
    cube = np.random.default_rng(len(key)).integers(0, 65536, (height, width, bands), dtype=np.uint16)
    cube[..., 0], cube[..., 1] = np.mgrid[:height, :width]
    return cube


def write_store(path: Path, cubes: dict[str, np.ndarray], scale: float = 1 / 65535) -> Path:
    with CubeStoreWriter(path) as writer:
        for key, cube in cubes.items():
            writer.add(key, cube, scale, WAVELENGTHS if cube.shape[2] == NUM_BANDS else None)
    return path


@pytest.fixture(scope='module')
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp('store') / 'train.lmdb', {key: make_cube(key) for key in SIZES})


@pytest.fixture(scope='module')
def stored_pair(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Stored low-resolution cubes (plain block corners) and guides (first two bands)."""
    folder = tmp_path_factory.mktemp('pair')
    cubes = {key: make_cube(key) for key in SIZES}
    small = {
        key: cube[: cube.shape[0] // SCALE * SCALE : SCALE, : cube.shape[1] // SCALE * SCALE : SCALE]
        for key, cube in cubes.items()
    }
    return {
        'dataroot_lq': str(write_store(folder / 'lq.lmdb', small)),
        'dataroot_rgb': str(write_store(folder / 'rgb.lmdb', {key: cube[..., :2] for key, cube in cubes.items()})),
    }


def options(store: Path | None, phase: str = 'train', **changes: Any) -> dict[str, Any]:
    opt: dict[str, Any] = {
        'name': 'Tiny',
        'type': 'PairedHSIRGBDataset',
        'phase': phase,
        'scale': SCALE,
        'dataroot_gt': store and str(store),
        'io_backend': {'type': 'lmdb'},
    }
    if phase == 'train':
        opt.update(gt_size=16, crops_per_image=6, batch_size_per_gpu=2, num_worker_per_gpu=0)
    return {key: value for key, value in {**opt, **changes}.items() if value is not ...}


def plain(store: Path | None, **changes: Any) -> dict[str, Any]:
    """Options of a training set without augmentation."""
    return options(store, **dict.fromkeys(('use_hflip', 'use_vflip', 'use_roll', 'use_rot'), False), **changes)


# samples


def test_training_sample_and_attributes(store: Path) -> None:
    dataset = PairedHSIRGBDataset(options(store))
    sample = dataset[3]
    shapes = {key: (tuple(value.shape), value.dtype) for key, value in sample.items() if torch.is_tensor(value)}
    assert shapes == {
        'gt': ((31, 16, 16), torch.float32),
        'lq': ((31, 4, 4), torch.float32),
        'rgb': ((3, 16, 16), torch.float32),
    }
    assert sample['gt_path'] == sample['lq_path'] == 'cloth'
    assert (len(dataset), dataset.keys) == (12, ['beads', 'cloth'])
    assert (dataset.scale, dataset.num_bands, dataset.num_guide_ch) == (4, 31, 3)
    assert dataset.wavelengths == WAVELENGTHS


def test_every_scene_comes_crops_per_image_times_and_the_default_is_the_authors(store: Path) -> None:
    dataset = PairedHSIRGBDataset(options(store))
    paths = [dataset[index]['gt_path'] for index in range(len(dataset))]
    assert {key: paths.count(key) for key in SIZES} == {'beads': 6, 'cloth': 6}
    assert len(PairedHSIRGBDataset(options(store, crops_per_image=...))) == 2000


def test_crops_are_windows_of_the_scene_from_everywhere(store: Path) -> None:
    dataset = PairedHSIRGBDataset(plain(store, crops_per_image=400))
    corners = set()
    for index in range(0, len(dataset), 2):
        gt = dataset[index]['gt'].numpy()
        top, left = (round(float(gt[band, 0, 0]) * 65535) for band in (0, 1))
        window = make_cube('beads')[top : top + 16, left : left + 16].transpose(2, 0, 1)
        np.testing.assert_allclose(gt, window / 65535, rtol=0, atol=1e-7)
        corners.add((top, left))
    # 48 x 40 pixels of the scene are used, so corners run from 0 to 32 and from 0 to 24
    assert [max(values) for values in zip(*corners)] == [32, 24]
    assert [min(values) for values in zip(*corners)] == [0, 0]


def test_guide_is_made_from_the_crop_by_the_response(store: Path) -> None:
    for phase in ('train', 'val'):
        sample = PairedHSIRGBDataset(options(store, phase))[1]
        expected = np.einsum('gl,lhw->ghw', NIKON_D700, sample['gt'].numpy().astype(np.float64))
        np.testing.assert_allclose(sample['rgb'].numpy(), expected, rtol=0, atol=1e-6)


def test_low_resolution_comes_from_the_augmented_crop(store: Path) -> None:
    dataset = PairedHSIRGBDataset(options(store, degradation={'preset': 'authors_fixed', 'noise_sigma': 0}))
    fixed = build_degradation({'preset': 'authors_fixed', 'noise_sigma': 0}, SCALE)
    for index in range(6):
        sample = dataset[index]
        expected = fixed(sample['gt'].numpy(), np.random.default_rng())
        np.testing.assert_array_equal(sample['lq'].numpy(), expected)


def test_augmented_crops_hold_the_pixels_of_one_window(store: Path) -> None:
    dataset = PairedHSIRGBDataset(options(store, crops_per_image=20))
    cube, upright = make_cube('beads'), 0
    for index in range(0, len(dataset), 2):
        values = (dataset[index]['gt'].numpy() * 65535).round().astype(np.uint16)
        rows, columns = np.sort(np.unique(values[0])), np.sort(np.unique(values[1]))
        window = cube[np.ix_(rows, columns)]
        assert window.shape == (16, 16, 31)
        assert sorted(map(tuple, values.reshape(31, -1).T)) == sorted(map(tuple, window.reshape(-1, 31)))
        upright += len(np.unique(values[0, 0])) == 1  # a row of the crop is a row of the scene
    assert 4 <= upright <= 16


@pytest.mark.parametrize('phase', ['val', 'test'])
def test_whole_scenes_are_cut_to_multiples_of_the_scale(store: Path, phase: str) -> None:
    dataset = PairedHSIRGBDataset(options(store, phase))
    assert len(dataset) == 2
    sample = dataset[0]
    assert tuple(sample['gt'].shape) == (31, 48, 40)
    assert tuple(sample['lq'].shape) == (31, 12, 10)
    np.testing.assert_allclose(
        sample['gt'].numpy(), make_cube('beads')[:48, :40].transpose(2, 0, 1) / 65535, rtol=0, atol=1e-7
    )


def test_upscale_overrides_scale(store: Path) -> None:
    dataset = PairedHSIRGBDataset(options(store, 'val', upscale=8))
    assert dataset.scale == 8
    assert tuple(dataset[1]['lq'].shape) == (31, 5, 6)


def test_test_noise_is_seeded_by_scene_and_option(store: Path, tmp_path: Path) -> None:
    first = PairedHSIRGBDataset(options(store, 'val'))
    torch.manual_seed(7)
    reordered = tmp_path / 'scenes.txt'
    reordered.write_text('cloth\n')
    alone = PairedHSIRGBDataset(options(store, 'test', meta_info_file=str(reordered)))
    assert torch.equal(first[1]['lq'], first[1]['lq'])
    assert torch.equal(first[1]['lq'], alone[0]['lq'])
    other = PairedHSIRGBDataset(options(store, 'val', degradation={'preset': 'authors_fixed', 'seed': 1}))
    assert not torch.equal(first[1]['lq'], other[1]['lq'])
    expected = build_degradation('authors_fixed', SCALE)(first[1]['gt'].numpy(), key_generator(0, 'cloth'))
    assert torch.equal(first[1]['lq'], torch.from_numpy(expected))


def test_default_degradations_are_the_authors(store: Path) -> None:
    assert PairedHSIRGBDataset(options(store)).degradation.preset == 'authors_random'
    assert PairedHSIRGBDataset(options(store, 'val')).degradation.preset == 'authors_fixed'


def test_without_degrading_the_model_gets_no_lq(store: Path) -> None:
    dataset = PairedHSIRGBDataset(options(store, degrade=False))
    assert set(dataset[0]) == {'gt', 'rgb', 'gt_path'}
    assert dataset.degradation is None
    assert 'made by the model' in dataset.describe()


def test_stored_pairs_are_cut_together(store: Path, stored_pair: dict[str, str]) -> None:
    dataset = PairedHSIRGBDataset(options(store, crops_per_image=20, **stored_pair))
    assert dataset.num_guide_ch == 2
    for index in range(len(dataset)):
        sample = dataset[index]
        assert torch.equal(sample['rgb'], sample['gt'][:2])
        assert tuple(sample['lq'].shape) == (31, 4, 4)
        # the first two bands tell rows and columns: every pixel must be the first one of its own block
        low, high = ((sample[kind][:2].numpy() * 65535).round() for kind in ('lq', 'gt'))
        blocks = high.reshape(2, 4, SCALE, 4, SCALE).min(axis=(2, 4))
        np.testing.assert_array_equal(low, blocks)


def test_stored_pair_in_validation_and_without_ground_truth(store: Path, stored_pair: dict[str, str]) -> None:
    with_gt = PairedHSIRGBDataset(options(store, 'val', **stored_pair))
    assert torch.equal(with_gt[0]['lq'], with_gt[0]['gt'][:, ::SCALE, ::SCALE])
    real = PairedHSIRGBDataset(options(None, 'test', dataroot_gt=..., **stored_pair))
    sample = real[0]
    assert set(sample) == {'lq', 'rgb', 'lq_path'}
    assert torch.equal(sample['lq'], with_gt[0]['lq'])
    assert tuple(sample['rgb'].shape) == (2, 48, 40)
    assert (real.num_bands, real.wavelengths) == (31, WAVELENGTHS)


@pytest.mark.parametrize('bands', [3, 7, 102])
def test_other_band_counts_and_guides(tmp_path: Path, bands: int) -> None:
    root = write_store(tmp_path / 'other.lmdb', {'cloth': make_cube('cloth', bands)})
    np.save(tmp_path / 'response.npy', np.full((1, bands), 1 / bands))
    sample = PairedHSIRGBDataset(options(root, spectral_response=str(tmp_path / 'response.npy')))[0]
    assert tuple(sample['lq'].shape) == (bands, 4, 4)
    torch.testing.assert_close(sample['rgb'], sample['gt'].mean(0, keepdim=True))


@pytest.mark.parametrize('kind', ['uint8', 'uint16', 'float32', 'float64'])
def test_folder_of_mat_files(tmp_path: Path, kind: str) -> None:
    for key in SIZES:
        cube = make_cube(key)
        if kind == 'uint8':
            cube = (cube >> 8).astype(np.uint8)
        elif kind.startswith('float'):
            cube = (cube / 65535).astype(kind)
        scipy.io.savemat(tmp_path / f'{key}.mat', {'hsi': cube})
    largest = np.iinfo(kind).max if kind.startswith('u') else 1
    dataset = PairedHSIRGBDataset(options(tmp_path, 'val', io_backend={'type': 'disk'}))
    np.testing.assert_allclose(
        dataset[1]['gt'].numpy(),
        scipy.io.loadmat(tmp_path / 'cloth.mat')['hsi'].transpose(2, 0, 1) / largest,
        atol=1e-7,
    )
    before = dataset[1]['gt'].clone()
    dataset[1]['gt'].zero_()
    assert torch.equal(dataset[1]['gt'], before)
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[1]['gt'], before)
    with pytest.raises(ValueError, match='read-only'):
        dataset.cubes['gt'].read_window('cloth', 0, 0, 4, 4)[:] = 0


def test_mat_folder_and_store_give_the_same_samples(store: Path, tmp_path: Path) -> None:
    for key in SIZES:
        scipy.io.savemat(tmp_path / f'{key}.mat', {'hsi': make_cube(key)})
    torch.manual_seed(0)
    first = PairedHSIRGBDataset(options(store))[5]
    second = PairedHSIRGBDataset(options(tmp_path, io_backend={'type': 'disk'}))[5]
    assert all(torch.equal(first[key], second[key]) for key in ('gt', 'lq', 'rgb'))


def test_meta_info_file_in_both_forms(store: Path, tmp_path: Path) -> None:
    for text in ('cloth\n', '# two\ncloth.raw (40,48,31) 0\n\n'):
        (tmp_path / 'list.txt').write_text(text)
        dataset = PairedHSIRGBDataset(options(store, 'val', meta_info_file=str(tmp_path / 'list.txt')))
        assert dataset.keys == ['cloth']
    meta = PairedHSIRGBDataset(options(store, 'val', meta_info_file=str(store / 'meta_info.txt')))
    assert meta.keys == ['beads', 'cloth']


def test_description_names_degradation_and_guide(store: Path, stored_pair: dict[str, str]) -> None:
    text = PairedHSIRGBDataset(options(store, 'val')).describe()
    for words in ('Tiny: 2 scenes, 31 bands, x4', 'authors_fixed', 'response nikon_d700'):
        assert words in text
    assert PairedHSIRGBDataset(options(store, 'val', **stored_pair)).describe().count('as stored') == 2


# BasicSR and its loaders


def test_built_by_basicsr_without_touching_the_options(store: Path) -> None:
    opt = options(store, num_worker_per_gpu=1, prefetch_mode=None, dataset_enlarge_ratio=1, persistent_workers=False)
    kept = copy.deepcopy(opt)
    dataset = build_dataset(opt)
    loader = build_dataloader(dataset, opt, sampler=EnlargedSampler(dataset, 1, 0), seed=0)
    batch = next(iter(loader))
    assert tuple(batch['lq'].shape) == (2, 31, 4, 4)
    dataset[0]
    assert opt == kept == dataset.opt


def crops(dataset: PairedHSIRGBDataset, workers: int, epochs: int = 2, **kwargs: Any) -> list[torch.Tensor]:
    loader = DataLoader(dataset, batch_size=3, num_workers=workers, **kwargs)
    return [torch.cat([batch['lq'] for batch in loader]) for _ in range(epochs)]


def test_same_samples_for_any_number_of_workers_and_new_ones_every_epoch(store: Path) -> None:
    results = []
    for workers in (1, 2, 3):
        torch.manual_seed(5)
        results.append(torch.stack(crops(PairedHSIRGBDataset(options(store)), workers)))
    assert all(torch.equal(results[0], other) for other in results[1:])
    flat = results[0].flatten(2).flatten(0, 1)
    assert len(torch.unique(flat, dim=0)) == len(flat) == 24
    torch.manual_seed(5)
    spawned = crops(PairedHSIRGBDataset(options(store)), 1, epochs=1, multiprocessing_context='spawn')
    assert torch.equal(spawned[0], results[0][0])


def test_set_epoch_gives_the_same_samples_with_and_without_workers(store: Path) -> None:
    results = []
    for workers in (0, 2):
        dataset = PairedHSIRGBDataset(options(store))
        dataset.set_epoch(3, seed=11)
        results += crops(dataset, workers, epochs=1)
    assert torch.equal(*results)


# mistakes


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'gt_sise': 16}, "Unknown option 'gt_sise' in data set 'Tiny'; did you mean 'gt_size'"),
        ({'gt_size': 18}, 'gt_size is 18, expected a multiple of the scale 4; try 16'),
        ({'gt_size': ...}, "no 'gt_size'"),
        ({'gt_size': 44}, "gt_size is 44 but scene 'beads' is 48x40"),
        ({'crops_per_image': 0}, 'crops_per_image is 0'),
        ({'phase': 'training'}, 'expected one of train, val, test'),
        ({'scale': ...}, "no 'scale'"),
        ({'scale': 1}, 'scale is 1'),
        ({'use_hflip': 'yes'}, 'expected true or false'),
        ({'io_backend': ...}, "no 'io_backend'"),
        ({'io_backend': {'type': 'hdf5'}}, 'expected one of lmdb, disk'),
        ({'io_backend': {'type': 'lmdb', 'client': 1}}, "Unknown option 'client'"),
        ({'dataset_enlarge_ratio': 100}, 'raise crops_per_image'),
        ({'degradation': 'authors_fixd'}, "did you mean 'authors_fixed'"),
        ({'degradation': {'preset': 'noise_free', 'noise': 0}}, "did you mean 'noise_sigma'"),
        ({'spectral_response': 'nikon'}, 'did you mean'),
        ({'dataroot_gt': ...}, "no 'dataroot_gt'"),
    ],
)
def test_wrong_options_are_explained(store: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairedHSIRGBDataset(options(store, **changes))


@pytest.mark.parametrize('key', ['gt_size', 'crops_per_image', 'use_rot', 'degrade'])
def test_training_options_in_validation_are_refused(store: Path, key: str) -> None:
    with pytest.raises(ValueError, match=f'{key} has no effect in phase val'):
        PairedHSIRGBDataset(options(store, 'val', **{key: False if key.startswith(('use', 'deg')) else 16}))


def test_contradictory_options_are_explained(store: Path, stored_pair: dict[str, str]) -> None:
    with pytest.raises(ValueError, match='both dataroot_lq and degradation'):
        PairedHSIRGBDataset(options(store, 'val', degradation='noise_free', **stored_pair))
    with pytest.raises(ValueError, match='both dataroot_rgb and spectral_response'):
        PairedHSIRGBDataset(options(store, 'val', spectral_response='nikon_d700', **stored_pair))
    with pytest.raises(ValueError, match='dataroot_lq and degrade: false'):
        PairedHSIRGBDataset(options(store, degrade=False, **stored_pair))
    with pytest.raises(ValueError, match='cannot be rolled by half'):
        PairedHSIRGBDataset(options(store, gt_size=20, **stored_pair))
    with pytest.raises(ValueError, match='both dataroot_lq and dataroot_rgb for data without ground truth'):
        PairedHSIRGBDataset(options(None, 'test', dataroot_gt=..., dataroot_lq=stored_pair['dataroot_lq']))


def test_missing_places_are_explained(store: Path, tmp_path: Path) -> None:
    for backend in ('lmdb', 'disk'):
        with pytest.raises(FileNotFoundError, match=r'dataroot_gt: folder .* does not exist.*mulsr prepare'):
            PairedHSIRGBDataset(options(tmp_path / 'absent.lmdb', io_backend={'type': backend}))
        with pytest.raises(FileNotFoundError, match='no cube store|no cube in'):
            PairedHSIRGBDataset(options(tmp_path, io_backend={'type': backend}))
    with pytest.raises(FileNotFoundError, match='meta_info_file'):
        PairedHSIRGBDataset(options(store, meta_info_file=str(tmp_path / 'absent.txt')))
    (tmp_path / 'list.txt').write_text('cloth\nclay\ncd\n')
    with pytest.raises(ValueError, match='names cd, clay, not in dataroot_gt'):
        PairedHSIRGBDataset(options(store, meta_info_file=str(tmp_path / 'list.txt')))
    (tmp_path / 'list.txt').write_text('# none\n')
    with pytest.raises(ValueError, match='names no scenes'):
        PairedHSIRGBDataset(options(store, meta_info_file=str(tmp_path / 'list.txt')))


def test_cubes_that_do_not_fit_one_another_are_explained(
    store: Path, stored_pair: dict[str, str], tmp_path: Path
) -> None:
    mixed = write_store(tmp_path / 'mixed.lmdb', {'beads': make_cube('beads'), 'cloth': make_cube('cloth', 30)})
    with pytest.raises(ValueError, match="'cloth' of dataroot_gt has 30 bands but 'beads' has 31"):
        PairedHSIRGBDataset(options(mixed))
    one = write_store(tmp_path / 'one.lmdb', {'beads': make_cube('beads')})
    with pytest.raises(ValueError, match="'cloth' is not in both dataroot_gt and dataroot_lq"):
        PairedHSIRGBDataset(options(one, 'val', **stored_pair))
    with pytest.raises(
        ValueError, match="'beads' is 12x10 in dataroot_lq, expected 25x21 to fit dataroot_gt at scale 2"
    ):
        PairedHSIRGBDataset(options(store, 'val', upscale=2, **stored_pair))
    with pytest.raises(ValueError, match="'beads' is 12x10 in dataroot_rgb, expected 50x43"):
        PairedHSIRGBDataset(options(store, 'val', dataroot_rgb=stored_pair['dataroot_lq']))
    small = {key: np.zeros((height // SCALE, width // SCALE, 5), np.uint16) for key, (height, width) in SIZES.items()}
    few = write_store(tmp_path / 'few.lmdb', small)
    with pytest.raises(ValueError, match='dataroot_gt have 31 bands but those of dataroot_lq 5'):
        PairedHSIRGBDataset(options(store, 'val', dataroot_lq=str(few)))
    with pytest.raises(ValueError, match='smaller than one low-resolution pixel at scale 64'):
        PairedHSIRGBDataset(options(store, 'val', upscale=64))


@pytest.mark.parametrize('value', [np.nan, np.inf, -0.1, 1.5])
def test_bad_values_name_scene_and_band(store: Path, tmp_path: Path, value: float, monkeypatch: Any) -> None:
    cube = make_cube('cloth') / np.float32(65535)
    root = write_store(tmp_path / 'float.lmdb', {'cloth': cube}, scale=1.0)
    datasets = [PairedHSIRGBDataset(plain(root, gt_size=40)), PairedHSIRGBDataset(options(root, 'val'))]
    # the writer refuses such values, so they can only come from a foreign or damaged store
    cube[20, 20, 6] = value
    monkeypatch.setattr(
        'mulsr_plugin.data.store.reader.CubeStore.read_window',
        lambda self, key, top, left, height, width: cube[top : top + height, left : left + width],
    )
    for dataset in datasets:
        with pytest.raises(ValueError, match=r'cloth of dataroot_gt, band 7.*within \[0, 1\]'):
            dataset[0]


def test_index_out_of_range_ends_an_iteration(store: Path) -> None:
    assert len(list(PairedHSIRGBDataset(options(store)))) == 12


@pytest.mark.parametrize(
    'waves', [WAVELENGTHS[::-1], tuple(wave + 600 for wave in WAVELENGTHS)], ids=['falling', 'SWIR']
)
@pytest.mark.parametrize('kind', ['gt', 'lq'])
def test_scenes_of_other_bands_or_another_order_are_refused(
    tmp_path: Path, kind: str, waves: tuple[float, ...]
) -> None:
    def write(name: str, step: int, last: tuple[float, ...]) -> str:
        with CubeStoreWriter(tmp_path / name) as writer:
            for key, own in (('a', WAVELENGTHS), ('b', last)):
                writer.add(key, np.ones((16 // step, 16 // step, NUM_BANDS), np.uint16), 1 / 65535, own)
        return str(tmp_path / name)

    opt = options(write('gt.lmdb', 1, waves if kind == 'gt' else WAVELENGTHS), spectral_response='none')
    opt['dataroot_lq'] = write('lq.lmdb', SCALE, waves if kind == 'lq' else WAVELENGTHS)
    with pytest.raises(ValueError, match=f"Scene 'b' of dataroot_{kind} has bands from {waves[0]:g} .* same order"):
        PairedHSIRGBDataset(opt)
    shifted = tuple(wave + 20 for wave in WAVELENGTHS)  # CAVE's and Harvard's scenes in one data set
    near = options(write('near.lmdb', 1, shifted), spectral_response='none')
    assert PairedHSIRGBDataset(near).wavelengths == WAVELENGTHS
