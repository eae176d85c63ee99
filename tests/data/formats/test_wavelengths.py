"""Units of band centres: every one that ENVI knows, through every format that names one."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import rasterio
import scipy.constants
import scipy.io
import spectral.io.envi

from mulsr_plugin.api import _as_cube
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import FormatError, read_cube, write_cube
from mulsr_plugin.data.spectral_response import load_spectral_response

NM = np.array([400.0, 450.0, 500.0, 550.0, 1650.0])
CUBE = np.random.default_rng(0).integers(1, 255, (7, 6, 5)).astype(np.uint8)
LIGHT = scipy.constants.c
# by ENVI's list, in the words of its header
UNITS = {
    'Micrometers': NM / 1e3,
    'um': NM / 1e3,
    'Nanometers': NM,
    'nm': NM,
    'Angstroms': NM * 10,
    'Millimeters': NM / 1e6,
    'mm': NM / 1e6,
    'Centimeters': NM / 1e7,
    'Meters': NM / 1e9,
    'm': NM / 1e9,
    'Wavenumber': 1e7 / NM,
    'GHz': LIGHT / (NM * 1e-9) / 1e9,
    'MHz': LIGHT / (NM * 1e-9) / 1e6,
}


def save_envi(path, waves, unit):
    fields = {'wavelength': [repr(float(wave)) for wave in waves]}
    if unit:
        fields['wavelength units'] = unit
    spectral.io.envi.save_image(str(path), CUBE, metadata=fields, force=True)
    return path


def save_tiff(path, waves, unit):
    with rasterio.open(path, 'w', driver='GTiff', height=7, width=6, count=5, dtype='uint8') as file:
        file.write(CUBE.transpose(2, 0, 1))
        for band, wave in enumerate(waves, 1):
            file.update_tags(band, wavelength=repr(float(wave)), wavelength_units=unit)
    return path


@pytest.mark.parametrize('falling', [False, True])
@pytest.mark.parametrize('unit', UNITS)
def test_units_of_envi_and_tiff_are_converted(tmp_path, unit, falling):
    step = -1 if falling else 1
    for path in (
        save_envi(tmp_path / 'x.hdr', UNITS[unit][::step], unit),
        save_tiff(tmp_path / 'x.tif', UNITS[unit][::step], unit),
    ):
        cube = read_cube(path)
        np.testing.assert_allclose(cube.wavelengths, NM[::step], rtol=1e-9)
        np.testing.assert_array_equal(cube.values, CUBE)
        assert any('wavelengths converted from' in note for note in cube.notes) == (unit not in ('Nanometers', 'nm'))


@pytest.mark.parametrize(
    ('waves', 'unit'), [(NM, 'Index'), (range(1, 6), 'Unknown'), (range(5), ''), (range(5, 0, -1), '')]
)
def test_numbers_of_bands_are_no_wavelengths(tmp_path, waves, unit):
    cube = read_cube(save_envi(tmp_path / 'x.hdr', waves, unit))
    assert cube.wavelengths is None
    assert 'its wavelengths only number the bands and are taken as unknown' in cube.notes


@pytest.mark.parametrize(
    ('waves', 'unit', 'message'),
    [
        (NM, 'furlongs', "'furlongs', expected one of nanometres"),
        (NM * 10, '', r'are 4000 to 16500, in a unit that is not named and cannot be seen'),
        (1e7 / NM, 'Unknown', 'in a unit that is not named'),
        (NM / 1e9, '', 'in a unit that is not named'),
        (NM / 10, '', 'in a unit that is not named'),
        (NM / 1000, 'Nanometers', 'no optical instrument has: the unit is wrong'),
        (NM, 'Micrometers', 'no optical instrument has'),
        (NM, 'Millimeters', 'no optical instrument has'),
        ([400, 450, 500, 550, -1], 'nm', 'not all positive'),
    ],
)
def test_what_cannot_be_known_is_asked_for(tmp_path, waves, unit, message):
    path = save_envi(tmp_path / 'x.hdr', waves, unit)
    with pytest.raises(FormatError, match=message):
        read_cube(path)
    assert read_cube(path, wavelengths=NM / 1000).wavelengths == tuple(NM)


def test_numbers_of_users_are_nanometres_or_micrometres(tmp_path):
    np.save(tmp_path / 'x.npy', CUBE)
    for given in ((8e3, 9e3, 10e3, 11e3, 12e3), (8, 9, 10, 11, 12)):
        assert read_cube(tmp_path / 'x.npy', wavelengths=given).wavelengths == (8e3, 9e3, 10e3, 11e3, 12e3)
    with pytest.raises(FormatError, match='wavelengths given only number the bands'):
        read_cube(tmp_path / 'x.npy', wavelengths=(1, 2, 3, 4, 5))
    with pytest.raises(FormatError, match='in a unit that cannot be seen'):
        read_cube(tmp_path / 'x.npy', wavelengths=(0.4, 0.5, 0.6, 0.7, 800))


@pytest.mark.parametrize('name', ['x.npz', 'x.mat', 'x.tif', 'x.hdr', 'folder'])
@pytest.mark.parametrize(
    'waves', [(12e3, 11e3, 10e3, 9e3, 8e3), (150.0, 5.5e4, 5.6e4, 5.7e4, 9.9e5), (700.0, 600.0, 500.0, 401.5, 400.0)]
)
def test_every_writer_and_reader_agree_on_wavelengths(tmp_path, name, waves):
    write_cube(tmp_path / name, Cube(CUBE, 1 / 255, waves))
    assert read_cube(tmp_path / name).wavelengths == waves


def test_arrays_of_the_python_interface_keep_thermal_bands():
    cube = Cube(CUBE, 1 / 255, (12e3, 11e3, 10e3, 9e3, 8e3))
    assert _as_cube('cube', cube, value_scale=None, wavelengths=None).wavelengths == cube.wavelengths


NAMED = {'wavelengths': NM, 'Wavelength': NM / 1000, 'WL': NM, 'lambda': NM / 1000, 'Wavelength_nm': NM, 'bands': NM}


def save_npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def save_v5(path, **arrays):
    scipy.io.savemat(path, arrays)
    return path


def save_v73(path, **arrays):
    with h5py.File(path, 'w', userblock_size=512) as file:
        for name, values in arrays.items():
            file[name] = np.atleast_2d(values).T
            file[name].attrs['MATLAB_class'] = np.bytes_(
                {'float64': 'double', 'int64': 'int64'}.get(values.dtype.name, 'uint8')
            )
    return path


SAVERS = pytest.mark.parametrize('save', [save_npz, save_v5, save_v73])
SUFFIX = {save_npz: 'x.npz', save_v5: 'x.mat', save_v73: 'y.mat'}


@SAVERS
@pytest.mark.parametrize('name', NAMED)
def test_variables_named_as_people_name_them(tmp_path, save, name):
    cube = read_cube(save(tmp_path / SUFFIX[save], cube=CUBE, **{name: NAMED[name]}))
    np.testing.assert_allclose(cube.wavelengths, NM, rtol=1e-12)


@SAVERS
@pytest.mark.parametrize('bands', [np.arange(1, 6), np.array([5]), np.arange(10, 60, 10), NM[:3], NM * 10])
def test_bands_that_are_no_wavelengths_are_not_used(tmp_path, save, bands):
    cube = read_cube(save(tmp_path / SUFFIX[save], cube=CUBE, bands=bands))
    assert cube.wavelengths is None
    assert any('bands does not hold a wavelength' in note for note in cube.notes) == (bands.size > 1)


@SAVERS
def test_names_of_ntire_and_icvl(tmp_path, save):
    """NTIRE and ARAD: cube, bands, norm_factor; ICVL: rad, rgb, bands, of which the cube is named."""
    ntire = save(tmp_path / SUFFIX[save], cube=CUBE / 255, bands=NM, norm_factor=np.array([3.5]))
    assert read_cube(ntire).wavelengths == tuple(NM)
    icvl = save(tmp_path / f'2{SUFFIX[save]}', rad=CUBE, rgb=CUBE[..., :3], bands=NM)
    assert read_cube(icvl, 'rad').wavelengths == tuple(NM)


@SAVERS
def test_a_variable_of_wavelengths_can_be_named(tmp_path, save):
    path = save(tmp_path / SUFFIX[save], cube=CUBE, nominal=NM - 1, wavelengths=NM)
    assert read_cube(path, wavelengths_key='nominal').wavelengths == tuple(NM - 1)
    with pytest.raises(FormatError, match='no vector absent of wavelengths; it has nominal, wavelengths'):
        read_cube(path, wavelengths_key='absent')


def test_formats_without_variables_refuse_one(tmp_path):
    np.save(tmp_path / 'x.npy', CUBE)
    with pytest.raises(FormatError, match='has no variables that wavelengths_key'):
        read_cube(tmp_path / 'x.npy', wavelengths_key='wl')


def test_bands_in_several_units_are_refused(tmp_path):
    path = save_tiff(tmp_path / 'x.tif', NM, 'Nanometers')
    with rasterio.open(path, 'r+') as file:
        file.update_tags(3, wavelength='0.5', wavelength_units='Micrometers')
    with pytest.raises(FormatError, match=r'in several units \(Micrometers, Nanometers\)'):
        read_cube(path)


def test_responses_may_lie_in_structs(tmp_path):
    response = np.array([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0]])
    save_v5(tmp_path / 'v5.mat', camera={'R': response})
    with h5py.File(tmp_path / 'v73.mat', 'w') as file:
        file['camera/R'] = response.T
    for name in ('v5.mat', 'v73.mat'):
        np.testing.assert_allclose(load_spectral_response(f'{tmp_path / name}:camera.R', 3), response, rtol=1e-6)
    with pytest.raises(ValueError, match=r"'camera\.Q' is not one of them"):
        load_spectral_response(f'{tmp_path / "v5.mat"}:camera.Q', 3)
