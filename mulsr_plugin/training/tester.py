"""Tests of an option file, one data set after the other."""

from __future__ import annotations

import sys
from typing import Any

from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils import make_exp_dirs

from mulsr_plugin import register
from mulsr_plugin.training.command_line import parse_command_line, start_logger
from mulsr_plugin.training.rehearsal import rehearse
from mulsr_plugin.utils.distributed import leave_process_group, wait_for_all
from mulsr_plugin.utils.options import RunError


def prepare(root: str) -> tuple[Any, list[Any], dict[str, Any]]:
    """Build the model and the loaders of every data set of the option file.

    Args:
        root: Folder that gets ``results/``.

    Returns:
        Model, loaders, options.

    Raises:
        FileNotFoundError: The option file, the data or the weights do not exist.
        ValueError: An option is wrong.
    """
    opt, _ = parse_command_line(root, is_train=False)
    rehearse(opt)
    make_exp_dirs(opt)
    wait_for_all()
    start_logger(opt, 'test')
    loaders = []
    for _, dataset_opt in sorted(opt['datasets'].items()):
        dataset = build_dataset(dataset_opt)
        shared = {'num_gpu': opt['num_gpu'], 'dist': opt['dist'], 'seed': opt['manual_seed']}
        loaders.append(build_dataloader(dataset, dataset_opt, sampler=None, **shared))
    return build_model(opt), loaders, opt


def test(root: str) -> int:
    """Test from the command line.

    Args:
        root: Folder that gets ``results/``.

    Returns:
        Exit code 0.

    Raises:
        SystemExit: With one sentence, for a mistake in the options or the data.
    """
    register()
    _test(root)
    leave_process_group()
    return 0


def _test(root: str) -> None:
    # apart from test(), which may hold neither model nor loaders when it leaves the process group
    try:
        model, loaders, opt = prepare(root)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
    try:
        for loader in loaders:
            model.validation(loader, current_iter=opt['name'], tb_logger=None, save_img=opt['val']['save_img'])
    except RunError as error:
        sys.exit(f'error: {error}')
