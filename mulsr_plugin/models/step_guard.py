"""Training steps that a NaN or infinite loss would spoil are undone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mulsr_plugin.utils.distributed import any_of
from mulsr_plugin.utils.options import RunError

MOST_IN_A_ROW = 10


class StepGuard:
    """Copy of weights and optimiser from before a step, and the number of steps that had to be undone.

    Whether a step was good is only asked after it, together with the losses for the log, so that a GPU is not waited
    for between the steps of the bands.

    Args:
        weights: Parameters of the network.
        optimizer: Their optimiser.

    Attributes:
        num_undone (int): Steps undone since the start.
        num_in_a_row (int): Those since the last good one.
    """

    def __init__(self, weights: Iterable[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
        self._weights: list[Tensor] = [weight for weight in weights if weight.requires_grad]
        self._optimizer = optimizer
        self._originals: list[Tensor] = []
        self._copies: list[Tensor] = []
        self._losses: list[Tensor] = []
        self.num_undone = 0
        self.num_in_a_row = 0

    @torch.no_grad()
    def remember(self) -> None:
        """Copy weights and optimiser state, into the same memory every time."""
        originals = [weight.detach() for weight in self._weights]
        for weight in self._weights:
            originals += [value for value in self._state_of(weight).values() if isinstance(value, Tensor)]
        if len(originals) != len(self._originals):
            self._copies = [torch.empty_like(tensor) for tensor in originals]
        self._originals = originals
        _copy(self._originals, self._copies)

    def watch(self, losses: Mapping[str, Tensor]) -> None:
        """Take the losses of a batch into account: the gradient of one that is NaN may well be finite."""
        self._losses += losses.values()

    @torch.no_grad()
    def is_good(self) -> bool:
        """Return, for all processes alike, whether losses and weights are finite; counts what is not."""
        values = [*self._losses, *torch._foreach_norm(self._weights)]
        self._losses = []
        is_finite = torch.stack([value.float().reshape(()) for value in values]).isfinite().all()
        is_bad = any_of(not is_finite.item(), is_finite.device)
        self.num_undone += is_bad
        self.num_in_a_row = self.num_in_a_row + 1 if is_bad else 0
        return not is_bad

    @torch.no_grad()
    def undo(self) -> None:
        """Put weights and optimiser back, in place, to what :meth:`remember` saw."""
        _copy(self._copies, self._originals)
        known = {tensor.data_ptr() for tensor in self._originals}
        for weight in self._weights:
            state = self._state_of(weight)
            new = [value for value in state.values() if isinstance(value, Tensor) and value.data_ptr() not in known]
            if any(group.get('capturable') for group in self._optimizer.param_groups):
                # a CUDA graph goes on to use this memory; Adam's state begins as zeros
                for value in new:
                    value.zero_()
            elif new:
                self._optimizer.state.pop(weight)

    def check(self, iteration: int, train: Mapping[str, Any], learning_rate: float) -> None:
        """End a training in which nothing but undone steps comes.

        Args:
            iteration: For the message.
            train: The ``train`` block of the options, which shows what may be the cause.
            learning_rate: That of the last step.

        Raises:
            RunError: ``MOST_IN_A_ROW`` steps in a row were undone.
        """
        if self.num_in_a_row < MOST_IN_A_ROW:
            return
        precision = train.get('precision') or 'fp32'
        causes = [
            f'a learning rate that is too high (train: optim_g: lr, now {learning_rate:g})',
            *(['gradients that explode (set train: grad_clip, such as 1.0)'] if train.get('grad_clip') is None else []),
            *([f'the range of precision: {precision} (try fp32)'] if precision != 'fp32' else []),
            'data with NaN or values far outside [0, 1] (mulsr prepare verify)',
        ]
        raise RunError(
            f'Loss or weights became NaN or infinite in {self.num_in_a_row} steps in a row, up to iteration '
            f'{iteration}; these steps were undone. Likely causes: {"; ".join(causes)}.'
        )

    def _state_of(self, weight: Tensor) -> Mapping[str, Any]:
        return self._optimizer.state.get(weight, {})


def _copy(sources: list[Tensor], targets: list[Tensor]) -> None:
    """Copy many tensors, those of one device in a few operations: optimisers count steps on the CPU."""
    for device in {tensor.device for tensor in sources}:
        pairs = [pair for pair in zip(sources, targets) if pair[0].device == device]
        torch._foreach_copy_([target for _, target in pairs], [source for source, _ in pairs])


def total_norm(gradients: Iterable[Tensor | None]) -> Tensor:
    """Euclidean norm of all gradients together, on their device."""
    return torch.stack(torch._foreach_norm([gradient for gradient in gradients if gradient is not None])).norm()


def total_loss(losses: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of scalar losses, to be differentiated."""
    return torch.stack(list(losses.values())).sum()
