"""What stored numbers mean: every tag and field that says so, against values worked out without the readers."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import rasterio
import tifffile
from rasterio.enums import ColorInterp

from mulsr_plugin.data.formats import FormatError, read_cube

RNG = np.random.default_rng(3)
COUNTS = RNG.integers(1200, 6000, (4, 8, 9)).astype(np.uint16)
GAINS, OFFSETS = (1e-4, 1.5e-4, 1e-4, 2e-5), (0.01, 0.0, 0.002, 0.05)


def physical(counts, gains=GAINS, offsets=OFFSETS):
    return np.moveaxis(counts * np.reshape(gains, (-1, 1, 1)) + np.reshape(offsets, (-1, 1, 1)), 0, 2)


def save_tiff(path, bands, scales=None, offsets=None, tags=None, **profile):
    profile = {'driver': 'GTiff', 'count': len(bands), 'dtype': bands.dtype, **profile}
    with rasterio.open(path, 'w', height=bands.shape[1], width=bands.shape[2], **profile) as image:
        image.write(bands)
        if scales:
            image.scales = scales
        if offsets:
            image.offsets = offsets
    return path


def save_envi(folder, bands, extra, name='x', suffix='.img', encoding='utf-8', interleave='bsq'):
    codes = {'uint8': 1, 'int16': 2, 'float32': 4, 'uint16': 12}
    bands.tofile(folder / f'{name}{suffix}')
    count, height, width = bands.shape
    text = (
        f'ENVI\nsamples = {width}\nlines = {height}\nbands = {count}\nheader offset = 0\ndata type = '
        f'{codes[bands.dtype.name]}\ninterleave = {interleave}\nbyte order = 0\n{extra}\n'
    )
    (folder / f'{name}.hdr').write_text(text, encoding=encoding)
    return folder / f'{name}.hdr'


def test_no_data_is_compared_before_scale_and_offset(tmp_path):
    """Sentinel-2 since baseline 04.00: 0 is no data, 1000 is the reflectance 0."""
    counts = COUNTS.copy()
    counts[:, :2], counts[:, 5, 5] = 0, 1000
    path = save_tiff(tmp_path / 'x.tif', counts, [1e-4] * 4, [-0.1] * 4, nodata=0)
    with pytest.raises(FormatError, match=r'has 72 NaN, infinite or no-data \(0\) values, the first in band 1'):
        read_cube(path)
    cube = read_cube(path, fill=0.5)
    expected = physical(counts, [1e-4] * 4, [-0.1] * 4)
    expected[:2] = 0.5
    np.testing.assert_allclose(cube.values, expected, atol=1e-7)
    assert cube.values[5, 5] == pytest.approx(0, abs=1e-9)
    assert 'gains 0.0001 and offsets -0.1 of the bands are applied as the file says' in cube.notes


def test_no_data_of_each_band_from_the_file_beside(tmp_path):
    """Per band in .aux.xml: 1300 is missing in band 2 and a value in the others."""
    counts = COUNTS.copy()
    counts[:, 1, 1] = 1300
    path = save_tiff(tmp_path / 'x.tif', counts, [1e-4] * 4)
    (tmp_path / 'x.tif.aux.xml').write_text(
        '<PAMDataset><PAMRasterBand band="2"><NoDataValue>1300</NoDataValue></PAMRasterBand></PAMDataset>'
    )
    with pytest.raises(FormatError, match=r'\(1300\) values, the first in band 2'):
        read_cube(path)
    cube = read_cube(path, fill=7)
    np.testing.assert_array_equal(cube.values[1, 1], [1300, 7, 1300, 1300])
    assert 'x.tif.aux.xml beside it is read too' in cube.notes


@pytest.mark.parametrize('fields', ['data', 'data reflectance'])
def test_gains_and_offsets_of_envi(tmp_path, fields):
    text = (
        f'{fields} gain values = {{1e-4, 1.5e-4, 1e-4, 2e-5}}\n{fields} offset values = {{0.01, 0.0,\n 0.002, 0.05}}\n'
    )
    if fields != 'data':  # radiances beside them are not meant
        text += 'data gain values = {5, 6, 7, 8}\n'
    path = save_envi(tmp_path, COUNTS, text + 'data ignore value = 1200\nbbl = {1, 0, 1, 1}')
    cube = read_cube(path, fill=0)
    expected = np.where(np.moveaxis(COUNTS, 0, 2) == 1200, 0, physical(COUNTS))
    np.testing.assert_allclose(cube.values, expected, rtol=1e-6)
    assert (cube.scale, cube.values.dtype) == (1, np.float32)
    dropped = read_cube(path, fill=0, drop_bad_bands=True)
    np.testing.assert_allclose(dropped.values, expected[..., [0, 2, 3]], rtol=1e-6)


def test_one_gain_of_all_bands_keeps_the_counts(tmp_path):
    path = save_envi(tmp_path, COUNTS, 'data gain values = {1e-4, 1e-4, 1e-4, 1e-4}')
    cube = read_cube(path)
    np.testing.assert_array_equal(cube.values, np.moveaxis(COUNTS, 0, 2))
    assert (cube.scale, cube.values.dtype) == (1e-4, np.uint16)


@pytest.mark.parametrize(
    ('fields', 'message'),
    [
        ('data gain values = {1, 2}', '2 numbers in data gain values, expected one for each of its 4 bands'),
        ('bbl = {1, 1, 0}', '3 numbers in bbl, expected one for each of its 4 bands'),
        (
            'reflectance scale factor = 10000\ndata gain values = {1, 2, 3, 4}',
            'a reflectance scale factor and gains or offsets of the bands, of which only one can hold',
        ),
        ('file type = ENVI Classification', 'file type = ENVI Classification, expected an image'),
        ('file type = ENVI Spectral Library', 'file type = ENVI Spectral Library, expected an image'),
        ('file type = TIFF', 'file type = TIFF, expected an image'),
        ('major frame offsets = {4, 0}', 'has major frame offsets, which are not read'),
    ],
)
def test_envi_fields_that_contradict_or_mean_no_image(tmp_path, fields, message):
    with pytest.raises(FormatError, match=message):
        read_cube(save_envi(tmp_path, COUNTS, fields))


@pytest.mark.parametrize('internal', [True, False])
def test_masks_in_the_file_and_beside_it(tmp_path, internal):
    mask = np.full((8, 9), 255, np.uint8)
    mask[:3] = 0
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=internal):
        path = save_tiff(tmp_path / 'x.tif', COUNTS, [1e-4] * 4)
        with rasterio.open(path, 'r+') as image:
            image.write_mask(mask)
    assert (tmp_path / 'x.tif.msk').exists() != internal
    with pytest.raises(FormatError, match=r'has 108 NaN, infinite or no-data \(masked\) values, the first in band 1'):
        read_cube(path)
    cube = read_cube(path, fill=9)
    np.testing.assert_array_equal(cube.values, np.where(mask[..., None] == 0, 9, np.moveaxis(COUNTS, 0, 2)))


def alpha_tiff(path, alpha):
    bands = np.concatenate([COUNTS * 10, alpha[None]])
    with rasterio.open(
        path, 'w', driver='GTiff', height=8, width=9, count=5, dtype='uint16', photometric='MINISBLACK'
    ) as image:
        image.colorinterp = [ColorInterp.gray] + [ColorInterp.undefined] * 3 + [ColorInterp.alpha]
        image.write(bands)
    return path


def test_alpha_is_no_band(tmp_path):
    alpha = np.full((8, 9), 65535, np.uint16)
    cube = read_cube(alpha_tiff(tmp_path / 'x.tif', alpha))
    np.testing.assert_array_equal(cube.values, np.moveaxis(COUNTS * 10, 0, 2))
    assert 'band 5, its transparency, is left out' in cube.notes
    alpha[:4], alpha[4, 4] = 0, 1000
    path = alpha_tiff(tmp_path / 'x.tif', alpha)
    with pytest.raises(FormatError, match=r'has 144 NaN, infinite or no-data \(masked\)'):
        read_cube(path)
    cube = read_cube(path, fill=0)
    assert not cube.values[:4].any() and cube.values[4, 4].all()
    assert '1 partly transparent pixels are taken in the value that they have' in cube.notes


def test_band_that_is_called_transparency(tmp_path):
    """tifffile marks the fourth of four channels so unless it is told otherwise."""
    image = RNG.integers(0, 256, (8, 9, 4)).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'x.tif', image)
    with pytest.raises(
        FormatError, match=r'calls band 4 its transparency, .* -colorinterp_4 undefined x\.tif NEW\.tif'
    ):
        read_cube(tmp_path / 'x.tif')


def test_white_is_zero(tmp_path):
    picture = RNG.integers(0, 256, (8, 9)).astype(np.uint8)
    tifffile.imwrite(tmp_path / 'x.tif', picture, photometric='miniswhite')
    cube = read_cube(tmp_path / 'x.tif', is_guide=True)
    np.testing.assert_array_equal(cube.values[..., 0], 255 - picture)
    assert 'white is 0 in the file: its values are inverted' in cube.notes
    tifffile.imwrite(tmp_path / 'x.tif', picture.astype(np.float32) / 255, photometric='miniswhite')
    with pytest.raises(FormatError, match='white is 0, which has no meaning for'):
        read_cube(tmp_path / 'x.tif', is_guide=True)


def test_bits_that_the_file_names(tmp_path):
    cube = read_cube(save_tiff(tmp_path / 'x.tif', COUNTS // 2, NBITS=12))
    assert cube.scale == 1 / 4095
    assert cube.notes == ('scale 0.0002442 by its 12 bits',)


def test_palette_is_refused(tmp_path):
    colours = RNG.integers(0, 65536, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / 'x.tif', COUNTS[0].astype(np.uint8), photometric='palette', colormap=colours)
    with pytest.raises(FormatError, match='numbers of a colour table, not intensities; .*gdal_translate -expand rgb'):
        read_cube(tmp_path / 'x.tif', is_guide=True)


def test_unit_is_noted(tmp_path):
    path = save_tiff(tmp_path / 'x.tif', COUNTS, [1e-4] * 4)
    with rasterio.open(path, 'r+') as image:
        image.units = ['W/m2/sr/um'] * 4
    assert 'the file gives its values in W/m2/sr/um' in read_cube(path).notes


def test_pages_have_their_own_meaning(tmp_path):
    """GDAL writes pages with APPEND_SUBDATASET; the second has another scale and no-data value."""
    for page, (scale, nodata) in enumerate([(1e-4, 1), (1.5e-4, 2)]):
        band = COUNTS[page : page + 1].copy()
        band[0, 0, :2] = 1, 2
        save_tiff(tmp_path / 'x.tif', band, [scale], nodata=nodata, **({'APPEND_SUBDATASET': 'YES'} if page else {}))
    cube = read_cube(tmp_path / 'x.tif', fill=0.5)
    np.testing.assert_allclose(cube.values[1:, :, 1], COUNTS[1, 1:] * 1.5e-4, rtol=1e-6)
    np.testing.assert_allclose(cube.values[0, :2], [[0.5, 1.5e-4], [2e-4, 0.5]], rtol=1e-6)


@pytest.mark.parametrize('dtype', [np.uint16, np.int16, np.int32])
@pytest.mark.parametrize('suffix', ['.npy', '.tif', '.hdr'])
def test_reflectance_without_a_scale_is_asked_for(tmp_path, dtype, suffix):
    values = (np.moveaxis(COUNTS, 0, 2) + 3000).astype(dtype)
    path = tmp_path / f'x{suffix}'
    if suffix == '.npy':
        np.save(path, values)
    elif suffix == '.tif':
        save_tiff(path, np.moveaxis(values, 2, 0))
    elif dtype == np.int32:
        pytest.skip('the same path')
    else:
        save_envi(tmp_path, np.ascontiguousarray(np.moveaxis(values, 2, 0)), '')
    message = (
        f'{np.dtype(dtype)} values up to {values.max()} and does not say .*such as 1/10000 for reflectance x 10000, '
    )
    with pytest.raises(
        FormatError, match=message + f'1/16383 for 14 bits, 1/{np.iinfo(dtype).max} for the whole range'
    ):
        read_cube(path)
    assert read_cube(path, value_scale=1e-4).scale == 1e-4


def test_integers_that_use_their_range_need_no_scale(tmp_path):
    values = np.moveaxis(COUNTS * 10, 0, 2)
    np.save(tmp_path / 'x.npy', values)
    cube = read_cube(tmp_path / 'x.npy')
    assert (cube.scale, cube.notes) == (1 / 65535, ('scale 1.5259e-05 by its type uint16',))
    np.save(tmp_path / 'x.npy', values[..., :3] // 100)
    assert read_cube(tmp_path / 'x.npy', bits=11).scale == 1 / 2047
    assert read_cube(tmp_path / 'x.npy', bits=11, value_scale=1 / 4095).scale == 1 / 4095


def test_pictures_use_their_range_and_doubts_are_warnings(tmp_path):
    picture = (COUNTS[0] // 4).astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'x.png'), picture)
    cube = read_cube(tmp_path / 'x.png', is_guide=True)
    assert cube.scale == 1 / 65535
    (warning,) = cube.warnings
    assert 'such as 1/10000 for reflectance x 10000, 1/2047 for 11 bits' in warning
    assert cube.report[-1] == f'Warning: {warning}'


def test_per_cent_is_named(tmp_path):
    np.save(tmp_path / 'x.npy', np.moveaxis(COUNTS / 100.0, 0, 2))
    with pytest.raises(FormatError, match='such as 1/100 for per cent'):
        read_cube(tmp_path / 'x.npy')
