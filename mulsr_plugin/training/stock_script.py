"""What BasicSR's own train.py and test.py lack, added without a change to them.

The plugin is registered while the script imports BasicSR, before it parses its command line. That is the time to try a
run out, and to see to it that one which is asked to stop saves a state.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from mulsr_plugin import autoload
from mulsr_plugin.models.hsi_sr_model import HSISRModel
from mulsr_plugin.training.command_line import read_arguments
from mulsr_plugin.training.rehearsal import rehearse
from mulsr_plugin.training.stop_signals import EXIT_STOPPED, StopRequested, StopSignals
from mulsr_plugin.utils.distributed import any_of

_NEGATIVE_TIME = re.compile(r'eta: -1 day, \d+:\d\d:\d\d')


def attend(is_train: bool) -> None:
    """Try out the run that the command line asks for, if it is one of our models, and attend to it.

    Args:
        is_train: Whether the script is train.py.

    Raises:
        SystemExit: With one sentence, if the run cannot be done; nothing has been made then.
    """
    arguments = sys.argv[1:]
    try:
        opt = read_arguments(arguments)
    except (ValueError, OSError):
        return  # BasicSR's parser says so
    if opt.get('model_type') not in autoload.NAMES['model']:
        return
    resumes = '--auto_resume' in arguments or (opt.get('path') or {}).get('resume_state') is not None
    try:
        _check_resume(opt, resumes)
        if '--debug' in arguments:
            _set_debug(opt)
        rehearse({**opt, 'is_train': is_train}, int(os.environ.get('WORLD_SIZE', 1)), resumes, stock_script=True)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f'error: {error}')
    if is_train:
        HSISRModel.attendant = Attendant()
        logging.getLogger('basicsr').addFilter(_correct_remaining_time)
        if hasattr(os, 'register_at_fork'):  # Ctrl-C also reaches the loader's workers, without which no batch comes
            os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))


class Attendant:
    """Saves a state and ends the run when it is asked to stop; attends to the model of BasicSR's train.py."""

    def __init__(self) -> None:
        self._signals = StopSignals()
        self._has_begun = False

    def after_iteration(self, model: HSISRModel, current_iter: int) -> None:
        """Stop if any process of the run was asked to, but not within the batches of one accumulated step."""
        if not self._has_begun:  # before that nothing could be lost
            self._signals.__enter__()
            self._has_begun = True
        if model.batches_since_step == 0 and any_of(self._signals.name is not None, model.device):
            self._stop(model, current_iter)

    @contextmanager
    def validating(self, model: HSISRModel, current_iter: int) -> Iterator[None]:
        """Drop a validation when asked to stop; several processes would wait for the one that does."""
        try:
            with nullcontext() if model.opt['dist'] else self._signals.interrupting():
                yield
        except StopRequested:
            self._stop(model, current_iter)

    def _stop(self, model: HSISRModel, current_iter: int) -> None:
        logging.getLogger('basicsr').warning(
            f'{self._signals.name or "Another process"} ends this run at iteration {current_iter}: saving models and '
            'training states; go on with `mulsr train ... --auto_resume`, or --auto_resume here on a GPU.'
        )
        model.save_now(current_iter)
        sys.exit(EXIT_STOPPED)


def _check_resume(opt: dict[str, Any], resumes: bool) -> None:
    """Refuse a resume that BasicSR's script attempts on a GPU alone."""
    states = os.path.join('experiments', str(opt.get('name')), 'training_states')
    has_state = (opt.get('path') or {}).get('resume_state') is not None or os.path.isdir(states)
    if resumes and has_state and not torch.cuda.is_available():
        raise ValueError(
            "BasicSR's train.py resumes on a GPU only, and PyTorch sees none; resume with `mulsr train`, which does so "
            'exactly too.'
        )


def _set_debug(opt: dict[str, Any]) -> None:
    """Change options as BasicSR's parser does for --debug."""
    opt['name'] = f'debug_{opt.get("name")}'
    if isinstance(opt.get('val'), dict):
        opt['val']['val_freq'] = 8
    if isinstance(opt.get('logger'), dict):
        opt['logger'].update(print_freq=1, save_checkpoint_freq=8)


def _correct_remaining_time(record: logging.LogRecord) -> bool:
    """Write 0 for the time that is left after the last iteration, which BasicSR counts as one less than none."""
    if isinstance(record.msg, str) and 'eta: -1 day' in record.msg:
        record.msg = _NEGATIVE_TIME.sub('eta: 0:00:00', record.msg)
    return True
