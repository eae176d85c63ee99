"""ENVI and TIFF files that other programs have written: SPy and tifffile."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import rasterio
import spectral.io.envi
import tifffile

from mulsr_plugin.data.formats import FormatError, read_cube

RNG = np.random.default_rng(1)
CUBE = RNG.integers(0, 10001, (9, 7, 4)).astype(np.int16)
MAP_INFO = ['UTM', '1', '1', '500000', '4600000', '30', '30', '33', 'North', 'WGS-84', 'units=Meters']


def save_envi(path, cube=CUBE, interleave='bsq', ext='.img', **metadata):
    fields = {name.replace('_', ' '): value for name, value in metadata.items()}
    spectral.io.envi.save_image(str(path), cube, interleave=interleave, ext=ext, force=True, metadata=fields)
    return path


@pytest.mark.parametrize('interleave', ['bsq', 'bil', 'bip'])
@pytest.mark.parametrize('byteorder', [0, 1])
@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_envi_interleaves_types_and_byte_orders(tmp_path, interleave, byteorder, dtype):
    top = 1 if np.dtype(dtype).kind == 'f' else np.iinfo(dtype).max
    cube = (CUBE / 10000 * top).astype(dtype)
    path = tmp_path / 'x.hdr'
    spectral.io.envi.save_image(str(path), cube, interleave=interleave, byteorder=byteorder)
    found = read_cube(path).values
    np.testing.assert_array_equal(found, cube)
    assert found.dtype == dtype
    np.testing.assert_array_equal(read_cube(tmp_path / 'x.img').values, cube)


@pytest.mark.parametrize('ext', ['', '.dat', '.raw', '.bsq', '.IMG'])
def test_envi_data_file_is_found_beside_its_header(tmp_path, ext):
    save_envi(tmp_path / 'x.hdr', ext=ext)
    for name in ('x.hdr', f'x{ext}'):
        np.testing.assert_array_equal(read_cube(tmp_path / name, value_scale=1e-4).values, CUBE)
    (tmp_path / 'x.hdr').rename(tmp_path / f'x{ext}.hdr')
    np.testing.assert_array_equal(read_cube(tmp_path / f'x{ext}.hdr', value_scale=1e-4).values, CUBE)


def test_envi_header_is_carried_along(tmp_path):
    path = save_envi(
        tmp_path / 'x.hdr',
        wavelength=[0.4, 0.55, 0.65, 0.8505],
        wavelength_units='Micrometers',
        bbl=[1, 0, 1, 1],
        reflectance_scale_factor=10000,
        map_info=MAP_INFO,
    )
    cube = read_cube(path)
    assert cube.wavelengths == (400.0, 550.0, 650.0, 850.5)
    assert (cube.scale, cube.bad_bands) == (1 / 10000, (1,))
    assert cube.geo.transform == (30, 0, 500000, 0, -30, 4600000)
    assert rasterio.crs.CRS.from_wkt(cube.geo.crs).to_dict()['zone'] == 33
    assert cube.notes == (
        'wavelengths converted from micrometres to nanometres',
        'scale 0.0001 as the file says',
    )
    dropped = read_cube(path, drop_bad_bands=True)
    np.testing.assert_array_equal(dropped.values, CUBE[..., [0, 2, 3]])
    assert (dropped.wavelengths, dropped.bad_bands) == ((400.0, 650.0, 850.5), ())
    assert '1 bands that the file marks as bad are left out' in dropped.notes
    save_envi(path, bbl=[0, 0, 0, 0])
    with pytest.raises(FormatError, match='marks all of its 4 bands as bad'):
        read_cube(path, drop_bad_bands=True)


@pytest.mark.parametrize(
    ('unit', 'waves', 'expected'),
    [
        ('Nanometers', [400, 500, 600, 700], (400, 500, 600, 700)),
        ('um', [0.4, 0.5, 0.6, 0.7], (400, 500, 600, 700)),
        ('Unknown', [0.4, 0.5, 0.6, 0.7], (400, 500, 600, 700)),
        ('', [2000, 2100, 2200, 2300], (2000, 2100, 2200, 2300)),
        ('Micrometers', [8.2, 9, 10, 11.3], (8200, 9000, 10000, 11300)),
    ],
)
def test_units_of_wavelengths(tmp_path, unit, waves, expected):
    path = save_envi(tmp_path / 'x.hdr', wavelength=waves, wavelength_units=unit, reflectance_scale_factor=10000)
    assert read_cube(path).wavelengths == expected


def test_no_data_is_refused_or_filled(tmp_path):
    values = CUBE.copy()
    values[2, 3, 1:] = -9999
    path = save_envi(tmp_path / 'x.hdr', values, data_ignore_value=-9999, reflectance_scale_factor=10000)
    with pytest.raises(
        FormatError, match=r'has 3 NaN, infinite or no-data \(-9999\) values, the first in band 2; .*fill'
    ):
        read_cube(path)
    cube = read_cube(path, fill=0)
    np.testing.assert_array_equal(cube.values, np.where(values == -9999, 0, values))
    assert any('3 NaN, infinite or no-data (-9999) values are set to 0' in note for note in cube.notes)


def test_what_bad_bands_hold_does_not_matter_once_they_are_dropped(tmp_path):
    values = CUBE / 10000
    values[..., 1] = np.nan
    values[..., 3] = -50
    path = save_envi(tmp_path / 'x.hdr', values, bbl=[1, 0, 1, 0])
    with pytest.raises(FormatError, match='63 NaN'):
        read_cube(path)
    np.testing.assert_array_equal(read_cube(path, drop_bad_bands=True).values, values[..., [0, 2]])


def test_header_that_declares_more_than_the_data_is_refused(tmp_path):
    path = save_envi(tmp_path / 'x.hdr')
    data = (tmp_path / 'x.img').read_bytes()
    (tmp_path / 'x.img').write_bytes(data[:-1])
    with pytest.raises(
        FormatError, match=r'declares 9x7 pixels with 4 bands of int16, 504 bytes, but x\.img holds 503'
    ):
        read_cube(path)
    (tmp_path / 'x.img').write_bytes(data)
    text = path.read_text()
    path.write_text(text.replace('lines = 9', 'lines = 1000000000'))
    with pytest.raises(FormatError, match=r'x\.(hdr|img) (declares 1000000000x7|cannot be read as ENVI)'):
        read_cube(path)
    path.write_text(text.replace('bands = 4', 'bands = 0'))
    with pytest.raises(FormatError, match=r'x\.(hdr|img) (declares no band|cannot be read as ENVI)'):
        read_cube(path)
    path.write_text('ENVI\n')
    with pytest.raises(FormatError, match='cannot be read as ENVI'):
        read_cube(path)


def test_half_of_an_envi_image_is_missing(tmp_path):
    path = save_envi(tmp_path / 'x.hdr')
    (tmp_path / 'x.img').rename(tmp_path / 'y.img')
    with pytest.raises(FileNotFoundError, match='no data file beside the ENVI header'):
        read_cube(path)
    with pytest.raises(FileNotFoundError, match='no ENVI header beside'):
        read_cube(tmp_path / 'y.img')


def test_complex_envi_is_refused(tmp_path):
    path = save_envi(tmp_path / 'x.hdr', (CUBE / 10000).astype(np.complex64))
    with pytest.raises(FormatError, match=r'holds complex values \(complex64\)'):
        read_cube(path)


@pytest.mark.parametrize('compression', [None, 'zlib'])
@pytest.mark.parametrize('layout', ['planes', 'pixels', 'pages', 'tiles'])
def test_tiff_layouts(tmp_path, layout, compression):
    cube = RNG.integers(0, 65536, (40, 33, 120)).astype(np.uint16)
    planes = np.moveaxis(cube, 2, 0)
    path = tmp_path / 'x.tif'
    kwargs = {'photometric': 'minisblack', 'compression': compression}
    if layout == 'planes':
        tifffile.imwrite(path, planes, planarconfig='separate', **kwargs)
    elif layout == 'pixels':
        tifffile.imwrite(path, cube, planarconfig='contig', **kwargs)
    elif layout == 'tiles':
        tifffile.imwrite(path, cube, planarconfig='contig', tile=(16, 16), **kwargs)
    else:
        with tifffile.TiffWriter(path) as file:
            for plane in planes:
                file.write(plane, contiguous=False, **kwargs)
    found = read_cube(path)
    np.testing.assert_array_equal(found.values, cube)
    assert (found.scale, found.geo) == (1 / 65535, None)


def test_pages_that_are_rows_or_differ(tmp_path):
    """tifffile writes an array (rows, columns, bands) as one page a row unless it is told otherwise."""
    cube = RNG.integers(0, 65536, (70, 64, 5)).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'x.tif', cube, photometric='minisblack', compression='zlib')
    with pytest.raises(
        FormatError, match=r'shape \(70, 64, 5\), .* cannot be known .* or hwb for 70x64 pixels with 5 bands'
    ):
        read_cube(tmp_path / 'x.tif')
    np.testing.assert_array_equal(read_cube(tmp_path / 'x.tif', axes='hwb').values, cube)
    with tifffile.TiffWriter(tmp_path / 'y.tif') as file:
        file.write(cube[..., 0], contiguous=False)
        file.write(cube[:9, :, 0], contiguous=False)
    with pytest.raises(FormatError, match='pages of different size or type'):
        read_cube(tmp_path / 'y.tif')


def test_geotiff_scale_offset_wavelengths_and_place(tmp_path):
    profile = {'driver': 'GTiff', 'height': 9, 'width': 7, 'count': 4, 'dtype': 'int16', 'nodata': -1}
    with rasterio.open(
        tmp_path / 'x.tif', 'w', crs='EPSG:32633', transform=rasterio.Affine(2, 0, 10, 0, -2, 50), **profile
    ) as image:
        image.write(np.moveaxis(CUBE, 2, 0))
        image.scales = [1e-4] * 4
        for band, wave in enumerate([0.48, 0.56, 0.66, 0.83], 1):
            image.update_tags(band, ns='IMAGERY', CENTRAL_WAVELENGTH_UM=str(wave))
    cube = read_cube(tmp_path / 'x.tif')
    assert (cube.scale, cube.wavelengths) == (1e-4, (480, 560, 660, 830))
    assert cube.geo.transform == (2, 0, 10, 0, -2, 50)
    with rasterio.open(tmp_path / 'x.tif', 'r+') as image:
        image.offsets = [0, 0.25, 0, 0]
        image.scales = [1e-4, 5e-5, 1e-4, 1e-4]
    cube = read_cube(tmp_path / 'x.tif')
    np.testing.assert_allclose(cube.values[..., 1], CUBE[..., 1] * 5e-5 + 0.25, rtol=1e-6)
    np.testing.assert_allclose(cube.values[..., 3], CUBE[..., 3] * 1e-4, rtol=1e-6)
    assert cube.scale == 1


@pytest.mark.parametrize('keep', [0, 4, 0.5, 0.97])
def test_truncated_tiff_is_named(tmp_path, keep):
    path = tmp_path / 'x.tif'
    tifffile.imwrite(path, RNG.random((64, 64, 8)), photometric='minisblack', planarconfig='contig')
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep) if keep < 1 else keep])
    with pytest.raises(FormatError, match=r'x\.tif (cannot be read as GTiff|is cut short or damaged)'):
        read_cube(path)


def test_tiff_with_one_band_is_a_guide(tmp_path):
    tifffile.imwrite(tmp_path / 'pan.tif', CUBE[..., 0].astype(np.uint16))
    with pytest.raises(FormatError, match='has one band, a cube has several; give it as the guide'):
        read_cube(tmp_path / 'pan.tif')
    np.testing.assert_array_equal(
        read_cube(tmp_path / 'pan.tif', is_guide=True, value_scale=1e-4).values, CUBE[..., :1]
    )


def test_missing_rasterio_is_said(tmp_path, monkeypatch):
    path = save_envi(tmp_path / 'x.hdr')
    monkeypatch.setitem(sys.modules, 'rasterio', None)
    with pytest.raises(ImportError, match=r"needs rasterio: pip install 'mulsr-plugin\[formats\]'"):
        read_cube(path)
