"""Fixtures of the tests that prepare data sets from a command line."""

from __future__ import annotations

import pytest

from mulsr_plugin.cli import prepare


@pytest.fixture(scope='session')
def main():
    """The command's main function."""
    return prepare.main
