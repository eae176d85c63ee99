"""The Colosseum reader on miniature files in the documented layout, and on a real WorldView-2 pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mulsr_plugin.__main__ import main
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.formats import write_cube
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.sources.colosseum import colosseum_scenes
from mulsr_plugin.data.store.reader import CubeStore

HEIGHT, WIDTH = 43, 66  # 419 x 658 in small, no multiples of the scale either
CENTRES = (427, 478, 546, 608, 659, 724, 833, 949)


def pair(num_guide_ch: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Multispectral 11-bit counts and an 8-bit guide."""
    generator = np.random.default_rng(0)
    ms = generator.integers(50, 2048, (HEIGHT, WIDTH, 8)).astype(np.uint16)
    ms[0, 0, 0] = 2047
    return ms, generator.integers(0, 256, (4 * HEIGHT, 4 * WIDTH, num_guide_ch)).astype(np.uint8)


def write_mat(folder: Path, **change: np.ndarray) -> Path:
    ms, rgb = pair()
    scipy.io.savemat(folder / 'pair.mat', {'ms': ms, 'rgb': rgb, **change})
    return folder / 'pair.mat'


def load(path: Path, guide: Path | None = None, **options: object) -> dict:
    scenes = colosseum_scenes(path, guide, cube_options={'key': 'ms'}, guide_options={'key': 'rgb'}, **options)
    return {scene.phase: scene.load() for scene in scenes}


def test_three_scenes_with_the_upper_half_for_training(tmp_path: Path) -> None:
    ms, rgb = pair()
    scenes = load(write_mat(tmp_path))
    assert set(scenes) == {'train', 'test', ''}
    # half of 43 rows, cut to where a reduced pixel begins; 66 columns cut to 64
    np.testing.assert_array_equal(scenes['train'].gt.values, ms[:20, :64])
    np.testing.assert_array_equal(scenes['test'].gt.values, ms[20:40, :64])
    np.testing.assert_array_equal(scenes[''].lq.values, ms[20:])
    np.testing.assert_array_equal(scenes[''].rgb.values, rgb[80:])
    assert scenes[''].gt is None
    for phase in ('train', 'test'):
        assert scenes[phase].lq.values.shape == (5, 16, 8)
        assert scenes[phase].rgb.values.shape == (20, 64, 3)
    assert (scenes['train'].gt.wavelengths, scenes[''].lq.wavelengths) == (CENTRES, CENTRES)


def test_reduced_by_the_sensors_transfer_function(tmp_path: Path) -> None:
    ms, _ = pair()
    scenes = load(write_mat(tmp_path))
    degradation = build_degradation({'preset': 'sensor_mtf', 'nyquist_gain': 0.35}, 4)
    cube = np.ascontiguousarray((ms[:20, :64] / 2047).transpose(2, 0, 1).astype(np.float32))
    expected = degradation(cube, np.random.default_rng(0))
    np.testing.assert_allclose(scenes['train'].lq.values.transpose(2, 0, 1), expected, atol=1e-6)


def test_counts_of_11_bits_and_pictures_of_8(tmp_path: Path) -> None:
    scene = load(write_mat(tmp_path))['']
    assert (scene.lq.scale, scene.rgb.scale) == (1 / 2047, 1 / 255)
    assert 'scale 1/2047, the 11 bits of the sensor' in scene.lq.notes
    assert not [note for note in scene.lq.notes if 'by its type' in note]
    ms, _ = pair()
    assert load(write_mat(tmp_path, ms=ms * 20))[''].lq.scale == 1 / 65535


def test_factor_that_the_file_names_comes_first(tmp_path: Path) -> None:
    scene = load(write_mat(tmp_path, scale_to_unit=1 / 10000))['']
    assert scene.lq.scale == scene.rgb.scale == pytest.approx(1e-4)
    assert load(write_mat(tmp_path, scale_to_unit=1 / 65535))[''].lq.scale == pytest.approx(1 / 65535)


def test_geotiffs_equal_the_mat_file(tmp_path: Path) -> None:
    pytest.importorskip('rasterio')
    ms, rgb = pair()
    write_cube(tmp_path / 'ms.tif', Cube(ms, 1 / 2047))
    write_cube(tmp_path / 'rgb.tif', Cube(rgb, 1 / 255))
    tiffs = {s.phase: s.load() for s in colosseum_scenes(tmp_path / 'ms.tif', tmp_path / 'rgb.tif')}
    mats = load(write_mat(tmp_path))
    for phase in mats:
        for kind in ('gt', 'lq', 'rgb'):
            first, second = (getattr(scenes[phase], kind) for scenes in (tiffs, mats))
            if first is not None:
                np.testing.assert_array_equal(first.values, second.values)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'ms': np.ones((43, 66, 4), np.uint16)}, '4 bands, expected 8 of a WorldView-2 image'),
        ({'rgb': np.ones((172, 264, 4), np.uint8)}, '4 bands, expected 1 or 3 of a WorldView-2 image'),
        ({'rgb': np.ones((170, 264, 3), np.uint8)}, 'expected one whole ratio'),
    ],
)
def test_other_images_are_explained(tmp_path: Path, change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(write_mat(tmp_path, **change))


@pytest.mark.parametrize('test_part', [0, 1, -0.1])
def test_empty_parts_are_refused(tmp_path: Path, test_part: float) -> None:
    with pytest.raises(ValueError, match='above 0 and below 1'):
        load(write_mat(tmp_path), test_part=test_part)


def test_real_pair_prepared_and_read_for_training(real_data: Path, tmp_path: Path) -> None:
    file = real_data / 'WorldView2' / 'imgWV2.mat'
    arguments = ['colosseum', str(file), '--key', 'I_MS', '--guide-key', 'I_PAN', '--out', str(tmp_path)]
    assert main(['prepare', *arguments]) == 0
    real = scipy.io.loadmat(file)
    full = CubeStore(tmp_path / 'lq.lmdb')
    np.testing.assert_array_equal(full.read('colosseum'), real['I_MS'][160:])
    np.testing.assert_array_equal(CubeStore(tmp_path / 'rgb.lmdb').read('colosseum')[..., 0], real['I_PAN'][640:])
    dataset = PairedHSIRGBDataset(
        {
            'name': 'WV2',
            'type': 'PairedHSIRGBDataset',
            'phase': 'train',
            'scale': 4,
            'dataroot_gt': str(tmp_path / 'train.lmdb'),
            'dataroot_rgb': str(tmp_path / 'train_rgb.lmdb'),
            'io_backend': {'type': 'lmdb'},
            'gt_size': 48,
            'crops_per_image': 64,
            'degradation': {'preset': 'sensor_mtf', 'nyquist_gain': 0.35},
            'batch_size_per_gpu': 1,
            'num_worker_per_gpu': 0,
        }
    )
    sample = dataset[0]
    assert len(dataset) == 64
    assert [tuple(sample[kind].shape) for kind in ('gt', 'lq', 'rgb')] == [(8, 48, 48), (8, 12, 12), (1, 48, 48)]
    # registered: the guide looks like the mean of the bands it covers
    means = sample['gt'][1:6].mean(0).flatten()
    assert np.corrcoef(means, sample['rgb'].flatten())[0, 1] > 0.8
