"""How the two images of a pair come from one scene: lq = D x + noise, rgb = R x."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mulsr_plugin.data.degradation import Degradation, build_degradation
from mulsr_plugin.data.degradation.correlation import DegradationDraw, correlations
from mulsr_plugin.data.degradation.kernels import GAUSSIAN_EXTENT, gaussian_of_steps
from mulsr_plugin.sensor.blur import StridedBlur
from mulsr_plugin.sensor.interpolation import enlarge
from mulsr_plugin.utils.files import PathLike, whole_files

FILE_SUFFIX = '.npz'
_FILE_FORMAT = 'mulsr_plugin sensor model 1'


@dataclass(frozen=True, eq=False)
class SensorModel:
    """Linear model of the two sensors of a pair, for images of any size, type and device.

    D blurs and downsamples every band alike. It is one strided correlation, or, where a resampling leaves the image
    (bicubic at scale 2), two of them one after the other.

    Attributes:
        steps (tuple[StridedBlur]): What D does, one after the other; all but the last have stride 1.
        response (Tensor | None): R, (G, L) float64: weights of the bands in every channel of the guide; None where it
            is unknown. Default: None.
        noise_sigma (Tensor): Standard deviation of the white Gaussian noise of lq, (L,) float64 or (1,) for all bands
            alike. Default: 0.
        response_fitted (bool): R was fitted to a pair: its weights are uncertain where bands look alike, so that no
            result is made to fulfil R x = rgb exactly. Default: False.

    Raises:
        ValueError: There is no step, one but the last reduces the image, or a shape does not fit.
    """

    steps: tuple[StridedBlur, ...]
    response: Tensor | None = None
    noise_sigma: Tensor = field(default_factory=lambda: torch.zeros(1, dtype=torch.float64))
    response_fitted: bool = False

    def __post_init__(self) -> None:
        if not self.steps or any(step.stride != 1 for step in self.steps[:-1]):
            raise ValueError(
                f'The steps have the strides {[step.stride for step in self.steps]}, expected one step or more of '
                'which only the last reduces the image; combine them.'
            )
        if self.response is not None and self.response.dim() != 2:
            raise ValueError(f'The response has shape {tuple(self.response.shape)}, expected (G, L); correct it.')
        if self.noise_sigma.dim() != 1:
            raise ValueError(
                f'noise_sigma has shape {tuple(self.noise_sigma.shape)}, expected (L,) or (1,); correct it.'
            )

    @classmethod
    def from_degradation(
        cls,
        degradation: Degradation | Mapping[str, Any] | str,
        scale: int,
        response: np.ndarray | None = None,
        rng: np.random.Generator | None = None,
    ) -> SensorModel:
        """Model a degradation; its Poisson noise, which depends on the scene, is left out.

        Args:
            degradation (Degradation | Mapping | str): As in an option file, see ``build_degradation``, or built.
            scale (int): Scale of the degradation.
            response (ndarray | None): R, (G, L). Default: None, unknown.
            rng (Generator | None): Draws from a random preset. Default: None, one of the degradation's seed.

        Raises:
            ValueError: An illegal option, or a degradation of another scale.
        """
        if not isinstance(degradation, Degradation):
            degradation = build_degradation(degradation, scale)
        if degradation.scale != scale:
            raise ValueError(
                f'The degradation is one by {degradation.scale}, expected one by {scale}; build it for that scale.'
            )
        draw = degradation.draw(np.random.default_rng(degradation.seed) if rng is None else rng)
        return cls.from_draw(draw, scale, response)

    @classmethod
    def from_draw(cls, draw: DegradationDraw, scale: int, response: np.ndarray | None = None) -> SensorModel:
        """Model one concrete degradation; see :meth:`from_degradation`."""
        steps = tuple(StridedBlur.from_correlation(step) for step in correlations(draw, scale))
        return cls(steps, _response(response), torch.tensor([draw.noise_sigma], dtype=torch.float64))

    @classmethod
    def from_kernel(
        cls,
        kernel: np.ndarray,
        scale: int,
        offset: tuple[int, int],
        boundary: str = 'edge',
        response: np.ndarray | None = None,
    ) -> SensorModel:
        """Model a sensor with any blur kernel.

        Args:
            kernel (ndarray): (kh, kw), applied by correlation; should sum to 1.
            scale (int): Downsampling factor.
            offset (tuple[int, int]): Row and column of the kernel's first entry relative to the first pixel of each
                block of scale x scale pixels.
            boundary (str): 'edge', 'symmetric' or 'circular'. Default: 'edge'.
            response (ndarray | None): R, (G, L). Default: None, unknown.
        """
        return cls((StridedBlur(np.asarray(kernel, dtype=np.float64), offset, scale, boundary),), _response(response))

    @classmethod
    def from_gaussian(
        cls,
        scale: int,
        sigma: float | tuple[float, float],
        angle: float = 0.0,
        shift: tuple[float, float] = (0.0, 0.0),
        boundary: str = 'edge',
        response: np.ndarray | None = None,
    ) -> SensorModel:
        """Model a Gaussian blur that may lie off the centre of a block; unshifted it is the preset ``gaussian``.

        Args:
            scale (int): Downsampling factor.
            sigma (float | tuple[float, float]): Standard deviation in pixels of the guide, or two along the axes of an
                ellipse: the first along the columns at angle 0.
            angle (float): Turns the ellipse, in degrees. Default: 0.
            shift (tuple[float, float]): Displacement of the kernel from the block's centre, rows down and columns to
                the right, in pixels of the guide. Default: none.
            boundary (str): 'edge', 'symmetric' or 'circular'. Default: 'edge'.
            response (ndarray | None): R, (G, L). Default: None, unknown.

        Raises:
            ValueError: A standard deviation is not positive.
        """
        along, across = sigma if isinstance(sigma, Sequence) else (sigma, sigma)
        if not (along > 0 and across > 0):
            raise ValueError(f'sigma is {sigma}, expected positive standard deviations; correct it.')
        reach = int(GAUSSIAN_EXTENT * max(along, across) + 0.5) + 0.5
        centres = [(scale - 1) / 2 + distance for distance in shift]
        row_offset, column_offset = (math.ceil(centre - reach) for centre in centres)
        rows, columns = (
            np.arange(math.ceil(centre - reach), math.floor(centre + reach) + 1) - centre for centre in centres
        )
        kernel = gaussian_of_steps(rows, columns, (along**2, across**2), math.radians(angle))
        return cls.from_kernel(kernel, scale, (row_offset, column_offset), boundary, response)

    @classmethod
    def load(cls, path: PathLike) -> SensorModel:
        """Read what :meth:`save` has written.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is not such a file, or it is damaged.
        """
        path = Path(path).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f'There is no file {path}; correct the name of the sensor model.')
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return cls._from_arrays({key: arrays[key] for key in arrays.files})
        except (KeyError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
            raise ValueError(f'{path} is not a sensor model ({error}); write it anew with SensorModel.save.') from error

    @classmethod
    def _from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> SensorModel:
        if str(arrays['format']) != _FILE_FORMAT:
            raise ValueError(f'its format is {str(arrays["format"])!r}, expected {_FILE_FORMAT!r}')
        steps = []
        for number in range(int(arrays['num_steps'])):
            row, column, stride = (int(value) for value in arrays[f'geometry_{number}'])
            kernel, boundary = arrays[f'kernel_{number}'].astype(np.float64), str(arrays[f'boundary_{number}'])
            steps.append(StridedBlur(kernel, (row, column), stride, boundary))
        noise_sigma = torch.from_numpy(arrays['noise_sigma'].astype(np.float64))
        fitted = bool(arrays.get('response_fitted', False))
        return cls(tuple(steps), _response(arrays.get('response')), noise_sigma, fitted)

    def save(self, path: PathLike, overwrite: bool = False) -> None:
        """Write the model to one small file, which options of networks can name.

        Args:
            path (str | PathLike): Name that ends in .npz.
            overwrite (bool): Replace a file that exists. Default: False.

        Raises:
            FileExistsError: The file exists.
            ValueError: The name does not end in .npz.
        """
        path = Path(path).expanduser()
        if path.suffix.lower() != FILE_SUFFIX:
            raise ValueError(f'{path} does not end in {FILE_SUFFIX}, which sensor models are written as; correct it.')
        arrays = {'format': np.array(_FILE_FORMAT), 'num_steps': np.array(len(self.steps))}
        for number, step in enumerate(self.steps):
            arrays[f'kernel_{number}'] = step.kernel
            arrays[f'geometry_{number}'] = np.array([*step.offset, step.stride])
            arrays[f'boundary_{number}'] = np.array(step.boundary)
        arrays['noise_sigma'] = self.noise_sigma.numpy()
        if self.response is not None:
            arrays['response'] = self.response.numpy()
            arrays['response_fitted'] = np.array(self.response_fitted)
        with whole_files(path, overwrite) as temporary:
            np.savez(temporary, **arrays)  # type: ignore[arg-type]

    @property
    def scale(self) -> int:
        """Downsampling factor."""
        return self.steps[-1].stride

    @property
    def centre(self) -> tuple[float, float]:
        """Row and column of the first low-resolution pixel's centroid in pixels of the guide."""
        row, column = (sum(step.centre[axis] for step in self.steps) for axis in (0, 1))
        return row, column

    @property
    def reach(self) -> int:
        """Low-resolution pixels beyond its own block, on any side, that a low-resolution pixel sees; at least 0."""
        reach = 0
        for axis in (0, 1):
            first = sum(step.offset[axis] for step in self.steps)
            last = first + sum(step.kernel.shape[axis] - 1 for step in self.steps)
            reach = max(reach, -(first // self.scale), last // self.scale)
        return reach

    def with_boundary(self, boundary: str) -> SensorModel:
        """Return the same model for images that are continued otherwise: 'edge', 'symmetric' or 'circular'."""
        return replace(self, steps=tuple(replace(step, boundary=boundary) for step in self.steps))

    def with_response(self, response: Tensor, fitted: bool = False) -> SensorModel:
        """Return the same model with another R, (G, L), measured or ``fitted`` to a pair."""
        return replace(self, response=response.detach().double().cpu(), response_fitted=fitted)

    def blur(self, x: Tensor) -> Tensor:
        """Apply D, (B, L, H, W) to (B, L, H / scale, W / scale), without noise and without clipping; differentiable.

        Raises:
            ValueError: H or W is not a multiple of the scale.
        """
        for step in self.steps:
            x = step.forward(x)
        return x

    def blur_adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose of D, (B, L, h, w) to (B, L, scale * h, scale * w), borders included; differentiable."""
        for step in reversed(self.steps):
            y = step.adjoint(y)
        return y

    def enlarge(self, y: Tensor) -> Tensor:
        """Interpolate (B, L, h, w) to the grid of the guide, undoing the displacement of D; see ``enlarge``."""
        return enlarge(y, self.scale, self.centre)

    def transfer(self, size: tuple[int, int], like: Tensor) -> Tensor:
        """Return the transfer function of D without its downsampling, for circular images; see ``StridedBlur``."""
        result = self.steps[0].transfer(size, like)
        for step in self.steps[1:]:
            result = result * step.transfer(size, like)
        return result

    def apply_response(self, x: Tensor) -> Tensor:
        """Apply R, (B, L, H, W) to (B, G, H, W); differentiable.

        Raises:
            ValueError: R is unknown.
        """
        return _mix(self._known_response(x), x)

    def response_adjoint(self, y: Tensor) -> Tensor:
        """Apply the transpose of R, (B, G, H, W) to (B, L, H, W); differentiable.

        Raises:
            ValueError: R is unknown.
        """
        return _mix(self._known_response(y).T, y)

    def _known_response(self, like: Tensor) -> Tensor:
        if self.response is None:
            raise ValueError('The spectral response of this sensor model is unknown; give it, or fit it to the pair.')
        return self.response.to(like.device, like.dtype)


def _response(response: np.ndarray | None) -> Tensor | None:
    return None if response is None else torch.from_numpy(np.array(response, dtype=np.float64))


def _mix(matrix: Tensor, images: Tensor) -> Tensor:
    return (matrix @ images.flatten(2)).unflatten(2, images.shape[2:])
