"""One training run, from option file to last checkpoint, with BasicSR's own parts."""

from __future__ import annotations

import math
import sys
import time
from contextlib import nullcontext
from datetime import timedelta
from os import path as osp
from typing import Any

import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher
from basicsr.models import build_model
from basicsr.train import init_tb_loggers
from basicsr.utils import AvgTimer, MessageLogger, check_resume, make_exp_dirs, mkdir_and_rename
from basicsr.utils.options import copy_opt_file

from mulsr_plugin import register
from mulsr_plugin.checkpoints.files import CheckpointError
from mulsr_plugin.checkpoints.states import find_resume_state
from mulsr_plugin.models.resume_options import prepare_resume
from mulsr_plugin.training.command_line import parse_command_line, start_logger
from mulsr_plugin.training.hyperparameters import write_hyperparameters
from mulsr_plugin.training.rehearsal import rehearse
from mulsr_plugin.training.resume import ResumableSampler, generator_states, set_generator_states
from mulsr_plugin.training.stop_signals import EXIT_STOPPED, StopRequested, StopSignals, shield_workers
from mulsr_plugin.utils.distributed import any_of, leave_process_group, wait_for_all
from mulsr_plugin.utils.files import remove_partial_files
from mulsr_plugin.utils.options import RunError


class Trainer:
    """One training run: options, loaders, model, and the place in the epoch.

    Args:
        root: Folder that gets ``experiments/`` and ``tb_logger/``.
        started: :func:`time.monotonic` when the program began, from which ``--minutes`` counts.

    Raises:
        FileNotFoundError: The option file, the data or a checkpoint does not exist.
        ValueError: An option is wrong.
    """

    def __init__(self, root: str, started: float) -> None:
        self.opt, args = parse_command_line(root, is_train=True)
        resumes = self.opt['auto_resume'] or self.opt['path'].get('resume_state') is not None
        rehearse(self.opt, self.opt['world_size'], resumes)
        torch.backends.cudnn.benchmark = True
        state, warnings = find_resume_state(self.opt)
        if state is None:
            self._make_folders()
        else:
            prepare_resume(self.opt)
            warnings += self._keep_seed(state, args.manual_seed)
            check_resume(self.opt, state['iter'])
        wait_for_all()
        copy_opt_file(args.opt, self.opt['path']['experiments_root'])
        self.logger = start_logger(self.opt, 'train')
        for warning in warnings:
            self.logger.warning(warning)
        self._remove_partial_files()
        self.tb_logger = init_tb_loggers(self.opt)
        self._build_loaders()
        self.model = build_model(self.opt)
        self.model.extra_training_state = self._extra_training_state
        self.epoch, self.batch_in_epoch, self.current_iter = 0, 0, 0
        self.validation_is_due = False
        self.stop_signals = StopSignals(None if args.minutes is None else started + 60 * args.minutes)
        self.generators: dict[str, Any] | None = None
        if state is not None:
            self._resume(state)

    def _keep_seed(self, state: dict[str, Any], given: int | None) -> list[str]:
        """Go on with the seed of the state, which may have been drawn; return a warning if another one is given."""
        self.opt['manual_seed'] = seed = state.get('manual_seed', self.opt['manual_seed'])
        if given in (None, seed):
            return []
        return [f'manual_seed {given} has no effect, since a resumed run keeps its own, {seed}.']

    def _make_folders(self) -> None:
        make_exp_dirs(self.opt)
        uses_tb = self.opt['logger'].get('use_tb_logger') and 'debug' not in self.opt['name']
        if uses_tb and self.opt['rank'] == 0:
            mkdir_and_rename(osp.join(self.opt['root_path'], 'tb_logger', self.opt['name']))

    def _remove_partial_files(self) -> None:
        for folder in ('models', 'training_states') if self.opt['rank'] == 0 else ():
            for name in remove_partial_files(self.opt['path'][folder]):
                self.logger.warning(f'Removed {name} from {folder}: a killed process had begun to write it.')

    def _build_loaders(self) -> None:
        """Make the training loader with a sampler that can start within an epoch, and the validation loaders."""
        opt, self.val_loaders = self.opt, []
        for phase, dataset_opt in opt['datasets'].items():
            dataset = build_dataset(dataset_opt)
            shared = {'num_gpu': opt['num_gpu'], 'dist': opt['dist'], 'seed': opt['manual_seed']}
            if phase != 'train':
                self.val_loaders.append(build_dataloader(dataset, dataset_opt, sampler=None, **shared))
                continue
            ratio = dataset_opt.get('dataset_enlarge_ratio', 1)
            self.sampler = ResumableSampler(dataset, opt['world_size'], opt['rank'], ratio)
            self.train_loader = build_dataloader(dataset, dataset_opt, sampler=self.sampler, **shared)
            shield_workers(self.train_loader)
            self.batch_size = dataset_opt['batch_size_per_gpu']
        self.batches_per_epoch = len(self.train_loader)
        total = int(opt['train']['total_iter'])
        self.logger.info(
            f'Training on {len(self.sampler.dataset)} crops per epoch: {self.batches_per_epoch} batches of '
            f'{self.batch_size} in each of {opt["world_size"]} processes; {total} iterations, '
            f'{math.ceil(total / self.batches_per_epoch)} epochs.'
        )

    def _layout(self) -> list[int]:
        """Return what must be the same for a position within an epoch to mean the same samples."""
        return [len(self.sampler.dataset), self.sampler.num_samples, self.batch_size, self.opt['world_size']]

    def _extra_training_state(self) -> dict[str, Any]:
        states: list[Any] = [generator_states()]
        if self.opt['dist']:
            states = [None] * self.opt['world_size']
            torch.distributed.all_gather_object(states, generator_states())
        return {
            'manual_seed': self.opt['manual_seed'],
            'batch_in_epoch': self.batch_in_epoch,
            'layout': self._layout(),
            'generators': states,
            'validation_is_due': self.validation_is_due,
        }

    def _resume(self, state: dict[str, Any]) -> None:
        # states of BasicSR's own script have no layout: they restart their epoch
        is_exact = state.get('layout') == self._layout()
        self.model.resume_training({**state, 'is_exact': is_exact})
        self.epoch, self.current_iter = state['epoch'], state['iter']
        if is_exact:
            self.batch_in_epoch = state['batch_in_epoch']
            self.generators = state['generators'][self.opt['rank']]
            self.validation_is_due = state.get('validation_is_due', False)
        self.logger.info(
            f'Resuming from epoch {self.epoch}, batch {self.batch_in_epoch} of {self.batches_per_epoch}, '
            f'iteration {self.current_iter}.'
        )

    def _start_epoch(self) -> CPUPrefetcher | CUDAPrefetcher:
        """Start the loader at the current place of the current epoch."""
        self.model.epoch = self.epoch
        self.sampler.set_epoch(self.epoch)
        self.sampler.start = self.batch_in_epoch * self.batch_size
        if hasattr(self.sampler.dataset, 'set_epoch'):
            self.sampler.dataset.set_epoch(self.epoch, self.opt['manual_seed'])
        if self.opt['datasets']['train'].get('prefetch_mode') == 'cuda':
            prefetcher = CUDAPrefetcher(self.train_loader, self.opt)
        else:
            prefetcher = CPUPrefetcher(self.train_loader)
        if self.generators is not None:  # starting a loader draws from torch's generator
            set_generator_states(self.generators)
            self.generators = None
        return prefetcher

    def run(self) -> bool:
        """Train until ``total_iter``, with logging, checkpoints and validation as BasicSR does them.

        Returns:
            Whether the training is complete; False if a signal stopped it and its state was saved.

        Raises:
            CheckpointError: The last weights, or the state on a signal, cannot be written.
        """
        start = time.time()
        with self.stop_signals:
            is_complete = True
            try:
                self._train(int(self.opt['train']['total_iter']))
                self._finish(time.time() - start)
            except StopRequested:
                is_complete = False
            if not is_complete:  # by now the loader's workers have ended
                self._save_stopped()
        if self.tb_logger:
            self._write_hyperparameters()
            self.tb_logger.close()
        return is_complete

    def _write_hyperparameters(self) -> None:
        records = getattr(self.model, 'best_metric_results', {})
        tags = [f'metrics/{dataset}/{metric}' for dataset, record in records.items() for metric in record]
        write_hyperparameters(self.tb_logger, getattr(self.model, 'run_options', {}), tags)

    def _train(self, total: int) -> None:
        """Run the iterations that are left.

        Raises:
            StopRequested: A signal has come to this process or another one of the run.
        """
        messages = MessageLogger(self.opt, self.current_iter, self.tb_logger)
        messages.max_iters += 1  # it takes one iteration too many off: -1 day would be left after the last one
        iter_timer, data_timer = AvgTimer(), AvgTimer()
        self.model.epoch = self.epoch
        self._validate_if_due()
        while self.current_iter < total:
            prefetcher = self._start_epoch()
            data_timer.start()
            while self.current_iter < total:
                batch = prefetcher.next()
                if batch is None:
                    break
                data_timer.record()
                self._step(batch)
                iter_timer.record()
                if self.current_iter % self.opt['logger']['print_freq'] == 0:
                    self._log(messages, iter_timer, data_timer)
                self._stop_if_asked()
                self._save_and_validate()
                data_timer.start()
                iter_timer.start()
            else:
                break
            self.epoch, self.batch_in_epoch = self.epoch + 1, 0

    def _step(self, batch: dict[str, Any]) -> None:
        self.current_iter += 1
        self.batch_in_epoch += 1
        self.model.update_learning_rate(self.current_iter, warmup_iter=self.opt['train'].get('warmup_iter', -1))
        self.model.feed_data(batch)
        self.model.optimize_parameters(self.current_iter)
        val = self.opt.get('val')
        self.validation_is_due = val is not None and self.current_iter % val['val_freq'] == 0

    def _stop_if_asked(self) -> None:
        """Raise StopRequested if any process was asked to stop; not within the batches of one accumulated step."""
        within_step = getattr(self.model, 'batches_since_step', 0) > 0
        if any_of(self.stop_signals.name is not None, self.model.device) and not within_step:
            raise StopRequested

    def _log(self, messages: MessageLogger, iter_timer: AvgTimer, data_timer: AvgTimer) -> None:
        messages(
            {
                'epoch': self.epoch,
                'iter': self.current_iter,
                'lrs': self.model.get_current_learning_rate(),
                'time': iter_timer.get_avg_time(),
                'data_time': data_timer.get_avg_time(),
                **self.model.get_current_log(),
                **self._gpu_use(),
            }
        )

    def _gpu_use(self) -> dict[str, float]:
        """Percent of the last second in which the GPU was at work; nothing without a GPU or NVIDIA's pynvml."""
        if self.model.device.type != 'cuda':
            return {}
        try:
            return {'gpu_percent': torch.cuda.utilization(self.model.device)}
        except Exception:  # NVIDIA's errors have only this class in common, and no figure is worth the run
            return {}

    def _save_and_validate(self) -> None:
        if self.current_iter % self.opt['logger']['save_checkpoint_freq'] == 0:
            self.logger.info('Saving models and training states.')
            self.model.save(self.epoch, self.current_iter)
        self._validate_if_due()

    def _validate_if_due(self) -> None:
        if self.validation_is_due:
            self._stop_if_asked()  # while the state was being saved
            self._validate()
            self.validation_is_due = False

    def _validate(self) -> None:
        # Alone, a process drops its validation when it is asked to stop; several would wait for the one that does.
        with nullcontext() if self.opt['dist'] else self.stop_signals.interrupting():
            for loader in self.val_loaders:
                self.model.validation(loader, self.current_iter, self.tb_logger, self.opt['val']['save_img'])

    def _save_stopped(self) -> None:
        """Save the state of a run that was asked to stop."""
        self.logger.warning(
            f'{self.stop_signals.name or "Another process"} ends this run at iteration {self.current_iter}: '
            'saving models and training states; go on with --auto_resume.'
        )
        self.model.save(self.epoch, self.current_iter)
        state = osp.join(self.opt['path']['training_states'], f'{self.current_iter}.state')
        if self.opt['rank'] == 0 and not osp.isfile(state):  # the model logs a disk that refuses and goes on
            raise CheckpointError(f'The run was stopped and {state} could not be written; the state before it is kept.')

    def _finish(self, seconds: float) -> None:
        self.logger.info(f'End of training. Time consumed: {timedelta(seconds=int(seconds))}')
        self.logger.info('Save the latest model.')
        self.model.save(epoch=-1, current_iter=-1)
        if self.opt.get('val') is not None and self.current_iter % self.opt['val']['val_freq'] != 0:
            self._validate()


def train(root: str, started: float) -> int:
    """Train from the command line.

    Args:
        root: Folder that gets ``experiments/`` and ``tb_logger/``.
        started: :func:`time.monotonic` when the program began, from which ``--minutes`` counts.

    Returns:
        Exit code: 0, or :data:`mulsr_plugin.training.stop_signals.EXIT_STOPPED` if the run was asked to stop.

    Raises:
        SystemExit: With one sentence, for a mistake in the options or the data, or a full disk.
    """
    register()
    is_complete = _train(root, started)
    leave_process_group()
    return 0 if is_complete else EXIT_STOPPED


def _train(root: str, started: float) -> bool:
    # apart from train(), which may hold neither model nor loaders when it leaves the process group
    try:
        trainer = Trainer(root, started)
    except (ValueError, FileNotFoundError, ImportError) as error:
        sys.exit(f'error: {error}')
    try:
        return trainer.run()
    except (CheckpointError, RunError) as error:
        sys.exit(f'error: {error}')
