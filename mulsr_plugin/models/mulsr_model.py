"""Training of MulSR: one optimiser step per band or per batch, a small-scale image, mixed scale factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from mulsr_plugin.archs.bands import split_bands
from mulsr_plugin.data.degradation import Degradation
from mulsr_plugin.models.band_graph import GRAPH_OPTIMIZERS, BandStep
from mulsr_plugin.models.hsi_sr_model import HSISRModel
from mulsr_plugin.models.inference import choose_bands_per_chunk
from mulsr_plugin.models.precision import autocast, float32_math
from mulsr_plugin.models.schema import MULSR_TRAIN_RULES, TRAIN_RULES
from mulsr_plugin.utils.options import Rule


@MODEL_REGISTRY.register()
class MulSRModel(HSISRModel):
    """HSISRModel with the training modes of MulSR.

    Options of the ``train`` block beyond HSISRModel's:

    - ``band_update``: ``per_band`` (default; Li et al. 2023: one optimiser step for every band of a batch, bands in
      order) or ``joint`` (one step for the mean loss of all bands, in chunks of ``bands_per_chunk``). With
      ``accumulate``, ``per_band`` keeps the batches until the last of them has come and then steps for every band.
    - ``bands_per_step``: with ``per_band``, take a step for so many bands at a time, spread over the spectrum: between
      the paper's training and ``joint``. Default: 1.
    - ``cuda_graph``: record the step of a band as a CUDA graph and replay it, which spares the launching of its
      kernels one by one; for ``per_band`` on one GPU, with Adam or AdamW. Where it fails, training goes on without.
    - ``small_scale_opt``: a BasicSR loss block for the image of the small tower, which is compared with the ground
      truth averaged over 2x2 pixels; needs ``network_g: small_scale_head: true``. One training then gives the x(s/2)
      and the xs result, and validation reports both.
    - ``scales``: scale factors to train one network for. Every batch is degraded by one of them, drawn from
      ``manual_seed`` and the iteration, so that all processes agree; needs ``degrade: false`` and a ``gt_size`` that
      every factor divides in the training set, and all factors in ``network_g: upscale``.

    Args:
        opt: Options as BasicSR parses them.

    Raises:
        ValueError: An option is unknown, missing, of the wrong kind, or contradicts another.
    """

    train_rules: Mapping[str, Rule] = {**TRAIN_RULES, **MULSR_TRAIN_RULES}

    def __init__(self, opt: dict[str, Any]) -> None:
        self.current_iter = 0
        super().__init__(opt)

    def init_training_settings(self) -> None:
        """Set up losses, optimiser and, for mixed scales, one degradation per scale."""
        if not self.is_bandwise:
            raise ValueError(
                f'MulSRModel trains band by band, but {self.opt["network_g"]["type"]} computes all bands at once; '
                'set model_type: HSISRModel.'
            )
        super().init_training_settings()
        train = self.opt['train']
        self.band_update = train.get('band_update') or 'per_band'
        self.bands_per_step = self._check_bands_per_step()
        head = bool(self.opt['network_g'].get('small_scale_head'))
        if head != (train.get('small_scale_opt') is not None):
            raise ValueError(
                'network_g: small_scale_head and train: small_scale_opt belong together, but only one of them is set; '
                'set both or neither.'
            )
        self.cri_small = build_loss(train['small_scale_opt']).to(self.device) if head else None
        self._held: list[tuple[Tensor, Tensor, Tensor]] = []
        self._graphs: dict[tuple[Any, ...], BandStep] = {}
        self.cuda_graph = self._prepare_cuda_graph()

    def _check_bands_per_step(self) -> int:
        train = self.opt['train']
        size = train.get('bands_per_step')
        if size is not None and (self.band_update != 'per_band' or train.get('cuda_graph')):
            raise ValueError(
                'train: bands_per_step groups the steps of band_update: per_band without cuda_graph; change these or '
                'remove bands_per_step.'
            )
        return size or 1

    def _prepare_cuda_graph(self) -> bool:
        """Check ``cuda_graph`` against the other options and make the optimiser ready for it."""
        train = self.opt['train']
        if not train.get('cuda_graph'):
            return False
        if self.band_update != 'per_band' or self.accumulate > 1:
            raise ValueError(
                'train: cuda_graph records the step of one band and one batch, so it needs band_update: per_band '
                'without accumulate; change these or remove cuda_graph.'
            )
        if type(self.optimizer_g).__name__ not in GRAPH_OPTIMIZERS:
            raise ValueError(
                f'train: cuda_graph does not go with optimiser {type(self.optimizer_g).__name__}, expected one of '
                f'{", ".join(GRAPH_OPTIMIZERS)}; choose one of them or remove cuda_graph.'
            )
        if self.device.type == 'cuda':
            for group in self.optimizer_g.param_groups:
                group['capturable'] = True
        return True

    def build_degradations(self) -> list[Degradation]:
        """Build what degrades training batches on the device, one for every scale of ``scales``."""
        data, scales = self.opt['datasets'].get('train', {}), self.opt['train'].get('scales')
        if (scales is None) == (data.get('degrade') is False):
            raise ValueError(
                'train: scales and datasets: train: degrade: false belong together (the model then degrades each '
                'batch by one of the scales), but only one of them is set; set both or neither.'
            )
        unknown = set(scales or ()) - set(self.get_bare_model(self.net_g).upscale)
        if unknown:
            raise ValueError(
                f'train: scales has {min(unknown)}, which network_g does not accept; add it to network_g: upscale.'
            )
        for scale in scales or ():
            if data.get('gt_size', 0) % scale:
                raise ValueError(
                    f'gt_size {data.get("gt_size")} is not a multiple of scale {scale} in train: scales; '
                    'choose a gt_size that every scale divides.'
                )
        return [self.build_degradation(scale) for scale in scales] if scales else super().build_degradations()

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Advance the schedule; BasicSR calls this before every batch, so it also carries the iteration."""
        self.current_iter = current_iter
        super().update_learning_rate(current_iter, warmup_iter)

    def training_degradation(self) -> Degradation:
        """Return what degrades the batch at hand; of several scales the one drawn by ``manual_seed`` and iteration."""
        number = np.random.default_rng((self.opt['manual_seed'], self.current_iter)).integers(len(self.degradations))
        return self.degradations[number]

    def seeds_of_samples(self, data: Mapping[str, Any]) -> Sequence[Any]:
        """Seed of every image of a batch: as the data set has drawn it, else from iteration, process and number."""
        if 'seed' in data:
            return super().seeds_of_samples(data)
        run = (self.opt['manual_seed'], self.current_iter, self.opt['rank'])
        return [(*run, number) for number in range(len(data['gt']))]

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one optimiser step per band, or one for all of them."""
        if self.band_update == 'joint':
            super().optimize_parameters(current_iter)
            return
        # the first band's step comes before the second band's gradient, so a step per band needs all batches at hand
        self._held.append((self.lq, self.rgb, self.gt))
        self.batches_since_step = len(self._held) % self.accumulate
        if self.batches_since_step > 0:
            return
        with float32_math(self.precision, self.device):
            graph = self._graph() if self.cuda_graph else None
            self.step_guard.remember()
            losses = graph.run(self.lq, self.rgb, self.gt) if graph else self._step_per_band(self._held)
        self._held = []
        self.finish_iteration(losses, True, current_iter)

    def _step_per_band(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> dict[str, Tensor]:
        """Step for every group of bands on its gradient over all ``batches``; return the mean losses."""
        num_bands = self.gt.shape[1]
        totals: dict[str, Tensor] = {}
        for bands in spread_groups(num_bands, self.bands_per_step):
            share = len(bands) / (num_bands * len(batches))
            self.optimizer_g.zero_grad()
            for number, (self.lq, self.rgb, self.gt) in enumerate(batches, 1):
                for name, loss in self.backward_in_chunks(bands, number == len(batches)).items():
                    totals[name] = totals.get(name, 0) + loss * share
            self.take_step()
        return totals

    def _graph(self) -> BandStep | None:
        """Return the recorded step for batches of this shape; None, for good, once a step could not be recorded."""
        shapes = (self.lq.shape, self.rgb.shape)
        if shapes not in self._graphs:
            try:
                self._graphs[shapes] = self._record_graph()
            except Exception as error:  # CUDA, Triton and PyTorch fail each in their own way
                self.cuda_graph = False
                reason = str(error).strip().splitlines()[:1]
                get_root_logger().warning(
                    f'The step of a band cannot be recorded as a CUDA graph ({"".join(reason)}); training goes on '
                    'without.'
                )
                return None
        return self._graphs[shapes]

    def _record_graph(self) -> BandStep:
        if self.device.type != 'cuda' or self.opt['dist']:
            raise RuntimeError('this needs one process with one GPU')
        self._try_compiled([0])
        batch = (self.lq, self.rgb, self.gt)
        step = BandStep(self.losses_of_triples, self.take_step, self.optimizer_g, batch)
        step.record()
        return step

    def losses(self, bands: Sequence[int] | None) -> dict[str, Tensor]:
        """Return the losses of the bands given, by name; with a small-scale head also that of its image."""
        if self.cri_small is None:
            return super().losses(bands)
        gt = self.gt if bands is None else self.gt[:, list(bands)]
        large, small = self.run_training(bands, return_small_scale=True)
        return self._compare(large, small, gt)

    def losses_of_triples(self, triples: Tensor, rgb: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Return the losses of one band per image, given as what the network sees of the cube.

        Args:
            triples: Both neighbours and the band, (B, 3, h, w).
            rgb: Guide images, (B, G, H, W).
            gt: Ground truth of the band, (B, 1, H, W).
        """
        net = self.get_bare_model(self.net_g)
        with self.training_precision():
            large, small = net.forward_triples(triples, rgb, self.cri_small is not None)
        return self._compare(large.float(), None if small is None else small.float(), gt)

    def _compare(self, large: Tensor, small: Tensor | None, gt: Tensor) -> dict[str, Tensor]:
        losses = {'l_pix': self.compare(large, gt)}
        if self.cri_small is not None:
            losses['l_small'] = self.cri_small(small, F.avg_pool2d(gt, 2))
        return losses

    def predict_outputs(self, net: nn.Module, bands: Sequence[int]) -> dict[str, Tensor]:
        """Return the raw outputs for ``bands``: ``result``, and ``small`` (half the size) with a small-scale head."""
        if not self.opt['network_g'].get('small_scale_head'):
            return super().predict_outputs(net, bands)
        val = self.opt.get('val') or {}
        most, precision = val.get('bands_per_chunk'), val.get('precision') or 'fp32'
        if most in (None, 'auto'):
            most = choose_bands_per_chunk(net, self.lq, self.rgb, len(bands), precision=precision)
        with autocast(precision, self.device):
            chunks = split_bands(bands, most)
            pairs = [self.run_network(net, chunk, return_small_scale=True) for chunk in chunks]
        large, small = (torch.cat(images, dim=1) for images in zip(*pairs))
        return {'result': large, 'small': small}


def spread_groups(num_bands: int, size: int) -> list[list[int]]:
    """Divide bands into groups of at most ``size`` and about equally many, each spread evenly over the spectrum."""
    num_groups = -(-num_bands // size)
    return [list(range(first, num_bands, num_groups)) for first in range(num_groups)]
