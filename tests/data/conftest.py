"""Fixtures of the tests that prepare data sets from a command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from mulsr_plugin.__main__ import main as mulsr


@pytest.fixture(scope='session')
def main() -> Callable[[Sequence[str]], int]:
    """The command ``mulsr prepare``."""
    return lambda arguments: mulsr(['prepare', *arguments])
