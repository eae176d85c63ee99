"""Split lists: the shipped ones, and how own ones are read and applied."""

from __future__ import annotations

import pytest

from mulsr_plugin.data.scene_splits import SceneSplit, apply_split, read_split, shipped_splits, split_by_test_scenes

CAVE_SCENES = 32
CAVE_LISTS = ('cave_20_12', 'cave_80_20')


def test_shipped_lists_divide_the_same_32_scenes():
    assert set(CAVE_LISTS) == {name for name in shipped_splits() if name.startswith('cave')}
    splits = {name: read_split(name) for name in CAVE_LISTS}
    sizes = {name: (len(split.train), len(split.test)) for name, split in splits.items()}
    assert sizes == {'cave_20_12': (20, 12), 'cave_80_20': (26, 6)}
    for split in splits.values():
        assert len({*split.train, *split.test}) == CAVE_SCENES
    assert {*splits['cave_80_20'].train, *splits['cave_80_20'].test} == {
        *splits['cave_20_12'].train,
        *splits['cave_20_12'].test,
    }
    expected = {'balloons', 'cloth', 'feathers', 'stuffed_toys', 'watercolors', 'egyptian_statue'}
    assert set(splits['cave_80_20'].test) == expected


def test_shipped_lists_name_the_real_scenes(real_data):
    full = {folder.name[: -len('_ms')] for folder in (real_data / 'CAVE' / 'complete_ms_data').iterdir()}
    packed = {file.stem for file in (real_data / 'CAVE_train11').glob('*.jxls')}
    for name in CAVE_LISTS:
        split = read_split(name)
        absent = {*split.train, *split.test} - full - packed
        assert full | packed < {*split.train, *split.test}
        assert absent == {'chart_and_stuffed_toy', 'fake_and_real_lemon_slices', 'flowers', 'jelly_beans'}


def test_own_list(tmp_path):
    path = tmp_path / 'mine.txt'
    path.write_text('# mine\n\n[ train ]\na  # first\n  b\n[test]\r\nc\n[train]\nd\n')
    assert read_split(path) == SceneSplit(('a', 'b', 'd'), ('c',))


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a\n[train]\n', r'line 1: scene a stands before the first section'),
        ('[train]\na\n[val]\n', r'line 3: section \[val\] is unknown; there are \[train\] and \[test\]'),
        ('[train]\na\n[test]\nb\na\n', 'line 5: scene a is listed twice'),
    ],
)
def test_faulty_list_names_its_line(tmp_path, text, message):
    path = tmp_path / 'mine.txt'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_split(path)


def test_unknown_list_names_the_shipped_ones(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no split list cave_90_10: .* cave_20_12, cave_80_20'):
        read_split('cave_90_10')


def test_test_scenes():
    assert split_by_test_scenes('abcd', [' c', 'a', 'c', '']) == SceneSplit(('b', 'd'), ('c', 'a'))
    assert split_by_test_scenes('ab', ['all']) == SceneSplit((), ('a', 'b'))
    assert split_by_test_scenes('ab', ['']) == SceneSplit(('a', 'b'), ())


def test_missing_scenes_are_named_and_may_be_allowed():
    split = SceneSplit(('a', 'x'), ('b', 'y'))
    with pytest.raises(ValueError, match='2 of the 4 listed scenes are missing: x, y; .* --allow-missing'):
        apply_split(['a', 'b', 'c'], split)
    result = apply_split(['a', 'b', 'c'], split, allow_missing=True)
    assert (result.present, result.missing, result.unlisted) == (SceneSplit(('a',), ('b',)), ('x', 'y'), ('c',))


def test_no_listed_scene_at_all_is_refused():
    with pytest.raises(ValueError, match='None of the listed scenes is there; there are a, b'):
        apply_split(['a', 'b'], SceneSplit(('x',), ('y',)), allow_missing=True)
