"""Option files of benchmarks: what may stand in them, and their entries in one form."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from mulsr_plugin.checkpoints.weights import PREFERRED
from mulsr_plugin.utils.options import (
    BLOCK,
    BOOLEAN,
    TEXT,
    Rule,
    check_block,
    choice,
    either,
    integer,
    list_of,
    read_option_file,
    require,
)

UNTRAINED = 'untrained'

METRICS: dict[str, dict[str, Any]] = {
    'psnr': {'type': 'calculate_hsi_psnr', 'better': 'higher'},
    'ssim': {'type': 'calculate_hsi_ssim', 'better': 'higher'},
    'sam': {'type': 'calculate_sam', 'better': 'lower'},
    'rmse': {'type': 'calculate_rmse', 'better': 'lower'},
    'ergas': {'type': 'calculate_ergas', 'better': 'lower'},
}

_PLAIN_NAME = Rule(
    lambda v: isinstance(v, str) and bool(v.strip('. ')) and not set(v) & set('/\\'), 'a name without slashes'
)
_RULES: dict[str, Rule] = {
    'name': _PLAIN_NAME,
    'scale': integer(1),
    'device': choice('auto', 'cpu', 'cuda'),
    'manual_seed': integer(0),
    'imports': list_of(TEXT),
    'bands_per_chunk': integer(1),
    'crop_size': integer(1),
    'max_images': integer(1),
    'save_cubes': either(BOOLEAN, choice('float16', 'float32')),
    'metrics': BLOCK,
    'datasets': BLOCK,
    'entries': list_of(either(BLOCK, choice('bicubic'))),
}
_ENTRY_RULES: dict[str, Rule] = {
    'name': _PLAIN_NAME,
    'network_g': BLOCK,
    'checkpoint': TEXT,
    'param_key': TEXT,
    'bands_per_chunk': integer(1),
}


def load_benchmark_options(path: str | Path) -> dict[str, Any]:
    """Read and check the option file of a benchmark and import the modules it names.

    Its keys are ``name`` (folder under ``results/``), ``scale``, ``datasets`` (blocks as in a test option file),
    ``entries``, and optionally ``device`` (auto, cpu, cuda), ``manual_seed`` (of untrained networks), ``imports``
    (modules that register networks), ``bands_per_chunk`` (band-wise networks; for all entries or in one),
    ``crop_size`` and ``max_images`` (as in ``val``), ``save_cubes`` (true or float16, float32) and ``metrics`` (as in
    ``val``; the five of the paper if left out). An entry is ``bicubic``, or has a ``name``, a ``network_g`` and a
    ``checkpoint``: a file or ``untrained``. ``param_key`` names its weights; by default those that ``mulsr infer`` and
    ``mulsr test`` take: ``params_ema``, else ``params``, else the file itself.

    Args:
        path: YAML file.

    Returns:
        The options with every default filled in, entries and data sets in the order of the file.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: An option is wrong, or a module cannot be imported.
    """
    return complete_options(read_option_file(path))


def complete_options(opt: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a benchmark, import the modules they name, and fill in defaults.

    Raises:
        ValueError: An option is wrong, or a module cannot be imported.
    """
    where = 'the option file of the benchmark'
    check_block(opt, _RULES, where)
    require(opt, ['name', 'scale', 'datasets', 'entries'], where)
    defaults = {'device': 'auto', 'manual_seed': 0, 'metrics': METRICS, 'save_cubes': False}
    given = {key: deepcopy(value) for key, value in opt.items() if value is not None}
    complete: dict[str, Any] = {**defaults, **dict.fromkeys(_RULES), **defaults, **given}
    for module in complete['imports'] or ():
        _import(module)
    complete['datasets'] = _datasets(complete['datasets'], complete['scale'])
    complete['entries'] = [_entry(entry, complete) for entry in complete['entries']]
    for kind, names in (
        ('entries', [entry['name'] for entry in complete['entries']]),
        ('datasets', [dataset['name'] for dataset in complete['datasets']]),
    ):
        if len(set(names)) < len(names):
            raise ValueError(f'Two {kind} share a name ({", ".join(names)}); give each its own.')
    return complete


def _datasets(blocks: Mapping[str, Any], scale: int) -> list[dict[str, Any]]:
    """Complete the blocks of the data sets as BasicSR's parser does for a test."""
    datasets = []
    for key, block in blocks.items():
        if not isinstance(block, Mapping):
            raise ValueError(f'datasets: {key} is {block!r}, expected a block of options as in a test option file.')
        require(block, ['name', 'type'], f'datasets: {key}')
        check_block({'name': block['name']}, {'name': _PLAIN_NAME}, f'datasets: {key}')
        datasets.append({**block, 'phase': 'test', 'scale': scale})
    return datasets


def _entry(entry: str | Mapping[str, Any], opt: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(entry, str):
        network = {'type': 'BicubicUpsampler', 'upscale': opt['scale']}
        entry = {'name': 'Bicubic', 'network_g': network, 'checkpoint': UNTRAINED}
    where = f'entry {entry.get("name")!r}'
    check_block(entry, _ENTRY_RULES, where)
    require(entry, ['name', 'network_g', 'checkpoint'], where)
    complete = {'param_key': PREFERRED, **{key: value for key, value in entry.items() if value is not None}}
    complete.setdefault('bands_per_chunk', opt['bands_per_chunk'])
    return complete


def _import(module: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f'imports: {module} cannot be imported ({error}); install it, or start in the folder that holds it.'
        ) from error
