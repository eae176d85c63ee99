"""Training and validation of any registered network on hyperspectral cubes, guided by an RGB image or not."""

from __future__ import annotations

import inspect
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any

import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.models.base_model import BaseModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mulsr_plugin.archs.bands import split_bands
from mulsr_plugin.checkpoints.weights import PREFERRED
from mulsr_plugin.data.degradation import Degradation, build_degradation
from mulsr_plugin.data.degradation.batch import apply_response_batch, degrade_batch, unpack_crops
from mulsr_plugin.models.checkpointing import CheckpointedModel
from mulsr_plugin.models.compiled import CompiledForward
from mulsr_plugin.models.inference import Tile, apply_network, is_bandwise, is_guided
from mulsr_plugin.models.precision import PRECISIONS, autocast, float32_math
from mulsr_plugin.models.precision_choice import AUTO, PrecisionTiming, time_precisions
from mulsr_plugin.models.resume_options import options_of_run, prepare_resume
from mulsr_plugin.models.schema import TRAIN_RULES, check_model_options
from mulsr_plugin.models.step_guard import StepGuard, total_loss, total_norm
from mulsr_plugin.models.validation import validate
from mulsr_plugin.utils.distributed import share_seed, shared_by_first
from mulsr_plugin.utils.options import Rule, RunError, building


@MODEL_REGISTRY.register()
class HSISRModel(CheckpointedModel):
    """BasicSR's SRModel for cubes of any number of bands, in float from end to end.

    The network decides what it is given: one whose ``forward`` takes ``rgb`` (or a second required argument) gets the
    guide image, any other gets the low-resolution cube alone. A network whose ``forward`` takes ``bands`` is run band
    by band in chunks of ``bands_per_chunk``, which bounds memory and changes no result.

    Options of the ``train`` block beyond SRModel's; the defaults reproduce the paper:

    - ``bands_per_chunk``: bands of a batch that are computed at a time. Default: all.
    - ``precision``: ``fp32`` (default), ``tf32`` or ``bf16`` (see :func:`mulsr_plugin.models.precision.autocast`);
      weights, loss and optimiser are float32 in each. ``auto`` takes the faster of ``fp32`` and ``bf16``, which is
      measured once at the start; a resumed run keeps what it began with unless that is much slower here.
    - ``channels_last``: memory format of the images. Default: true for the guide on a CPU, else false.
    - ``compile``: torch.compile of the network; where that fails, training goes on without.
    - ``grad_clip``: largest norm of the gradient; that of the last step before clipping is logged as ``grad_norm``.
      Default: not clipped.
    - ``accumulate``: batches whose gradients are averaged for one step of the optimiser. An iteration stays one batch,
      and the schedule counts iterations. Default: 1.

    A step that leaves NaN or infinity in loss or weights is undone, reported and counted (``undone_steps`` in the log);
    ten in a row end the training.

    Options of the ``val`` block:

    - ``precision``: as above.
    - ``bands_per_chunk``: a number or ``auto`` (default), as many as the free memory allows. Changes no result.
    - ``tile_size``, ``tile_halo``: cut images that do not fit into memory (see
      :class:`mulsr_plugin.models.inference.Tile`). Changes the results of networks that see the whole image. Default:
      not cut.
    - ``crop_size, max_images, bands, save_cube``: see :func:`mulsr_plugin.models.validation.validate`.

    Option of the ``logger`` block:

    - ``keep_states``: how many training states are kept, each with its weights; older ones are removed once a new one
      is complete, but never the weights of a best validation. Default: all.

    Unknown options are refused.

    Args:
        opt: Options as BasicSR parses them.

    Raises:
        ValueError: An option is unknown, missing or of the wrong kind.
    """

    train_rules: Mapping[str, Rule] = TRAIN_RULES
    # set where BasicSR's own script runs the training, see mulsr_plugin.training.stock_script
    attendant: Any = None

    def __init__(self, opt: dict[str, Any]) -> None:
        check_model_options(opt, self.train_rules)
        _check_gpus(opt)
        share_seed(opt)
        if opt['is_train']:
            prepare_resume(opt)
            self.run_options = options_of_run(opt)  # now, as building takes some out
        train = opt.get('train') or {}
        self.channels_last: bool | None = train.get('channels_last')
        self.log_dict: dict[str, float] = {}
        self._has_run = False
        self._last_validated: dict[str, tuple[str, int]] = {}
        self._set_up(opt)
        self._settle_precision()

    def _set_up(self, opt: dict[str, Any]) -> None:
        """Build network and training as SRModel does, with one sentence where the network cannot be built."""
        BaseModel.__init__(self, opt)
        with building('network_g'):
            network = build_network(opt['network_g'])
        self.net_g = self.model_to_device(network)
        self.print_network(self.net_g)
        path = opt['path']
        if path.get('pretrain_network_g') is not None:
            # a training goes on from the last weights, as in BasicSR; what is tested are those that were validated
            strict, default = path.get('strict_load_g', True), 'params' if self.is_train else PREFERRED
            param_key = path.get('param_key_g', default)
            self.load_network(self.net_g, path['pretrain_network_g'], strict, param_key)
        if self.is_train:
            self.init_training_settings()

    def _settle_precision(self) -> None:
        """Measure what ``precision: auto`` is on this machine, and put it into the options in place of ``auto``."""
        asking = [name for name in ('train', 'val') if (self.opt.get(name) or {}).get('precision') == AUTO]
        self._measured: tuple[list[str], PrecisionTiming] | None = None
        if asking:
            timing = shared_by_first(time_precisions, self.get_bare_model(self.net_g), self.device)
            self._measured = asking, timing
            get_root_logger().info(f'precision: auto is {timing.chosen} here: {timing}.')
            self._set_precision(timing.chosen)
        self.precision: str = (self.opt.get('train') or {}).get('precision') or 'fp32'

    def _set_precision(self, precision: str) -> None:
        for name in self._measured[0] if self._measured else ():
            self.opt[name]['precision'] = precision
            if self.is_train:
                self.run_options[f'{name}: precision'] = precision

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Restore the state, and with ``precision: auto`` the precision of the run, unless it is much slower here."""
        before = (
            (resume_state.get('options') or {}).get(f'{self._measured[0][0]}: precision') if self._measured else None
        )
        if self._measured and before in PRECISIONS and self._measured[1].is_bearable(before):
            self._set_precision(before)
            self.precision = self.opt['train'].get('precision') or 'fp32'
        super().resume_training(resume_state)

    @cached_property
    def _forward_parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.get_bare_model(self.net_g).forward).parameters

    @cached_property
    def is_guided(self) -> bool:
        """Whether the network takes a guide image besides the low-resolution cube."""
        return is_guided(self.get_bare_model(self.net_g))

    @cached_property
    def is_bandwise(self) -> bool:
        """Whether the network can be asked for some bands only."""
        return is_bandwise(self.get_bare_model(self.net_g))

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
        train = self.opt['train']
        self.degradations = self.build_degradations()
        self.accumulate: int = train.get('accumulate') or 1
        if self.accumulate > 1:
            # true of every iteration but each last one, and meant: the schedule counts iterations
            warnings.filterwarnings('ignore', 'Detected call of `lr_scheduler.step', UserWarning)
        self.batches_since_step = 0
        self.grad_norm: Tensor | None = None
        self.step_guard = StepGuard(self.net_g.parameters(), self.optimizer_g)
        self.compiled = CompiledForward(self.get_bare_model(self.net_g)) if train.get('compile') else None
        self._compiled_shapes: set[tuple[Any, ...]] = set()

    def build_degradations(self) -> list[Degradation]:
        """Build what degrades training batches on the device; empty if the data set does.

        Raises:
            ValueError: The data set leaves it to a model that draws the scale, which this one does not.
        """
        data = self.opt['datasets'].get('train', {})
        if data.get('degrade') is False:
            raise ValueError(
                'datasets: train: degrade: false is for MulSRModel with train: scales; write device_degradation: true '
                'to degrade on the device.'
            )
        return (
            [self.build_degradation(data.get('upscale') or self.opt['scale'])] if data.get('device_degradation') else []
        )

    def build_degradation(self, scale: int) -> Degradation:
        """Build the degradation of the training set for a scale, and say in the log what it is."""
        degradation = build_degradation(self.opt['datasets']['train'].get('degradation') or 'authors_random', scale)
        get_root_logger().info(f'The model degrades training batches: {degradation.describe()}.')
        return degradation

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

        A training batch of crops as they are stored (``device_degradation``) is made into these first.

        Raises:
            ValueError: The network needs a guide image and the batch has none.
        """
        if 'augmentation' in data:
            data = self._from_stored(data)
        if 'lq' not in data:
            gt = data['gt'].to(self.device, non_blocking=True)
            data = {**data, 'gt': gt, 'lq': self.degrade_batch(gt, self.seeds_of_samples(data))}
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
        self._set_memory_format()

    @torch.no_grad()
    def _from_stored(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Make ground truth and guide of crops as ``PairedHSIRGBDataset`` gives them with ``device_degradation``."""
        images = {
            kind: unpack_crops(
                data[f'{kind}_raw'].to(self.device, non_blocking=True), data[f'{kind}_scale'], data['augmentation']
            )
            for kind in ('gt', 'rgb')
            if f'{kind}_raw' in data
        }
        if 'response' in data:
            with float32_math('fp32', self.device):
                images['rgb'] = apply_response_batch(data['response'], images['gt'])
        return {**data, **images}

    @torch.no_grad()
    def degrade_batch(self, gt: Tensor, seeds: Sequence[Any]) -> Tensor:
        """Degrade ``gt`` (B, L, H, W) in [0, 1], each image as its seed has it, to (B, L, H/s, W/s)."""
        with float32_math('fp32', self.device):
            return degrade_batch(gt, self.training_degradation(), [np.random.default_rng(seed) for seed in seeds])

    def training_degradation(self) -> Degradation:
        """Return what degrades the batch at hand."""
        return self.degradations[0]

    def seeds_of_samples(self, data: Mapping[str, Any]) -> Sequence[Any]:
        """Seed of every image of a batch, as the data set has drawn it."""
        return data['seed'].tolist()

    def _set_memory_format(self) -> None:
        """Lay the images out as ``channels_last`` says."""
        if self.is_guided and (self.device.type == 'cpu' if self.channels_last is None else self.channels_last):
            # MulSR's features follow the memory format of the guide, and CPUs convolve faster in this one
            self.rgb = self.rgb.contiguous(memory_format=torch.channels_last)
        if self.channels_last and not self.is_bandwise:
            self.lq = self.lq.contiguous(memory_format=torch.channels_last)

    def run_network(self, net: nn.Module, bands: Sequence[int] | None = None, **kwargs: Any) -> Any:
        """Run ``net`` on the current batch; ``bands`` (band-wise networks only) names the bands wanted."""
        inputs = (self.lq, self.rgb) if self.is_guided else (self.lq,)
        if bands is not None:
            kwargs['bands'] = list(bands)
        return net(*inputs, **kwargs)

    @contextmanager
    def training_precision(self) -> Iterator[None]:
        """Compute forward passes within the block at the precision of the training, and compiled if asked for."""
        compiled = self.compiled.active() if self.compiled else nullcontext()
        with autocast(self.precision, self.device), compiled:
            yield

    def run_training(self, bands: Sequence[int] | None, **kwargs: Any) -> Any:
        """Run the network being trained at the precision of the training, compiled if asked for.

        Returns:
            What the network returns, an image or a tuple of images, in float32.
        """
        with self.training_precision():
            outputs = self.run_network(self.net_g, bands, **kwargs)
        return tuple(output.float() for output in outputs) if isinstance(outputs, tuple) else outputs.float()

    @contextmanager
    def first_run_explained(self) -> Iterator[None]:
        """Make one sentence of the first errors that a network raises within the block: the data do not fit it.

        Raises:
            RunError: For whatever PyTorch or the network raised, but a lack of memory.
        """
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            if self._has_run or isinstance(error, RunError):
                raise
            reason = ''.join(str(error).strip().splitlines()[:1])
            shapes = ' and '.join(
                f'{name} {tuple(getattr(self, name).shape)}' for name in ('lq', 'rgb', 'gt') if hasattr(self, name)
            )
            raise RunError(
                f'Network {self.opt["network_g"]["type"]} cannot compute a batch of {shapes} ({type(error).__name__}: '
                f'{reason}); make network_g fit the bands, the guide and the scale of the data.'
            ) from error
        self._has_run = True

    def optimize_parameters(self, current_iter: int) -> None:
        """Take in the gradient of all bands of the batch, and a step with every ``accumulate``-th batch."""
        if self.batches_since_step == 0:
            self.optimizer_g.zero_grad()
        self.batches_since_step += 1
        is_complete = self.batches_since_step == self.accumulate
        with float32_math(self.precision, self.device):
            losses = self.backward_in_chunks(range(self.gt.shape[1]), is_complete)
            if is_complete:
                self.batches_since_step = 0
                self.step_guard.remember()
                self.take_step()
        self.finish_iteration(losses, is_complete, current_iter)

    def take_step(self) -> None:
        """Clip the gradient where asked to, and let the optimiser use it."""
        limit = self.opt['train'].get('grad_clip')
        if limit is not None:
            self.grad_norm = nn.utils.clip_grad_norm_(self.net_g.parameters(), limit)
        self.optimizer_g.step()

    def finish_iteration(self, losses: Mapping[str, Tensor], has_stepped: bool, current_iter: int) -> None:
        """Keep losses and gradient norm for the log; undo a step that spoils the weights, else average them.

        Raises:
            RunError: Too many steps in a row had to be undone.
        """
        self.step_guard.watch(losses)
        if has_stepped:
            if self.opt['train'].get('grad_clip') is None:
                self.grad_norm = total_norm(weight.grad for weight in self.net_g.parameters())
            if not self.step_guard.is_good():
                self._undo_step(current_iter)
            elif self.ema_decay > 0:
                self.model_ema(decay=self.ema_decay)
        if self.grad_norm is not None:
            losses = {**losses, 'grad_norm': self.grad_norm}
        self.log_dict = self.reduce_loss_dict(OrderedDict(losses))
        if self.step_guard.num_undone:
            self.log_dict['undone_steps'] = self.step_guard.num_undone
        if self.attendant is not None:
            self.attendant.after_iteration(self, current_iter)

    def _undo_step(self, current_iter: int) -> None:
        guard = self.step_guard
        guard.undo()
        get_root_logger().warning(
            f'Iteration {current_iter}: loss or weights became NaN or infinite, so its step is undone; '
            f'{guard.num_undone} such steps so far, {guard.num_in_a_row} in a row.'
        )
        guard.check(current_iter, self.opt['train'], self.get_current_learning_rate()[0])

    def losses(self, bands: Sequence[int] | None) -> dict[str, Tensor]:
        """Return losses, by their names in the log, of the bands given (None: all) against the ground truth.

        Two networks are trained as by their authors: one that can return its cube before refinement (``return_coarse``,
        PZRes-Net) on both cubes, one that can return its cube before the spectral layer (``return_spatial``, SSR-NET)
        on that cube's spatial edges and on its own spectral edges too. The losses are added.
        """
        gt = self.gt if bands is None else self.gt[:, list(bands)]
        if 'return_coarse' in self._forward_parameters:
            refined, coarse = self.run_training(bands, return_coarse=True)
            return {'l_pix': self.compare(refined, gt) + self.compare(coarse, gt)}
        if 'return_spatial' in self._forward_parameters:
            result, spatial = self.run_training(bands, return_spatial=True)
            rows, columns = (self.compare(spatial.diff(dim=dim), gt.diff(dim=dim)) for dim in (2, 3))
            spectral = self.compare(result.diff(dim=1), gt.diff(dim=1))
            return {'l_pix': self.compare(result, gt) + (rows + columns) / 2 + spectral}
        return {'l_pix': self.compare(self.run_training(bands), gt)}

    def compare(self, result: Tensor, gt: Tensor) -> Tensor:
        """Return the pixel loss of a result.

        Raises:
            RunError: The network returns another shape than that of the ground truth.
        """
        if result.shape != gt.shape:
            raise RunError(
                f'Network {self.opt["network_g"]["type"]} returns {tuple(result.shape)}, expected {tuple(gt.shape)}; '
                'make network_g fit the bands and the scale of the data.'
            )
        return self.cri_pix(result, gt)

    def backward_in_chunks(self, bands: Sequence[int], is_complete: bool = True) -> dict[str, Tensor]:
        """Add the gradient of the mean loss over ``bands`` to what is there, a chunk of bands at a time.

        A mean over equally many pixels of each band is the mean of the chunks weighted by their number of bands, so
        the result does not depend on the chunk size.

        Args:
            bands: Band indices; networks that are not band-wise compute all bands whatever is given.
            is_complete: Whether the optimiser uses the gradient next. Before that processes need not exchange it.

        Returns:
            The mean losses of this batch, detached.
        """
        size = self.opt['train'].get('bands_per_chunk')
        chunks: list[Any] = split_bands(bands, size) if self.is_bandwise else [None]
        totals: dict[str, Tensor] = {}
        for number, chunk in enumerate(chunks, 1):
            self._try_compiled(chunk)
            share = len(chunk) / len(bands) if chunk else 1
            with nullcontext() if is_complete and number == len(chunks) else self._no_sync():
                with self.first_run_explained():
                    losses = self.losses(chunk)
                (total_loss(losses) * (share / self.accumulate)).backward()
            for name, loss in losses.items():
                totals[name] = totals.get(name, 0) + loss.detach() * share
        return totals

    def _no_sync(self) -> Any:
        """Keep the processes of a distributed run from exchanging gradients within the block."""
        return self.net_g.no_sync() if isinstance(self.net_g, DistributedDataParallel) else nullcontext()

    def _try_compiled(self, bands: Sequence[int] | None) -> None:
        """Compile forward and backward for the shapes at hand before they count; give up compiling where it fails."""
        shapes = (self.lq.shape, self.gt.shape, len(bands or ()))
        if self.compiled is None or shapes in self._compiled_shapes:
            return
        self._compiled_shapes.add(shapes)
        parameters = [parameter for parameter in self.net_g.parameters() if parameter.requires_grad]
        devices = [torch.cuda.current_device()] if self.device.type == 'cuda' else []
        try:
            with torch.random.fork_rng(devices), self._no_sync():
                torch.autograd.grad(total_loss(self.losses(bands)), parameters, allow_unused=True)
        # Dynamo, Inductor, Triton and a missing compiler fail each in its own way; any other error comes again below
        except Exception as error:
            self.compiled = None
            reason = str(error).strip().splitlines()[:1]
            get_root_logger().warning(
                f'The network cannot be compiled ({type(error).__name__}: {"".join(reason)}); training goes on without.'
            )

    def model_ema(self, decay: float = 0.999) -> None:
        """Move the averaged weights towards the current ones by 1 - ``decay``, all of them in two operations.

        Buffers are not averaged but copied: ``MulSRCube`` keeps there what a training that goes on needs.
        """
        net = self.get_bare_model(self.net_g)
        averages, current = list(self.net_g_ema.parameters()), list(net.parameters())
        with torch.no_grad():
            for copy, buffer in zip(self.net_g_ema.buffers(), net.buffers()):
                copy.copy_(buffer)
            torch._foreach_mul_(averages, decay)
            torch._foreach_add_(averages, current, alpha=1 - decay)

    def evaluation_network(self) -> nn.Module:
        """Return the network that is validated: with averaged weights where they are kept, without DDP's wrapper."""
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
        """Return the raw outputs of ``net`` for ``bands``, in parts as the ``val`` block says."""
        val = self.opt.get('val') or {}
        rgb = self.rgb if self.is_guided else None
        most, precision = val.get('bands_per_chunk') or 'auto', val.get('precision') or 'fp32'
        with self.first_run_explained():
            return {'result': apply_network(net, self.lq, rgb, list(bands), most, validation_tile(val), precision)}

    def test(self) -> None:
        """Super-resolve the current batch into ``self.output``, (B, L, H, W) in [0, 1]."""
        self.output = self.predict()['result']

    def validation(self, dataloader: Any, current_iter: int | str, tb_logger: Any, save_img: bool = False) -> None:
        """Validate on every image of the loader's data set, shared between the processes of a distributed run.

        BasicSR's script counts on beyond the last iteration and validates once more at the end.

        Raises:
            RunError: A training could not be validated; its state has been saved.
        """
        if not self.is_train or isinstance(current_iter, str):
            validate(self, dataloader.dataset, current_iter, tb_logger, save_img)
            return
        place = dataloader.dataset.opt['name'], min(current_iter, int(self.opt['train']['total_iter']))
        if place[1] < current_iter and place == self._last_validated.get(place[0]):
            return
        self._validate_training(dataloader.dataset, place[1], tb_logger, save_img)
        self._last_validated[place[0]] = place

    def _validate_training(self, dataset: Any, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        attended = self.attendant.validating(self, current_iter) if self.attendant else nullcontext()
        try:
            with attended:
                validate(self, dataset, current_iter, tb_logger, save_img)
        except Exception as error:
            get_root_logger().exception(f'The validation at iteration {current_iter} failed.')
            self.save_now(current_iter)
            raise RunError(
                f'The validation at iteration {current_iter} failed ({type(error).__name__}: '
                f'{" ".join(str(error).split())}); the state of the training was saved: correct the cause and go on '
                'with --auto_resume.'
            ) from error


def _check_gpus(opt: Mapping[str, Any]) -> None:
    """Refuse what BasicSR would only find out through an error from inside PyTorch."""
    if opt['num_gpu'] > 0 and not torch.cuda.is_available():
        raise ValueError(f'num_gpu is {opt["num_gpu"]}, but PyTorch sees no GPU; set num_gpu: 0 or auto.')
    if opt['num_gpu'] > 1 and not opt['dist']:
        raise ValueError(
            f'{opt["num_gpu"]} GPUs without a launcher are not supported: start one process per GPU with '
            f'"torchrun --nproc_per_node={opt["num_gpu"]} ... --launcher pytorch", or set num_gpu: 1.'
        )


def validation_tile(val: Mapping[str, Any]) -> Tile | None:
    """Return how the ``val`` block says to cut images; None for not at all."""
    if val.get('tile_size') is None:
        return None
    return Tile(val['tile_size']) if val.get('tile_halo') is None else Tile(val['tile_size'], val['tile_halo'])
