"""The .mat reader, both formats."""

from __future__ import annotations

import contextlib
import sys

import h5py
import numpy as np
import pytest
import scipy.io

from mulsr_plugin.data.formats import read_cube

CUBE = np.random.default_rng(0).integers(0, 65536, (6, 5, 4)).astype(np.uint16)
CLASS = {'float64': 'double', 'float32': 'single'}  # MATLAB's names of types
FLOATS = CUBE / 65536
MATLAB_CLASSES = {'float64': 'double', 'float32': 'single', 'bool': 'logical'}


def save_v5(path, **variables):
    scipy.io.savemat(path, variables, appendmat=False)
    return path


def save_v73(path, **variables):
    """Write as MATLAB does: axes in reverse, the class as an attribute, a 512-byte header in front."""
    with h5py.File(path, 'w', userblock_size=512) as file:
        for name, values in variables.items():
            dataset = file.create_dataset(name, data=np.ascontiguousarray(values.T))
            kind = {'float64': 'double', 'float32': 'single', 'bool': 'logical'}.get(
                values.dtype.name, values.dtype.name
            )
            dataset.attrs['MATLAB_class'] = np.bytes_(kind)
    with open(path, 'r+b') as file:
        file.write(b'MATLAB 7.3 MAT-file'.ljust(128))
    return path


SAVERS = pytest.mark.parametrize('save', [save_v5, save_v73])


@SAVERS
def test_only_cube_is_found_with_its_axes(tmp_path, save):
    cube = read_cube(save(tmp_path / 'scene.MAT', mask=np.ones((6, 5)), hsi=CUBE))
    np.testing.assert_array_equal(cube.values, CUBE)
    assert (cube.values.dtype, cube.scale, cube.wavelengths) == (np.uint16, 1 / 65535, None)


@SAVERS
def test_scale_by_class_or_as_given(tmp_path, save):
    assert read_cube(save(tmp_path / 'f.mat', x=FLOATS)).scale == 1
    assert read_cube(save(tmp_path / 's.mat', x=FLOATS.astype(np.float32))).values.dtype == np.float32
    assert read_cube(save(tmp_path / 'b.mat', x=(CUBE >> 4).astype(np.uint8))).scale == 1 / 255
    assert read_cube(save(tmp_path / 'i.mat', x=(CUBE >> 1).astype(np.int16))).scale == 1 / 32767
    assert read_cube(save(tmp_path / 'g.mat', x=CUBE), value_scale=1 / 65535).scale == 1 / 65535
    with pytest.raises(ValueError, match=r'g\.mat, band 1: values times scale 0.001 run from'):
        read_cube(tmp_path / 'g.mat', value_scale=1 / 1000)


@SAVERS
def test_doubles_beyond_1_need_a_scale(tmp_path, save):
    path = save(tmp_path / 'd.mat', x=CUBE.astype(np.float64))
    message = rf'd\.mat holds double values from {CUBE.min():.6g} to {CUBE.max():.6g}; give .* as value scale'
    with pytest.raises(ValueError, match=message):
        read_cube(path)
    np.testing.assert_array_equal(read_cube(path, value_scale=1 / 65535).values, CUBE)


@SAVERS
def test_variable_is_named_where_there_are_several(tmp_path, save):
    path = save(tmp_path / 'two.mat', hs=CUBE, ms=CUBE[..., :3])
    with pytest.raises(ValueError, match=r'several 3-D arrays, name one with --key; .* ms 6x5x3 uint16'):
        read_cube(path)
    assert read_cube(path, 'ms').values.shape == (6, 5, 3)
    with pytest.raises(ValueError, match=r'has no variable hsi; it holds hs 6x5x4 uint16, ms'):
        read_cube(path, 'hsi')


@SAVERS
@pytest.mark.parametrize('values', [np.ones((6, 5)), np.ones((6, 5, 4)) > 0, np.ones((2, 3, 4, 5))])
def test_what_is_no_cube_is_refused(tmp_path, save, values):
    path = save(tmp_path / 'x.mat', x=values)
    with pytest.raises(ValueError, match='holds no 3-D array of real numbers; it holds x '):
        read_cube(path)
    with pytest.raises(ValueError, match='x is not a 3-D array of real numbers'):
        read_cube(path, 'x')


def test_complex_values_are_refused(tmp_path):
    with pytest.raises(ValueError, match='x is complex'):
        read_cube(save_v5(tmp_path / 'x.mat', x=FLOATS + 1j))
    with h5py.File(tmp_path / 'y.mat', 'w') as file:
        file['y'] = np.zeros((4, 5, 6), [('real', 'f8'), ('imag', 'f8')])
    with pytest.raises(ValueError, match='it holds y 6x5x4 complex'):
        read_cube(tmp_path / 'y.mat')


def test_cells_and_structs_are_refused(tmp_path):
    cells = np.empty((2, 2, 2), object)
    cells[:] = 1.0
    path = save_v5(tmp_path / 'x.mat', cells=cells, struct={'cube': FLOATS})
    with pytest.raises(ValueError, match='holds no 3-D array .* cells 2x2x2 cell, struct 1x1 struct'):
        read_cube(path)
    with h5py.File(tmp_path / 'y.mat', 'w') as file:
        file['scene/cube'] = FLOATS
        file['#refs#/a'] = FLOATS
    with pytest.raises(
        ValueError, match=r'with --key, such as scene\.cube; it holds scene 1x1 struct, scene\.cube 4x5x6 double\.'
    ):
        read_cube(tmp_path / 'y.mat')


MUUFL = {
    'Data': FLOATS,
    'RGB': FLOATS[..., :3],
    'info': {'wavelength': np.array([0.4, 0.5, 0.6, 0.7]), 'name': 'flight'},
}


def save_struct_v73(path, **variables):
    """Write structs as MATLAB does: as groups, columns first."""
    with h5py.File(path, 'w', userblock_size=512) as file:

        def write(group, fields):
            for name, value in fields.items():
                if isinstance(value, dict):
                    write(group.create_group(name), value)
                elif not isinstance(value, str):
                    group[name] = np.atleast_2d(value).T
                    kind = np.asarray(value).dtype.name
                    group[name].attrs['MATLAB_class'] = np.bytes_(CLASS.get(kind, kind))

        write(file, variables)
    return path


@pytest.mark.parametrize('compress', [False, True])
@pytest.mark.parametrize('save', [save_v5, save_struct_v73])
def test_arrays_in_structs_have_a_way_in(tmp_path, save, compress):
    path = tmp_path / 'muufl.mat'
    if save is save_v5:
        scipy.io.savemat(path, {'hsi': MUUFL, 'other': np.eye(3)}, do_compression=compress)
        independent = scipy.io.loadmat(path)['hsi']['Data'][0, 0]
    else:
        save(path, hsi=MUUFL, other=np.eye(3))
        with h5py.File(path) as file:
            independent = file['hsi/Data'][()].T
    with pytest.raises(
        ValueError, match=r'one in a struct with --key, such as hsi\.Data; it holds .* hsi\.RGB 6x5x3 double'
    ):
        read_cube(path)
    cube = read_cube(path, 'hsi.Data')
    np.testing.assert_array_equal(cube.values, independent)
    np.testing.assert_array_equal(cube.values, FLOATS)
    assert cube.wavelengths == (400.0, 500.0, 600.0, 700.0)
    assert read_cube(path, 'hsi.Data', wavelengths_key='hsi.info.wavelength').wavelengths == cube.wavelengths
    with pytest.raises(ValueError, match=r'no variable hsi\.data; it holds'):
        read_cube(path, 'hsi.data')


@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_classes_in_structs_are_kept(tmp_path, dtype):
    values = (CUBE % 100).astype(dtype)
    read = read_cube(save_v5(tmp_path / 'x.mat', s={'cube': values}), 's.cube', value_scale=0.01)
    np.testing.assert_array_equal(read.values, values)
    assert read.values.dtype == dtype


def test_complex_arrays_and_arrays_of_structs_are_not_listed(tmp_path):
    several = np.array([(FLOATS,), (FLOATS,)], dtype=[('cube', object)])
    path = save_v5(tmp_path / 'x.mat', one={'cube': FLOATS + 1j, 'more': {'deep': FLOATS}}, several=several)
    assert read_cube(path, 'one.more.deep').values.shape == (6, 5, 4)
    for key in ('one.cube', 'several.cube'):
        with pytest.raises(ValueError, match=f'has no variable {key}'):
            read_cube(path, key)


@pytest.mark.parametrize('compress', [False, True])
def test_damaged_structs_are_refused_or_read_as_they_were(tmp_path, compress):
    path = tmp_path / 'x.mat'
    scipy.io.savemat(path, {'hsi': MUUFL}, do_compression=compress)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in [*range(128, 400), *rng.integers(400, len(data), 60)]:
        damaged = bytearray(data)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        with contextlib.suppress(ValueError):
            read_cube(path, 'hsi.Data', clip=True, fill=0)
    for length in rng.integers(130, len(data) - 1, 40):
        path.write_bytes(data[:length])
        with pytest.raises(ValueError, match='x.mat'):
            read_cube(path, 'hsi.Data')


@SAVERS
def test_nan_is_named_with_its_band(tmp_path, save):
    values = FLOATS.copy()
    values[1, 2, 3] = np.nan
    with pytest.raises(ValueError, match=r'x\.mat has 1 NaN, infinite or no-data values, the first in band 4'):
        read_cube(save(tmp_path / 'x.mat', x=values))


@SAVERS
@pytest.mark.parametrize('keep', [0, 100, 0.5, 0.9])
def test_truncated_file_is_named(tmp_path, save, keep):
    path = save(tmp_path / 'x.mat', x=np.random.default_rng(0).random((20, 20, 20)))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if keep < 1 else keep])
    with pytest.raises(ValueError, match=r'x\.mat (cannot be read as a MATLAB file|holds no 3-D array)'):
        read_cube(path)


def test_missing_h5py_is_said(tmp_path, monkeypatch):
    path = save_v73(tmp_path / 'x.mat', x=CUBE)
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(ImportError, match=r"v7\.3 file, which needs h5py: pip install 'mulsr-plugin\[formats\]'"):
        read_cube(path)


def test_real_files(real_data):
    pavia = read_cube(real_data / 'PaviaCrop' / 'pavia.mat')
    assert pavia.values.shape == (100, 100, 102)
    with h5py.File(real_data / 'PaviaCrop' / 'pavia.mat') as file:
        assert all(pavia.values[y, x, b] == file['data'][b, x, y] for y, x, b in [(3, 71, 9), (99, 0, 101), (50, 2, 0)])
    cloth = read_cube(real_data / 'CAVE_mat' / 'testMSI_2.mat', value_scale=1 / 65535)
    assert (cloth.values.shape, cloth.values.dtype, cloth.values.max()) == ((256, 256, 31), np.uint16, 50642)
    assert read_cube(real_data / 'WorldView2' / 'imgWV2.mat', value_scale=1 / 2047).values.shape == (320, 320, 8)
    with pytest.raises(ValueError, match='several 3-D arrays, name one with --key'):
        read_cube(real_data / 'ParisHyperionALI' / 'paris_data_hs_ms.mat')
    paris = read_cube(real_data / 'ParisHyperionALI' / 'paris_data_hs_ms.mat', 'HSim', 1 / 1.3)
    assert paris.values.shape == (72, 72, 128)
