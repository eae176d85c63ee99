"""HDF5 and NetCDF-4: miniatures with the layout that PRISMA's and EMIT's documentation has, and plain files."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
import rasterio

from mulsr_plugin.data.formats import FormatError, cube_files, read_cube

RNG = np.random.default_rng(0)
SHAPE = (7, 5, 4)
FLOATS = RNG.random(SHAPE).astype(np.float32)
NM = np.array([381.0, 388.4, 395.8, 403.2])


def add_dimensions(file, dataset, names):
    """Name axes as the NetCDF library does: one scale each, attached."""
    for axis, name in enumerate(names):
        if name not in file:
            file[name] = np.zeros(dataset.shape[axis], 'f4')
            file[name].make_scale(f'This is a netCDF dimension but not a netCDF variable. {dataset.shape[axis]:10d}')
        dataset.dims[axis].attach_scale(file[name])


def emit(path, name='reflectance', values=FLOATS, good=(1, 0, 1, 1)):
    with h5py.File(path, 'w') as file:
        file[name] = values
        file[name].attrs['_FillValue'] = np.array([-9999], 'f4')
        add_dimensions(file, file[name], ('downtrack', 'crosstrack', 'bands'))
        group = file.create_group('sensor_band_parameters')
        group['wavelengths'], group['fwhm'] = NM.astype('f4'), np.full(4, 8.4, 'f4')
        group['wavelengths'].attrs['units'] = 'nm'
        if good is not None:
            group['good_wavelengths'] = np.array(good, 'u1')
        for each in ('lon', 'lat', 'elev'):
            file[f'location/{each}'] = RNG.random((7, 5))
        file['location/glt_x'] = file['location/glt_y'] = np.zeros((9, 8), 'i4')
    return path


def test_emit(tmp_path):
    values = FLOATS.copy()
    values[2, 1] = -9999
    path = emit(tmp_path / 'EMIT_L2A_RFL.nc', values=values)
    with pytest.raises(FormatError, match=r'has 4 NaN, infinite or no-data \(-9999\) values'):
        read_cube(path)
    cube = read_cube(path, fill=0)
    expected = np.where(values == -9999, 0, values)
    np.testing.assert_array_equal(cube.values, expected)
    np.testing.assert_allclose(cube.wavelengths, NM, rtol=1e-6)
    assert (cube.bad_bands, cube.geo) == ((1,), None)
    assert 'in the geometry of the sensor: its table of ground positions is not applied' in cube.notes
    assert read_cube(path, fill=0, drop_bad_bands=True).values.shape == (7, 5, 3)
    radiance = read_cube(emit(tmp_path / 'EMIT_L1B_RAD.nc', 'radiance', FLOATS * 20, None), value_scale='max')
    np.testing.assert_array_equal(radiance.values, FLOATS * 20)
    assert not radiance.bad_bands


VNIR, SWIR = (0, 950.0, 700.0, 450.0), (2400.0, 1500.0, 940.0, 0)
SCALES = {'Vnir': (0.0, 0.8), 'Swir': (0.05, 0.6), 'Pan': (0.0, 1.0)}


def prisma(path, level='L2D', corners='edges', rising=False, dn=None):
    """Write the arrays and attributes of a product of 6 lines and 5 samples."""
    dn = {name: RNG.integers(1, 65536, (6, 4, 5), np.uint16) for name in ('VNIR', 'SWIR')} if dn is None else dn
    pan = RNG.integers(1, 65536, (36, 30), np.uint16)
    with h5py.File(path, 'w') as file:
        for name, centres in (('Vnir', VNIR), ('Swir', SWIR)):
            file.attrs[f'List_Cw_{name}'] = np.array(centres, 'f4')
            file.attrs[f'List_Cw_{name}_Flags'] = (np.array(centres) > 0).astype('u1')
        for name, (low, high) in SCALES.items():
            file.attrs[f'L2Scale{name}Min'], file.attrs[f'L2Scale{name}Max'] = np.float32(low), np.float32(high)
            file.attrs[f'ScaleFactor_{name}'], file.attrs[f'Offset_{name}'] = np.float32(100), np.float32(0)
        half = 15.0 if corners == 'centres' else 0.0
        file.attrs['Epsg_Code'] = np.uint32(32633)
        file.attrs['Product_ULcorner_easting'], file.attrs['Product_ULcorner_northing'] = 5e5 + half, 4.6e6 - half
        file.attrs['Product_LRcorner_easting'] = 5e5 + 150 - half + (60 if corners == 'odd' else 0)
        file.attrs['Product_LRcorner_northing'] = 4.6e6 - 180 + half
        fields = file.create_group(f'HDFEOS/SWATHS/PRS_{level}_HCO/Data Fields')
        for name, values in dn.items():
            fields[f'{name}_Cube'] = values
            fields[f'{name}_PIXEL_{"SAT" if level == "L1" else "L2"}_ERR_MATRIX'] = np.eye(6, 20, dtype='u1').reshape(
                6, 4, 5
            )
        latitudes = np.linspace(41.5, 41.4, 6)[:: -1 if rising else 1, None] + np.zeros(5)
        file[f'HDFEOS/SWATHS/PRS_{level}_HCO/Geolocation Fields/Latitude'] = latitudes
        file[f'HDFEOS/SWATHS/PRS_{level}_PCO/Data Fields/Cube'] = pan
        file[f'HDFEOS/SWATHS/PRS_{level}_PCO/Geolocation Fields/Latitude'] = np.linspace(41.5, 41.4, 36)[
            :, None
        ] + np.zeros(30)
    return path, dn, pan


def reflectance(dn, name):
    low, high = SCALES[name]
    return low + dn.astype(np.float64) * (high - low) / 65535


def test_prisma_reflectances_of_both_detectors_by_wavelength(tmp_path):
    path, dn, pan = prisma(tmp_path / 'PRS_L2D.he5')
    cube = read_cube(path)
    assert cube.wavelengths == (450.0, 700.0, 940.0, 950.0, 1500.0, 2400.0)
    expected = [('VNIR', 3), ('VNIR', 2), ('SWIR', 2), ('VNIR', 1), ('SWIR', 1), ('SWIR', 0)]
    for band, (name, stored) in enumerate(expected):
        np.testing.assert_allclose(cube.values[..., band], reflectance(dn[name][:, stored], name.title()), atol=1e-6)
    assert cube.geo.transform == (30, 0, 5e5, 0, -30, 4.6e6)
    assert rasterio.crs.CRS.from_wkt(cube.geo.crs).to_epsg() == 32633
    assert '12 values that the product flags as faulty are kept' in cube.notes
    assert read_cube(path, key='SWIR_Cube').wavelengths == (940.0, 1500.0, 2400.0)
    guide = read_cube(path, is_guide=True)
    np.testing.assert_allclose(guide.values[..., 0], reflectance(pan, 'Pan'), atol=1e-6)
    assert guide.geo.transform == (5, 0, 5e5, 0, -5, 4.6e6)


def test_prisma_outside_of_the_swath_is_no_data(tmp_path):
    dn = {name: RNG.integers(1, 65536, (6, 4, 5), np.uint16) for name in ('VNIR', 'SWIR')}
    for values in dn.values():
        values[0, :, :2] = 0
    dn['VNIR'][3, 1, 3] = 0  # dark in one band
    path = prisma(tmp_path / 'p.he5', dn=dn)[0]
    with pytest.raises(FormatError, match='has 12 NaN, infinite or no-data values'):
        read_cube(path)
    cube = read_cube(path, fill=0.5)
    assert (cube.values[0, :2] == 0.5).all()
    assert cube.values[3, 3, 3] == 0


@pytest.mark.parametrize(('corners', 'rising'), [('centres', False), ('odd', False), ('edges', True)])
def test_prisma_is_georeferenced_where_its_corners_agree(tmp_path, corners, rising):
    cube = read_cube(prisma(tmp_path / 'p.he5', corners=corners, rising=rising)[0])
    if corners == 'centres':
        assert cube.geo.transform == (30, 0, 5e5, 0, -30, 4.6e6)
    else:
        assert cube.geo is None
        assert any('georeference left out' in note for note in cube.notes)


def test_prisma_radiances_need_a_scale(tmp_path):
    path, dn, _ = prisma(tmp_path / 'PRS_L1.he5', 'L1')
    with pytest.raises(FormatError, match='give the factor'):
        read_cube(path)
    cube = read_cube(path, value_scale=1 / 700)
    np.testing.assert_allclose(cube.values[..., 0], dn['VNIR'][:, 3] / 100, rtol=1e-6)
    with h5py.File(path, 'r+') as file:
        file.attrs['Offset_Swir'] = 2.0
    with pytest.raises(FormatError, match='has Offset_Swir 2'):
        read_cube(path, value_scale=1 / 700)


def plain(path, values, dims=(), attrs=None, **others):
    with h5py.File(path, 'w') as file:
        file['cube'] = values
        file['cube'].attrs.update(attrs or {})
        add_dimensions(file, file['cube'], dims)
        for name, other in others.items():
            file[name.replace('__', '/')] = other
    return path


@pytest.mark.parametrize('suffix', ['.h5', '.hdf5', '.HE5', '.nc'])
@pytest.mark.parametrize(
    ('dims', 'axes'), [('y x band', 'hwb'), ('wavelength lat lon', 'bhw'), ('line bands sample', 'hbw')]
)
def test_axes_by_the_names_of_dimensions(tmp_path, suffix, dims, axes):
    stored = FLOATS.transpose(['hwb'.index(letter) for letter in axes])
    cube = read_cube(plain(tmp_path / f'x{suffix}', stored, dims.split()))
    np.testing.assert_array_equal(cube.values, FLOATS)


def test_axes_without_names_are_asked_for(tmp_path):
    path = plain(tmp_path / 'x.h5', FLOATS, wl=NM)
    with pytest.raises(FormatError, match=r'cube is 7x5x4 with axes without names.*--axes'):
        read_cube(path)
    cube = read_cube(path, axes='hwb')
    np.testing.assert_array_equal(cube.values, FLOATS)
    assert cube.wavelengths == tuple(NM)
    with pytest.raises(FormatError, match='with axes called a, b, c'):
        read_cube(plain(tmp_path / 'y.h5', FLOATS, 'abc'))


def test_packed_values_are_scaled_after_gaps_are_found(tmp_path):
    packed = RNG.integers(0, 10000, SHAPE).astype(np.int16)
    packed[0, 0] = -9999
    packed[1, 1, 1], packed[1, 1, 2] = 12000, -5
    attrs = {
        '_FillValue': np.int16(-9999),
        'scale_factor': 1e-4,
        'add_offset': -0.1,
        'valid_range': np.int16([0, 11000]),
    }
    path = plain(tmp_path / 'x.nc', packed, ('y', 'x', 'band'), attrs)
    with pytest.raises(FormatError, match='has 6 NaN'):
        read_cube(path, clip=True)
    cube = read_cube(path, clip=True, fill=0)
    gaps = (packed < 0) | (packed > 11000)
    np.testing.assert_allclose(cube.values, np.where(gaps, 0, np.clip(packed * 1e-4 - 0.1, 0, 1)), atol=1e-6)
    simple = plain(tmp_path / 'y.nc', packed.clip(0), ('y', 'x', 'band'), {'scale_factor': 1 / 12000})
    assert (read_cube(simple).scale, read_cube(simple).values.dtype) == (1 / 12000, np.int16)
    signed = plain(tmp_path / 'z.nc', np.full(SHAPE, -1, np.int8), ('y', 'x', 'band'), {'_Unsigned': 'true'})
    assert read_cube(signed).values.dtype == np.uint8


def test_arrays_and_wavelengths_are_named(tmp_path):
    path = plain(
        tmp_path / 'x.h5', FLOATS, ('y', 'x', 'band'), a__wavelengths=NM, b__wavelengths=NM + 1, b__cube2=FLOATS / 2
    )
    with pytest.raises(
        FormatError, match=r'several 3-D arrays, name one with --key; it holds b/cube2 7x5x4, cube 7x5x4'
    ):
        read_cube(path)
    with pytest.raises(FormatError, match=r'several wavelengths, a/wavelengths, b/wavelengths; name one with'):
        read_cube(path, 'cube')
    for name in ('b/wavelengths', '/b/wavelengths'):
        assert read_cube(path, 'cube', wavelengths_key=name).wavelengths == tuple(NM + 1)
    np.testing.assert_array_equal(
        read_cube(path, 'cube2', axes='hwb', wavelengths_key='a/wavelengths').values, FLOATS / 2
    )
    with pytest.raises(FormatError, match='has no 3-D array absent'):
        read_cube(path, 'absent')


def test_what_is_no_such_file_is_refused(tmp_path, monkeypatch):
    (tmp_path / 'x.nc').write_bytes(b'CDF\x01' + bytes(60))
    with pytest.raises(FormatError, match='a classic NetCDF file .nccopy'):
        read_cube(tmp_path / 'x.nc')
    data = emit(tmp_path / 'y.nc').read_bytes()
    for length in (0, 10, 600, len(data) // 2, len(data) - 40):
        (tmp_path / 'z.nc').write_bytes(data[:length])
        with pytest.raises(FormatError, match=r'z\.nc'):
            read_cube(tmp_path / 'z.nc')
    with h5py.File(tmp_path / 'v.h5', 'w') as file:
        file.create_dataset('cube', SHAPE, 'f4', external=[(str(tmp_path / 'y.nc'), 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(FormatError, match='lie in other files'):
        read_cube(tmp_path / 'v.h5', axes='hwb')
    assert [path.name for path in cube_files(tmp_path)] == ['v.h5', 'x.nc', 'y.nc', 'z.nc']
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(ImportError, match='HDF5 or NetCDF file, which needs h5py'):
        read_cube(tmp_path / 'y.nc')
