"""Training and validation of any registered network on hyperspectral cubes, guided by an RGB image or not."""

from __future__ import annotations

import inspect
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, Callable

import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mulsr_plugin.models.schema import TRAIN_RULES, check_model_options
from mulsr_plugin.models.validation import validate
from mulsr_plugin.utils.checkpoint import load_safely, save_atomically
from mulsr_plugin.utils.distributed import share_seed
from mulsr_plugin.utils.options import Rule


@MODEL_REGISTRY.register()
class HSISRModel(SRModel):
    """BasicSR's SRModel for cubes of any number of bands, in float from end to end.

    The network decides what it is given: one whose ``forward`` takes ``rgb`` (or a second required argument) gets the
    guide image, any other gets the low-resolution cube alone. A network whose ``forward`` takes ``bands`` is run band
    by band in chunks of ``bands_per_chunk``, which bounds memory and changes no result.

    Options beyond SRModel's: ``train: bands_per_chunk``; ``val: bands_per_chunk, crop_size, max_images, bands,
    save_cube`` (see :func:`mulsr_plugin.models.validation.validate`). Unknown options are refused.

    Args:
        opt: Options as BasicSR parses them.

    Raises:
        ValueError: An option is unknown, missing or of the wrong kind.
    """

    train_rules: Mapping[str, Rule] = TRAIN_RULES

    def __init__(self, opt: dict[str, Any]) -> None:
        check_model_options(opt, self.train_rules)
        _check_gpus(opt)
        share_seed(opt)
        # filled by mulsr_plugin.train: what a training state must hold for an exact resume
        self.extra_training_state: Callable[[], dict[str, Any]] = dict
        super().__init__(opt)

    @cached_property
    def _forward_parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.get_bare_model(self.net_g).forward).parameters

    @property
    def is_guided(self) -> bool:
        """Whether the network takes a guide image besides the low-resolution cube."""
        parameters = self._forward_parameters.values()
        required = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        return 'rgb' in self._forward_parameters or len(required) > 1

    @property
    def is_bandwise(self) -> bool:
        """Whether the network can be asked for some bands only."""
        return 'bands' in self._forward_parameters

    def init_training_settings(self) -> None:
        """Set up losses, optimiser and averaged weights.

        Raises:
            ValueError: The network has nothing to train.
        """
        if not any(parameter.requires_grad for parameter in self.net_g.parameters()):
            raise ValueError(
                f'Network {self.opt["network_g"]["type"]} has nothing to train; use it with test.py, or name another.'
            )
        super().init_training_settings()

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Move the network to its device and wrap it for distributed training, which also works on CPU (gloo)."""
        net = net.to(self.device)
        if not self.opt['dist']:
            return net
        device_ids = [torch.cuda.current_device()] if self.device.type == 'cuda' else None
        unused = self.opt.get('find_unused_parameters', False)
        return DistributedDataParallel(net, device_ids=device_ids, find_unused_parameters=unused)

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """Build any optimiser of the option check; BasicSR 1.4.2 itself knows Adam alone."""
        return getattr(torch.optim, optim_type)(params, lr=lr, **kwargs)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch: ``lq`` (B, L, h, w), ``rgb`` (B, G, H, W) for guided networks, ``gt`` (B, L, H, W) if any.

        Raises:
            ValueError: The network needs a guide image and the batch has none.
        """
        if self.is_guided and 'rgb' not in data:
            raise ValueError(
                f'Network {self.opt["network_g"]["type"]} takes a guide image, but the data set gives no rgb; '
                'use a data set that does, such as PairedHSIRGBDataset.'
            )
        self.lq = data['lq'].to(self.device, non_blocking=True)
        # an earlier batch may have had what this one lacks
        self.__dict__.pop('gt', None)
        if 'gt' in data:
            self.gt = data['gt'].to(self.device, non_blocking=True)
        if 'rgb' in data:
            self.rgb = data['rgb'].to(self.device, non_blocking=True)
            if self.device.type == 'cpu':
                # MulSR's features follow the memory format of the guide, and CPUs convolve faster in this one
                self.rgb = self.rgb.contiguous(memory_format=torch.channels_last)

    def run_network(self, net: nn.Module, bands: Sequence[int] | None = None, **kwargs: Any) -> Any:
        """Run ``net`` on the current batch; ``bands`` (band-wise networks only) names the bands wanted."""
        inputs = (self.lq, self.rgb) if self.is_guided else (self.lq,)
        if bands is not None:
            kwargs['bands'] = list(bands)
        return net(*inputs, **kwargs)

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one optimiser step on all bands of the batch."""
        self.optimizer_g.zero_grad()
        loss = self.backward_in_chunks(range(self.gt.shape[1]), self.pixel_loss)
        self.optimizer_g.step()
        self.finish_step({'l_pix': loss})

    def finish_step(self, losses: Mapping[str, Tensor]) -> None:
        """Keep the losses for the log and update the averaged weights."""
        self.log_dict = self.reduce_loss_dict(OrderedDict(losses))
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)

    def pixel_loss(self, bands: Sequence[int] | None) -> Tensor:
        """Loss of the bands given (all of them for None) against the ground truth.

        A network that can return its cube before refinement (``return_coarse``, PZRes-Net) is trained on both, as by
        its authors: the losses are added.
        """
        gt = self.gt if bands is None else self.gt[:, list(bands)]
        if 'return_coarse' in self._forward_parameters:
            refined, coarse = self.run_network(self.net_g, bands, return_coarse=True)
            return self.cri_pix(refined, gt) + self.cri_pix(coarse, gt)
        return self.cri_pix(self.run_network(self.net_g, bands), gt)

    def backward_in_chunks(self, bands: Sequence[int], loss_of: Callable[[Sequence[int] | None], Tensor]) -> Tensor:
        """Accumulate the gradient of the mean loss over ``bands``, a chunk at a time; return that loss.

        A mean over equally many pixels of each band is the mean of the chunks weighted by their number of bands, so
        the result does not depend on the chunk size.
        """
        if not self.is_bandwise:
            loss = loss_of(None)
            loss.backward()
            return loss.detach()
        chunks = split_bands(bands, self.opt['train'].get('bands_per_chunk'))
        total = torch.zeros((), device=self.device)
        for number, chunk in enumerate(chunks, 1):
            # gradients are exchanged between processes once, with the last chunk
            local = number < len(chunks) and isinstance(self.net_g, DistributedDataParallel)
            with self.net_g.no_sync() if local else nullcontext():
                loss = loss_of(chunk) * (len(chunk) / len(bands))
                loss.backward()
            total += loss.detach()
        return total

    def evaluation_network(self) -> nn.Module:
        """Network whose results are validated: the averaged weights where they are kept, without DDP's wrapper."""
        return self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)

    @torch.no_grad()
    def predict(self, bands: Sequence[int] | None = None) -> dict[str, Tensor]:
        """Super-resolve the current batch in evaluation mode.

        Args:
            bands: Bands wanted; None for all. Networks that are not band-wise compute all and return these.

        Returns:
            ``{'result': (B, number of bands, H, W)}`` in [0, 1]; subclasses may add further results.
        """
        net = self.evaluation_network()
        was_training = net.training
        net.eval()
        try:
            outputs = self.predict_outputs(net, range(self.lq.shape[1]) if bands is None else bands)
        finally:
            net.train(was_training)
        return {name: output.float().clamp(0, 1) for name, output in outputs.items()}

    def predict_outputs(self, net: nn.Module, bands: Sequence[int]) -> dict[str, Tensor]:
        """Raw outputs of ``net`` for ``bands``, chunk by chunk for band-wise networks."""
        if not self.is_bandwise:
            return {'result': self.run_network(net)[:, list(bands)]}
        chunks = split_bands(bands, (self.opt.get('val') or {}).get('bands_per_chunk'))
        return {'result': torch.cat([self.run_network(net, chunk) for chunk in chunks], dim=1)}

    def test(self) -> None:
        """Super-resolve the current batch into ``self.output``, (B, L, H, W) in [0, 1]."""
        self.output = self.predict()['result']

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Validate on every image of the loader's data set, shared between the processes of a distributed run."""
        validate(self, dataloader.dataset, current_iter, tb_logger, save_img)

    @master_only
    def save_network(self, net: Any, net_label: str, current_iter: int, param_key: Any = 'params') -> None:
        """Write network weights in BasicSR's form, whole or not at all."""
        nets = net if isinstance(net, list) else [net]
        keys = param_key if isinstance(param_key, list) else [param_key]
        content = {
            key: {name: value.cpu() for name, value in self.get_bare_model(n).state_dict().items()}
            for n, key in zip(nets, keys)
        }
        number = 'latest' if current_iter == -1 else current_iter
        save_atomically(content, os.path.join(self.opt['path']['models'], f'{net_label}_{number}.pth'))

    def save_training_state(self, epoch: int, current_iter: int) -> None:
        """Write the training state in BasicSR's form, with what an exact resume needs besides."""
        if current_iter == -1:
            return
        extra = self.extra_training_state()  # every process contributes, only the first writes
        if self.opt['rank'] != 0:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
            'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
            **extra,
        }
        save_atomically(state, os.path.join(self.opt['path']['training_states'], f'{current_iter}.state'))

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Restore optimisers and schedulers; warn where the run will not go on exactly (BasicSR's own script)."""
        super().resume_training(resume_state)
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

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file is damaged, has no weights under ``param_key``, or belongs to another network.
        """
        content = load_safely(load_path)
        weights = select_weights(content, param_key, load_path)
        get_root_logger().info(f'Loading {type(net).__name__} weights from {load_path}.')
        bare = self.get_bare_model(net)
        if strict:
            check_weights_fit(bare, weights, load_path)
        else:
            self._print_different_keys_loading(bare, weights, strict)
        bare.load_state_dict(weights, strict=strict)


def _check_gpus(opt: Mapping[str, Any]) -> None:
    """Refuse what BasicSR would only find out through an error from inside PyTorch."""
    if opt['num_gpu'] > 0 and not torch.cuda.is_available():
        raise ValueError(f'num_gpu is {opt["num_gpu"]}, but PyTorch sees no GPU; set num_gpu: 0 or auto.')
    if opt['num_gpu'] > 1 and not opt['dist']:
        raise ValueError(
            f'{opt["num_gpu"]} GPUs without a launcher are not supported: start one process per GPU with '
            f'"torchrun --nproc_per_node={opt["num_gpu"]} ... --launcher pytorch", or set num_gpu: 1.'
        )


def split_bands(bands: Sequence[int], bands_per_chunk: int | None) -> list[list[int]]:
    """Split a list of band indices into chunks of at most ``bands_per_chunk`` (None: one chunk)."""
    bands = list(bands)
    size = bands_per_chunk or len(bands)
    return [bands[start : start + size] for start in range(0, len(bands), size)]


def select_weights(content: Any, param_key: str | None, path: str) -> dict[str, Tensor]:
    """Pick the state dict out of a checkpoint; ``params`` stands in for a missing ``params_ema``, as in BasicSR.

    Raises:
        ValueError: The checkpoint holds no such weights.
    """
    if param_key is not None and isinstance(content, Mapping):
        content = content.get(param_key, content.get('params'))
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise ValueError(
            f'{path} holds no network weights under {param_key!r}; it is no BasicSR checkpoint '
            "(convert an authors' file with scripts/convert_author_checkpoint.py)."
        )
    return {name[7:] if name.startswith('module.') else name: value for name, value in content.items()}


def check_weights_fit(net: nn.Module, weights: Mapping[str, Tensor], path: str) -> None:
    """Refuse weights of another network in one sentence that names the first differences.

    Raises:
        ValueError: Names or shapes differ from those of ``net``.
    """
    own = net.state_dict()
    missing = [name for name in own if name not in weights]
    unknown = [name for name in weights if name not in own]
    reshaped = [
        f'{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}'
        for name in own
        if name in weights and own[name].shape != weights[name].shape
    ]
    problems = [
        f'{len(names)} {what} (first: {names[0]})'
        for what, names in (('missing', missing), ('unknown', unknown), ('of other shape', reshaped))
        if names
    ]
    if problems:
        raise ValueError(
            f'{path} does not fit network {type(net).__name__}: {", ".join(problems)}; '
            'set network_g as it was in the training that wrote the file.'
        )
