"""The options of a run for TensorBoard's HParams view, where runs are compared by their options and metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch.utils.tensorboard.summary import hparams

KINDS = (bool, int, float, str)
"""Of the values that TensorBoard shows; lists are written as text."""


def write_hyperparameters(tb_logger: Any, options: Mapping[str, Any], metrics: Iterable[str]) -> None:
    """Write the options of a run beside its metrics.

    The view shows of each metric the last value that has been logged under its tag.

    Args:
        tb_logger (SummaryWriter): Writer of the run.
        options (Mapping): Values by name; those that are None are left out.
        metrics (Iterable[str]): Tags under which metrics were logged, such as ``metrics/CAVE/psnr``.

    Example:
        >>> import tempfile
        >>> from torch.utils.tensorboard import SummaryWriter
        >>> from mulsr_plugin.training.hyperparameters import write_hyperparameters
        >>> with tempfile.TemporaryDirectory() as folder, SummaryWriter(folder) as tb_logger:
        ...     tb_logger.add_scalar('metrics/demo/psnr', 30.5, 100)
        ...     write_hyperparameters(tb_logger, {'train: optim_g: lr': 1e-3}, ['metrics/demo/psnr'])
    """
    shown = {
        name: value if isinstance(value, KINDS) else str(value) for name, value in options.items() if value is not None
    }
    for summary in hparams(shown, dict.fromkeys(metrics, 0.0)):  # the values are not written, only the names
        tb_logger.file_writer.add_summary(summary)
