"""Pairs of two folders by their names; whatever has no partner is named."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mulsr_plugin.data.sources.pair_folders import folder_pairs


@pytest.fixture
def folders(tmp_path):
    cubes, guides = tmp_path / 'lr', tmp_path / 'rgb'
    for folder, names in ((cubes, ['b.npy', 'a.old.mat', 'a_preview.png']), (guides, ['b.png', 'a.old.tif', 'n.txt'])):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    return cubes, guides


def test_equal_names_are_pairs(folders):
    cubes, guides = folders
    (cubes / 'wood').mkdir()
    for band in (1, 2):
        cv2.imwrite(str(cubes / 'wood' / f'band_{band}.png'), np.zeros((4, 4), np.uint8))
    (guides / 'wood.bmp').touch()
    for name in ('field.hdr', 'field.img'):
        (cubes / name).touch()
        (guides / name).touch()
    pairs = folder_pairs(*folders, {'axes': 'hwb'}, {'clip': True})
    named = {pair.key: (pair.cube.name, pair.guide.name) for pair in pairs}
    assert named == {
        'a_old': ('a.old.mat', 'a.old.tif'),
        'b': ('b.npy', 'b.png'),
        'field': ('field.hdr', 'field.hdr'),
        'wood': ('wood', 'wood.bmp'),
    }
    assert all((pair.cube_options, pair.guide_options) == ({'axes': 'hwb'}, {'clip': True}) for pair in pairs)


def test_images_without_a_partner_or_with_two_are_all_named(folders):
    cubes, guides = folders
    for path in (cubes / 'alone.npy', guides / 'other.jpg', guides / 'third.jpg', guides / 'b.tif'):
        path.touch()
    with pytest.raises(ValueError) as error:
        folder_pairs(cubes, guides)
    message = str(error.value)
    assert f'b.png, b.tif of {guides} have the same name' in message
    assert f'there is no guide in {guides} for alone.npy' in message
    assert f'there is no cube in {cubes} for other.jpg, third.jpg' in message


def test_many_without_a_partner_do_not_hide_the_sentence(folders):
    for number in range(100):
        (folders[1] / f'{number:03}.png').touch()
    with pytest.raises(ValueError, match='for 000.png, .* 009.png and 90 more: rename or move these, or write a list'):
        folder_pairs(*folders)


def test_folders_without_images_are_named(folders, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileNotFoundError, match='There is no guide in .*empty'):
        folder_pairs(folders[0], tmp_path / 'empty')
    with pytest.raises(FileNotFoundError, match='There is no folder .*absent'):
        folder_pairs(tmp_path / 'absent', folders[1])
