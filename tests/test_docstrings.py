"""Examples in docstrings: those of the whole package are run, and what users call has one."""

from __future__ import annotations

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import mulsr_plugin
from mulsr_plugin.autoload import NAMES

PACKAGE = Path(mulsr_plugin.__file__).parent


def modules_with_examples() -> list[str]:
    paths = sorted(path for path in PACKAGE.rglob('*.py') if '>>> ' in path.read_text(encoding='utf-8'))
    parts = (path.relative_to(PACKAGE.parent).with_suffix('').parts for path in paths)
    return ['.'.join(part for part in names if part != '__init__') for names in parts]


@pytest.mark.parametrize('name', modules_with_examples())
def test_examples_do_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, attempted = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS)
    assert attempted > 0
    assert failed == 0, 'see the captured output'
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('name', mulsr_plugin.__all__)
def test_function_of_the_api_has_an_example(name):
    assert f'{name}(' in example_of(getattr(mulsr_plugin, name))


@pytest.mark.parametrize('kind, name', [(kind, name) for kind in ('metric', 'loss') for name in NAMES[kind]])
def test_metric_and_loss_have_an_example(kind, name):
    assert f'{name}(' in example_of(getattr(import_module(NAMES[kind][name]), name))


def example_of(function) -> str:
    examples = doctest.DocTestParser().get_examples(function.__doc__)
    assert any(example.want for example in examples)
    return ''.join(example.source for example in examples)
