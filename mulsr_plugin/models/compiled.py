"""torch.compile for the network being trained, with the plain network to fall back on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class CompiledForward:
    """The forward computation of a network, compiled, to be switched on for the time of a call.

    What is compiled is ``forward_triples`` where the network has one, so that neither the choice of bands nor the
    checks of ``forward`` are part of it and all bands share one compilation; else ``forward``. The network itself
    keeps its class, its parameters and their names. A new shape of the input is compiled anew.

    Args:
        net: Network without wrapper; the wrapper of distributed training may go around it.
    """

    def __init__(self, net: nn.Module) -> None:
        self._net = net
        self._method = 'forward_triples' if hasattr(net, 'forward_triples') else 'forward'
        # sizes that change are few (chunks of bands, scales), and code for fixed sizes is faster
        self._function = torch.compile(getattr(net, self._method), dynamic=False)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let calls of the network within the block run the compiled form; copies made outside know nothing of it."""
        setattr(self._net, self._method, self._function)
        try:
            yield
        finally:
            delattr(self._net, self._method)
