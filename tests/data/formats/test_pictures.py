"""Folders of band pictures, and pictures as guides; scikit-image writes and reads them independently."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.io

from mulsr_plugin.data.formats import FormatError, read_cube

RNG = np.random.default_rng(0)


def save_bands(folder, cube, name='ms_{}.png'):
    folder.mkdir()
    for band in range(cube.shape[2]):
        skimage.io.imsave(folder / name.format(band + 1), cube[..., band], check_contrast=False)
    return folder


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_bands_are_in_the_order_of_their_numbers(tmp_path, dtype):
    cube = RNG.integers(0, np.iinfo(dtype).max, (8, 6, 12), dtype)
    folder = save_bands(tmp_path / 'scene', cube)
    (folder / 'Thumbs.db').write_bytes(b'x')
    (folder / '._ms_1.png').write_bytes(b'x')
    found = read_cube(folder)
    np.testing.assert_array_equal(found.values, cube)
    assert (found.values.dtype, found.scale) == (dtype, 1 / np.iinfo(dtype).max)
    (folder / 'wavelengths.txt').write_text('# nm\n' + '\n'.join(str(400 + 10 * band) for band in range(12)))
    assert read_cube(folder).wavelengths == tuple(400.0 + 10 * band for band in range(12))
    (folder / 'wavelengths.txt').write_text('blue\n')
    with pytest.raises(FormatError, match=r'wavelengths\.txt is not a list of numbers'):
        read_cube(folder)


def test_transparency_is_left_out_and_told(tmp_path):
    picture = RNG.integers(0, 255, (8, 6, 4), np.uint8)
    picture[..., 3] = 255
    skimage.io.imsave(tmp_path / 'rgba.png', picture, check_contrast=False)
    found = read_cube(tmp_path / 'rgba.png', is_guide=True)
    np.testing.assert_array_equal(found.values, picture[..., :3])
    assert not any('transparent' in note for note in found.notes)
    picture[2:4, 1, 3] = (0, 100)
    skimage.io.imsave(tmp_path / 'rgba.png', picture, check_contrast=False)
    with pytest.raises(FormatError, match=r'has 3 NaN, infinite or no-data \(masked\) values'):
        read_cube(tmp_path / 'rgba.png', is_guide=True)
    found = read_cube(tmp_path / 'rgba.png', is_guide=True, fill=9)
    np.testing.assert_array_equal(found.values[2, 1], [9, 9, 9])
    np.testing.assert_array_equal(found.values[3, 1], picture[3, 1, :3])
    assert '1 partly transparent pixels are taken in the colour that they have' in found.notes


def test_bands_must_agree_and_be_grey(tmp_path):
    folder = save_bands(tmp_path / 'scene', RNG.integers(0, 255, (8, 6, 3), np.uint8))
    skimage.io.imsave(folder / 'ms_4.png', RNG.integers(0, 255, (8, 7), np.uint8), check_contrast=False)
    with pytest.raises(FormatError, match=r'ms_4\.png is 7x8 pixels of uint8, but ms_1\.png is 6x8 of uint8'):
        read_cube(folder)
    skimage.io.imsave(folder / 'ms_4.png', RNG.integers(0, 255, (8, 6, 3), np.uint8), check_contrast=False)
    with pytest.raises(FormatError, match=r'ms_4\.png is a colour picture; a band is grey'):
        read_cube(folder)
    data = (folder / 'ms_3.png').read_bytes()
    (folder / 'ms_3.png').write_bytes(data[:-20])
    with pytest.raises(FormatError, match=r'ms_3\.png is cut short'):
        read_cube(folder)


@pytest.mark.parametrize('name', ['g.png', 'g.bmp'])
def test_colours_of_a_guide(tmp_path, name):
    picture = RNG.integers(0, 255, (8, 6, 3), np.uint8)
    skimage.io.imsave(tmp_path / name, picture, check_contrast=False)
    np.testing.assert_array_equal(read_cube(tmp_path / name, is_guide=True).values, picture)


def test_transparency_is_left_out_and_grey_stays_one_channel(tmp_path):
    picture = RNG.integers(0, 255, (8, 6, 4), np.uint8)
    skimage.io.imsave(tmp_path / 'a.png', picture, check_contrast=False)
    np.testing.assert_array_equal(read_cube(tmp_path / 'a.png', is_guide=True).values, picture[..., :3])
    skimage.io.imsave(tmp_path / 'b.png', picture[..., 0].astype(np.uint16) * 257, check_contrast=False)
    guide = read_cube(tmp_path / 'b.png', is_guide=True)
    np.testing.assert_array_equal(guide.values[..., 0], picture[..., 0].astype(np.uint16) * 257)
    assert guide.scale == 1 / 65535
