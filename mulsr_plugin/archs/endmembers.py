"""Endmembers of a cube by vertex component analysis, the start of unmixing methods."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def vertex_components(spectra: Tensor, count: int, rng: np.random.Generator) -> Tensor:
    """Find spectra that lie at the vertices of the simplex around all spectra.

    The spectra are projected onto the affine subspace of their first ``count`` - 1 principal components. Then,
    ``count`` times, the one is taken that lies farthest out along a random direction orthogonal to those taken before.
    The paper's other projection, for images of high signal-to-noise ratio, divides by the brightness, which lets dark
    pixels win; it is left out.

    Args:
        spectra (Tensor): (L, N).
        count (int): Number of endmembers, at most L and N.
        rng (Generator): Source of the directions.

    Returns:
        Tensor: (L, count), of the type and on the device of ``spectra``: projections of pixels of the image.

    Reference: Nascimento, Bioucas-Dias, "Vertex component analysis: a fast algorithm to unmix hyperspectral data",
    IEEE Transactions on Geoscience and Remote Sensing 43(4), 2005.
    """
    values = spectra.detach().double()
    mean = values.mean(dim=1, keepdim=True)
    centred = values - mean
    components = torch.linalg.eigh(centred @ centred.T)[1].flip(1)[:, : count - 1]
    scores = components.T @ centred
    radius = scores.square().sum(dim=0).max().sqrt().expand(1, scores.shape[1])
    lifted = torch.cat([scores, radius])
    taken = torch.zeros(count, count, dtype=lifted.dtype, device=lifted.device)
    taken[-1, 0] = 1
    pixels = []
    for number in range(count):
        direction = torch.from_numpy(rng.standard_normal(count)).to(lifted)
        direction = direction - taken @ (torch.linalg.pinv(taken) @ direction)
        pixels.append(int((direction @ lifted).abs().argmax()))
        taken[:, number] = lifted[:, pixels[-1]]
    return (components @ scores[:, pixels] + mean).to(spectra.dtype)
