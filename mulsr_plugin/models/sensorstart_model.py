"""Training on top of SensorFusion: starts of whole scenes once each, many steps on small parts of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from mulsr_plugin.data.degradation import Degradation, build_degradation
from mulsr_plugin.models.hsi_sr_model import HSISRModel
from mulsr_plugin.models.precision import float32_math
from mulsr_plugin.models.schema import START_TRAIN_RULES, TRAIN_RULES
from mulsr_plugin.utils.options import Rule, require


class _Start(Protocol):
    """What a network that this model trains makes of a pair: see ``PairStart`` and ``SceneStart``."""

    scale: int
    cube: Tensor

    def cut(self, rows: slice, columns: slice) -> _Start: ...


@dataclass(frozen=True)
class _KnownScene:
    """A start, its ground truth (L, H, W) and the mean square error of its cube."""

    start: _Start
    gt: Tensor
    error: float


@MODEL_REGISTRY.register()
class SensorStartModel(HSISRModel):
    """HSISRModel for networks that correct the result of SensorFusion, as ``MulSRCube`` and ``SensorStart`` do.

    That start needs whole scenes, but what corrects it learns best from small parts. A network has a method for each:
    ``starts(lq, rgb)`` returns a start or None for every pair, and ``corrected(starts)`` their corrected cubes.
    Where there is ``observe(start, gt)``, it is called for every new start: ``MulSRCube`` solves for the lens of the
    camera there.

    Every batch is degraded, its sensors are estimated and its starts are rendered, which takes about a second a scene.
    The last ``pool_size`` of them are kept, and every iteration takes ``steps_per_batch`` optimiser steps, each on
    ``parts_per_step`` random parts of ``part_size`` pixels. A scene whose guide says nothing about it is left out.

    Options of the ``train`` block beyond HSISRModel's:

    - ``degradations``: a list of blocks as ``datasets: train: degradation`` takes, each with a ``scale`` of its own
      (default: that of the option file); every batch is degraded by one of them, drawn from ``manual_seed`` and the
      iteration. Needs ``degrade: false`` and a ``gt_size`` that every scale divides in the training set.
    - ``part_size``: side of the parts in pixels of the guide, which every scale divides. Default: 64.
    - ``parts_per_step``: Default: 4.
    - ``steps_per_batch``: Default: 32.
    - ``bands_per_step``: bands, drawn anew for every step, that a band-wise network in ``SensorStart`` corrects.
      Default: all.
    - ``pool_size``: starts that are kept with their ground truth, about 50 MB each for ``MulSRCube`` and 70 MB for
      ``SensorStart`` where scenes have 512 pixels and 31 bands. Default: 64. They are not part of a saved training: a
      resumed one fills the pool again.

    Args:
        opt: Options as BasicSR parses them.

    Raises:
        ValueError: An option is unknown, missing, of the wrong kind, or contradicts another.
    """

    train_rules: Mapping[str, Rule] = {**TRAIN_RULES, **START_TRAIN_RULES}

    def __init__(self, opt: dict[str, Any]) -> None:
        if opt.get('is_train') and opt['dist']:
            raise ValueError('SensorStartModel trains in one process, not in several: start it without a launcher.')
        self.current_iter = 0
        super().__init__(opt)

    def init_training_settings(self) -> None:
        """Set up losses, optimiser, degradations and the pool."""
        net, train = self.get_bare_model(self.net_g), self.opt['train']
        if not hasattr(net, 'corrected'):
            raise ValueError(
                f'SensorStartModel trains SensorStart and MulSRCube, not {self.opt["network_g"]["type"]}; set '
                'model_type: HSISRModel, or put the network into SensorStart.'
            )
        self.part_size: int = train.get('part_size') or 64
        self.parts_per_step: int = train.get('parts_per_step') or 4
        self.steps_per_batch: int = train.get('steps_per_batch') or 32
        self.bands_per_step: int | None = train.get('bands_per_step')
        self.pool: deque[_KnownScene] = deque(maxlen=train.get('pool_size') or 64)
        super().init_training_settings()
        if self.bands_per_step is not None:
            self._check_bands_per_step(net)

    def _check_bands_per_step(self, net: Any) -> None:
        if not getattr(net, 'is_bandwise', False):
            raise ValueError('train: bands_per_step is for a band-wise network in SensorStart, as MulSR; remove it.')
        if getattr(self.cri_pix, 'needs_all_bands', False):
            raise ValueError(
                'train: bands_per_step computes some bands at a time, but the loss compares whole spectra; remove it, '
                'or take another loss.'
            )

    def build_degradations(self) -> list[Degradation]:
        """Build what degrades training batches, in the order of ``degradations``."""
        data, train = self.opt['datasets'].get('train', {}), self.opt['train']
        require(train, ['degradations'], 'train')
        if data.get('degrade') is not False:
            raise ValueError('train: degradations degrades the training batches; set datasets: train: degrade: false.')
        result = []
        for block in train['degradations']:
            scale = block.get('scale', self.opt['scale'])
            self._check_scale(scale, data.get('gt_size', 0))
            result.append(build_degradation({key: value for key, value in block.items() if key != 'scale'}, scale))
            get_root_logger().info(f'Training batches are degraded by {result[-1].describe()}.')
        return result

    def _check_scale(self, scale: int, gt_size: int) -> None:
        if scale not in self.get_bare_model(self.net_g).upscale:
            raise ValueError(
                f'train: degradations has scale {scale}, which network_g does not accept; add it to network_g: upscale.'
            )
        for name, size in (('datasets: train: gt_size', gt_size), ('train: part_size', self.part_size)):
            if size % scale:
                raise ValueError(
                    f'{name} is {size}, not a multiple of scale {scale} in train: degradations; choose one that every '
                    'scale divides.'
                )

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Advance the schedule; BasicSR calls this before every batch, so it also carries the iteration."""
        self.current_iter = current_iter
        super().update_learning_rate(current_iter, warmup_iter)

    def training_degradation(self) -> Degradation:
        """Return what degrades the batch at hand, drawn by ``manual_seed`` and iteration."""
        return self.degradations[int(self._generator(0).integers(len(self.degradations)))]

    def seeds_of_samples(self, data: Mapping[str, Any]) -> Sequence[Any]:
        """Seed of every image of a batch: from iteration, process and number."""
        run = (self.opt['manual_seed'], self.current_iter, self.opt['rank'])
        return [(*run, number) for number in range(len(data['gt']))]

    def optimize_parameters(self, current_iter: int) -> None:
        """Add the starts of the batch to the pool, and take the steps of an iteration on parts of those in it."""
        self._extend_pool()
        if not self.pool:
            return
        rng, totals = self._generator(1), {'l_pix': torch.zeros((), device=self.device)}
        with float32_math(self.precision, self.device):
            for _ in range(self.steps_per_batch):
                self.optimizer_g.zero_grad()
                self.step_guard.remember()
                loss = self._loss_of_parts(rng)
                loss.backward()
                self.take_step()
                self.finish_iteration({'l_pix': loss.detach()}, True, current_iter)
                totals['l_pix'] += loss.detach() / self.steps_per_batch
        self.log_dict = {**self.log_dict, **self.reduce_loss_dict(totals)}

    def _generator(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng((self.opt['manual_seed'], self.current_iter, self.opt['rank'], purpose))

    @torch.no_grad()
    def _extend_pool(self) -> None:
        net = self.get_bare_model(self.net_g)
        with self.first_run_explained():
            starts = net.starts(self.lq, self.rgb)
        for start, gt in zip(starts, self.gt):
            if start is not None:
                if hasattr(net, 'observe'):  # what is learned in closed form, from whole scenes
                    net.observe(start, gt)
                error = float((start.cube - gt).square().mean())
                self.pool.append(_KnownScene(start, gt, error))

    def _loss_of_parts(self, rng: np.random.Generator) -> Tensor:
        """Draw parts of the pool and return their mean loss."""
        parts = [self._part(rng) for _ in range(self.parts_per_step)]
        bands = self._bands(rng)
        with self.training_precision():
            results = self.get_bare_model(self.net_g).corrected([part.start for part in parts], **bands)
        chosen = bands.get('bands', slice(None))
        losses = [
            self.cri_pix(result[None].float(), part.gt[None, chosen], reference=part.error)
            for result, part in zip(results, parts)
        ]
        return torch.stack(losses).mean()

    def _bands(self, rng: np.random.Generator) -> dict[str, list[int]]:
        if self.bands_per_step is None:
            return {}
        num_bands = len(self.pool[0].gt)
        return {'bands': rng.permutation(num_bands)[: self.bands_per_step].tolist()}

    def _part(self, rng: np.random.Generator) -> _KnownScene:
        scene = self.pool[int(rng.integers(len(self.pool)))]
        scale = scene.start.scale
        side = self.part_size // scale
        corners = [int(rng.integers(length // scale - side + 1)) for length in scene.gt.shape[1:]]
        rows, columns = (slice(first, first + side) for first in corners)
        tall, wide = (slice(scale * part.start, scale * part.stop) for part in (rows, columns))
        return _KnownScene(scene.start.cut(rows, columns), scene.gt[..., tall, wide], scene.error)
