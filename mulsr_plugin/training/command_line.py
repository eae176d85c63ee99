"""Start-up shared by ``python -m mulsr_plugin.train`` and ``python -m mulsr_plugin.test``."""

from __future__ import annotations

import logging
import os
import re
import sys
from argparse import ArgumentParser, Namespace
from os import path as osp
from typing import Any

import torch
from basicsr.utils import get_env_info, get_root_logger, get_time_str
from basicsr.utils.options import _postprocess_yml_value, dict2str, parse_options

from mulsr_plugin.models.schema import check_option_file
from mulsr_plugin.utils.distributed import share_seed
from mulsr_plugin.utils.options import find_option_file, read_option_file

_NODE_LIST = re.compile(r'[A-Za-z0-9._\-\[\],]+')


def parse_command_line(root: str, is_train: bool) -> tuple[dict[str, Any], Namespace]:
    """Parse BasicSR's command line, with ``--minutes``, ``--local-rank`` and multi-process runs on CPU besides.

    Args:
        root: Folder that gets ``experiments/``, ``results/`` and ``tb_logger/``.
        is_train: Whether to train or to test.

    Returns:
        BasicSR's options and the parsed arguments; ``minutes`` among them is the time budget of a training or None, and
        ``manual_seed`` the seed of the option file or None.

    Raises:
        FileNotFoundError: The option file does not exist.
        ValueError: It is broken or lacks a block, an option is wrong, be it through ``--force_yml``, or a distributed
            run was asked for without torchrun.
    """
    if 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD' not in os.environ:
        # PyTorch 2.5 runs code from files unless asked not to, and BasicSR's own networks and losses do not ask
        os.environ.setdefault('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')
    arguments = [word.replace('--local-rank', '--local_rank', 1) for word in sys.argv[1:]]
    arguments = _with_option_file_found(arguments)
    minutes, arguments = _take_minutes(arguments) if is_train else (None, arguments)
    written = read_arguments(arguments)
    check_option_file({**written, 'is_train': is_train}) if written else None
    launcher, others = _take_launcher(arguments)
    _check_launcher(launcher)
    wants_gpu = written.get('num_gpu') != 0
    on_cpu = launcher == 'pytorch' and not (wants_gpu and torch.cuda.is_available())
    if on_cpu:
        # BasicSR would start NCCL, which needs GPUs: start gloo here and give it no launcher
        torch.distributed.init_process_group('gloo')
        arguments = others
    program, sys.argv = sys.argv, [sys.argv[0], *arguments]
    try:
        opt, args = parse_options(root, is_train=is_train)
    finally:
        sys.argv = program
    args.minutes, args.manual_seed = minutes, written.get('manual_seed')
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


def _take_minutes(arguments: list[str]) -> tuple[float | None, list[str]]:
    """Take ``--minutes`` out of a command line, which BasicSR's parser would refuse."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--minutes')
    taken, rest = parser.parse_known_args(arguments)
    if taken.minutes is None:
        return None, rest
    try:
        minutes = float(taken.minutes)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float('inf'):
        raise ValueError(f'--minutes is {taken.minutes}, expected a number above 0, such as 9.5.')
    return minutes, rest


def _with_option_file_found(arguments: list[str]) -> list[str]:
    """Replace the name of a shipped option file by its path, which BasicSR reads."""
    if '-opt' not in arguments[:-1]:
        return arguments
    place = arguments.index('-opt') + 1
    return [*arguments[:place], str(find_option_file(arguments[place])), *arguments[place + 1 :]]


def read_arguments(arguments: list[str]) -> dict[str, Any]:
    """Read the option file of a command line, ``--force_yml`` included, ahead of BasicSR.

    Returns:
        Its options; empty without ``-opt``, which BasicSR's own parser explains.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not an option file, or an entry of ``--force_yml`` cannot be read.
    """
    if '-opt' not in arguments[:-1]:
        return {}
    opt = read_option_file(arguments[arguments.index('-opt') + 1])
    for entry in _forced_entries(arguments):
        _force(opt, entry)
    return opt


def _forced_entries(arguments: list[str]) -> list[str]:
    """Return what follows ``--force_yml``, up to the next option."""
    parser = ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--force_yml', nargs='+', default=[])
    try:
        return parser.parse_known_args(arguments)[0].force_yml
    except SystemExit:  # nothing follows it, which BasicSR's own parser explains
        return []


def _force(opt: dict[str, Any], entry: str) -> None:
    """Set one option as BasicSR does, which meets a mistake with a traceback."""
    keys, *values = entry.split('=')
    *blocks, last = keys.strip().split(':')
    block: Any = opt
    for key in blocks:
        block = block.get(key) if isinstance(block, dict) else None
    if len(values) != 1 or not isinstance(block, dict) or '"' in keys or '\\' in keys:
        raise ValueError(
            f'--force_yml {entry!r} does not set an option; write BLOCK:KEY=VALUE with a block of the option file, '
            'such as train:total_iter=1000.'
        )
    try:
        block[last] = _postprocess_yml_value(values[0].strip())
    except Exception as error:  # a list is evaluated as Python
        raise ValueError(
            f'--force_yml {entry!r} has a value that cannot be read ({type(error).__name__}: {error}); write numbers '
            'as 3, 0.5 or !!float1e-4, and lists as [1,2].'
        ) from error


def _take_launcher(arguments: list[str]) -> tuple[str, list[str]]:
    """Return what follows ``--launcher``, and the other arguments; BasicSR's own parser explains what is none."""
    parser = ArgumentParser(add_help=False)  # takes shortened names, as BasicSR's does
    parser.add_argument('--launcher', nargs='?', default='none')
    taken, others = parser.parse_known_args(arguments)
    return taken.launcher or 'none', others


def _check_launcher(launcher: str) -> None:
    """Refuse a distributed run that nobody has set up, and a list of nodes that BasicSR would hand to a shell."""
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise ValueError(
            '--launcher pytorch was given, but no process group was set up: start the run with '
            '"torchrun --nproc_per_node=N -m mulsr_plugin.train ...".'
        )
    if launcher != 'slurm':
        return
    for name in 'SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_NODELIST':
        if name not in os.environ:
            raise ValueError(f'--launcher slurm was given, but {name} is not set: start the run with srun.')
    nodes = os.environ['SLURM_NODELIST']
    if not _NODE_LIST.fullmatch(nodes):  # CVE-2024-27763: BasicSR makes it part of a shell command
        raise ValueError(f'SLURM_NODELIST is {nodes!r}, expected names of nodes, such as gpu[01-04,07]: use srun.')
    if not torch.cuda.is_available():
        raise ValueError('--launcher slurm was given, but PyTorch sees no GPU: use torchrun for runs on CPUs.')
