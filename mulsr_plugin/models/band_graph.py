"""One optimiser step of one band as a CUDA graph: recorded once, then replayed for every band of every batch.

A step per band is a chain that cannot be cut: every band needs the weights that the band before has left. On a GPU its
time is mostly that of launching thousands of small kernels from Python, which a replayed graph does at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim import Optimizer

from mulsr_plugin.archs.bands import neighbour_indices
from mulsr_plugin.models.step_guard import total_loss

# optimisers that compute without the CPU, and whose state begins as zeros
GRAPH_OPTIMIZERS = ('Adam', 'AdamW')
_WARM_UP_STEPS = 3


class BandStep:
    """Steps for all bands of a batch, in which batch, band and learning rate are values in fixed tensors.

    Args:
        losses: Of (lq triples, rgb, gt) of a band, as :meth:`MulSRModel.losses_of_triples`: losses by their names.
        take_step: Clips the gradient where asked to and lets the optimiser use it.
        optimizer: Optimiser of the weights.
        batch: Cubes (B, L, h, w), guide images (B, G, H, W) and ground truth (B, L, H, W) of the first batch; others
            must have these shapes.
    """

    def __init__(
        self,
        losses: Callable[[Tensor, Tensor, Tensor], dict[str, Tensor]],
        take_step: Callable[[], None],
        optimizer: Optimizer,
        batch: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        self._losses, self._take_step, self._optimizer = losses, take_step, optimizer
        self._batch = [images.clone() for images in batch]
        device, bands = batch[0].device, torch.arange(batch[0].shape[1])
        self._triples = torch.cat([neighbour_indices(len(bands)), bands[:, None]], dim=1).to(device)
        self._triple = self._triples[0].clone()
        self._totals: dict[str, Tensor] = {}
        self._rates = [torch.tensor(float(group['lr']), device=device) for group in optimizer.param_groups]
        self._step: Callable[[], None] = self._compute_step

    def run(self, lq: Tensor, rgb: Tensor, gt: Tensor) -> dict[str, Tensor]:
        """Step once for every band, in order.

        Returns:
            Losses by their names, means over the bands; overwritten by the next call.
        """
        for fixed, images in zip(self._batch, (lq, rgb, gt)):
            fixed.copy_(images)
        for rate, group in zip(self._rates, self._optimizer.param_groups):
            rate.fill_(group['lr'])
        for total in self._totals.values():
            total.zero_()
        for triple in self._triples:
            self._triple.copy_(triple)
            self._step()
        return self._totals

    def record(self) -> None:
        """Record the step as a CUDA graph, which :meth:`run` replays from now on.

        Recording needs steps that warm up every kernel; they leave weights and optimiser as they were.

        Raises:
            RuntimeError: Something in the step cannot be recorded; weights and optimiser are as before.
        """
        graph = torch.cuda.CUDAGraph()
        with self._undone():
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(_WARM_UP_STEPS):
                    self._compute_step()
            torch.cuda.current_stream().wait_stream(side)
            # without gradients at hand the recorded backward pass writes its own afresh in every replay
            self._optimizer.zero_grad()
            # A recording that fails leaves its own stream the current one, which the first block undoes. The loader's
            # thread for pinned memory may call CUDA meanwhile.
            ours = torch.cuda.stream(torch.cuda.current_stream())
            with ours, torch.cuda.graph(graph, capture_error_mode='thread_local'):
                self._compute_step(clear=False)
        self._step = graph.replay

    def _compute_step(self, clear: bool = True) -> None:
        """Forward, backward and optimiser for the band of ``self._triple``."""
        lq, rgb, gt = self._batch
        if clear:
            self._optimizer.zero_grad()
        losses = self._losses(lq[:, self._triple], rgb, gt.index_select(1, self._triple[2:]))
        total_loss(losses).backward()
        with self._rates_as_tensors():
            self._take_step()
        for name, loss in losses.items():
            if name not in self._totals:
                self._totals[name] = torch.zeros_like(loss)
            self._totals[name] += loss.detach() / len(self._triples)

    @contextmanager
    def _rates_as_tensors(self) -> Iterator[None]:
        """Let the optimiser read its learning rates from tensors; the schedule goes on to see numbers."""
        groups = self._optimizer.param_groups
        numbers = [group['lr'] for group in groups]
        for group, rate in zip(groups, self._rates):
            group['lr'] = rate
        try:
            yield
        finally:
            for group, number in zip(groups, numbers):
                group['lr'] = number

    @contextmanager
    def _undone(self) -> Iterator[None]:
        """Put weights and optimiser back, in place, to what they were before the block."""
        before = {tensor: tensor.detach().clone() for tensor in self._optimized()}
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor in self._optimized():
                    # the state of an optimiser that had not stepped begins as zeros
                    tensor.copy_(before[tensor]) if tensor in before else tensor.zero_()

    def _optimized(self) -> list[Tensor]:
        """Return weights, and what the optimiser has stored of each so far."""
        weights = [weight for group in self._optimizer.param_groups for weight in group['params']]
        return [*weights, *(tensor for state in self._optimizer.state.values() for tensor in state.values())]
