"""The Harvard reader on miniature files in the documented layout, and its split lists."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from mulsr_plugin.__main__ import main
from mulsr_plugin.data.paired_hsi_rgb_dataset import PairedHSIRGBDataset
from mulsr_plugin.data.scene_splits import read_split
from mulsr_plugin.data.sources.harvard import WAVELENGTHS, harvard_scenes
from mulsr_plugin.data.store.reader import CubeStore

HEIGHT, WIDTH = 26, 35  # 1040 x 1392 in small
SENSITIVITY = np.linspace(0.2, 1, 31)


def write_scene(path: Path, seed: int, peak: float) -> tuple[np.ndarray, np.ndarray]:
    """Write a file as MATLAB does: ref in double precision, lbl in 8 bits with a void corner; return both."""
    ref = np.random.default_rng(seed).random((HEIGHT, WIDTH, 31)) * peak
    lbl = np.ones((HEIGHT, WIDTH), np.uint8)
    lbl[:5, :7] = 0
    ref[2, 3, 4] = 2 * peak  # the maximum is void
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {'ref': ref, 'lbl': lbl}, do_compression=True)
    return ref, lbl


@pytest.fixture
def archives(tmp_path: Path) -> Path:
    """Both archives unpacked, two scenes each."""
    for archive, names in (('CZ_hsdb', ('imgb1', 'img2')), ('CZ_hsdbi', ('img3', 'imgh5'))):
        for seed, name in enumerate(names):
            write_scene(tmp_path / archive / f'{name}.mat', seed, 0.01 * (seed + 1))
        np.savetxt(tmp_path / archive / 'calib.txt', SENSITIVITY)
        (tmp_path / archive / 'README.txt').write_text('no scene')
    return tmp_path


def test_scenes_of_both_archives_scaled_by_their_own_maximum(archives: Path) -> None:
    scenes = harvard_scenes(archives)
    assert [scene.key for scene in scenes] == ['img2', 'img3', 'imgb1', 'imgh5']
    cube = scenes[2].load()
    ref = scipy.io.loadmat(archives / 'CZ_hsdb' / 'imgb1.mat')['ref']
    assert (cube.values.dtype, cube.wavelengths) == (np.float32, WAVELENGTHS)
    assert (WAVELENGTHS[0], WAVELENGTHS[-1], len(WAVELENGTHS)) == (420, 720, 31)
    np.testing.assert_array_equal(cube.values, ref.astype(np.float32))
    assert cube.values.max() * cube.scale == pytest.approx(1)
    for words in ('CZ_hsdb/imgb1.mat', '3.85% masked pixels kept', 'maximum of the scene, 0.02'):
        assert words in cube.source
    assert [scene.key for scene in harvard_scenes(archives / 'CZ_hsdbi')] == ['img3', 'imgh5']


def test_common_maximum_keeps_the_brightness_of_scenes(archives: Path) -> None:
    first, second = (scene.load() for scene in harvard_scenes(archives / 'CZ_hsdb', normalise='common'))
    assert first.scale == second.scale == pytest.approx(1 / 0.04, rel=1e-6)
    assert 'maximum of all scenes, 0.04' in second.source


def test_masked_pixels_can_be_zero(archives: Path) -> None:
    cube = harvard_scenes(archives, masked='zero')[2].load()
    assert (cube.values[:5, :7] == 0).all()
    assert cube.values[5:].min() > 0
    assert 1 / cube.scale == pytest.approx(cube.values[:, :].max())
    assert 1 / cube.scale < 0.0101  # without the void maximum
    assert 'masked pixels set to 0' in cube.source


def test_calibration_divides_the_bands(archives: Path) -> None:
    plain, calibrated = (harvard_scenes(archives, calibrate=flag)[0].load() for flag in (False, True))
    np.testing.assert_allclose(calibrated.values * SENSITIVITY, plain.values, rtol=1e-6)
    assert 'divided by calib.txt' in calibrated.source


def test_negative_noise_is_no_light(archives: Path) -> None:
    path = archives / 'CZ_hsdb' / 'imgb1.mat'
    content = scipy.io.loadmat(path)
    content['ref'][0, 0, 0] = -1e-5
    scipy.io.savemat(path, {key: content[key] for key in ('ref', 'lbl')})
    assert harvard_scenes(archives)[2].load().values.min() == 0


def test_prepared_by_the_command_line(archives: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / 'prepared'
    arguments = [
        'prepare',
        'harvard',
        '--input',
        str(archives),
        '--output',
        str(output),
        '--masked',
        'zero',
        '--verify',
    ]
    assert main(arguments) == 1
    assert 'listed scenes are missing' in capsys.readouterr().err
    assert not output.exists()
    assert main([*arguments, '--allow-missing']) == 0
    assert CubeStore(output / 'train.lmdb').keys() == ['img2', 'img3', 'imgb1']
    test = CubeStore(output / 'test.lmdb')
    assert test.keys() == ['imgh5']
    assert test.header('imgh5').shape == (HEIGHT, WIDTH, 31)
    assert test.header('imgh5').wavelengths == WAVELENGTHS


@pytest.mark.parametrize('kind', ['logical', 'v7.3'])
def test_scenes_saved_anew_by_matlab(archives: Path, kind: str) -> None:
    path = archives / 'CZ_hsdb' / 'imgb1.mat'
    ref, lbl = (scipy.io.loadmat(path)[key] for key in ('ref', 'lbl'))
    if kind == 'logical':
        scipy.io.savemat(path, {'ref': ref, 'lbl': lbl.astype(bool)})
    else:
        with h5py.File(path, 'w', userblock_size=512) as file:
            file['ref'], file['lbl'] = ref.T, lbl.T
    cube = harvard_scenes(archives, masked='zero')[2].load()
    np.testing.assert_array_equal(cube.values, np.where(lbl[..., None] > 0, ref, 0).astype(np.float32))


def test_split_lists() -> None:
    both, outdoor, indoor = (read_split(f'harvard_{name}') for name in ('80_20', 'outdoor', 'indoor'))
    assert [(len(split.train), len(split.test)) for split in (both, outdoor, indoor)] == [(62, 15), (40, 10), (22, 5)]
    assert set(both.train) == set(outdoor.train) | set(indoor.train)
    assert set(both.test) == set(outdoor.test) | set(indoor.test)
    assert len({*both.train, *both.test}) == 77


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'ref': None}, 'has no variable ref'),
        ({'ref': np.zeros((HEIGHT, WIDTH, 30))}, 'expected .height, width, 31.'),
        ({'ref': np.zeros((HEIGHT, WIDTH, 31))}, 'no value above 0'),
        ({'ref': np.full((HEIGHT, WIDTH, 31), np.nan)}, 'NaN or infinite'),
        ({'ref': np.ones((HEIGHT, WIDTH, 31)) * 1j}, 'complex'),
        ({'lbl': None}, 'has no lbl'),
        ({'lbl': np.ones((3, 3))}, r'lbl of \(3, 3\)'),
    ],
)
def test_unfit_files_are_explained(archives: Path, change: dict, message: str) -> None:
    path = archives / 'CZ_hsdb' / 'imgb1.mat'
    content = {**{key: scipy.io.loadmat(path)[key] for key in ('ref', 'lbl')}, **change}
    scipy.io.savemat(path, {key: value for key, value in content.items() if value is not None})
    with pytest.raises(ValueError, match=message):
        harvard_scenes(archives)[2].load()


def test_truncated_file_is_explained(archives: Path) -> None:
    path = archives / 'CZ_hsdb' / 'imgb1.mat'
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match='imgb1.mat cannot be read as a MATLAB file'):
        harvard_scenes(archives)[2].load()


def test_unfit_folders_and_options_are_explained(archives: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='unpack CZ_hsdb.tgz'):
        harvard_scenes(tmp_path / 'absent')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='no Harvard scene'):
        harvard_scenes(tmp_path / 'empty')
    with pytest.raises(ValueError, match="masked is 'drop', expected one of keep, zero"):
        harvard_scenes(archives, masked='drop')
    (archives / 'CZ_hsdb' / 'calib.txt').write_text('1 2 3')
    with pytest.raises(ValueError, match='holds 3 values, expected 31'):
        harvard_scenes(archives, calibrate=True)
    (archives / 'CZ_hsdb' / 'calib.txt').unlink()
    with pytest.raises(FileNotFoundError, match='calib.txt, which calibrating needs'):
        harvard_scenes(archives, calibrate=True)
    write_scene(archives / 'copy' / 'imgb1.mat', 0, 1)
    with pytest.raises(ValueError, match='imgb1 comes twice'):
        harvard_scenes(archives)


def test_guide_of_a_prepared_scene_is_sampled_at_its_wavelengths(archives: Path, tmp_path: Path) -> None:
    arguments = ['--input', str(archives), '--output', str(tmp_path / 'prepared'), '--test-scenes', 'img2']
    assert main(['prepare', 'harvard', *arguments]) == 0
    np.savetxt(tmp_path / 'camera.csv', [[500, 0, 1], [600, 0, 0], [610, 3, 0], [800, 3, 0]], delimiter=',')
    opt = {
        'name': 'Harvard',
        'type': 'PairedHSIRGBDataset',
        'phase': 'val',
        'scale': 8,
        'dataroot_gt': str(tmp_path / 'prepared' / 'test.lmdb'),
        'io_backend': {'type': 'lmdb'},
        'degradation': 'noise_free',
        'spectral_response': str(tmp_path / 'camera.csv'),
    }
    sample = PairedHSIRGBDataset(opt)[0]
    gt, rgb = sample['gt'].double(), sample['rgb'].double()
    assert tuple(sample['lq'].shape) == (31, 3, 4)  # 26 x 35 cut to multiples of 8
    # first channel: flat from 610 to 720 nm; second: falls from 500 to 600 nm, zero below 500 nm
    np.testing.assert_allclose(rgb[0], gt[19:].mean(0), atol=1e-6)
    falling = np.linspace(1, 0, 11)[:, None, None]
    np.testing.assert_allclose(rgb[1], (gt[8:19].numpy() * falling).sum(0) / falling.sum(), atol=1e-6)
