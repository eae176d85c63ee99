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


def save_names(folder, names):
    """Save pictures whose grey value is their place in the list, from 1."""
    folder.mkdir()
    for number, name in enumerate(names, 1):
        skimage.io.imsave(folder / name, np.full((3, 4), number, np.uint8), check_contrast=False)
    return folder


@pytest.mark.parametrize(
    'names',
    [
        [f'{wave:.2f}.png' for wave in (397.66, 400.28, 402.9, 405.52)],
        [f'{wave}.png' for wave in (99.5, 400, 402.9, 1000.25)],
        [f'band_{number}_of_12.png' for number in range(1, 13)],
        [f'B{number}_20230101.png' for number in range(1, 13)],
        [f'20230101_v1.2_{number}.PNG' for number in range(9, 13)],
        [f'Scene{"Ss"[number % 2]}_{number:02d}.png' for number in range(8, 12)],
        [f'{number:02d}_{400 + 10 * number}.png' for number in range(1, 12)],
    ],
    ids=[
        'decimals',
        'mixed decimals',
        'k of n',
        'date last',
        'date and version first',
        'case',
        'number and wavelength',
    ],
)
def test_order_of_names_as_people_write_them(tmp_path, names):
    cube = read_cube(save_names(tmp_path / 'scene', names), value_scale=1 / 255)
    assert cube.values[0, 0].tolist() == list(range(1, len(names) + 1))
    assert cube.wavelengths is None
    assert not any('missing' in note for note in cube.notes)


@pytest.mark.parametrize(
    ('names', 'message'),
    [
        (['x1.png', 'x2.png', 'x3.png', 'mask.png'], r'holds mask\.png beside pictures named like x1\.png'),
        (['x1.png', 'x2.png', 'x2_preview.png'], r'holds x2_preview\.png beside'),
        (['B8.png', 'B8A.png', 'B9.png'], r'holds B8A\.png beside'),
        (['t_1_2.png', 't_1_3.png', 't_2_2.png'], 'by no number that differs'),
        (['a1.png', 'a01.png', 'a2.png'], 'by no number that differs'),
        (['b1_500.png', 'b2_400.png', 'b3_600.png'], 'by several numbers in different orders'),
        (['x1.png', 'x2.png', 'x3.bmp'], r'holds x3\.bmp, named like its PNG bands'),
        (['red.png', 'green.png'], 'beside pictures named like'),
    ],
)
def test_names_that_give_no_order_are_refused(tmp_path, names, message):
    with pytest.raises(FormatError, match=message):
        read_cube(save_names(tmp_path / 'scene', names))


def test_wavelengths_in_the_names_are_taken_with_their_unit(tmp_path):
    cube = read_cube(save_names(tmp_path / 'nm', [f's_{n}_{400.5 + n}nm.png' for n in range(8, 12)]))
    assert cube.wavelengths == (408.5, 409.5, 410.5, 411.5)
    assert 'wavelengths are those in the names' in cube.notes
    assert read_cube(save_names(tmp_path / 'um', ['0.4um.png', '0.5um.png'])).wavelengths == (400.0, 500.0)
    (tmp_path / 'um' / 'wavelengths.txt').write_text('410\n510\n')
    assert read_cube(tmp_path / 'um').wavelengths == (410.0, 510.0)


def test_what_is_left_out_or_missing_is_told(tmp_path):
    folder = save_names(tmp_path / 'scene', ['s_ms_1.png', 's_ms_2.png', 's_ms_3.png', 's_ms_5.png', 's_RGB.bmp'])
    notes = read_cube(folder, value_scale=1 / 255).notes
    assert 's_RGB.bmp left out: bands are PNG files' in notes
    assert 'no picture between s_ms_3.png and s_ms_5.png: is a band missing?' in notes


def test_transparent_bands_are_refused(tmp_path):
    folder = save_names(tmp_path / 'scene', ['x1.png', 'x2.png'])
    picture = np.full((3, 4, 4), 7, np.uint8)
    picture[..., 3] = 255
    skimage.io.imsave(folder / 'x2.png', picture, check_contrast=False)
    np.testing.assert_array_equal(read_cube(folder, value_scale=1 / 255).values[..., 1], 7)
    picture[0, 0, 3] = 0
    skimage.io.imsave(folder / 'x2.png', picture, check_contrast=False)
    with pytest.raises(FormatError, match=r'x2\.png has transparent pixels'):
        read_cube(folder)


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
