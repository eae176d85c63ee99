"""Files that are wrong on purpose or by mistake: each has its own message, and none exhausts the memory."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import tifffile

from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import FormatError, common, cube_files, read_cube, write_cube

FLOATS = np.random.default_rng(0).random((6, 5, 4))
HUGE = (200_000, 100_000, 31)


@pytest.fixture
def bounded_memory():
    """A process that may take 2 GB more than now; every array of HUGE is larger."""
    resource = pytest.importorskip('resource')
    limits = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path('/proc/self/statm').read_text().split()[0]) * os.sysconf('SC_PAGE_SIZE')
    resource.setrlimit(resource.RLIMIT_AS, (now + (2 << 30), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, limits)


def save_mat(path, values):
    scipy.io.savemat(path, {'x': values})


def save_hdf5(path, values):
    with h5py.File(path, 'w') as file:
        file['x'] = values.T
        file['x'].attrs['MATLAB_class'] = np.bytes_('double')


def save_npz(path, values, **_):
    np.savez(path, x=values)


SAVERS = pytest.mark.parametrize(
    ('name', 'save'), [('x.mat', save_mat), ('y.mat', save_hdf5), ('x.npy', np.save), ('x.npz', save_npz)]
)


@SAVERS
def test_transposed_axes_are_recognised_or_told(tmp_path, name, save):
    bands_first = np.random.default_rng(1).random((31, 72, 65))
    save(tmp_path / name, np.random.default_rng(1).random((31, 128, 130)))
    with pytest.raises(
        FormatError, match=r'shape \(31, 128, 130\), .* cannot be known .*such as bhw for 128x130 pixels with 31 bands'
    ):
        read_cube(tmp_path / name)
    (tmp_path / name).unlink()
    save(tmp_path / name, bands_first)
    np.testing.assert_array_equal(read_cube(tmp_path / name, axes='bhw').values, bands_first.transpose(1, 2, 0))
    np.testing.assert_array_equal(read_cube(tmp_path / name, axes='bwh').values, bands_first.transpose(2, 1, 0))
    assert read_cube(tmp_path / name, axes='hwb').values.shape == (31, 72, 65)
    with pytest.raises(ValueError, match="axes is 'chw', expected the order of h, w and b"):
        read_cube(tmp_path / name, axes='chw')


def test_wavelengths_tell_the_axes(tmp_path):
    scipy.io.savemat(tmp_path / 'x.mat', {'x': FLOATS.transpose(2, 0, 1), 'wavelengths': [400, 500, 600, 700]})
    with pytest.raises(
        FormatError, match=r'shape \(4, 6, 5\), .* contradicts the 4 wavelengths; .*such as bhw for 6x5 pixels with 4 b'
    ):
        read_cube(tmp_path / 'x.mat')
    cube = read_cube(tmp_path / 'x.mat', axes='bhw')
    assert cube.wavelengths == (400, 500, 600, 700)
    np.testing.assert_array_equal(cube.values, FLOATS)


@SAVERS
@pytest.mark.parametrize('gap', [np.nan, np.inf, -np.inf])
def test_gaps_are_refused_or_filled(tmp_path, name, save, gap):
    values = FLOATS.copy()
    values[1, 2, 3] = gap
    save(tmp_path / name, values)
    with pytest.raises(FormatError, match='has 1 NaN, infinite or no-data values, the first in band 4'):
        read_cube(tmp_path / name)
    cube = read_cube(tmp_path / name, fill=0.5)
    assert cube.values[1, 2, 3] == 0.5
    assert cube.notes == ('1 NaN, infinite or no-data values are set to 0.5',)


def test_fill_that_the_type_cannot_hold(tmp_path):
    tifffile.imwrite(tmp_path / 'x.tif', np.full((4, 6, 5), 7, np.uint16), photometric='minisblack')
    with rasterio.open(tmp_path / 'x.tif', 'r+') as image:
        image.nodata = 7
    for fill in (-5, 70000, 0.5):
        with pytest.raises(FormatError, match=f'x.tif holds uint16 values, which cannot be {fill:g}; give a fill'):
            read_cube(tmp_path / 'x.tif', fill=fill)
    np.save(tmp_path / 'x.npy', np.where(FLOATS < 0.5, np.nan, FLOATS))
    with pytest.raises(FormatError, match='x.npy holds float64 values, which cannot be nan'):
        read_cube(tmp_path / 'x.npy', fill=np.nan)


@SAVERS
def test_no_band_at_all(tmp_path, name, save):
    save(tmp_path / name, FLOATS[..., :0])
    with pytest.raises(FormatError, match=r'is empty: its array has the shape \(6, 5, 0\)'):
        read_cube(tmp_path / name)


@pytest.mark.parametrize('name', ['x.npy', 'x.npz'])
@pytest.mark.parametrize(
    ('values', 'message'),
    [
        (FLOATS + 1j, r'holds complex values \(complex128\)'),
        (FLOATS > 0, 'holds bool values, expected real numbers'),
        (FLOATS.astype('U8'), 'holds <U8 values, expected real numbers'),
        (FLOATS[0], 'expected the three axes|holds no 3-D array'),
        (FLOATS[None], r'shape \(1, 6, 5, 4\), expected the three axes|holds no 3-D array'),
        (FLOATS[..., :1], 'has one band, a cube has several'),
        (5 * FLOATS, r'holds float64 values from .*; give the factor .* value scale, such as .*, or max'),
        (-FLOATS, 'holds float64 values from -'),
    ],
)
def test_what_is_no_cube_is_refused(tmp_path, name, values, message):
    (save_npz if name.endswith('npz') else np.save)(tmp_path / name, values)
    with pytest.raises(FormatError, match=message):
        read_cube(tmp_path / name)


class Bomb:
    """Unpickled it would make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), 'w'))


@pytest.mark.parametrize('name', ['x.npy', 'x.npz'])
def test_pickled_objects_are_never_unpickled(tmp_path, name):
    values = np.empty((2, 2, 2), object)
    values[...] = Bomb(tmp_path / 'done')
    (save_npz if name.endswith('npz') else np.save)(tmp_path / name, values, allow_pickle=True)
    with pytest.raises(FormatError, match='holds Python objects, which are never unpickled'):
        read_cube(tmp_path / name)
    (tmp_path / 'x.npy').write_bytes(pickle.dumps(Bomb(tmp_path / 'done')))
    with pytest.raises(FormatError, match=r'x\.npy is not what its name says: it holds a Python pickle; convert it'):
        read_cube(tmp_path / 'x.npy')
    assert not (tmp_path / 'done').exists()


@pytest.mark.parametrize('name', ['x.npy', 'x.npz'])
@pytest.mark.parametrize('keep', [0, 5, 60, 0.5, 0.99])
def test_truncated_numpy_file_is_named(tmp_path, name, keep):
    (save_npz if name.endswith('npz') else np.save)(tmp_path / name, FLOATS)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * keep) if keep < 1 else keep])
    with pytest.raises(FormatError, match=r'x\.np. (is not a complete|is cut short|declares 960 bytes)'):
        read_cube(tmp_path / name)


def test_variable_of_npz(tmp_path):
    np.savez(tmp_path / 'x.npz', lr=FLOATS, hr=FLOATS, wavelengths=[400, 500, 600, 700])
    with pytest.raises(
        FormatError, match=r'several arrays that could be meant, name one with --key; it holds lr 6x5x4'
    ):
        read_cube(tmp_path / 'x.npz')
    with pytest.raises(FormatError, match='has no array sr; it holds lr 6x5x4, hr 6x5x4, wavelengths 4'):
        read_cube(tmp_path / 'x.npz', key='sr')
    assert read_cube(tmp_path / 'x.npz', key='hr').wavelengths == (400, 500, 600, 700)


def test_wavelengths_of_the_user(tmp_path):
    np.save(tmp_path / 'x.npy', FLOATS)
    cube = read_cube(tmp_path / 'x.npy', wavelengths=[0.4, 0.5, 0.6, 0.7])
    assert cube.wavelengths == (400, 500, 600, 700)
    assert cube.notes == ('wavelengths converted from micrometres to nanometres',)
    with pytest.raises(FormatError, match='has 4 bands but 3 wavelengths'):
        read_cube(tmp_path / 'x.npy', wavelengths=[400, 500, 600])
    with pytest.raises(FormatError, match='not all positive'):
        read_cube(tmp_path / 'x.npy', wavelengths=[400, 500, -600, 700])


def test_scale_by_the_largest_value(tmp_path):
    np.save(tmp_path / 'x.npy', 7 * FLOATS)
    cube = read_cube(tmp_path / 'x.npy', value_scale='max')
    assert cube.scale == 1 / (7 * FLOATS).max()
    np.save(tmp_path / 'x.npy', 0 * FLOATS)
    with pytest.raises(FormatError, match='no value above 0'):
        read_cube(tmp_path / 'x.npy', value_scale='max')


@pytest.mark.parametrize('dtype', [np.int32, np.uint32, np.int64])
def test_counts_in_many_bits_need_a_scale(tmp_path, dtype):
    np.save(tmp_path / 'x.npy', (4000 * FLOATS / FLOATS.max()).astype(dtype))
    with pytest.raises(
        FormatError, match=f'holds {np.dtype(dtype)} values up to 4000 .* 1/4095 for 12 bits, .* or max'
    ):
        read_cube(tmp_path / 'x.npy')
    assert read_cube(tmp_path / 'x.npy', value_scale=1 / 4095).scale == 1 / 4095


def test_factor_that_leaves_next_to_nothing_is_doubted(tmp_path):
    np.save(tmp_path / 'x.npy', FLOATS / FLOATS.max())
    (warning,) = read_cube(tmp_path / 'x.npy', value_scale=1 / 65535).warnings
    assert warning == 'scale 1.5259e-05 as given makes the largest value only 1.5e-05: correct it if that is wrong'
    assert read_cube(tmp_path / 'x.npy', value_scale=0.5).warnings == ()


def test_values_beyond_the_range_are_clipped_where_asked(tmp_path):
    """Reflectances in 1/10000 with noise around black and a glint."""
    values = np.array([-3, 0, 5000, 10000, 10001, 12000, 1, 2, 3, 4, 5, 6], np.int16).reshape(2, 2, 3)
    np.save(tmp_path / 'x.npy', values)
    with pytest.raises(ValueError, match='run from -0.0003 to 1; .*give the right scale, or repair or clip'):
        read_cube(tmp_path / 'x.npy', value_scale=1 / 10000)
    cube = read_cube(tmp_path / 'x.npy', value_scale=1 / 10000, clip=True)
    np.testing.assert_array_equal(cube.values, np.clip(values, 0, 10000))
    assert (cube.values.dtype, cube.notes) == (np.int16, ('3 values below 0 or above 10000 are clipped',))
    np.save(tmp_path / 'x.npy', values / 10000)
    np.testing.assert_array_equal(read_cube(tmp_path / 'x.npy', clip=True).values, np.clip(values / 10000, 0, 1))


# Bombs: what the files declare would fill any memory.


def npy_header(shape, descr='<f8') -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {'descr': descr, 'fortran_order': False, 'shape': shape})
    return buffer.getvalue()


def test_npy_that_declares_too_much(tmp_path, bounded_memory):
    (tmp_path / 'x.npy').write_bytes(npy_header(HUGE) + bytes(1000))
    with pytest.raises(FormatError, match='declares 4960000000000 bytes of values'):
        read_cube(tmp_path / 'x.npy')


def test_npz_bomb(tmp_path, bounded_memory):
    """A member of 300 MB of zeros in 300 kB, and one whose header lies."""
    with zipfile.ZipFile(tmp_path / 'x.npz', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('x.npy', npy_header((1000, 1000, 300), '|u1') + bytes(300_000_000))
    with pytest.raises(FormatError, match='declares 300.0 MB of values but holds only .* made to exhaust'):
        read_cube(tmp_path / 'x.npz')
    with zipfile.ZipFile(tmp_path / 'y.npz', 'w') as archive:
        archive.writestr('x.npy', npy_header(HUGE))
    with pytest.raises(FormatError, match='declares 4960000000000 bytes of values'):
        read_cube(tmp_path / 'y.npz')


def v5_element(kind: int, content: bytes) -> bytes:
    return struct.pack('<II', kind, len(content)) + content + bytes(-len(content) % 8)


def v5_file(path, shape, values: bytes, compress: bool = True) -> None:
    flags = v5_element(6, struct.pack('<II', 9, 0))  # an array of class uint8
    content = flags + v5_element(5, struct.pack('<3i', *shape)) + v5_element(1, b'cube') + v5_element(2, values)
    array = v5_element(14, content)
    if compress:
        packed = zlib.compress(array)
        array = struct.pack('<II', 15, len(packed)) + packed
    path.write_bytes(b'MATLAB 5.0 MAT-file'.ljust(124) + b'\x00\x01IM' + array)


@pytest.mark.parametrize('compress', [False, True])
def test_v5_bombs(tmp_path, bounded_memory, compress):
    path = tmp_path / 'x.mat'
    v5_file(path, (2, 3, 4), bytes(range(24)), compress)
    np.testing.assert_array_equal(read_cube(path).values, np.arange(24).reshape(4, 3, 2).T)
    v5_file(path, HUGE, bytes(24), compress)
    with pytest.raises(FormatError, match='has 24 bytes of values, its shape says 620000000000: it is damaged'):
        read_cube(path)
    v5_file(path, (2, 3, 4), bytes(100_000), compress)
    with pytest.raises(FormatError, match='has 100000 bytes of values, its shape says 24'):
        read_cube(path)


def test_v5_that_unpacks_to_far_more(tmp_path, bounded_memory):
    v5_file(tmp_path / 'x.mat', (1000, 1000, 100), bytes(100_000_000))
    with pytest.raises(FormatError, match='declares 100.0 MB of values but holds only .* made to exhaust'):
        read_cube(tmp_path / 'x.mat')


def test_v73_bomb(tmp_path, bounded_memory):
    """HDF5 keeps nothing of an array that was never written, and 1/1000 of zeros."""
    with h5py.File(tmp_path / 'x.mat', 'w') as file:
        file.create_dataset('x', HUGE[::-1], 'f8', chunks=(1, 1000, 1000))
    with pytest.raises(FormatError, match=r'declares 4960\.0 GB of values but holds only 0 bytes'):
        read_cube(tmp_path / 'x.mat')


def test_tiff_bomb(tmp_path, bounded_memory):
    tifffile.imwrite(
        tmp_path / 'x.tif', np.zeros((64, 64, 4), np.uint8), photometric='minisblack', planarconfig='contig'
    )
    with tifffile.TiffFile(tmp_path / 'x.tif', mode='r+') as file:
        for tag in ('ImageWidth', 'ImageLength'):
            file.pages[0].tags[tag].overwrite(200_000)
    with pytest.raises(
        FormatError, match=r'x\.tif (declares 160\.0 GB of values but holds only|cannot be read as GTiff)'
    ):
        read_cube(tmp_path / 'x.tif')


def test_png_bomb(tmp_path, bounded_memory):
    for band in (1, 2):
        cv2.imwrite(str(tmp_path / f'b_{band}.png'), np.zeros((20, 20), np.uint8))
    data = bytearray((tmp_path / 'b_1.png').read_bytes())
    data[16:24] = struct.pack('>II', 60_000, 60_000)
    data[29:33] = struct.pack('>I', zlib.crc32(data[12:29]))
    (tmp_path / 'b_1.png').write_bytes(data)
    with pytest.raises(FormatError, match=r'b_1\.png declares 3\.6 GB of pixels but holds only'):
        read_cube(tmp_path)


def test_cube_that_memory_cannot_hold_is_refused(tmp_path, monkeypatch):
    np.save(tmp_path / 'x.npy', FLOATS)
    monkeypatch.setattr(common, 'free_host_memory', lambda: 500)
    with pytest.raises(FormatError, match='holds 960 bytes of values, but only 500 bytes of memory are free'):
        read_cube(tmp_path / 'x.npy')


# What cannot be read at all.


def test_nothing_there_and_unknown_formats(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'There is no file .*x\.mat'):
        read_cube(tmp_path / 'x.mat')
    (tmp_path / 'x.xyz').write_text('')
    with pytest.raises(FormatError, match=r'is of no known format; expected \.mat \.npy'):
        read_cube(tmp_path / 'x.xyz')
    with pytest.raises(FormatError, match='no PNG picture in the folder'):
        read_cube(tmp_path)


@pytest.mark.parametrize('name', ['x.npy', 'x.mat', 'x.tif', 'x', '.'])
def test_unreadable_is_told(tmp_path, name):
    """Root may read everything, so that a child process gives up its rights first."""
    target = tmp_path / 'in' / name
    write_cube(target if name != '.' else target / 'x.npy', Cube(FLOATS, 1.0))
    mode = target.stat().st_mode
    target.chmod(0)
    try:
        message = _without_rights(lambda: cube_files(target) if name == '.' else read_cube(target))
    finally:
        target.chmod(mode)
    assert message.startswith('PermissionError: ')
    assert message.endswith(
        f'may not be {"listed" if name == "." else "read"} (Permission denied): change its permissions.'
    )


def _without_rights(action) -> str:
    """Return the error of an action that runs in a fork without root's rights."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if os.geteuid() == 0:
                _give_up_rights()
            action()
            os.write(writer, b'no error')
        except BaseException as error:
            os.write(writer, f'{type(error).__name__}: {error}'.encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding='utf-8') as file:
        text = file.read()
    os.waitpid(child, 0)
    return text


def _give_up_rights() -> None:
    """Drop the capabilities to pass over permissions, but stay root, who owns the temporary folders above."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    # version 3 of the interface; effective, permitted and inheritable sets of both halves are emptied
    header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), 'capset')
