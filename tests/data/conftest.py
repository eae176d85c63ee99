"""Fixtures of the tests that run scripts/prepare_dataset.py."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'scripts' / 'prepare_dataset.py'


@pytest.fixture(scope='session')
def main():
    """The script's main function."""
    spec = importlib.util.spec_from_file_location('prepare_dataset', SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main
