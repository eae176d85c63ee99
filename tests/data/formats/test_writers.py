"""Writers: what comes back, what other programs read, and that files appear whole or not at all."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import rasterio
import scipy.io
import spectral.io.envi
import tifffile

from mulsr_plugin.data.cube import Cube, GeoReference
from mulsr_plugin.data.formats import mat, read_cube, write_cube

ROOT = Path(__file__).parents[3]
RNG = np.random.default_rng(0)
WAVES = (400.0, 455.5, 500.0, 605.25, 700.0)
UTM = GeoReference((30.0, 0.0, 500000.0, 0.0, -30.0, 4600000.0), rasterio.crs.CRS.from_epsg(32633).to_wkt())
TURNED = GeoReference((3.0, 1.0, 12.0, 1.0, -3.0, 48.0), UTM.crs)
COUNTS = RNG.integers(0, 2048, (12, 10, 5)).astype(np.uint16)
CUBES = {
    'uint16': Cube(COUNTS, 1 / 65535, WAVES, geo=UTM, bad_bands=(2,)),
    'eleven_bits': Cube(COUNTS, 1 / 2047, WAVES, geo=TURNED),
    'uint8': Cube((COUNTS >> 3).astype(np.uint8), 1 / 255),
    'int16': Cube(COUNTS.astype(np.int16), 1 / 10000, WAVES),
    'float32': Cube(RNG.random((7, 9, 4), np.float32), 1.0),
    'float64': Cube(RNG.random((7, 90, 31)), 1.0, tuple(range(400, 710, 10))),
}


@pytest.mark.parametrize('name', ['a.mat', 'a.npz', 'a.hdr', 'a.tif', 'A.TIFF'])
@pytest.mark.parametrize('cube', CUBES.values(), ids=CUBES.keys())
def test_round_trip_keeps_values_dtype_scale_and_wavelengths(tmp_path, name, cube):
    write_cube(tmp_path / 'new' / name, cube)
    found = read_cube(tmp_path / 'new' / name)
    np.testing.assert_array_equal(found.values, cube.values)
    assert found.values.dtype == cube.values.dtype
    assert found.scale == pytest.approx(cube.scale, rel=1e-12)
    assert found.wavelengths == cube.wavelengths
    if not name.endswith('.mat'):
        expected = cube.geo and pytest.approx(cube.geo.transform, rel=1e-12)
        assert (found.geo and found.geo.transform) == expected
        assert (found.geo and found.geo.crs) == (cube.geo and cube.geo.crs)
    assert found.bad_bands == (cube.bad_bands if name in ('a.npz', 'a.hdr') else ())
    assert not [file for file in os.listdir(tmp_path / 'new') if 'partial' in file or 'aux' in file]


@pytest.mark.parametrize('cube', CUBES.values(), ids=CUBES.keys())
def test_npy_and_png_keep_the_range(tmp_path, cube):
    expected = cube.values * cube.scale
    write_cube(tmp_path / 'a.npy', cube)
    found = read_cube(tmp_path / 'a.npy', axes='hwb')  # which .npy has no place for
    np.testing.assert_allclose(found.values * found.scale, expected, rtol=0, atol=1e-7)
    write_cube(tmp_path / 'bands', cube)
    found = read_cube(tmp_path / 'bands')
    np.testing.assert_allclose(found.values * found.scale, expected, rtol=0, atol=0.51 / 65535)
    assert found.wavelengths == cube.wavelengths
    third = cv2.imread(str(tmp_path / 'bands' / 'band_003.png'), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(third, found.values[..., 2])


def test_other_programs_read_the_same(tmp_path):
    cube = CUBES['uint16']
    write_cube(tmp_path / 'a.hdr', cube)
    image = spectral.io.envi.open(str(tmp_path / 'a.hdr'))
    np.testing.assert_array_equal(image.open_memmap(interleave='bip'), cube.values)
    assert tuple(image.bands.centers) == WAVES
    assert image.metadata['wavelength units'] == 'Nanometers'
    assert image.metadata['bbl'] == [1, 1, 0, 1, 1]
    assert float(image.metadata['reflectance scale factor']) == 65535
    assert image.metadata['description'] == 'a'
    write_cube(tmp_path / 'a.tif', cube)
    np.testing.assert_array_equal(np.moveaxis(tifffile.imread(tmp_path / 'a.tif'), 0, 2), cube.values)
    write_cube(tmp_path / 'a.mat', cube)
    np.testing.assert_array_equal(scipy.io.loadmat(tmp_path / 'a.mat')['cube'], cube.values)


def test_four_byte_bands_are_no_transparency(tmp_path):
    write_cube(tmp_path / 'a.tif', Cube(CUBES['uint8'].values[..., :4], 1 / 255))
    with rasterio.open(tmp_path / 'a.tif') as image:
        assert rasterio.enums.ColorInterp.alpha not in image.colorinterp
    assert read_cube(tmp_path / 'a.tif').values.shape == (12, 10, 4)


def test_large_mat_is_v73_as_matlab_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(mat, 'LARGEST_V5_VARIABLE', 100)
    cube = CUBES['eleven_bits']
    write_cube(tmp_path / 'a.mat', cube)
    found = read_cube(tmp_path / 'a.mat')
    np.testing.assert_array_equal(found.values, cube.values)
    assert (found.scale, found.wavelengths) == (cube.scale, WAVES)
    with h5py.File(tmp_path / 'a.mat') as file:
        assert file['cube'].shape == (5, 10, 12)
        assert file['cube'].attrs['MATLAB_class'] == b'uint16'
    # SciPy tells the version of a file from its header, and declines v7.3
    with pytest.raises(NotImplementedError, match=r'7\.3'):
        scipy.io.loadmat(tmp_path / 'a.mat')


@pytest.mark.parametrize('name', ['sr.tif', 'sr.hdr'])
@pytest.mark.parametrize('geo', [UTM, TURNED], ids=['north up', 'turned'])
def test_super_resolved_image_opens_at_the_same_place(tmp_path, name, geo):
    """In rasterio, with pixels of a quarter, and the same corners on the ground."""
    write_cube(tmp_path / 'lr.tif', Cube(COUNTS, 1 / 2047, geo=geo))
    lq = read_cube(tmp_path / 'lr.tif')
    sr = Cube(RNG.random((48, 40, 5), np.float32), 1.0, geo=lq.geo.refined(4))
    write_cube(tmp_path / name, sr)
    with (
        rasterio.open(tmp_path / 'lr.tif') as low,
        rasterio.open(tmp_path / Path(name).with_suffix('.dat' if 'hdr' in name else '.tif')) as high,
    ):
        assert low.crs == high.crs
        assert low.crs.to_epsg() == 32633
        assert high.res == pytest.approx(tuple(side / 4 for side in low.res))
        assert tuple(high.bounds) == pytest.approx(tuple(low.bounds))
        for corner in ((0, 0), (0, 10), (12, 0), (12, 10)):
            at = low.transform * corner[::-1]
            assert high.transform * (4 * corner[1], 4 * corner[0]) == pytest.approx(at)


def test_part_of_an_image_stays_in_place():
    a, b, c, d, e, f = TURNED.moved(5, 7).transform
    affine = rasterio.Affine(*TURNED.transform)
    assert (c, f) == affine * (7, 5)
    assert (a, b, d, e) == tuple(TURNED.transform[i] for i in (0, 1, 3, 4))


@pytest.mark.parametrize('name', ['a.mat', 'a.npy', 'a.npz', 'a.hdr', 'a.tif', 'bands'])
def test_existing_output_is_left_unless_it_may_be_replaced(tmp_path, name):
    path = tmp_path / name
    write_cube(path, CUBES['uint16'])
    before = read_cube(path).values
    with pytest.raises(FileExistsError, match=r'exists already and is left as it is'):
        write_cube(path, CUBES['float32'])
    np.testing.assert_array_equal(read_cube(path).values, before)
    if name != 'bands':
        write_cube(path, CUBES['float32'], overwrite=True)
        assert read_cube(path).values.shape == (7, 9, 4)


def test_envi_data_without_header_is_not_overwritten(tmp_path):
    (tmp_path / 'a.dat').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match=r'a\.dat exists already'):
        write_cube(tmp_path / 'a.hdr', CUBES['uint16'])
    assert (tmp_path / 'a.dat').read_bytes() == b'mine'
    assert os.listdir(tmp_path) == ['a.dat']


KILLED_AT = """
import os, signal, sys
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.formats import read_cube, write_cube

new, at = read_cube(sys.argv[1]), int(sys.argv[3])
rename = os.rename

def rename_or_die(*names):
    global at
    at -= 1
    if at < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(*names)

os.rename = rename_or_die
write_cube(sys.argv[2], new, overwrite=True)
"""


def test_envi_pair_that_was_killed_while_replaced_is_never_mixed(tmp_path):
    """Killed before each of the renames: the old pair, the new one, or data that miss their header."""
    old, new = (Cube(np.full((6, 5, 4), value, np.uint16), scale) for value, scale in ((7, 1 / 7), (9, 1 / 9)))
    write_cube(tmp_path / 'new.npz', new)
    seen = []
    for at in range(5):
        path = tmp_path / str(at) / 'a.hdr'
        write_cube(path, old)
        command = [sys.executable, '-c', KILLED_AT, str(tmp_path / 'new.npz'), str(path), str(at)]
        killed = subprocess.run(command, cwd=ROOT).returncode == -signal.SIGKILL
        assert killed == (at < 4)
        try:
            cube = read_cube(path)
            seen.append((float(cube.values.max()), round(1 / cube.scale)))
        except FileNotFoundError:
            assert not path.exists()  # and nothing is lost
            folder = next(path.parent.glob('.a.hdr.partial-*'))
            shutil.copytree(folder / 'old', path.parent, dirs_exist_ok=True)
            assert read_cube(path).values.max() == 7
            seen.append('no header')
    assert seen == [(7, 7), 'no header', 'no header', 'no header', (9, 9)]


@pytest.mark.parametrize('at', range(4))
def test_envi_pair_that_fails_while_replaced_is_the_old_one(tmp_path, at, monkeypatch):
    write_cube(tmp_path / 'a.hdr', CUBES['uint16'])
    calls, rename = [], os.rename

    def fail(*names):
        calls.append(names)
        if len(calls) == at + 1:
            raise PermissionError(errno.EACCES, 'Permission denied')
        rename(*names)

    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    monkeypatch.setattr(os, 'rename', fail)
    with pytest.raises(OSError, match='Cannot write .*: Permission denied; nothing was kept: choose another output'):
        write_cube(tmp_path / 'a.hdr', LARGE, overwrite=True)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_envi_beside_a_file_that_would_be_read_as_its_data(tmp_path):
    (tmp_path / 'a').write_bytes(b'mine')
    with pytest.raises(FileExistsError, match=r'a would be read as the data of a\.hdr: choose another name'):
        write_cube(tmp_path / 'a.dat', CUBES['uint16'], overwrite=True)
    assert os.listdir(tmp_path) == ['a']


def test_what_cannot_be_written_is_refused_first(tmp_path):
    with pytest.raises(ValueError, match=r'a\.xyz: no writer for \.xyz; choose one of \.mat'):
        write_cube(tmp_path / 'a.xyz', CUBES['uint16'])
    with pytest.raises(ValueError, match='within'):
        write_cube(tmp_path / 'a.tif', Cube(np.full((4, 4, 3), np.nan), 1.0))
    assert os.listdir(tmp_path) == []


NAMES = ['a.mat', 'a.npy', 'a.npz', 'a.hdr', 'a.tif', 'bands']
LARGE = Cube(np.random.default_rng(0).random((64, 64, 8)), 1.0)


def check_refused(folder: Path, name: str) -> str:
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    with pytest.raises(
        OSError, match=r'Cannot write .*nothing was kept: make room or choose another output\.$'
    ) as caught:
        write_cube(folder / name, LARGE, overwrite=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    return str(caught.value)


@pytest.mark.parametrize('name', NAMES)
def test_write_that_fails_keeps_the_old_file_and_leaves_nothing(tmp_path, name):
    """The system refuses to make a file larger than 4 kB."""
    if name != 'bands':
        write_cube(tmp_path / name, CUBES['uint8'])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        check_refused(tmp_path, name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize('name', NAMES)
def test_place_that_takes_no_file_is_not_put_down_to_a_full_disk(tmp_path, name):
    (tmp_path / 'file').write_text('mine')
    with pytest.raises(OSError, match=r'file is a file, no folder; nothing was kept: choose another output\.$'):
        write_cube(tmp_path / 'file' / name, LARGE)
    with pytest.raises(OSError, match=r'Cannot write /proc/none/.*: No such file or directory; nothing was kept: ch'):
        write_cube(Path('/proc/none') / name, LARGE)
    assert os.listdir(tmp_path) == ['file']


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 48 kB; needs the rights to mount one."""
    folder = tmp_path / 'disk'
    folder.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=48k', 'tmpfs', str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True).returncode == 0
    except OSError:
        done = False
    if not done:
        pytest.skip('no rights to mount a file system')
    yield folder
    subprocess.run(['umount', str(folder)], check=True)


def test_full_disk_is_told_and_leaves_nothing(small_disk):
    for name in NAMES:
        assert 'the disk is full' in check_refused(small_disk, name)
        assert not list(small_disk.iterdir())
