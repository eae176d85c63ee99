"""HySure, fusion in a subspace with vector total variation.

Paper: M. Simoes, J. Bioucas-Dias, L. Almeida, J. Chanussot, A Convex Formulation for Hyperspectral Image
    Superresolution via Subspace-Based Regularization, IEEE Transactions on Geoscience and Remote Sensing 53(6), 2015.
Compared with the authors' MATLAB code, https://github.com/alfaiate/HySure, revision 8652a58. Written anew, no code
    taken over.

Identical to that code: problem, splitting, penalty, weights, number of iterations and every iterate up to rounding for
the same basis, images divided by the largest value of the cube.
Different: the sensors are those of the sensor model, or the response is the non-negative one of least squares; the code
estimates both with smoothness terms. Vertex component analysis draws other random directions. The code's last
projection onto the singular vectors of the cube is left out; the basis spans nearly the same space.
Faster: the splitting variable of the blurred image differs from that image only at sampled pixels, so that it is kept
there alone, and one Fourier transform forth and one back are left of eight a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor

from mulsr_plugin.archs.endmembers import vertex_components
from mulsr_plugin.archs.input_checks import check_positive
from mulsr_plugin.archs.pair_fusion import PairFusion, response_of
from mulsr_plugin.sensor.model import SensorModel

BASES = ('vca', 'svd')
PENALTY = 0.05
NUM_DRAWS = 20  # of vertex component analysis, of which that of the largest volume is taken


@ARCH_REGISTRY.register()
class HySure(PairFusion):
    """Find the coefficients of a low-dimensional basis that explain cube and guide, with sharp edges in common.

    With the basis E (L, p) and the differences d_h, d_v to the right and the lower pixel, x = E a where a minimises

        ||y - D E a||^2 / 2 + lambda_m ||rgb - R E a||^2 / 2 + lambda_phi sum over pixels of ||(d_h a, d_v a)||.

    Solved by the alternating direction method of multipliers (SALSA) with penalty 0.05. Images are taken to repeat
    themselves beyond their borders, which distorts those of a blur that reads there. Nothing is trained.

    Args:
        upscale (int | Sequence[int]): Accepted scale factor(s). Default: 8.
        degradation (str | Mapping | None): D, see ``PairFusion``. Default: None.
        num_components (int): p, at most the number of bands and of low-resolution pixels is used. Default: 10.
        basis (str): 'vca', endmembers of the cube, or 'svd', its first singular vectors. Default: 'vca'.
        lambda_m (float): Weight of the guide. Default: 1.
        lambda_phi (float): Weight of the vector total variation. Default: 0.001.
        num_iterations (int): Default: 200.
        seed (int): Of vertex component analysis. Default: 0.

    Raises:
        ValueError: An option is out of its range.
    """

    def __init__(
        self,
        upscale: int | Sequence[int] = 8,
        degradation: str | Mapping[str, Any] | None = None,
        num_components: int = 10,
        basis: str = 'vca',
        lambda_m: float = 1.0,
        lambda_phi: float = 1e-3,
        num_iterations: int = 200,
        seed: int = 0,
    ) -> None:
        super().__init__(upscale, degradation)
        check_positive('num_components', num_components)
        check_positive('num_iterations', num_iterations)
        if basis not in BASES:
            raise ValueError(f'basis is {basis!r}, expected one of {", ".join(BASES)}: correct it.')
        if not (lambda_m > 0 and lambda_phi >= 0):
            raise ValueError(
                f'lambda_m is {lambda_m} and lambda_phi {lambda_phi}, expected a positive number and one that is not '
                'negative: correct them.'
            )
        self.num_components = num_components
        self.basis = basis
        self.lambda_m = lambda_m
        self.lambda_phi = lambda_phi
        self.num_iterations = num_iterations
        self.seed = seed

    @torch.no_grad()
    def fuse(self, lq: Tensor, rgb: Tensor, sensor: SensorModel) -> Tensor:
        """Fuse one pair, (1, L, h, w) and (1, G, H, W), to (1, L, H, W)."""
        unit = lq.max() if lq.max() > 0 else torch.ones_like(lq.max())
        basis = self._basis(lq[0].flatten(1) / unit)
        guide_basis = response_of(sensor, lq, rgb) @ basis
        coefficients = self._coefficients(lq / unit, rgb / unit, basis, guide_basis, sensor.with_boundary('circular'))
        return unit * _mix(basis, coefficients)

    def _basis(self, spectra: Tensor) -> Tensor:
        """Return E (L, p) of the spectra (L, N)."""
        count = min(self.num_components, *spectra.shape)
        if self.basis == 'svd':
            values = spectra.double()
            return torch.linalg.eigh(values @ values.T)[1].flip(1)[:, :count].to(spectra.dtype)
        rng = np.random.default_rng(self.seed)
        draws = [vertex_components(spectra, count, rng) for _ in range(NUM_DRAWS)]
        return max(draws, key=lambda draw: float(torch.linalg.det(draw.double().T @ draw.double())))

    def _coefficients(self, lq: Tensor, rgb: Tensor, basis: Tensor, guide_basis: Tensor, sensor: SensorModel) -> Tensor:
        """Minimise over a, (1, p, H, W)."""
        size = (rgb.shape[2], rgb.shape[3])
        terms = (
            _CubeTerm(_Proximal(basis, lq, 1.0), sensor),
            _GuideTerm(_Proximal(guide_basis, rgb, self.lambda_m)),
            _EdgeTerm(self.lambda_phi / PENALTY),
        )
        transfer = sensor.transfer(size, lq)
        blur_power = transfer.real**2 + transfer.imag**2
        system = blur_power + 1 + _difference_power(size, lq)
        a = lq.new_zeros(1, basis.shape[1], *size)
        spectrum = torch.fft.rfft2(a)
        for _ in range(self.num_iterations - 1):  # the code's first iterate is zero
            right = terms[0].step(a)
            for term in terms[1:]:
                right += term.step(a)
            spectrum = (blur_power * spectrum + torch.fft.rfft2(right)) / system
            a = torch.fft.irfft2(spectrum, s=size)
        return a


class _Proximal:
    """Minimise weight ||image - basis v||^2 + PENALTY ||v - target||^2 over v, in every pixel."""

    def __init__(self, basis: Tensor, image: Tensor, weight: float) -> None:
        gram = weight * (basis.T @ basis).double()
        inverse = torch.linalg.inv(gram + PENALTY * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
        self._of_target = (PENALTY * inverse).to(basis.dtype)
        self._constant = _mix((weight * inverse @ basis.T.double()).to(basis.dtype), image)

    def __call__(self, target: Tensor) -> Tensor:
        return _mix(self._of_target, target) + self._constant


class _CubeTerm:
    """Splitting variable v = B a of the blurred coefficients, with the cube at sampled pixels.

    Elsewhere v is B a itself and its multiplier zero, so that both are kept at sampled pixels; what the others add to
    the normal equations of a is |transfer|^2 times the spectrum of the last a.
    """

    def __init__(self, proximal: _Proximal, sensor: SensorModel) -> None:
        self._proximal, self._sensor = proximal, sensor
        self._multiplier: Tensor | float = 0.0

    def step(self, a: Tensor) -> Tensor:
        """Update v and its multiplier; return what they add to the normal equations besides."""
        target = self._sensor.blur(a) - self._multiplier
        old, self._multiplier = self._multiplier, self._proximal(target) - target
        return self._sensor.blur_adjoint(2 * self._multiplier - old)


class _GuideTerm:
    """Splitting variable v = a with the guide."""

    def __init__(self, proximal: _Proximal) -> None:
        self._proximal = proximal
        self._multiplier: Tensor | float = 0.0

    def step(self, a: Tensor) -> Tensor:
        """Update v and its multiplier; return their sum."""
        target = a - self._multiplier
        value = self._proximal(target)
        self._multiplier = value - target
        return value + self._multiplier


class _EdgeTerm:
    """Splitting variables of the differences of a, with soft thresholding of the vector of all of them in a pixel."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._multipliers: tuple[Tensor | float, Tensor | float] = (0.0, 0.0)

    def step(self, a: Tensor) -> Tensor:
        """Update variables and multipliers; return the adjoint differences of their sums."""
        rows, columns = (_difference(a, dim).sub_(old) for dim, old in zip((2, 3), self._multipliers))
        norm = (rows.square().sum(dim=1, keepdim=True) + columns.square().sum(dim=1, keepdim=True)).sqrt_()
        smallest = max(self._threshold, torch.finfo(norm.dtype).tiny)
        shrinkage = (norm - self._threshold).clamp_(min=0) / norm.clamp(min=smallest)
        self._multipliers = (shrinkage - 1) * rows, (shrinkage - 1) * columns
        factor = 2 * shrinkage - 1
        return _adjoint_difference(factor * rows, 2).add_(_adjoint_difference(factor * columns, 3))


def _difference(image: Tensor, dim: int) -> Tensor:
    """Pixel minus the one after it, which for the last is the first."""
    return image - image.roll(-1, dim)


def _adjoint_difference(image: Tensor, dim: int) -> Tensor:
    return image - image.roll(1, dim)


def _difference_power(size: tuple[int, int], like: Tensor) -> Tensor:
    """Squared modulus of the transfer functions of both differences, added; (H, W // 2 + 1)."""
    rows = torch.fft.fftfreq(size[0], device=like.device, dtype=like.dtype)
    columns = torch.fft.rfftfreq(size[1], device=like.device, dtype=like.dtype)
    rows, columns = (2 - 2 * torch.cos(2 * torch.pi * frequencies) for frequencies in (rows, columns))
    return rows[:, None] + columns


def _mix(matrix: Tensor, image: Tensor) -> Tensor:
    """Apply a matrix to the channels of (1, C, H, W)."""
    return (matrix @ image[0].flatten(1)).unflatten(1, image.shape[2:])[None]
