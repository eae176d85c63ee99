"""Files are replaced whole or not at all."""

from __future__ import annotations

import os

import pytest

from mulsr_plugin.utils.files import replace_text, replacing


def test_replaced(tmp_path):
    path = tmp_path / 'a.txt'
    for text in ('first, and longer than what follows', 'zweiter: ä\n'):
        replace_text(path, text)
        assert path.read_text(encoding='utf-8') == text
    assert os.listdir(tmp_path) == ['a.txt']


def test_a_file_is_whole_only_when_the_block_ends(tmp_path):
    path = tmp_path / 'a.bin'
    replace_text(path, 'before')
    with replacing(path) as file:
        file.write(b'after')
        file.flush()
        assert path.read_bytes() == b'before'
    assert path.read_bytes() == b'after'
    with pytest.raises(KeyboardInterrupt), replacing(path) as file:
        file.write(b'half')
        raise KeyboardInterrupt
    assert path.read_bytes() == b'after'
    assert os.listdir(tmp_path) == ['a.bin']


def test_a_failure_leaves_what_there_was(tmp_path):
    path = tmp_path / 'a.txt'
    replace_text(path, 'before')
    with pytest.raises(UnicodeEncodeError):
        replace_text(path, 'half' * 100_000 + '\udcff')
    assert path.read_text() == 'before'
    assert os.listdir(tmp_path) == ['a.txt']
