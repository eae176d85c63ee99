"""The options that HSISRModel and MulSRModel accept, and the check of a whole option file."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import torch
from basicsr.models import lr_scheduler
from basicsr.utils.registry import (
    ARCH_REGISTRY,
    DATASET_REGISTRY,
    LOSS_REGISTRY,
    METRIC_REGISTRY,
    MODEL_REGISTRY,
)

from mulsr_plugin.models.inference import DEFAULT_HALO
from mulsr_plugin.models.measurement import IMAGE_ARGUMENTS, SENSOR_RULES
from mulsr_plugin.models.precision import PRECISIONS
from mulsr_plugin.models.precision_choice import AUTO
from mulsr_plugin.utils.options import (
    ANYTHING,
    BLOCK,
    BOOLEAN,
    NAME,
    TEXT,
    Rule,
    building,
    check_block,
    check_constructor_options,
    check_keys,
    choice,
    either,
    given,
    integer,
    list_of,
    number,
    require,
)

# a name such as x8/first makes nested folders, but none above experiments/
EXPERIMENT = Rule(
    lambda v: isinstance(v, str) and all(NAME.accepts(part) for part in v.split('/')),
    'a name that can be that of a folder',
    may_be_none=False,
)

TOP_RULES: dict[str, Rule] = {
    'name': EXPERIMENT,
    'model_type': TEXT,
    'scale': integer(1),
    'num_gpu': given(either(integer(0), choice('auto'))),
    'manual_seed': integer(0),
    'datasets': BLOCK,
    'network_g': BLOCK,
    'path': BLOCK,
    'train': BLOCK,
    'val': BLOCK,
    'logger': BLOCK,
    'dist_params': BLOCK,
    'find_unused_parameters': BOOLEAN,
    # written by BasicSR itself while it parses the file
    **dict.fromkeys(('dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path'), ANYTHING),
}

POSITIVE = Rule(lambda v: number().accepts(v) and v > 0, 'a number above 0')

FILE_RULES: dict[str, Rule] = {
    'name': EXPERIMENT,
    'model_type': given(TEXT),
    'num_gpu': TOP_RULES['num_gpu'],
    'manual_seed': TOP_RULES['manual_seed'],
    **dict.fromkeys(('datasets', 'network_g', 'path'), given(BLOCK)),
    **dict.fromkeys(('train', 'val', 'logger'), BLOCK),
}
"""What BasicSR reads of any option file before it builds a model."""

PATH_RULES: dict[str, Rule] = {
    'pretrain_network_g': TEXT,
    'param_key_g': TEXT,
    'strict_load_g': given(BOOLEAN),
    'resume_state': TEXT,
    'ignore_resume_networks': list_of(choice('network_g')),
    # written by BasicSR itself
    **dict.fromkeys(
        ('root', 'experiments_root', 'results_root', 'models', 'training_states', 'log', 'visualization'), TEXT
    ),
}

TRAIN_RULES: dict[str, Rule] = {
    'ema_decay': given(number(0, 1)),
    'optim_g': BLOCK,
    'scheduler': BLOCK,
    'total_iter': given(integer(1)),
    'warmup_iter': given(integer(-1)),
    'pixel_opt': BLOCK,
    'bands_per_chunk': integer(1),
    'precision': choice(*PRECISIONS, AUTO),
    'channels_last': BOOLEAN,
    'compile': BOOLEAN,
    'grad_clip': POSITIVE,
    'accumulate': integer(1),
}

MULSR_TRAIN_RULES: dict[str, Rule] = {
    'band_update': choice('per_band', 'joint'),
    'bands_per_step': integer(1),
    'cuda_graph': BOOLEAN,
    'small_scale_opt': BLOCK,
    'scales': list_of(integer(2)),
}

START_TRAIN_RULES: dict[str, Rule] = {
    'degradations': list_of(BLOCK),
    **dict.fromkeys(('part_size', 'parts_per_step', 'steps_per_batch', 'bands_per_step', 'pool_size'), integer(1)),
}

VAL_RULES: dict[str, Rule] = {
    'val_freq': integer(1),
    'save_img': BOOLEAN,
    'save_cube': choice('mat', 'npy'),
    'suffix': NAME,
    'pbar': BOOLEAN,
    'metrics': BLOCK,
    'crop_size': integer(1),
    'max_images': integer(1),
    'bands': either(integer(1), list_of(integer(0))),
    'bands_per_chunk': either(integer(1), choice('auto')),
    'precision': choice(*PRECISIONS, AUTO),
    'tile_size': integer(1),
    'tile_halo': integer(0),
}

LOGGER_RULES: dict[str, Rule] = {
    'print_freq': given(integer(1)),
    'save_checkpoint_freq': given(integer(1)),
    'keep_states': integer(1),
    'use_tb_logger': given(BOOLEAN),
    'wandb': BLOCK,
}

OPTIM_RULES: dict[str, Rule] = {
    'lr': given(number(0)),
    'weight_decay': given(number(0)),
    'eps': given(number(0)),
    'betas': Rule(
        lambda v: list_of(number(0, 1)).accepts(v) and len(v) == 2 and max(v) < 1,
        'two numbers from 0 to below 1',
        may_be_none=False,
    ),
    'momentum': given(number(0)),
    **dict.fromkeys(('amsgrad', 'nesterov', 'fused', 'foreach', 'maximize', 'capturable', 'differentiable'), BOOLEAN),
}

SCHEDULER_RULES: dict[str, Rule] = {
    'type': TEXT,
    'milestones': Rule(
        lambda v: v == [] or list_of(integer(1)).accepts(v), 'a list of whole numbers of at least 1', may_be_none=False
    ),
    'periods': given(list_of(integer(1))),
    'restarts': given(list_of(integer(0))),
    'restart_weights': given(list_of(number(0))),
    'gamma': given(number(0)),
    'eta_min': given(number(0)),
}

METRIC_RULES: dict[str, Rule] = {
    'crop_border': given(integer(0)),
    **dict.fromkeys(('scale', 'p', 'q'), POSITIVE),
    **dict.fromkeys(('alpha', 'beta'), given(number(0))),
    'zero_spectra': given(choice('exclude', 'authors')),
    'window': Rule(lambda v: v in (2, 4, 8, 16, 32, 64, 128, 'gaussian'), 'a power of two from 2 to 128, or gaussian'),
    **SENSOR_RULES,
}
"""Options of this plugin's metrics."""

SCHEDULERS = {
    'MultiStepLR': lr_scheduler.MultiStepRestartLR,
    'MultiStepRestartLR': lr_scheduler.MultiStepRestartLR,
    'CosineAnnealingRestartLR': lr_scheduler.CosineAnnealingRestartLR,
}


def check_option_file(opt: Mapping[str, Any]) -> None:
    """Check an option file before anything is made of it, not even folders.

    Args:
        opt: Options as they are written, with ``is_train``.

    Raises:
        ValueError: One sentence about the first mistake found. Blocks of models and data sets of other packages are
            left to these.
    """
    check_block({key: opt.get(key) for key in FILE_RULES}, FILE_RULES, 'the option file')
    if opt['is_train']:
        require(opt, ['train', 'logger'], 'the option file')
    check_block(opt['path'], {key: PATH_RULES.get(key, ANYTHING) for key in opt['path']}, 'path')
    check_block(opt['datasets'], dict.fromkeys(opt['datasets'], given(BLOCK)), 'datasets')
    _check_phases(opt['datasets'], opt['is_train'])
    model = registered(MODEL_REGISTRY, opt['model_type'], 'model')
    if hasattr(model, 'train_rules'):
        check_model_options(opt, model.train_rules)
    for phase, data in opt['datasets'].items():
        require(data, ['type'], f'datasets: {phase}')
        data_set = registered(DATASET_REGISTRY, data['type'], 'data set')
        if hasattr(data_set, 'check_options'):
            data_set.check_options({**data, 'phase': phase.split('_')[0], 'scale': opt.get('scale')})


def _check_phases(datasets: Mapping[str, Any], is_train: bool) -> None:
    """Refuse data sets that BasicSR's scripts do not know what to do with."""
    phases = {name: name.split('_')[0] for name in datasets}
    if is_train and 'train' not in datasets:
        raise ValueError("datasets has no block 'train'; add one, or use `mulsr test` for testing.")
    for name, phase in phases.items():
        if is_train and name != 'train' and phase != 'val':
            raise ValueError(
                f'datasets: {name} is neither train nor for validation in a training; name it val or val_NAME.'
            )
        if not is_train and phase not in ('test', 'val'):
            raise ValueError(f'datasets: {name} is not for a test; name it test or test_NAME.')


def _check_logger(opt: Mapping[str, Any]) -> None:
    logger = opt['logger']
    check_block(logger, LOGGER_RULES, 'logger')
    require(logger, ['print_freq', 'save_checkpoint_freq', 'use_tb_logger'], 'logger')
    wandb = logger.get('wandb') or {}
    check_block(wandb, {'project': TEXT, 'resume_id': TEXT}, 'logger: wandb')
    if 'debug' in opt['name']:
        return
    if wandb.get('project') is not None:
        if not logger['use_tb_logger']:
            raise ValueError(
                'logger: wandb: project needs use_tb_logger: true, as what goes to TensorBoard is sent; set it, or '
                'project: ~.'
            )
        _check_library('wandb', 'logger: wandb: project')
    if logger['use_tb_logger']:
        _check_library('tensorboard', 'logger: use_tb_logger: true')


def _check_library(name: str, option: str) -> None:
    if find_spec(name) is None:
        raise ValueError(f'{option} needs {name}, which is not installed; run pip install {name}, or switch it off.')


def check_model_options(opt: Mapping[str, Any], train_rules: Mapping[str, Rule]) -> None:
    """Check every block of an option file but the data sets, which check their own.

    Args:
        opt: Options as BasicSR parsed them.
        train_rules: Legal options of the ``train`` block.

    Raises:
        ValueError: One sentence about the first mistake found.
    """
    check_block(opt, TOP_RULES, 'the option file')
    require(opt, ['scale'], 'the option file')
    check_block(opt['path'], PATH_RULES, 'path')
    check_network(opt['network_g'])
    if opt.get('is_train'):
        require(opt, ['train', 'logger'], 'the option file')
        _check_train(opt['train'], train_rules)
        _check_logger(opt)
        _check_accumulate(opt['train'], opt['logger']['save_checkpoint_freq'])
    else:
        require(opt, ['val'], 'the option file')
    if opt.get('val') is not None:
        _check_val(opt['val'], opt)


def check_network(network: Mapping[str, Any]) -> None:
    """Check that the network is registered and takes the options given.

    Raises:
        ValueError: Unknown network, unknown or missing option.
    """
    require(network, ['type'], 'network_g')
    check_constructor_options(network, registered(ARCH_REGISTRY, network['type'], 'network'), 'network_g')


def _check_val(val: Mapping[str, Any], opt: Mapping[str, Any]) -> None:
    check_block(val, VAL_RULES, 'val')
    require(val, ['save_img', 'val_freq'] if opt.get('is_train') else ['save_img'], 'val')
    for name, metric in (val.get('metrics') or {}).items():
        _check_metric(metric, f'val: metrics: {name}')
    validated = [data for phase, data in opt['datasets'].items() if phase.split('_')[0] != 'train']
    for data in validated:
        check_block({'name': data.get('name')}, {'name': NAME}, 'datasets')
    names = [data.get('name') for data in validated]
    if len(set(names)) < len(names):
        raise ValueError(
            f'Two data sets are both named {max(names, key=names.count)!r}, so their results would be mixed up; '
            'give each a name of its own.'
        )
    sizes = {key: val[key] for key in ('crop_size', 'tile_size', 'tile_halo') if val.get(key)}
    if 'tile_size' in sizes:
        sizes.setdefault('tile_halo', DEFAULT_HALO)
    for data in validated:
        scale = data.get('upscale') or opt['scale']
        for key, size in sizes.items():
            if size % scale:
                raise ValueError(
                    f'val: {key} {size} is not a multiple of the scale {scale} of data set {data.get("name")!r}; '
                    'choose one that is.'
                )
    _check_tiles(val, opt['network_g'])


def _check_tiles(val: Mapping[str, Any], network: Mapping[str, Any]) -> None:
    if val.get('tile_halo') is not None and val.get('tile_size') is None:
        raise ValueError('val: tile_halo has no effect without tile_size; add it or remove tile_halo.')
    if val.get('tile_size') is not None and network.get('small_scale_head'):
        raise ValueError(
            'val: tile_size does not go with network_g: small_scale_head, whose two images are validated whole; remove '
            'one of them.'
        )


def _check_train(train: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    check_block(train, rules, 'train')
    require(train, ['optim_g', 'scheduler', 'pixel_opt', 'total_iter'], 'train')
    for name in ('pixel_opt', 'small_scale_opt'):
        if train.get(name) is not None:
            require(train[name], ['type'], f'train: {name}')
            loss = registered(LOSS_REGISTRY, train[name]['type'], 'loss')
            check_constructor_options(train[name], loss, f'train: {name}')
            # chunks of bands are averaged, which is exact for means alone
            reduction = {'reduction': train[name].get('reduction')}
            check_block(reduction, {'reduction': choice('mean')}, f'train: {name}')
            with building(f'train: {name}'):
                loss(**{key: value for key, value in train[name].items() if key != 'type'})
            if getattr(loss, 'needs_all_bands', False):
                _check_all_bands(train, train[name]['type'], 'band_update' in rules)
    _check_optimizer(train['optim_g'])
    _check_scheduler(train['scheduler'], train['total_iter'])


def _check_all_bands(train: Mapping[str, Any], loss: str, has_band_update: bool) -> None:
    """Refuse a loss of whole spectra in a training that computes some bands at a time."""
    if train.get('bands_per_chunk') is not None or (has_band_update and train.get('band_update') != 'joint'):
        raise ValueError(
            f'train: {loss} compares whole spectra, but the training computes some bands at a time; set '
            f'{"band_update: joint and " if has_band_update else ""}no bands_per_chunk, or take another loss.'
        )


def _check_scheduler(scheduler: Mapping[str, Any], total_iter: int) -> None:
    where = 'train: scheduler'
    require(scheduler, ['type'], where)
    check_block({'type': scheduler['type']}, {'type': choice(*SCHEDULERS)}, where)
    parameters = inspect.signature(SCHEDULERS[scheduler['type']]).parameters
    check_block(scheduler, {key: rule for key, rule in SCHEDULER_RULES.items() if key in (*parameters, 'type')}, where)
    times = 'periods' if 'periods' in parameters else 'restarts'
    require(scheduler, ['periods'] if 'periods' in parameters else ['milestones'], where)
    counts = {key: len(scheduler.get(key, (0,))) for key in (times, 'restart_weights')}
    if len(set(counts.values())) > 1:
        raise ValueError(
            f'{where}: {times} has {counts[times]} values and restart_weights {counts["restart_weights"]}, expected '
            'equally many; correct one of them.'
        )
    if sum(scheduler.get('periods', [total_iter])) < total_iter:
        raise ValueError(
            f'{where}: periods end after {sum(scheduler["periods"])} iterations, before total_iter, {total_iter}; make '
            'them as long.'
        )


def _check_accumulate(train: Mapping[str, Any], save_checkpoint_freq: int) -> None:
    """Refuse a run that would be saved with gradients which no step has used yet: it could not be resumed exactly."""
    count = train.get('accumulate') or 1
    for name, value in (('train: total_iter', train['total_iter']), ('save_checkpoint_freq', save_checkpoint_freq)):
        if value % count:
            raise ValueError(
                f'{name} is {value}, no multiple of train: accumulate, {count}, so that a checkpoint would lack the '
                f'gradients gathered since the last step; try {max(value // count, 1) * count}.'
            )


def _check_optimizer(optim: Mapping[str, Any]) -> None:
    where = 'train: optim_g'
    require(optim, ['type', 'lr'], where)
    kinds = ('Adam', 'AdamW', 'Adamax', 'SGD', 'ASGD', 'RMSprop', 'Rprop')
    check_block({'type': optim['type']}, {'type': choice(*kinds)}, where)
    accepted = set(inspect.signature(getattr(torch.optim, optim['type'])).parameters) - {'params'}
    rules = {key: OPTIM_RULES.get(key, ANYTHING) for key in accepted}
    check_block(optim, {**rules, 'type': TEXT}, where)
    with building(where):
        options = {key: value for key, value in optim.items() if key != 'type'}
        getattr(torch.optim, optim['type'])([torch.zeros(1, requires_grad=True)], **options)


def _check_metric(metric: Mapping[str, Any], where: str) -> None:
    require(metric, ['type'], where)
    function = registered(METRIC_REGISTRY, metric['type'], 'metric')
    if function.__module__.startswith('basicsr.'):
        raise ValueError(
            f'{where}: {metric["type"]} measures 8-bit pictures, not cubes; use a metric of this plugin, '
            'such as calculate_hsi_psnr, calculate_hsi_ssim or calculate_sam.'
        )
    named = [n for n, p in inspect.signature(function).parameters.items() if p.kind is not p.VAR_KEYWORD]
    check_keys(metric, [*(set(named) - set(IMAGE_ARGUMENTS)), 'type', 'better'], where)
    rules = {'better': choice('higher', 'lower')}
    if function.__module__.startswith('mulsr_plugin.'):
        rules.update(METRIC_RULES, measure=given(choice('rmse', 'sam' if 'spectral' in metric['type'] else 'psnr')))
    check_block({key: metric[key] for key in rules if key in metric}, rules, where)


def registered(registry: Any, name: str, kind: str) -> Any:
    """Look a name up as BasicSR does (with its suffix for clashes), but explain a miss."""
    for candidate in (name, f'{name}_basicsr') if isinstance(name, str) else ():
        if candidate in registry:
            return registry.get(candidate)
    close = difflib.get_close_matches(str(name), list(registry.keys()), n=1)
    hint = f'did you mean {close[0]!r}?' if close else f'known are {", ".join(sorted(registry.keys()))}.'
    raise ValueError(f'No {kind} named {name!r} is registered; {hint}')
