"""Blur kernels of degradations: (k, k) float64 arrays that sum to 1 and are applied by correlation."""

from __future__ import annotations

import numpy as np

from mulsr_plugin.data.formats.matrices import is_matrix_file, read_matrices, shape_text

LARGEST_KERNEL = 1025  # pixels a side; a Gaussian of deviation 128, and bicubic resizing at scale 256
GAUSSIAN_EXTENT = 4  # standard deviations from the centre to the border of a window, as in scipy.ndimage


def anisotropic_gaussian_kernel(
    width: int, variances: tuple[float, float], angle: float, centre: float | None = None
) -> np.ndarray:
    """Return Gaussian exp(-d' S^-1 d / 2) with S = Q(angle) diag(variances) Q(angle)', d = (column, row) - centre.

    Args:
        width: Side of the window in pixels.
        variances: Along the two principal axes, in square pixels; at angle 0 the first lies along the columns axis.
        angle: Rotation Q of the axes in radians.
        centre: Same coordinate for row and column; may lie outside the window. Default: the middle.

    Returns:
        (width, width) float64, sums to 1.
    """
    steps = np.arange(width) - ((width - 1) / 2 if centre is None else centre)
    return gaussian_of_steps(steps, steps, variances, angle)


def gaussian_of_steps(
    row_steps: np.ndarray, column_steps: np.ndarray, variances: tuple[float, float], angle: float
) -> np.ndarray:
    """Gaussian of ``anisotropic_gaussian_kernel`` at given distances from its centre.

    Args:
        row_steps: (kh,), rows of the window minus the row of the centre.
        column_steps: (kw,), likewise.
        variances: See ``anisotropic_gaussian_kernel``.
        angle: In radians.

    Returns:
        (kh, kw) float64, sums to 1.
    """
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    precision = rotation @ np.diag(1 / np.asarray(variances, dtype=np.float64)) @ rotation.T
    columns, rows = column_steps[None, :], row_steps[:, None]
    exponent = precision[0, 0] * columns**2 + 2 * precision[0, 1] * columns * rows + precision[1, 1] * rows**2
    # Subtracting the minimum leaves the normalised kernel unchanged and keeps it finite when the centre is far outside.
    kernel = np.exp(-(exponent - exponent.min()) / 2)
    return kernel / kernel.sum()


def isotropic_gaussian_kernel(width: int, sigma: float, centre: float | None = None) -> np.ndarray:
    """Round Gaussian of standard deviation ``sigma`` pixels; see ``anisotropic_gaussian_kernel``."""
    return anisotropic_gaussian_kernel(width, (sigma**2, sigma**2), 0.0, centre)


def gaussian_width(sigma: float) -> int:
    """Return the odd side of a window that holds a Gaussian of standard deviation ``sigma`` pixels."""
    return 2 * int(GAUSSIAN_EXTENT * sigma + 0.5) + 1


def check_kernel_width(width: int, what: str) -> None:
    """Refuse a window with a side of more than :data:`LARGEST_KERNEL`, for which memory and time would not do.

    Raises:
        ValueError: It is larger; ``what`` says whose window it is.
    """
    if width > LARGEST_KERNEL:
        raise ValueError(
            f'degradation: {what} needs a kernel of {width}x{width} pixels, expected at most {LARGEST_KERNEL}x'
            f'{LARGEST_KERNEL}; make it narrower.'
        )


def mtf_sigma(nyquist_gain: float, scale: int) -> float:
    """Standard deviation of the Gaussian whose transfer function has a given value at the sensor's Nyquist frequency.

    The modulation transfer function exp(-2 (pi sigma f)^2) takes the value ``nyquist_gain`` at f = 1 / (2 scale)
    cycles per high-resolution pixel.

    Args:
        nyquist_gain: Above 0 and below 1; multispectral sensors have about 0.2 to 0.4, panchromatic ones 0.1 to 0.2.
        scale: Low-resolution pixel in high-resolution pixels.

    Returns:
        Standard deviation in high-resolution pixels.

    Reference: Aiazzi et al., "MTF-tailored multiscale fusion of high-resolution MS and Pan imagery", PE&RS, 2006.
    """
    return scale / np.pi * float(np.sqrt(-2 * np.log(nyquist_gain)))


def bicubic_kernel(scale: int) -> np.ndarray:
    """Return the bicubic kernel (a = -0.5) stretched by the scale, as antialiased resizing uses it.

    Returns:
        (4 scale, 4 scale) for even scales, (4 scale - 1, 4 scale - 1) for odd ones; float64, sums to 1.

    Reference: Keys, "Cubic convolution interpolation for digital image processing", IEEE Transactions on Acoustics,
    Speech, and Signal Processing, 1981.
    """
    width = 4 * scale - scale % 2
    distance = np.abs(np.arange(width) - (width - 1) / 2) / scale
    near = 1.5 * distance**3 - 2.5 * distance**2 + 1
    far = -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2
    taps = np.where(distance < 1, near, far)
    taps /= taps.sum()
    return np.outer(taps, taps)


def read_kernel(name: str) -> np.ndarray:
    """Read a blur kernel of a user and normalise it to a sum of 1.

    Args:
        name: A .npy, .csv or .mat file with one square matrix; ``FILE.mat:NAME`` takes one variable of it.

    Returns:
        (k, k) float64.

    Raises:
        FileNotFoundError: No such file.
        ValueError: Unknown suffix, no or several matrices, not square, too large, not finite, or a sum that is not
            positive.
    """
    if not is_matrix_file(name):
        raise ValueError(f'degradation: kernel is {name!r}, expected a .npy, .csv or .mat file; correct the name.')
    matrices = read_matrices(name, 'kernel')
    square = {key: matrix for key, matrix in matrices.items() if matrix.shape[0] == matrix.shape[1] > 1}
    if len(square) != 1:
        found = ', '.join(f'{key} ({shape_text(matrix)})' for key, matrix in matrices.items())
        raise ValueError(
            f'{name} holds {found}; {len(square)} of them are square matrices: give one blur kernel (k, k), '
            'as FILE.mat:NAME where there are several.'
        )
    kernel = next(iter(square.values())).astype(np.float64)
    if not np.isfinite(kernel).all() or kernel.sum() <= 0:
        raise ValueError(f'Blur kernel {name} sums to {kernel.sum():g}, expected finite values with a positive sum.')
    check_kernel_width(len(kernel), name)
    return kernel / kernel.sum()
