"""Training of MulSR: one optimiser step per band or per batch, a small-scale image, mixed scale factors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.losses import build_loss
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.models.hsi_sr_model import HSISRModel, split_bands
from mulsr_plugin.models.schema import MULSR_TRAIN_RULES, TRAIN_RULES
from mulsr_plugin.utils.options import Rule


@MODEL_REGISTRY.register()
class MulSRModel(HSISRModel):
    """HSISRModel with the training modes of MulSR.

    Options of the ``train`` block beyond HSISRModel's:

    - ``band_update``: ``per_band`` (default; Li et al. 2023: one optimiser step for every band of a batch, bands in
      order) or ``joint`` (one step for the mean loss of all bands, in chunks of ``bands_per_chunk``).
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
        head = bool(self.opt['network_g'].get('small_scale_head'))
        if head != (train.get('small_scale_opt') is not None):
            raise ValueError(
                'network_g: small_scale_head and train: small_scale_opt belong together, but only one of them is set; '
                'set both or neither.'
            )
        self.cri_small = build_loss(train['small_scale_opt']).to(self.device) if head else None
        self.degradations = self._mixed_degradations(train.get('scales'))

    def _mixed_degradations(self, scales: Sequence[int] | None) -> list[Any]:
        data = self.opt['datasets'].get('train', {})
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
                    f'gt_size {data.get("gt_size")} is no multiple of scale {scale} in train: scales; '
                    'choose a gt_size that every scale divides.'
                )
        return [build_degradation(data.get('degradation') or 'authors_random', scale) for scale in scales or ()]

    def update_learning_rate(self, current_iter: int, warmup_iter: int = -1) -> None:
        """Advance the schedule; BasicSR calls this before every batch, so it also tells the iteration."""
        self.current_iter = current_iter
        super().update_learning_rate(current_iter, warmup_iter)

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Take a batch; with mixed scales, degrade it by the scale of this iteration first."""
        if 'lq' not in data:
            data = {**data, 'lq': self.degrade_batch(data['gt'])}
        super().feed_data(data)

    def degrade_batch(self, gt: Tensor) -> Tensor:
        """Degrade ``gt`` (B, L, H, W) in [0, 1] by this iteration's scale to (B, L, H/s, W/s).

        The scale depends on ``manual_seed`` and the iteration alone; the draws of a sample also on its process.
        """
        seed = (self.opt['manual_seed'], self.current_iter)
        degradation = self.degradations[np.random.default_rng(seed).integers(len(self.degradations))]
        samples = [
            degradation(cube, np.random.default_rng((*seed, self.opt['rank'], number)))
            for number, cube in enumerate(gt.cpu().numpy())
        ]
        return torch.from_numpy(np.stack(samples))

    def optimize_parameters(self, current_iter: int) -> None:
        """Take one optimiser step per band, or one for all of them."""
        bands = range(self.gt.shape[1])
        steps = split_bands(bands, 1) if self.band_update == 'per_band' else [list(bands)]
        small_gt = F.avg_pool2d(self.gt, 2) if self.cri_small else None
        totals: dict[str, Tensor] = {}
        for step in steps:
            self.optimizer_g.zero_grad()
            self.backward_in_chunks(step, lambda chunk: self._loss(chunk, small_gt, totals, len(bands)))
            self.optimizer_g.step()
        self.finish_step(totals)

    def _loss(
        self, bands: Sequence[int] | None, small_gt: Tensor | None, totals: dict[str, Tensor], num_bands: int
    ) -> Tensor:
        """Loss of a chunk of bands; its share of the mean over all bands is added to ``totals`` for the log."""
        bands = list(bands or [])
        if small_gt is None or self.cri_small is None:
            losses = {'l_pix': self.pixel_loss(bands)}
        else:
            large, small = self.run_network(self.net_g, bands, return_small_scale=True)
            losses = {
                'l_pix': self.cri_pix(large, self.gt[:, bands]),
                'l_small': self.cri_small(small, small_gt[:, bands]),
            }
        for name, loss in losses.items():
            totals[name] = totals.get(name, 0) + loss.detach() * (len(bands) / num_bands)
        return sum(losses.values(), start=torch.zeros((), device=self.device))

    def predict_outputs(self, net: nn.Module, bands: Sequence[int]) -> dict[str, Tensor]:
        """Raw outputs for ``bands``: ``result``, and ``small`` (half the size) with a small-scale head."""
        if not self.opt['network_g'].get('small_scale_head'):
            return super().predict_outputs(net, bands)
        chunks = split_bands(bands, (self.opt.get('val') or {}).get('bands_per_chunk'))
        pairs = [self.run_network(net, chunk, return_small_scale=True) for chunk in chunks]
        large, small = (torch.cat(images, dim=1) for images in zip(*pairs))
        return {'result': large, 'small': small}
