"""Fixtures of the model tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models.tiny import make_stores


@pytest.fixture(scope='session')
def tiny_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with train.lmdb, test.lmdb and response.npy of five-band scenes, 32x32 pixels."""
    folder = tmp_path_factory.mktemp('tiny')
    make_stores(folder)
    return folder
