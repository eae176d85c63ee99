"""Files in parts: bit by bit the same after joining, nothing joined of what is damaged or incomplete."""

from __future__ import annotations

import hashlib
import json
import os

import numpy as np
import pytest

from scripts.dev.gpu_pieces.file_parts import MANIFEST, join_files, read_table, split_files

SIZES = {'a.state': 2_500_001, 'models/net_g_5.pth': 1_048_576, 'empty.log': 0, 'one': 1}


@pytest.fixture
def run(tmp_path):
    rng = np.random.default_rng(0)
    for name, size in SIZES.items():
        path = tmp_path / 'run' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(size))
    return tmp_path / 'run'


def checksums(root):
    return {name: hashlib.sha256((root / name).read_bytes()).hexdigest() for name in SIZES}


# 3.4 MiB in all; 1 MiB hits the end of a file, 1e-5 MiB (10 bytes) would be many parts
@pytest.mark.parametrize(('mib', 'number'), [(0.7, 5), (1, 4), (1.25, 3), (100, 1)])
def test_joined_files_are_those_that_were_split(run, tmp_path, mib, number):
    split_files(run, SIZES, tmp_path / 'parts', mib)
    sizes = [path.stat().st_size for path in sorted((tmp_path / 'parts').glob('part_*'))]
    assert len(sizes) == number and max(sizes) <= mib * 2**20 and sum(sizes) == sum(SIZES.values())
    joined = join_files(tmp_path / 'parts', tmp_path / 'back')
    assert {path.relative_to(tmp_path / 'back').as_posix() for path in joined} == set(SIZES)
    assert checksums(tmp_path / 'back') == checksums(run)
    assert len([path for path in (tmp_path / 'back').rglob('*') if path.is_file()]) == len(SIZES)


def test_nothing_but_empty_files_needs_no_part(run, tmp_path):
    split_files(run, ['empty.log'], tmp_path / 'parts', 1)
    assert os.listdir(tmp_path / 'parts') == [MANIFEST]
    (path,) = join_files(tmp_path / 'parts', tmp_path / 'back')
    assert path.read_bytes() == b''


def test_parts_of_before_are_replaced(run, tmp_path):
    split_files(run, SIZES, tmp_path / 'parts', 0.5)
    split_files(run, ['one'], tmp_path / 'parts', 0.5)
    assert sorted(os.listdir(tmp_path / 'parts')) == ['part_000', MANIFEST]


@pytest.mark.parametrize('damage', ['flip', 'cut', 'remove'])
def test_a_damaged_part_leaves_existing_files_alone(run, tmp_path, damage):
    split_files(run, SIZES, tmp_path / 'parts', 1)
    part = tmp_path / 'parts' / 'part_002'
    content = part.read_bytes()
    part.write_bytes(content[:-1] if damage == 'cut' else content[:99] + bytes([content[99] ^ 1]) + content[100:])
    if damage == 'remove':
        part.unlink()
    before = checksums(run)
    with pytest.raises(FileNotFoundError if damage == 'remove' else ValueError, match='part_002'):
        join_files(tmp_path / 'parts', run)
    assert checksums(run) == before
    assert len([path for path in run.rglob('*') if path.is_file()]) == len(SIZES)


def test_parts_without_their_table_are_incomplete(run, tmp_path):
    split_files(run, SIZES, tmp_path / 'parts', 1)
    (tmp_path / 'parts' / MANIFEST).unlink()
    with pytest.raises(FileNotFoundError, match='the parts are not complete'):
        join_files(tmp_path / 'parts', tmp_path / 'back')


@pytest.mark.parametrize('name', ['../x', '/etc/x', 'a//b', 'C:x', 'a\\b', ''])
def test_tables_that_write_elsewhere_are_refused(run, tmp_path, name):
    path = split_files(run, ['one'], tmp_path / 'parts', 1)
    table = json.loads(path.read_text())
    table['files'][0]['name'] = name
    path.write_text(json.dumps(table))
    with pytest.raises(ValueError, match='would lie elsewhere'):
        read_table(tmp_path / 'parts')


@pytest.mark.parametrize('text', ['', '[]', '{"form": "another"}', '{"form": "mulsr_plugin parts 1", "files": [1]}'])
def test_damaged_tables_are_refused(tmp_path, text):
    (tmp_path / MANIFEST).write_text(text)
    with pytest.raises(ValueError, match='is damaged or of another program'):
        read_table(tmp_path)


def test_mistakes_of_the_caller(run, tmp_path):
    with pytest.raises(FileNotFoundError, match='There is no file .*missing'):
        split_files(run, ['missing'], tmp_path / 'parts', 1)
    with pytest.raises(ValueError, match='Parts of 0 MiB'):
        split_files(run, SIZES, tmp_path / 'parts', 0)
    assert not (tmp_path / 'parts').exists()
