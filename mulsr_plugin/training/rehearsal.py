"""A run tried out before anything is made: what would end it early, or in its middle, is found here.

BasicSR makes the folders of a run first and archives those of an earlier one. It then meets a missing store, weights of
another network or a wrong option with a traceback, and a data set shorter than a batch with no training at all.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils.logger import initialized_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch.utils.data import default_collate

from mulsr_plugin.models.schema import check_option_file
from mulsr_plugin.models.validation_check import check_validation
from mulsr_plugin.training.resume import generator_states, set_generator_states
from mulsr_plugin.utils.options import RunError


def rehearse(opt: Mapping[str, Any], world_size: int = 1, resumes: bool = False, stock_script: bool = False) -> None:
    """Open the data sets of a run, build its model and compute one sample and every metric once, on the CPU.

    Nothing is written, and neither the options nor the random generators change. Models of other packages are left to
    them.

    Args:
        opt: Options as they are written or as BasicSR has parsed them, with ``is_train``.
        world_size: Processes of the run. Default: 1.
        resumes: Whether the run goes on from a state, which brings its own weights. Default: False.
        stock_script: Whether BasicSR's own script runs it, which may end early. Default: False.

    Raises:
        FileNotFoundError: Data or weights do not exist.
        ImportError: A library for the run is not installed.
        ValueError: An option is wrong, or the run could not do what its options say.
    """
    opt = _completed(opt, resumes)
    check_option_file(opt)
    if not hasattr(MODEL_REGISTRY.get(opt['model_type']), 'train_rules'):
        return
    with _unheard():
        datasets = {phase: build_dataset(block) for phase, block in opt['datasets'].items()}
        if opt['is_train']:
            check_length(opt, len(datasets['train']), world_size, stock_script)
        for phase, dataset in datasets.items():
            if phase != 'train' and opt.get('val') is not None:
                scale = opt['datasets'][phase].get('upscale') or opt['scale']
                check_validation(dataset, opt['val'], scale, bool(opt['network_g'].get('small_scale_head')))
        model = build_model(deepcopy(opt))
        if opt['is_train']:
            _try_sample(model, datasets['train'])


def check_length(opt: Mapping[str, Any], num_samples: int, world_size: int, stock_script: bool) -> None:
    """Refuse a training set with too few samples for a batch, or for BasicSR's script to reach ``total_iter``.

    The script counts the last, incomplete batch of an epoch when it computes how many epochs it needs, but its loader
    drops that batch.

    Args:
        opt: Options of a training.
        num_samples: Samples of an epoch.
        world_size: Processes of the run.
        stock_script: Whether BasicSR's own script runs it.

    Raises:
        ValueError: There are too few.
    """
    data, total = opt['datasets']['train'], int(opt['train']['total_iter'])
    batch = data['batch_size_per_gpu']
    share = math.ceil(num_samples / world_size)
    if share < batch:
        raise ValueError(
            f'One epoch has {share} samples per process, fewer than batch_size_per_gpu {batch}; raise crops_per_image '
            'or lower the batch size.'
        )
    epochs = math.ceil(total / math.ceil(num_samples / (batch * world_size))) + 1
    reached = epochs * (share // batch)
    if stock_script and reached < total:
        raise ValueError(
            f"BasicSR's train.py would end after {reached} of {total} iterations, since {share} samples an epoch leave "
            f'an incomplete batch of {batch}; choose a batch size or crops_per_image that leaves none, or use `mulsr '
            'train`.'
        )


def _try_sample(model: Any, dataset: Any) -> None:
    """Compute the loss of one training sample, of one band where that can be done.

    Raises:
        RunError: The network does not fit the data.
    """
    needs_all = not model.is_bandwise or getattr(model.cri_pix, 'needs_all_bands', False)
    model.feed_data(default_collate([dataset[0]]))
    with torch.no_grad(), model.first_run_explained():
        try:
            model.losses(None if needs_all else [0])
        except torch.OutOfMemoryError as error:
            raise RunError('One training sample does not fit into the memory; lower gt_size.') from error


def _completed(opt: Mapping[str, Any], resumes: bool) -> dict[str, Any]:
    """Return a copy of options with what BasicSR's parser adds, for one process on the CPU."""
    opt = {key: deepcopy(value) for key, value in opt.items()}
    for phase, block in opt['datasets'].items() if isinstance(opt.get('datasets'), Mapping) else ():
        if isinstance(block, dict):
            block['phase'] = phase.split('_')[0]
            if 'scale' in opt:
                block['scale'] = opt['scale']
    for name in ('train', 'val'):
        if isinstance(opt.get(name), dict):
            opt[name].pop('compile', None)
            if opt[name].get('precision') == 'auto':
                opt[name]['precision'] = None  # not to be measured twice
    if isinstance(opt.get('path'), dict):
        opt['path']['resume_state'] = None
        if resumes:
            opt['path']['pretrain_network_g'] = None
    return {'manual_seed': 0, **opt, 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1, 'auto_resume': False}


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep what is built within the block from the log, from setting up BasicSR's logger, and random draws undone."""
    states, name = generator_states(), 'basicsr'
    known = name in initialized_logger
    initialized_logger[name] = True  # else the first message would open the log without its file
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        if not known:
            del initialized_logger[name]
        set_generator_states(states)
