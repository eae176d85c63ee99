"""What the results of many pairs were made of: a small JSON record of each, in the folder ``.mulsr`` beside them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch

from mulsr_plugin import __version__
from mulsr_plugin.apps.json_reports import write_json
from mulsr_plugin.apps.super_resolution import InferenceSettings
from mulsr_plugin.checkpoints.shipped import find_weights
from mulsr_plugin.data.formats import files_read, files_written
from mulsr_plugin.data.sources.pair import PairFiles


class ResultState(Enum):
    """What stands at the place of a result."""

    WANTED = 'nothing, or what a stopped process has made of the same inputs with the same settings'
    FINISHED = 'the result of the same inputs and settings'
    OTHER = 'something else'


class PairRecord:
    """The record of one result, in a folder that exists.

    It is written before the computation begins and again after the result is in its place: whatever stops the process
    between, the next one knows whether what stands there may be replaced.

    Args:
        output (Path): The result.
        recipe (Mapping): What it is made of, see :func:`recipe_of`.
    """

    def __init__(self, output: Path, recipe: Mapping[str, Any]) -> None:
        self._path, self._output, self._recipe = record_path(output), output, recipe
        self._content = self._read()

    @property
    def state(self) -> ResultState:
        """What stands at the place of the result."""
        if not any(path.exists() for path in files_written(self._output)):
            return ResultState.WANTED
        if self._content.get('recipe') != self._recipe:
            return ResultState.OTHER
        if 'sizes' not in self._content:
            return ResultState.WANTED
        unchanged = self._content['sizes'] == _sizes(self._output)
        return ResultState.FINISHED if unchanged else ResultState.OTHER

    @property
    def exists(self) -> bool:
        """Whether there was one, so that what lies at the place of the preview may be replaced too."""
        return bool(self._content)

    @property
    def row(self) -> dict[str, Any]:
        """What :meth:`finish` was given."""
        return dict(self._content['row'])

    @property
    def difference(self) -> str:
        """What distinguishes the result that is there from the one that is wanted, for people."""
        theirs = self._content.get('recipe')
        if theirs is None:
            return 'nothing says what it was made of'
        names = [name for name in self._recipe if theirs.get(name) != self._recipe[name]]
        return f'made with another {" and ".join(names)}' if names else 'changed since'

    def begin(self) -> None:
        """Say that the result is being made."""
        self._write({'recipe': self._recipe})

    def finish(self, row: Mapping[str, Any], report: Mapping[str, Any]) -> None:
        """Say that the result is in its place.

        Args:
            row (Mapping): Its row of the table.
            report (Mapping): What was found out, as values of JSON.
        """
        self._write({'recipe': self._recipe, 'sizes': _sizes(self._output), 'row': row, 'report': report})

    def _read(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_text(encoding='utf-8'))
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) and isinstance(content.get('recipe'), dict) else {}

    def _write(self, content: Mapping[str, Any]) -> None:
        write_json(self._path, content)
        self._content = dict(content)


def record_path(output: Path) -> Path:
    """Return where the record of a result is."""
    return output.parent / '.mulsr' / f'{output.name}.json'


def recipe_of(pair: PairFiles, settings: InferenceSettings) -> dict[str, Any]:
    """Return what the result of a pair follows from, as values of JSON.

    Files count by place, size and time of their last change: contents would have to be read whole before anything could
    be skipped.

    Args:
        pair (PairFiles): The images and how they are read.
        settings (InferenceSettings): How they are super-resolved.
    """
    recipe = {
        'cube': [_files(files_read(pair.cube)), pair.cube_options],
        'guide': [_files(files_read(pair.guide)), pair.guide_options],
        **{field.name: getattr(settings, field.name) for field in fields(InferenceSettings)},
        'device': re.sub(r':\d+$', '', settings.device),  # which one of several GPUs changes nothing
        'version': [__version__, torch.__version__],
    }
    if settings.weights is not None:
        recipe['weights'] = _files([find_weights(settings.weights)])
    if settings.spectral_response is not None:
        table = Path(settings.spectral_response.partition(':')[0])
        recipe['spectral_response'] = [settings.spectral_response, _files([table]) if table.is_file() else None]
    for name in ('option_file', 'sensor'):
        if recipe[name] is not None:
            recipe[name] = _files([Path(recipe[name]).expanduser()])
    return json.loads(json.dumps(recipe, default=str))


def _files(paths: Iterable[Path]) -> list[Any]:
    """Return place, size and time of files and of what folders hold; those of files that are not there are None."""
    stated: list[Any] = []
    for path in paths:
        for part in sorted(path.iterdir()) if path.is_dir() else [path]:
            status = part.stat() if part.exists() else None
            stated.append([str(part.resolve()), status and status.st_size, status and status.st_mtime_ns])
    return stated


def _sizes(output: Path) -> dict[str, int]:
    """Return the sizes of the files of a result by name."""
    parts = [part for path in files_written(output) for part in (path.iterdir() if path.is_dir() else [path])]
    return {part.name: part.stat().st_size for part in sorted(parts) if part.exists()}
