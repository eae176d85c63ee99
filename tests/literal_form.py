"""The method written down literally and slowly: what speed is measured against without the authors' code."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from scipy.signal import convolve2d
from torch import nn

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.spectral_response import load_spectral_response
from tests.archs.literal_mulsr import LiteralMulSR
from tests.data.degradation.test_degradation import slow_form


class LiteralForm:
    """Network with 3-D convolutions, one band and one line at a time; whole files; metrics band by band."""

    name = 'the literal form'

    def network(self, num_modules: int, scale: int) -> nn.Module:
        return LiteralMulSR(num_modules=num_modules, upscale=scale)

    def run_band(self, net: nn.Module, lq: torch.Tensor, rgb: torch.Tensor, band: int) -> torch.Tensor:
        return net(lq, rgb, [band])

    def weights(self, net: nn.Module) -> dict[str, torch.Tensor]:
        return net.state_dict()

    def training_set(self, folder: Path, scale: int, size: int) -> LiteralTrainingSet:
        return LiteralTrainingSet(folder, scale, size)

    def metrics(self, result: np.ndarray, reference: np.ndarray) -> dict[str, float]:
        error = np.sqrt(np.mean((result - reference) ** 2))
        products, squares = (result * reference).sum(0), [(cube**2).sum(0) for cube in (result, reference)]
        angles = np.arccos(np.clip(products / np.sqrt(squares[0] * squares[1]), -1, 1))
        return {
            'psnr': -20 * math.log10(error),
            'ssim': float(np.mean([_ssim(band, band2) for band, band2 in zip(result, reference)])),
            'sam': float(np.degrees(angles).mean()),
            'rmse': float(error),
        }


class LiteralTrainingSet:
    """Samples (gt, lq, rgb): the whole file is read for every crop, and every step is taken one after the other."""

    def __init__(self, folder: Path, scale: int, size: int) -> None:
        self.files, self.scale, self.size = sorted(folder.glob('*.mat')), scale, size
        self.degradation = build_degradation('authors_random', scale)
        self.response = load_spectral_response('nikon_d700', 31)
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cube = loadmat(self.files[index])['hsi'].astype(np.float32)
        top, left = (self.rng.integers(side - self.size + 1) for side in cube.shape[:2])
        crop = cube[top : top + self.size, left : left + self.size][::-1].transpose(2, 0, 1).copy()
        draw = self.degradation.draw(self.rng)
        lq = slow_form(crop, draw, self.scale)
        lq = np.clip(lq + draw.noise_sigma * self.rng.standard_normal(lq.shape), 0, 1)
        return crop, lq, np.einsum('gl,lhw->ghw', self.response, crop)


def _ssim(band: np.ndarray, band2: np.ndarray) -> float:
    offsets = np.arange(11) - 5
    weights = np.exp(-(offsets**2) / 4.5)
    window = np.outer(weights, weights) / weights.sum() ** 2
    fields = (band, band2, band * band, band2 * band2, band * band2)
    mean, mean2, square, square2, product = (convolve2d(field, window, 'valid') for field in fields)
    structure = (2 * (product - mean * mean2) + 0.03**2) / (square - mean**2 + square2 - mean2**2 + 0.03**2)
    return float(np.mean((2 * mean * mean2 + 0.01**2) / (mean**2 + mean2**2 + 0.01**2) * structure))
