"""The spectral response estimated from a pair."""

from __future__ import annotations

import torch
from torch import Tensor

from mulsr_plugin.data.response_estimation import non_negative_weights


def fit_response(lq: Tensor, reduced_guide: Tensor) -> Tensor:
    """Fit the response R >= 0 of a guide by least squares of R lq on the guide at the resolution of the cube.

    Args:
        lq (Tensor): (L, h, w).
        reduced_guide (Tensor): (G, h, w), the guide after the blur and downsampling of the cube.

    Returns:
        Tensor: (G, L) float64 on the CPU, not normalised. Where bands look alike the weights are spiky and not unique.
    """
    spectra, channels = (image.detach().flatten(1).T.double().cpu().numpy() for image in (lq, reduced_guide))
    return torch.from_numpy(non_negative_weights(spectra, channels))
