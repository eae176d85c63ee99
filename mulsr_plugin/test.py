"""Test from an option file: ``python -m mulsr_plugin.test -opt FILE``.

The options are those of BasicSR's ``test.py``. Beyond it, this one needs no autoload, uses the working directory as
root, accepts ``--local-rank`` and shares the images between several processes under ``torchrun``, on CPU too.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from mulsr_plugin.autoload import install

install()

from basicsr.data import build_dataloader, build_dataset  # noqa: E402  (the hook above must be in place)
from basicsr.models import build_model  # noqa: E402
from basicsr.utils import make_exp_dirs  # noqa: E402

from mulsr_plugin import register  # noqa: E402
from mulsr_plugin.utils.distributed import leave_process_group, wait_for_all  # noqa: E402
from mulsr_plugin.utils.launch import parse_command_line, start_logger  # noqa: E402
from mulsr_plugin.utils.options import RunError  # noqa: E402


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
    make_exp_dirs(opt)
    wait_for_all()
    start_logger(opt, 'test')
    loaders = []
    for _, dataset_opt in sorted(opt['datasets'].items()):
        dataset = build_dataset(dataset_opt)
        shared = {'num_gpu': opt['num_gpu'], 'dist': opt['dist'], 'seed': opt['manual_seed']}
        loaders.append(build_dataloader(dataset, dataset_opt, sampler=None, **shared))
    return build_model(opt), loaders, opt


def test(root: str) -> None:
    """Test; a mistake in the options or the data ends the program with one sentence."""
    try:
        model, loaders, opt = prepare(root)
    except (ValueError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
    try:
        for loader in loaders:
            model.validation(loader, current_iter=opt['name'], tb_logger=None, save_img=opt['val']['save_img'])
    except RunError as error:
        sys.exit(f'error: {error}')


def main() -> None:
    """Test in the working directory."""
    register()
    test(os.getcwd())
    leave_process_group()


if __name__ == '__main__':
    main()
