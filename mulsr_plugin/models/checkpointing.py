"""The part of a model that saves, resumes and loads: HSISRModel without its training and validation."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from basicsr.data import build_dataset
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from torch import nn

from mulsr_plugin.checkpoints.description import describe_weights, description_in, other_use, used_scales
from mulsr_plugin.checkpoints.files import DESCRIPTION_KEY, load_safely, save_atomically
from mulsr_plugin.checkpoints.shipped import find_weights
from mulsr_plugin.checkpoints.states import remove_old_states
from mulsr_plugin.checkpoints.weights import (
    PREFERRED,
    check_weights_fit,
    check_weights_overlap,
    preferred_key,
    select_weights,
)
from mulsr_plugin.checkpoints.wrappers import named_as
from mulsr_plugin.models.resume_options import check_resume_options
from mulsr_plugin.utils.distributed import shared_by_first


class CheckpointedModel(SRModel):
    """BasicSR's SRModel with checkpoints that are written whole or not at all, described, and loaded without code.

    Attributes:
        run_options: Options that are saved with every training state and compared when it is resumed, see
            :func:`mulsr_plugin.models.resume_options.options_of_run`; subclasses set it before they train.
        extra_training_state: Called at every save: what a state must hold besides for an exact resume. The plugin's
            launcher sets it. Default: nothing.
        epoch: The epoch at hand, where the launcher sets it; None where it does not.
        weights_key: Under which key of the file the weights stood that were loaded; None for none.
        trained_as: What the file says of them; None where it says nothing.
    """

    epoch: int | None = None
    weights_key: str | None = None
    trained_as: Mapping[str, Any] | None = None
    run_options: dict[str, Any]
    extra_training_state: Callable[[], dict[str, Any]] = dict

    def save(self, epoch: int, current_iter: int) -> None:
        """Write networks and training state; in the middle of a run write errors are logged and training continues.

        Raises:
            OSError: The last weights of the run cannot be written.
        """
        # before anything is written: the first process may fail at that, and the others must not wait for it here
        extra = {} if current_iter == -1 else self.extra_training_state()
        try:
            if hasattr(self, 'net_g_ema'):
                self.save_network([self.net_g, self.net_g_ema], 'net_g', current_iter, ['params', 'params_ema'])
            else:
                self.save_network(self.net_g, 'net_g', current_iter)
            self.save_training_state(epoch, current_iter, extra)
        except OSError as error:
            if current_iter == -1:
                raise
            get_root_logger().error(f'{error} Training goes on without the state of iteration {current_iter}.')
        else:
            self._remove_old_states(current_iter)

    def save_now(self, current_iter: int) -> None:
        """Save outside of the schedule, unless this iteration is saved already: every process of a run calls it."""
        path = os.path.join(self.opt['path']['training_states'], f'{current_iter}.state')
        if not shared_by_first(os.path.isfile, path):
            self.save(self._epoch_of(current_iter) if self.epoch is None else self.epoch, current_iter)

    def _epoch_of(self, current_iter: int) -> int:
        """Return in which epoch an iteration is; BasicSR's script does not say, and restarts it when it resumes."""
        data, world_size = self.opt['datasets']['train'], self.opt['world_size']
        samples = math.ceil(len(build_dataset(data)) / world_size)
        return (current_iter - 1) // max(samples // data['batch_size_per_gpu'], 1)

    @master_only
    def _remove_old_states(self, current_iter: int) -> None:
        """Remove what ``keep_states`` does not keep."""
        keep, path = self.opt['logger'].get('keep_states'), self.opt['path']
        if keep is None or current_iter == -1:
            return
        records = getattr(self, 'best_metric_results', {}).values()
        best = {result['iter'] for record in records for result in record.values()}
        try:
            remove_old_states(path['models'], path['training_states'], current_iter, keep, best)
        except OSError as error:
            get_root_logger().warning(f'An old training state could not be removed ({error}).')

    @master_only
    def save_network(self, net: Any, net_label: str, current_iter: int, param_key: Any = 'params') -> None:
        """Write network weights in BasicSR's form with their description beside them, whole or not at all."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {
            key: {name: value.cpu() for name, value in self.get_bare_model(n).state_dict().items()}
            for n, key in zip(nets, keys)
        }
        if net_label == 'net_g':
            channels = (getattr(self, name).shape[1] if hasattr(self, name) else None for name in ('lq', 'rgb'))
            content[DESCRIPTION_KEY] = describe_weights(self.opt, *channels)
        number = 'latest' if current_iter == -1 else current_iter
        save_atomically(content, os.path.join(self.opt['path']['models'], f'{net_label}_{number}.pth'))

    @master_only
    def save_training_state(self, epoch: int, current_iter: int, extra: Mapping[str, Any] | None = None) -> None:
        """Write the training state in BasicSR's form, with the ``extra`` that an exact resume needs besides."""
        if current_iter == -1:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            'best_metric_results': getattr(self, 'best_metric_results', {}),
            'options': self.run_options,
            **(extra or {}),
        }
        save_atomically(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Restore optimisers and schedulers; warn where the run will not go on exactly (BasicSR's own script).

        How the optimiser computes (``fused``, ``foreach``, ``capturable``) is what the options say now. Other options
        that have changed since are logged.

        Raises:
            ValueError: The state is of no use with the options of this run.
        """
        notes, is_comparable = check_resume_options(resume_state, self.run_options, self.opt['train']['total_iter'])
        if 'network_g' in (self.opt['path'].get('ignore_resume_networks') or []):
            start = self.opt['path'].get('pretrain_network_g') or 'random weights'
            notes.append(
                f'path: ignore_resume_networks: optimiser and schedule go on, but network_g starts from {start}.'
            )
        for note in notes:
            get_root_logger().warning(note)
        for optimizer, state in zip(self.optimizers, resume_state['optimizers']):
            for group, stored in zip(optimizer.param_groups, state['param_groups']):
                stored.update({key: group[key] for key in ('fused', 'foreach', 'capturable') if key in group})
        super().resume_training(resume_state)
        if is_comparable and resume_state.get('best_metric_results'):
            self.best_metric_results = resume_state['best_metric_results']
        if not resume_state.get('is_exact'):  # set by mulsr_plugin.train, never stored
            # the seed as at the start of the run would make the loader draw the crops of the first epoch again
            torch.manual_seed(self.opt['manual_seed'] + self.opt['rank'] + resume_state['iter'])
            get_root_logger().warning(
                f'Epoch {resume_state["epoch"]} is restarted from its beginning, so this run will not end with the '
                'weights of an uninterrupted one; runs started and resumed with "python -m mulsr_plugin.train" do.'
            )

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Load weights written by BasicSR or by this model, without running code from the file.

        ``load_path`` may also name weights that come with the package, see :mod:`mulsr_plugin.checkpoints.shipped`;
        for ``param_key`` see :func:`mulsr_plugin.checkpoints.weights.select_weights`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged, has no weights under ``param_key``, or belongs to another network.
        """
        load_path = str(find_weights(load_path))
        content = load_safely(load_path)
        bare = self.get_bare_model(net)
        state = named_as(select_weights(content, param_key, load_path), bare.state_dict())
        key = preferred_key(content) if param_key in (PREFERRED, 'params_ema') else param_key
        get_root_logger().info(f'Loading {type(bare).__name__} weights {key or "without a key"} from {load_path}.')
        if strict:
            check_weights_fit(bare, state, load_path)
        else:
            check_weights_overlap(bare, state, load_path)
            self._print_different_keys_loading(bare, state, strict)
        bare.load_state_dict(state, strict=strict)
        if net is not self.net_g:  # the averages, of the same file
            return
        self.weights_key, self.trained_as = key, description_in(content)
        if self.trained_as is not None:
            self._compare_use(self.trained_as, load_path)

    def _compare_use(self, description: Mapping[str, Any], path: str) -> None:
        """Warn of weights used with settings other than those trained with, where their tensors fit all the same."""
        differences = other_use(description, self.opt['network_g'], used_scales(self.opt))
        if differences:
            get_root_logger().warning(f'{path} was trained for {", ".join(differences)}; make sure this is intended.')
