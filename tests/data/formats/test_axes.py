"""The order of axes: taken where file, wavelengths or sizes say it, else asked for."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile

from mulsr_plugin.data.formats import FormatError, read_cube


def cube_of(shape):
    return np.random.default_rng(0).integers(128, 256, shape).astype(np.uint8)


@pytest.mark.parametrize('shape', [(48, 64, 31), (16, 16, 128), (610, 340, 103), (100, 120, 3)])
def test_sizes_that_speak_for_themselves(tmp_path, shape):
    np.save(tmp_path / 'x.npy', cube_of(shape))
    cube = read_cube(tmp_path / 'x.npy')
    assert cube.values.shape == shape
    assert cube.size_text == f'{shape[0]}x{shape[1]}x{shape[2]} (rows x columns x bands, by their sizes)'


OPEN = [(31, 48, 64), (200, 21, 21), (32, 32, 32), (224, 128, 96), (40, 31, 56), (58, 72, 128)]
WRITERS = {
    'x.npy': np.save,
    'x.npz': lambda path, values: np.savez(path, x=values),
    'x.mat': lambda path, values: scipy.io.savemat(path, {'x': values}),
}


@pytest.mark.parametrize('shape', OPEN)
@pytest.mark.parametrize('name', WRITERS)
def test_sizes_that_leave_it_open(tmp_path, shape, name):
    values = cube_of(shape)
    path = tmp_path / name
    WRITERS[name](path, values)
    h, w, b = shape
    choices = f'bhw for {w}x{b} pixels with {h} bands or hwb for {h}x{w} pixels with {b}'
    with pytest.raises(FormatError, match=f'cannot be known .*such as {choices}'):
        read_cube(path)
    np.testing.assert_array_equal(read_cube(path, axes='bhw').values, values.transpose(1, 2, 0))
    assert read_cube(path, axes='hwb').axes_from == 'as given'


def test_number_of_wavelengths_decides(tmp_path):
    np.save(tmp_path / 'x.npy', cube_of((40, 31, 56)))
    cube = read_cube(tmp_path / 'x.npy', wavelengths=range(400, 456))
    assert (cube.values.shape, cube.axes_from) == ((40, 31, 56), 'by the number of wavelengths')
    with pytest.raises(FormatError, match='contradicts the 40 wavelengths'):
        read_cube(tmp_path / 'x.npy', wavelengths=range(400, 440))


def written_by_matlab(path, values):
    scipy.io.savemat(path, {'x': values})
    data = path.read_bytes()
    path.write_bytes(b'MATLAB 5.0 MAT-file, Platform: PCWIN64, Created on: Mon'.ljust(116) + data[116:])


def test_matlab_has_a_convention(tmp_path):
    """As of the low-resolution cube of Paris, which SciPy's arrays of the same sizes would leave open."""
    written_by_matlab(tmp_path / 'x.mat', cube_of((72, 58, 128)))
    assert read_cube(tmp_path / 'x.mat').size_text == '72x58x128 (rows x columns x bands, by the convention of MATLAB)'
    for shape in ((31, 128, 130), (200, 21, 21)):
        written_by_matlab(tmp_path / 'x.mat', cube_of(shape))
        with pytest.raises(FormatError, match='cannot be known from their sizes'):
            read_cube(tmp_path / 'x.mat')


def test_hdf5_without_matlab_class_is_open(tmp_path):
    values = cube_of((40, 56, 31))
    with h5py.File(tmp_path / 'x.mat', 'w') as file:
        file['cube'] = values
    with pytest.raises(FormatError, match='MATLAB_class is missing .*such as bwh for 40x56 pixels with 31 bands'):
        read_cube(tmp_path / 'x.mat')
    np.testing.assert_array_equal(read_cube(tmp_path / 'x.mat', axes='bwh').values, values)
    with h5py.File(tmp_path / 'y.mat', 'w') as file:
        file['pan'] = values[..., 0]
    with pytest.raises(FormatError, match='rows and columns may be exchanged, .* hwb for 56 rows or whb for 40'):
        read_cube(tmp_path / 'y.mat', is_guide=True)
    np.testing.assert_array_equal(
        read_cube(tmp_path / 'y.mat', is_guide=True, axes='whb').values[..., 0], values[..., 0]
    )


@pytest.mark.parametrize(
    ('shape', 'options', 'expected'),
    [
        ((31, 40, 56), {}, 'bhw'),
        ((40, 56, 31), {}, None),
        ((31, 40, 56), {'imagej': True}, 'bhw'),
        ((40, 56, 31), {'imagej': True, 'metadata': {'axes': 'ZYX'}}, 'bhw'),
        ((40, 56, 31), {'metadata': {'axes': 'YXC'}}, 'hwb'),
        ((40, 56, 31), {'metadata': {'axes': 'CYX'}}, 'bhw'),
    ],
)
def test_pages_of_tifffile(tmp_path, shape, options, expected):
    values = cube_of(shape)
    tifffile.imwrite(tmp_path / 'x.tif', values, photometric='minisblack', **options)
    if expected is None:
        with pytest.raises(FormatError, match='cannot be known .*hwb for 40x56 pixels with 31 bands'):
            read_cube(tmp_path / 'x.tif')
        expected = 'hwb'
        cube = read_cube(tmp_path / 'x.tif', axes='hwb')
    else:
        cube = read_cube(tmp_path / 'x.tif')
    np.testing.assert_array_equal(cube.values, values.transpose([expected.index(letter) for letter in 'hwb']))
