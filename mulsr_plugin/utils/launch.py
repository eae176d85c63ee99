"""Start-up shared by ``python -m mulsr_plugin.train`` and ``python -m mulsr_plugin.test``."""

from __future__ import annotations

import logging
import os
import sys
from argparse import Namespace
from os import path as osp
from typing import Any

import torch
import yaml
from basicsr.utils import get_env_info, get_root_logger, get_time_str
from basicsr.utils.options import dict2str, parse_options

from mulsr_plugin.utils.distributed import share_seed
from mulsr_plugin.utils.options import ANYTHING, BLOCK, TEXT, check_block, require


def parse_command_line(root: str, is_train: bool) -> tuple[dict[str, Any], Namespace]:
    """Parse BasicSR's command line, with ``--local-rank`` and multi-process runs on CPU besides.

    Args:
        root: Folder that gets ``experiments/``, ``results/`` and ``tb_logger/``.
        is_train: Whether to train or to test.

    Returns:
        BasicSR's options and the parsed arguments.

    Raises:
        FileNotFoundError: The option file does not exist.
        ValueError: It is broken or lacks a block, or a distributed run was asked for without torchrun.
    """
    if 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ:
        # PyTorch 2.5 runs code from files unless told not to, and BasicSR's own networks and losses do not tell it
        os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    arguments = [word.replace('--local-rank', '--local_rank', 1) for word in sys.argv[1:]]
    wants_gpu = _read_option_file(arguments).get('num_gpu') != 0
    on_cpu = _asks_for_pytorch_launcher(arguments) and not (wants_gpu and torch.cuda.is_available())
    if on_cpu:
        # BasicSR would start NCCL, which needs GPUs: start gloo here and tell it of no launcher
        _start_gloo()
        arguments = _without_launcher(arguments)
    program, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        opt, args = parse_options(root, is_train=is_train)
    finally:
        sys.argv = program
    opt['dist'] = opt['dist'] or on_cpu
    opt['root_path'] = root
    share_seed(opt)
    return opt, args


def start_logger(opt: dict[str, Any], task: str) -> logging.Logger:
    """Open BasicSR's log file of a run and write versions and options into it."""
    log_file = osp.join(opt['path']['log'], f'{task}_{opt["name"]}_{get_time_str()}.log')
    logger = get_root_logger(logger_name='basicsr', log_level=logging.INFO, log_file=log_file)
    logger.info(get_env_info())
    logger.info(dict2str(opt))
    return logger


def _read_option_file(arguments: list[str]) -> dict[str, Any]:
    """Read the option file ahead of BasicSR, which meets a missing or broken one with a traceback."""
    if '-opt' not in arguments[:-1]:
        return {}
    path = arguments[arguments.index('-opt') + 1]
    if not osp.isfile(path):
        raise FileNotFoundError(f'There is no option file {path}; those that ship with the plugin are in options/.')
    try:
        with open(path, encoding='utf-8') as file:
            opt = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f'{path} is no YAML file ({" ".join(str(error).split())}); correct that place.') from error
    rules = {
        'name': TEXT,
        'model_type': TEXT,
        'num_gpu': ANYTHING,
        'datasets': BLOCK,
        'network_g': BLOCK,
        'path': BLOCK,
    }
    require(opt or {}, rules, path)
    check_block({key: opt[key] for key in rules}, rules, path)
    return opt


def _asks_for_pytorch_launcher(arguments: list[str]) -> bool:
    return '--launcher=pytorch' in arguments or ('--launcher', 'pytorch') in zip(arguments, arguments[1:])


def _without_launcher(arguments: list[str]) -> list[str]:
    rest = [word for word in arguments if word != '--launcher=pytorch']
    if '--launcher' in rest:
        place = rest.index('--launcher')
        rest = rest[:place] + rest[place + 2 :]
    return rest


def _start_gloo() -> None:
    if 'RANK' not in os.environ:
        raise ValueError(
            '--launcher pytorch was given, but no process group was set up: start the run with '
            '"torchrun --nproc_per_node=N -m mulsr_plugin.train ...".'
        )
    torch.distributed.init_process_group('gloo')
