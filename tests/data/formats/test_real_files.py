"""Every reader on real files, against SciPy, h5py and scikit-image directly."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
import skimage.io

from mulsr_plugin.data.formats import FormatError, read_cube, write_cube


@pytest.mark.parametrize(
    ('file', 'key', 'scale', 'shape'),
    [
        ('CAVE_mat/testMSI_2.mat', None, 1 / 65535, (256, 256, 31)),
        ('WorldView2/imgWV2.mat', None, 1 / 2047, (320, 320, 8)),
        ('IKONOS/imgIK.mat', 'I_MS', 1 / 2047, (320, 320, 4)),
        ('ParisHyperionALI/paris_data_hs_ms.mat', 'HSim', 1 / 1.3, (72, 72, 128)),
        ('ParisHyperionALI/paris_data_hs_ms.mat', 'MSim', 'max', (72, 72, 9)),
        ('ParisHyperionALI/paris_data_hs_pan.mat', None, 'max', (72, 58, 128)),
    ],
)
def test_v5(real_data, file, key, scale, shape):
    cube = read_cube(real_data / file, key, scale)
    content = scipy.io.loadmat(real_data / file)
    name = key or next(name for name, value in content.items() if isinstance(value, np.ndarray) and value.ndim == 3)
    np.testing.assert_array_equal(cube.values, content[name])
    assert (cube.values.shape, cube.values.dtype) == (shape, content[name].dtype)
    assert cube.scale == (1 / content[name].max() if scale == 'max' else scale)


@pytest.mark.parametrize(
    ('file', 'key'),
    [
        ('WorldView2/imgWV2.mat', 'I_PAN'),
        ('IKONOS/imgIK.mat', 'I_PAN'),
        ('ParisHyperionALI/paris_data_hs_pan.mat', 'PCim'),
    ],
)
def test_panchromatic_guides(real_data, file, key):
    with pytest.raises(FormatError, match=f'{key} is not a 3-D array of real numbers'):
        read_cube(real_data / file, key)
    guide = read_cube(real_data / file, key, 'max', is_guide=True)
    np.testing.assert_array_equal(guide.values[..., 0], scipy.io.loadmat(real_data / file)[key])
    assert guide.num_bands == 1


def test_v73(real_data):
    cube = read_cube(real_data / 'PaviaCrop' / 'pavia.mat')
    with h5py.File(real_data / 'PaviaCrop' / 'pavia.mat') as file:
        np.testing.assert_array_equal(cube.values, file['data'][()].transpose(2, 1, 0))
    assert (cube.values.shape, cube.values.dtype, cube.scale) == ((100, 100, 102), np.float64, 1)


def test_matrix_of_pixels(real_data):
    """(bands, pixels), pixels column by column: pixel (row, column) is column number row + 100 * column."""
    path = real_data / 'JasperRidge' / 'jasperRidge2_R198.mat'
    cube = read_cube(path, value_scale=1 / 5437)
    matrix = scipy.io.loadmat(path)['Y']
    assert (cube.values.shape, cube.values.dtype) == ((100, 100, 198), np.uint16)
    for row, column in ((0, 0), (3, 71), (99, 1), (50, 99)):
        np.testing.assert_array_equal(cube.values[row, column], matrix[:, row + 100 * column])
    content = {name: value for name, value in scipy.io.loadmat(path).items() if name in ('Y', 'nRow', 'nCol')}
    assert float(np.corrcoef(cube.values[:-1].ravel(), cube.values[1:].ravel())[0, 1]) > 0.9, content.keys()


def test_matrix_of_another_size_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / 'x.mat', {'Y': np.ones((5, 100)), 'nRow': 9, 'nCol': 10})
    with pytest.raises(FormatError, match='Y is 5x100, but nRow 9 times nCol 10 is neither of its sides'):
        read_cube(tmp_path / 'x.mat')


def test_band_pictures(real_data):
    folder = real_data / 'CAVE' / 'complete_ms_data' / 'cloth_ms' / 'cloth_ms'
    cube = read_cube(folder)
    assert (cube.values.shape, cube.values.dtype, cube.scale) == ((512, 512, 31), np.uint16, 1 / 65535)
    for band in (1, 17, 31):
        np.testing.assert_array_equal(
            cube.values[..., band - 1], skimage.io.imread(folder / f'cloth_ms_{band:02d}.png')
        )
    # the same scene in another repository, every second row and column
    half = scipy.io.loadmat(real_data / 'CAVE_mat' / 'testMSI_2.mat')['Omsi']
    np.testing.assert_array_equal(cube.values[::2, ::2], half)
    picture = folder / 'cloth_RGB.bmp'
    np.testing.assert_array_equal(read_cube(picture, is_guide=True).values, skimage.io.imread(picture))


@pytest.mark.parametrize('name', ['x.hdr', 'x.tif', 'x.npz', 'x.mat', 'bands'])
def test_real_cube_survives_every_format(real_data, tmp_path, name):
    cube = read_cube(real_data / 'WorldView2' / 'imgWV2.mat', 'I_MS', value_scale=1 / 65535)
    write_cube(tmp_path / name, cube)
    np.testing.assert_array_equal(read_cube(tmp_path / name).values, cube.values)
