"""Which reader, which part of a file, which file beside it: what would fool the rules."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
import rasterio
import tifffile

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import FormatError, read_cube, write_cube
from tests.data.formats.test_radiometry import COUNTS, save_envi, save_tiff

SCALE = 'reflectance scale factor = 10000'
VALUES = np.moveaxis(COUNTS, 0, 2)


@pytest.mark.parametrize(
    ('written', 'named', 'what'),
    [
        ('x.png', 'x.tif', r'a PNG picture; rename it to x\.png'),
        ('x.jpg', 'x.png', r'a JPEG picture; rename it to x\.jpg'),
        ('x.tif', 'x.jpg', r'a TIFF; rename it to x\.tif'),
        ('x.npy', 'x.npz', r'a NumPy array; rename it to x\.npy'),
        ('x.npz', 'x.npy', r'a zip archive such as \.npz; rename it to x\.npz'),
        ('x.mat', 'x.tif', r'a MATLAB file; rename it to x\.mat'),
    ],
)
def test_content_that_contradicts_the_name(tmp_path, written, named, what):
    picture = COUNTS[0].astype(np.uint8)
    if written[-4:] in ('.png', '.jpg'):
        cv2.imwrite(str(tmp_path / written), picture)
    else:
        write_cube(tmp_path / written, Cube(VALUES, 1e-4))
    (tmp_path / written).rename(tmp_path / named)
    with pytest.raises(FormatError, match=f'is not what its name says: it holds {what}'):
        read_cube(tmp_path / named)


@pytest.mark.parametrize('start', [b'EHFA_HEADER_TAG', b'CDF\x01', b'SIMPLE  =   T', b'\x1f\x8b\x08'])
def test_formats_that_are_not_read_are_named(tmp_path, start):
    (tmp_path / 'x.tif').write_bytes(start + bytes(100))
    with pytest.raises(FormatError, match='it holds a.*; convert it to a format that is read'):
        read_cube(tmp_path / 'x.tif')


def test_erdas_imagine_is_named(tmp_path):
    (tmp_path / 'x.img').write_bytes(b'EHFA_HEADER_TAG' + bytes(100))
    with pytest.raises(FileNotFoundError, match='it is an ERDAS Imagine file; convert it: gdal_translate -of ENVI'):
        read_cube(tmp_path / 'x.img')


@pytest.mark.parametrize('text', ['BYTEORDER I\nNROWS 8\nNCOLS 9\n', '#?RADIANCE\n', '\x5c\x01'])
def test_headers_of_other_formats(tmp_path, text):
    save_envi(tmp_path, COUNTS, SCALE)
    (tmp_path / 'x.hdr').write_text(text)
    with pytest.raises(FormatError, match='is not an ENVI header, which begins with the line ENVI'):
        read_cube(tmp_path / 'x.hdr')


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_byte_order_mark_of_an_editor(tmp_path, encoding):
    path = save_envi(tmp_path, COUNTS, SCALE + '\ndescription = {µ}', encoding=encoding)
    np.testing.assert_array_equal(read_cube(path).values, VALUES)
    assert read_cube(path).scale == 1e-4


def test_header_beside_several_data_files(tmp_path):
    save_envi(tmp_path, COUNTS, SCALE)
    (tmp_path / 'x.dat').write_bytes((COUNTS + 1).tobytes())
    with pytest.raises(FormatError, match=r'x\.hdr may be the header of x\.dat or x\.img: name the data file instead'):
        read_cube(tmp_path / 'x.hdr')
    np.testing.assert_array_equal(read_cube(tmp_path / 'x.img').values, VALUES)
    # a header of its own takes one out, and goes before the general one
    own = (tmp_path / 'x.hdr').read_text().replace('= 10000', '= 8000')
    (tmp_path / 'x.img.hdr').write_text(own)
    np.testing.assert_array_equal(read_cube(tmp_path / 'x.hdr').values, VALUES + 1)
    for name in ('x.img', 'x.img.hdr'):
        cube = read_cube(tmp_path / name)
        np.testing.assert_array_equal(cube.values, VALUES)
        assert cube.scale == 1 / 8000


def test_data_longer_than_its_header_says(tmp_path):
    path = save_envi(tmp_path, COUNTS, SCALE)
    assert read_cube(path).warnings == ()
    with open(tmp_path / 'x.img', 'ab') as file:
        file.write(bytes(18))
    assert read_cube(path).warnings == ('x.img is 18 bytes longer than x.hdr declares: is it its header?',)
    with open(tmp_path / 'x.npy', 'wb') as file:
        np.save(file, VALUES)
        np.save(file, VALUES)
    (warning,) = read_cube(tmp_path / 'x.npy', value_scale=1e-4).warnings
    assert warning.endswith('bytes longer than its header declares: only its first array is read')


def test_arrays_that_are_left_out_are_named(tmp_path):
    np.savez(tmp_path / 'x.npz', hsi=VALUES * 10, mask=VALUES[..., 0], label=3)
    assert 'read hsi, not label, mask' in read_cube(tmp_path / 'x.npz').notes


def test_pages_that_are_no_bands(tmp_path):
    with tifffile.TiffWriter(tmp_path / 'x.tif') as file:
        for _ in range(2):
            file.write(VALUES, photometric='minisblack', planarconfig='contig')
    with pytest.raises(FormatError, match='has 2 pages of several bands, .* gdal_translate GTIFF_DIR:1:'):
        read_cube(tmp_path / 'x.tif')
    tifffile.imwrite(tmp_path / 'y.tif', COUNTS, photometric='minisblack', truncate=True)
    with pytest.raises(FormatError, match='names one of its pages only'):
        read_cube(tmp_path / 'y.tif', is_guide=True)


def test_overviews_and_thumbnails_are_no_bands(tmp_path):
    path = save_tiff(tmp_path / 'x.tif', COUNTS[:1], [1e-4])
    with rasterio.open(path, 'r+') as image:
        image.build_overviews([2])
    np.testing.assert_array_equal(read_cube(path, is_guide=True).values, VALUES[..., :1])
    with tifffile.TiffWriter(tmp_path / 'y.tif') as file:
        file.write(VALUES * 10, photometric='minisblack', planarconfig='contig')
        file.write(VALUES[:4, :4, 0], photometric='minisblack', subfiletype=1)
    np.testing.assert_array_equal(read_cube(tmp_path / 'y.tif').values, VALUES * 10)


def exif(order: str, value: int) -> bytes:
    head = (b'II*\x00' if order == '<' else b'MM\x00*') + struct.pack(f'{order}I', 8)
    return head + struct.pack(f'{order}HHHIHHI', 1, 274, 3, 1, value, 0, 0)


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('suffix', ['.jpg', '.tif'])
def test_pictures_that_are_stored_turned(tmp_path, suffix, order):
    path, picture = tmp_path / f'x{suffix}', COUNTS[0].astype(np.uint8)
    for value in (1, 6):
        if suffix == '.tif':
            tags = [(274, 'H', 1, value, True)]
            tifffile.imwrite(path, picture, byteorder=order, extratags=tags, photometric='minisblack')
        else:
            segment = b'Exif\x00\x00' + exif(order, value)
            data = cv2.imencode('.jpg', picture)[1].tobytes()
            path.write_bytes(data[:2] + b'\xff\xe1' + struct.pack('>H', len(segment) + 2) + segment + data[2:])
        if value == 1:
            assert read_cube(path, is_guide=True).values.shape == (8, 9, 1)
        else:
            with pytest.raises(FormatError, match=r'stored turned or mirrored \(Orientation 6\)'):
                read_cube(path, is_guide=True)


def test_stale_files_beside_an_output(tmp_path):
    """A mask or a no-data value of an earlier image would be applied to the new one."""
    cube = Cube(VALUES, 1e-4)
    (tmp_path / 'a.tif.msk').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match=r'a\.tif\.msk of an earlier image would be applied to the new a\.tif'):
        write_cube(tmp_path / 'a.tif', cube)
    stale = '<PAMDataset><PAMRasterBand band="1"><NoDataValue>0</NoDataValue></PAMRasterBand></PAMDataset>'
    (tmp_path / 'b.dat.aux.xml').write_text(stale)
    with pytest.raises(FileExistsError, match=r'b\.dat\.aux\.xml of an earlier image'):
        write_cube(tmp_path / 'b.hdr', cube)
    # statistics, which viewers write, do no harm
    (tmp_path / 'c.tif.aux.xml').write_text(stale.replace('NoDataValue', 'Histograms'))
    write_cube(tmp_path / 'c.tif', cube)
    (tmp_path / 'd.img').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match=r'd\.img would be read as the data of d\.hdr'):
        write_cube(tmp_path / 'd.hdr', cube)


def test_folder_read_as_it_is_names_the_way_out(tmp_path):
    from mulsr_plugin.data.store.folder import CubeFolder

    np.save(tmp_path / 'a.npy', VALUES)
    with pytest.raises(FormatError, match=r'takes no options for that: prepare it by `mulsr prepare cubes`\.'):
        CubeFolder(tmp_path).header('a')
