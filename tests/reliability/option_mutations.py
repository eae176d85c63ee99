"""Shipped option files made tiny, and what happens when one of their values is wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import yaml
from basicsr.data import build_dataset
from basicsr.models import build_model

from mulsr_plugin.training.command_line import parse_command_line

OPTIONS = Path(__file__).parents[2] / 'options'
JUNK = (
    None, '', 'abc', '1e-4', '../x', -1, 0, 1, 3, 1.5, 10**30, True, False,
    float('nan'), float('inf'), [], [1], [0.5, None], ['a'], [[1]], {}, {'type': 'abc'}, {'x': 1}, {1: 2},
)  # fmt: skip
"""What a value of an option file may be instead of what it should be."""

Path_ = tuple[Any, ...]


def tiny_options(file: Path, stores: Path) -> dict[str, Any]:
    """Read an option file, with paths, sizes and times that a test can afford."""
    opt = yaml.safe_load(file.read_text(encoding='utf-8'))
    for phase, data in opt['datasets'].items():
        for key in ('dataroot_gt', 'dataroot_lq', 'dataroot_rgb'):
            if key in data:
                data[key] = str(stores / ('train.lmdb' if phase == 'train' else 'test.lmdb'))
        if phase == 'train':
            data.update(gt_size=2 * opt['scale'], crops_per_image=2, batch_size_per_gpu=1, num_worker_per_gpu=0)
    network = opt['network_g']
    sizes = {'num_feat': 8, 'num_modules': 1, 'num_units': 1}
    for block in (network, network.get('network', {})):
        block.update({key: value for key, value in sizes.items() if key in block})
    opt['num_gpu'] = 0
    opt['path'].update(pretrain_network_g=None)
    if 'logger' in opt:
        opt['logger']['use_tb_logger'] = False
        opt['train'].pop('compile', None)
    opt['val'].update(save_img=False)
    return opt


def places(block: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Every key of nested blocks, as the keys that lead to it."""
    for key, value in block.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from places(value, (*path, key))


def changed(opt: dict[str, Any], path: Path_, change: str, value: Any = None) -> dict[str, Any]:
    """Copy the options with the value at ``path`` set ('value'), its key removed ('missing') or misspelt ('key')."""
    opt = deepcopy(opt)
    block = opt
    for key in path[:-1]:
        block = block[key]
    if change == 'value':
        block[path[-1]] = value
    elif change == 'missing':
        del block[path[-1]]
    else:
        block[f'{path[-1]}x'] = block.pop(path[-1])
    return opt


def run(opt: dict[str, Any], folder: Path, *arguments: str, is_train: bool) -> None:
    """Do with options what the plugin's own launcher does with an option file, up to the first training step."""
    file = folder / 'fuzzed.yml'
    file.write_text(yaml.safe_dump(opt), encoding='utf-8')
    with patch.object(sys, 'argv', ['train', '-opt', str(file), *arguments]):
        opt, _ = parse_command_line(str(folder), is_train=is_train)
    for name in ('models', 'training_states', 'visualization'):
        if name in opt['path']:
            Path(opt['path'][name]).mkdir(parents=True, exist_ok=True)
    datasets = {phase: build_dataset(block) for phase, block in opt['datasets'].items()}
    model = build_model(opt)
    for dataset in datasets.values():
        if dataset.is_train:
            loader = torch.utils.data.DataLoader(dataset, batch_size=1)
            model.update_learning_rate(1, warmup_iter=opt['train'].get('warmup_iter', -1))
            model.feed_data(next(iter(loader)))
            model.optimize_parameters(1)
