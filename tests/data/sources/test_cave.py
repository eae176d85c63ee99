"""The CAVE reader: layout, quirks, and one clear sentence for every fault."""

from __future__ import annotations

import shutil
import zipfile

import cv2
import numpy as np
import pytest
import scipy.io
import skimage.io

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats.pictures import bmp_is_short, png_fault
from mulsr_plugin.data.sources.cave import NUM_BANDS, WAVELENGTHS, cave_scenes
from mulsr_plugin.data.sources.demo_scenes import write_cave_scene


def read_all(path, with_rgb=False) -> dict[str, Cube]:
    return {scene.key: scene.load() for scene in cave_scenes(path, with_rgb)}


def zip_of(folder, path, prefix='complete_ms_data/'):
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob('*')):
            archive.write(file, prefix + file.relative_to(folder).as_posix())
    return path


@pytest.fixture
def scenes(tmp_path, demo_scenes):
    """An own copy of one synthetic scene, to be damaged."""
    shutil.copytree(demo_scenes / 'demo_01_ms', tmp_path / 'data' / 'demo_01_ms')
    return tmp_path / 'data'


@pytest.fixture
def files(scenes):
    return scenes / 'demo_01_ms' / 'demo_01_ms'


def test_folder_is_read_as_another_reader_does(demo_scenes):
    cubes = read_all(demo_scenes, with_rgb=True)
    assert list(cubes) == ['demo_01', 'demo_02', 'demo_03']
    for key, cube in cubes.items():
        folder = demo_scenes / f'{key}_ms' / f'{key}_ms'
        bands = [skimage.io.imread(folder / f'{key}_ms_{band:02d}.png') for band in range(1, 32)]
        np.testing.assert_array_equal(cube.values, np.stack(bands, 2))
        np.testing.assert_array_equal(cube.rgb, skimage.io.imread(folder / f'{key}_RGB.bmp'))
        assert (cube.values.dtype, cube.scale) == (np.uint16, 1 / 65535)
    assert (len(WAVELENGTHS), WAVELENGTHS[0], WAVELENGTHS[-1]) == (NUM_BANDS, 400.0, 700.0)


def test_picture_is_left_out_unless_wanted(demo_scenes):
    assert cave_scenes(demo_scenes)[0].load().rgb is None


@pytest.mark.parametrize('prefix', ['', 'complete_ms_data/', 'a/b/'])
def test_zip_equals_folder(demo_scenes, tmp_path, prefix):
    archived = read_all(zip_of(demo_scenes, tmp_path / 'complete_ms_data.zip', prefix), with_rgb=True)
    unpacked = read_all(demo_scenes, with_rgb=True)
    assert archived.keys() == unpacked.keys()
    for key, cube in unpacked.items():
        np.testing.assert_array_equal(archived[key].values, cube.values)
        np.testing.assert_array_equal(archived[key].rgb, cube.rgb)
    assert [path.name for path in tmp_path.iterdir()] == ['complete_ms_data.zip']


def test_scene_folders_may_lie_flat_or_be_links(scenes, files, tmp_path):
    expected = read_all(scenes)['demo_01'].values
    flat = tmp_path / 'flat'
    flat.mkdir()
    (flat / 'demo_01_ms').symlink_to(files)
    np.testing.assert_array_equal(read_all(flat)['demo_01'].values, expected)
    np.testing.assert_array_equal(read_all(files)['demo_01'].values, expected)


def test_litter_is_passed_over(scenes, files):
    (files / 'Thumbs.db').write_bytes(b'\xd0\xcf\x11\xe0')
    shadow = scenes / '__MACOSX' / 'demo_01_ms'
    shadow.mkdir(parents=True)
    (shadow / '._demo_01_ms_01.png').write_bytes(b'Mac OS X')
    (shadow / 'demo_01_ms_01.png').write_bytes(b'Mac OS X')
    (files / '._demo_01_ms_02.png').write_bytes(b'Mac OS X')
    assert list(read_all(scenes, with_rgb=True)) == ['demo_01']


def test_rgba_bands_of_8_bits(scenes, files):
    """As the scene watercolors."""
    grey = np.random.default_rng(0).integers(0, 215, (48, 48, 31)).astype(np.uint8)
    for band in range(31):
        image = np.dstack([grey[..., band]] * 3 + [np.full((48, 48), 255, np.uint8)])
        skimage.io.imsave(files / f'demo_01_ms_{band + 1:02d}.png', image, check_contrast=False)
    cube = read_all(scenes)['demo_01']
    np.testing.assert_array_equal(cube.values, grey)
    assert (cube.values.dtype, cube.scale) == (np.uint8, 1 / 255)


def test_real_scenes(real_data):
    """Ranges and means as published with the copies; cloth also as another repository has it."""
    cubes = read_all(real_data / 'CAVE' / 'complete_ms_data', with_rgb=True)
    facts = {
        key: (str(c.values.dtype), int(c.values.max()), round(float(c.values.mean()), 1)) for key, c in cubes.items()
    }
    assert facts == {
        'balloons': ('uint16', 63238, 9179.1),
        'cloth': ('uint16', 50642, 8914.0),
        'egyptian_statue': ('uint16', 62740, 2647.6),
        'feathers': ('uint16', 62937, 7818.8),
        'stuffed_toys': ('uint16', 61642, 7539.2),
        'watercolors': ('uint8', 214, 76.0),
    }
    every_second = scipy.io.loadmat(real_data / 'CAVE_mat' / 'testMSI_2.mat')['Omsi']
    np.testing.assert_array_equal(cubes['cloth'].values[::2, ::2], every_second)
    assert {key: int(cube.rgb.max()) for key, cube in cubes.items()} == {
        'balloons': 252, 'cloth': 213, 'egyptian_statue': 249, 'feathers': 254, 'stuffed_toys': 249, 'watercolors': 233,
    }  # fmt: skip
    # The picture is R, G, B: its red follows the long wavelengths better than its blue does.
    red, blue = (cubes['feathers'].rgb[..., channel].ravel() for channel in (0, 2))
    long_wave = cubes['feathers'].values[..., 22].ravel()
    assert np.corrcoef(red, long_wave)[0, 1] > np.corrcoef(blue, long_wave)[0, 1] + 0.2


# ---- faults


@pytest.mark.parametrize('kept', [0, 4, 8, 20, 33, 0.3, 0.7, -30, -12, -4, -1])
def test_truncated_band_is_named(scenes, files, kept):
    path = files / 'demo_01_ms_17.png'
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=r'Scene demo_01: \S*demo_01_ms_17\.png is (cut short|empty|not a PNG)'):
        read_all(scenes)


def test_every_truncation_is_found(files):
    data = (files / 'demo_01_ms_01.png').read_bytes()
    assert png_fault(data) is None
    assert all(png_fault(data[:length]) for length in range(len(data)))


def test_flipped_byte_in_a_band_is_named(scenes, files):
    path = files / 'demo_01_ms_05.png'
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'Scene demo_01: \S*demo_01_ms_05\.png is damaged \(a chunk'):
        read_all(scenes)


def test_missing_bands_are_named(scenes, files):
    (files / 'demo_01_ms_09.png').unlink()
    with pytest.raises(ValueError, match=r'Scene demo_01 lacks demo_01_ms_09\.png in demo_01_ms/demo_01_ms'):
        cave_scenes(scenes)
    for band in range(20, 32):
        (files / f'demo_01_ms_{band}.png').unlink()
    with pytest.raises(ValueError, match=r'_09\.png, demo_01_ms_20\.png, demo_01_ms_21\.png and 10 more bands'):
        cave_scenes(scenes)


def test_band_too_many_is_named(scenes, files):
    shutil.copy(files / 'demo_01_ms_31.png', files / 'demo_01_ms_32.png')
    with pytest.raises(ValueError, match=r'has demo_01_ms/demo_01_ms/demo_01_ms_32\.png, but CAVE has bands 1 to 31'):
        cave_scenes(scenes)


def test_band_twice_is_named(scenes, files):
    shutil.copy(files / 'demo_01_ms_03.png', files / 'demo_01_ms_3.png')
    with pytest.raises(ValueError, match='Scene demo_01 has band 3 twice'):
        cave_scenes(scenes)


@pytest.mark.parametrize('change', [lambda band: band[:24], lambda band: (band >> 8).astype(np.uint8)])
def test_band_unlike_the_others_is_named(scenes, files, change):
    path = str(files / 'demo_01_ms_20.png')
    cv2.imwrite(path, change(cv2.imread(path, cv2.IMREAD_UNCHANGED)))
    with pytest.raises(ValueError, match=r'demo_01_ms_20\.png is 48x\d+ pixels of uint\d+, but .*_01\.png is 48x48'):
        read_all(scenes)


def test_coloured_band_is_named(scenes, files):
    rng = np.random.default_rng(0)
    cv2.imwrite(str(files / 'demo_01_ms_01.png'), rng.integers(0, 255, (48, 48, 3)).astype(np.uint8))
    with pytest.raises(ValueError, match=r'_01\.png is a colour picture'):
        read_all(scenes)


def test_scene_twice_is_named(scenes):
    shutil.copytree(scenes / 'demo_01_ms', scenes / 'copy' / 'demo_01_ms')
    with pytest.raises(ValueError, match='Scene demo_01 comes twice, in copy/demo_01_ms/demo_01_ms and in demo_01_ms/'):
        cave_scenes(scenes)


def test_missing_or_broken_picture_matters_only_when_wanted(scenes, files):
    bmp = files / 'demo_01_RGB.bmp'
    data = bmp.read_bytes()
    for broken in (data[:-1], data[:60], data[:10], b'', b'GIF' + data[3:]):
        bmp.write_bytes(broken)
        with pytest.raises(ValueError, match=r'Scene demo_01: \S*demo_01_RGB\.bmp is cut short or no BMP'):
            read_all(scenes, with_rgb=True)
    bmp.unlink()
    with pytest.raises(ValueError, match=r'Scene demo_01 lacks demo_01_RGB\.bmp'):
        read_all(scenes, with_rgb=True)
    assert list(read_all(scenes)) == ['demo_01']


def test_whole_bmp_is_not_short(files):
    data = (files / 'demo_01_RGB.bmp').read_bytes()
    assert not bmp_is_short(data)
    assert all(bmp_is_short(data[:length]) for length in range(len(data)))


def test_picture_of_another_size_is_named(scenes, files):
    cv2.imwrite(str(files / 'demo_01_RGB.bmp'), np.zeros((40, 48, 3), np.uint8))
    with pytest.raises(ValueError, match=r'demo_01_RGB\.bmp is 48x40 pixels of uint8, but the bands are 48x48'):
        read_all(scenes, with_rgb=True)


def test_scene_name_beyond_ascii_is_refused(tmp_path, demo_scenes):
    write_cave_scene(tmp_path, 'bällöns', cave_scenes(demo_scenes)[0].load())
    with pytest.raises(ValueError, match='Scene name .* cannot be a key'):
        cave_scenes(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'There is no .*absent; give the folder complete_ms_data or'):
        cave_scenes(tmp_path / 'absent')
    with pytest.raises(FileNotFoundError, match='There is no CAVE scene in'):
        cave_scenes(tmp_path)


def test_truncated_zip_is_said(demo_scenes, tmp_path):
    path = zip_of(demo_scenes, tmp_path / 'complete_ms_data.zip')
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r'complete_ms_data\.zip is not a complete zip file'):
        cave_scenes(path)


def test_damaged_zip_member_is_named(demo_scenes, tmp_path):
    path = zip_of(demo_scenes, tmp_path / 'complete_ms_data.zip')
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo('complete_ms_data/demo_02_ms/demo_02_ms/demo_02_ms_11.png')
    data = bytearray(path.read_bytes())
    middle = info.header_offset + 100 + info.compress_size // 2
    data[middle : middle + 8] = bytes(byte ^ 0xFF for byte in data[middle : middle + 8])
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r'complete_ms_data\.zip: \S+demo_02_ms_11\.png cannot be read'):
        read_all(path)


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_member_twice_in_a_zip_is_named(demo_scenes, tmp_path):
    path = zip_of(demo_scenes, tmp_path / 'a.zip', '')
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('demo_01_ms/demo_01_ms/demo_01_ms_01.png', b'')
    with pytest.raises(ValueError, match=r'a\.zip holds demo_01_ms/\S+_01\.png twice'):
        cave_scenes(path)
