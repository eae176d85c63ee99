"""The MulSR authors' released code, run from a clone of their repository, as the reference of speed measurements.

Nothing of it is part of this package: https://github.com/qianngli/MulSR (revision 49bf0b3 was used).
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mulsr_plugin.archs.bands import band_triples
from mulsr_plugin.checkpoints.authors import convert_author_state

_MODULES = ('option', 'model', 'eval', 'newTransform', 'imresize', 'data_utils')


class AuthorsRelease:
    """Network, training samples and metrics of the release.

    Args:
        clone (str | PathLike): Folder of the clone.

    Raises:
        FileNotFoundError: The folder is not such a clone.
        ValueError: Its code cannot be imported.
    """

    name = "the authors' release"

    def __init__(self, clone: str | os.PathLike[str]) -> None:
        self.clone = Path(clone).resolve()
        missing = [module for module in _MODULES if not (self.clone / f'{module}.py').is_file()]
        if missing:
            raise FileNotFoundError(
                f"{self.clone} has no {missing[0]}.py: give a clone of the authors' repository "
                '(git clone https://github.com/qianngli/MulSR).'
            )
        with _inside(self.clone):
            try:
                self._modules = {name: importlib.import_module(name) for name in _MODULES}
            except ImportError as error:
                raise ValueError(f"The authors' code does not load here ({error}): install what it lacks.") from error

    def __reduce__(self) -> tuple[Any, ...]:
        return AuthorsRelease, (self.clone,)

    def network(self, num_modules: int, scale: int) -> nn.Module:
        """Build the release's network."""
        options = self._modules['option'].opt
        options.upscale_factor = scale
        with warnings.catch_warnings():  # its weight_norm is deprecated
            warnings.simplefilter('ignore')
            net = self._modules['model'].Net(options)
        # the release fixes four modules; fewer are the first ones
        net.n_module = num_modules
        net.inter_body, net.inter_body_x2 = net.inter_body[:num_modules], net.inter_body_x2[:num_modules]
        return net

    def run_band(self, net: nn.Module, lq: torch.Tensor, rgb: torch.Tensor, band: int) -> torch.Tensor:
        """Run it on one band of cubes (B, L, h, w) with guides (B, 3, H, W); return (B, 1, H, W)."""
        return net(band_triples(lq, [band]), rgb)[1]

    def weights(self, net: nn.Module) -> dict[str, torch.Tensor]:
        """Return the weights of the release's network under our names."""
        return convert_author_state(net.state_dict(), 'MulSR').params

    def training_set(self, folder: Path, scale: int, size: int) -> Any:
        """Training samples (gt, lq, rgb) of a folder of .mat files with the cube under ``hsi``, values in [0, 1]."""
        with _inside(self.clone):
            return self._modules['data_utils'].TrainsetFromFolder('CAVE', f'{folder}/', scale, 'Kernel', size // scale)

    def metrics(self, result: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        """PSNR, SSIM, SAM and RMSE of two cubes (L, H, W); the arguments are not changed."""
        code = self._modules['eval']
        return {
            'psnr': float(code.PSNR(result, reference)),
            'ssim': float(code.SSIM(result, reference)),
            'sam': float(code.SAM(result.copy(), reference.copy())),  # it writes into its arguments
            'rmse': float(code.RMES(reference, result)),
        }


@contextmanager
def _inside(clone: Path) -> Iterator[None]:
    """Import and read files as the release expects: from its folder, with no command line, on any device."""
    before = os.getcwd(), sys.argv, list(sys.path), os.environ.get('CUDA_VISIBLE_DEVICES')
    os.chdir(clone)
    sys.argv, sys.path = sys.argv[:1], [str(clone), *sys.path]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        os.chdir(before[0])
        sys.argv, sys.path = before[1], before[2]
        os.environ.pop('CUDA_VISIBLE_DEVICES', None)
        if before[3] is not None:
            os.environ['CUDA_VISIBLE_DEVICES'] = before[3]
