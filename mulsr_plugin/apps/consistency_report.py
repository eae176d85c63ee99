"""Whether the spectral consistency of a result is good, in words."""

from __future__ import annotations

import torch
from basicsr.utils import get_root_logger

from mulsr_plugin.data.cube import Cube, scaled_to_unit
from mulsr_plugin.sensor.noise import estimate_noise

# Of the standard deviation of the cube: what bicubic interpolation and models of the blur leave without any noise.
_UNAVOIDABLE = 0.01
_GOOD, _POOR = 2.0, 5.0


def log_judgement(rmse: float, cube: Cube) -> None:
    """Log what a spectral consistency means, as a warning if it is poor; see :func:`judged_consistency`."""
    text, is_poor = judged_consistency(rmse, cube)
    if is_poor:
        get_root_logger().warning(f'The spectral consistency is {text}: the result has colours that the cube has not.')
    else:
        get_root_logger().info(f'The spectral consistency is {text}.')


def judged_consistency(rmse: float, cube: Cube) -> tuple[str, bool]:
    """Compare a spectral consistency with the noise of the cube.

    A result that is right differs from the cube by the noise of the cube, and by a hundredth of its standard deviation
    for what no model of a blur gets right. Up to twice that is called good, from five times on poor.

    Args:
        rmse (float): Root mean square difference of blurred result and cube, in the range [0, 1].
        cube (Cube): (h, w, L).

    Returns:
        tuple[str, bool]: What the figure means, and whether it is poor.
    """
    lq = torch.from_numpy(scaled_to_unit(cube.values, cube.scale)).permute(2, 0, 1)
    noise = float(estimate_noise(lq).square().mean().sqrt())
    expected = (noise**2 + (_UNAVOIDABLE * float(lq.std())) ** 2) ** 0.5
    ratio = rmse / max(expected, 1e-9)
    grade = 'good' if ratio <= _GOOD else 'poor' if ratio > _POOR else 'fair'
    known = f'noise of the cube {noise:.2g}' if noise else 'no noise in the cube'
    return f'{grade}: {ratio:.1f} times what is to be expected ({expected:.2g}; {known})', grade == 'poor'
