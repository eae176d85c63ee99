"""Gaussians, sensor MTF, user kernels, resizing and noise against SciPy, OpenCV, PyTorch, Pillow and closed forms."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
import torch
import torch.nn.functional as F
from PIL import Image
from scipy.ndimage import convolve, correlate, gaussian_filter

from mulsr_plugin.data.degradation import build_degradation

SCALES = [2, 3, 4, 8, 16, 32]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def smooth_cube(side: int, bands: int = 2, seed: int = 1) -> np.ndarray:
    """Values well inside [0, 1], so that nothing is clipped."""
    noise = rng(seed).random((bands, side, side))
    return (0.35 + 0.3 * gaussian_filter(noise, (0, 1, 1))).astype(np.float32)


def interior(array: np.ndarray, scale: int, pixels: int) -> np.ndarray:
    """What lies further than ``pixels`` high-resolution pixels from the borders."""
    border = -(-pixels // scale)
    return array[:, border:-border, border:-border]


def displacement(opt: dict | str, scale: int) -> tuple[float, float]:
    """Rows and columns by which the centre of mass of a block's weights misses the centre of the block."""
    draw = build_degradation(opt, scale).draw(rng())
    middle = max(4, -(-200 // scale))
    size = (2 * middle + 1) * scale
    ramp = np.broadcast_to(np.arange(size) / size, (size, size))
    block = {'preset': opt} if isinstance(opt, str) else opt
    lq = build_degradation({**block, 'noise_sigma': 0}, scale)(np.stack([ramp.T, ramp]), rng())
    assert draw.kernel.sum() == pytest.approx(1)
    return tuple(lq[:, middle, middle] * size - (middle * scale + (scale - 1) / 2))


@pytest.mark.parametrize('sigma', [0.7, 2.5])
@pytest.mark.parametrize('scale', [3, 5])
def test_gaussian_at_odd_scales_equals_scipy(scale: int, sigma: float) -> None:
    cube = smooth_cube(15 * scale)
    lq = build_degradation({'preset': 'gaussian', 'sigma': sigma}, scale)(cube, rng())
    blurred = gaussian_filter(cube.astype(np.float64), (0, sigma, sigma), mode='nearest', truncate=4)
    np.testing.assert_allclose(lq, blurred[:, scale // 2 :: scale, scale // 2 :: scale], rtol=0, atol=1e-6)


@pytest.mark.parametrize('scale', [2, 8])
def test_gaussian_before_bilinear_resampling_equals_scipy_and_pytorch(scale: int) -> None:
    cube = smooth_cube(12 * scale)
    opt = {'preset': 'gaussian', 'sigma': 1.5, 'resampling': 'bilinear'}
    lq = build_degradation(opt, scale)(cube, rng())
    blurred = torch.from_numpy(gaussian_filter(cube.astype(np.float64), (0, 1.5, 1.5), mode='reflect', truncate=4))
    expected = F.interpolate(blurred[None], scale_factor=1 / scale, mode='bilinear')[0]
    np.testing.assert_allclose(lq, expected, rtol=0, atol=1e-6)


def test_ellipse_has_the_given_deviations_and_direction() -> None:
    draw = build_degradation({'preset': 'gaussian', 'sigma': [4, 2], 'angle': 30}, 3).draw(rng())
    side = len(draw.kernel)
    columns, rows = np.meshgrid(*[np.arange(side) - (side - 1) / 2] * 2)
    covariance = [[np.sum(draw.kernel * a * b) for a in (columns, rows)] for b in (columns, rows)]
    values, vectors = np.linalg.eigh(covariance)
    np.testing.assert_allclose(np.sqrt(values), (2, 4), rtol=2e-3)
    assert np.rad2deg(np.arctan2(vectors[1, 1], vectors[0, 1])) % 180 == pytest.approx(30, abs=0.1)
    assert draw.kind == 'anisotropic'


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize('gain', [0.15, 0.3, 0.6])
def test_sensor_mtf_has_its_gain_at_the_nyquist_frequency(scale: int, gain: float) -> None:
    kernel = build_degradation({'preset': 'sensor_mtf', 'nyquist_gain': gain}, scale).draw(rng()).kernel
    steps = np.arange(len(kernel)) - (len(kernel) - 1) / 2
    response = kernel.sum(0) @ np.exp(-2j * np.pi * steps / (2 * scale))
    # at scale 2 a Gaussian narrower than half a pixel cannot be sampled well
    assert abs(response) == pytest.approx(gain, abs=0.02 if scale == 2 else 1e-3)


@pytest.mark.parametrize('scale', SCALES)
def test_average_equals_opencv(scale: int) -> None:
    cube = smooth_cube(4 * scale)
    lq = build_degradation('average', scale)(cube, rng())
    expected = [cv2.resize(band, None, fx=1 / scale, fy=1 / scale, interpolation=cv2.INTER_AREA) for band in cube]
    np.testing.assert_allclose(lq, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize('scale', SCALES)
def test_bicubic_with_antialiasing_equals_pytorch_and_pillow(scale: int) -> None:
    cube = smooth_cube(10 * scale)
    lq = interior(build_degradation('bicubic', scale)(cube, rng()), scale, 2 * scale)
    torch_result = F.interpolate(torch.from_numpy(cube)[None], (10, 10), mode='bicubic', antialias=True)[0].numpy()
    np.testing.assert_allclose(lq, interior(torch_result, scale, 2 * scale), rtol=0, atol=5e-6)
    pillow = np.stack([np.asarray(Image.fromarray(band).resize((10, 10), Image.Resampling.BICUBIC)) for band in cube])
    np.testing.assert_allclose(lq, interior(pillow, scale, 2 * scale), rtol=0, atol=5e-6)


@pytest.mark.parametrize('scale', SCALES)
def test_bicubic_without_antialiasing_equals_pytorch_and_opencv(scale: int) -> None:
    cube = smooth_cube(6 * scale)
    lq = build_degradation({'preset': 'bicubic', 'antialias': False}, scale)(cube, rng())
    torch_result = F.interpolate(torch.from_numpy(cube)[None], (6, 6), mode='bicubic')[0]
    np.testing.assert_allclose(lq, torch_result, rtol=0, atol=5e-6)
    opencv = [cv2.resize(band, (6, 6), interpolation=cv2.INTER_CUBIC) for band in cube]
    np.testing.assert_allclose(lq, opencv, rtol=0, atol=2e-5)


@pytest.mark.parametrize(('scale', 'phase', 'pixel'), [(4, None, 1), (3, None, 1), (8, 3, 3), (4, 0, 0), (32, 31, 31)])
def test_strided_keeps_one_pixel_of_each_block(scale: int, phase: int | None, pixel: int) -> None:
    cube = smooth_cube(3 * scale)
    lq = build_degradation({'preset': 'strided', 'phase': phase}, scale)(cube, rng())
    np.testing.assert_array_equal(lq, cube[:, pixel::scale, pixel::scale])


@pytest.mark.parametrize('suffix', ['npy', 'csv', 'mat'])
def test_user_kernel_is_normalised_and_correlated(tmp_path: Path, suffix: str) -> None:
    kernel = rng(5).random((7, 7))  # no symmetry that could hide an exchanged axis or direction
    name = str(tmp_path / f'kernel.{suffix}')
    if suffix == 'npy':
        np.save(name, kernel)
    elif suffix == 'csv':
        np.savetxt(name, kernel, delimiter=',')
    else:
        scipy.io.savemat(name, {'k': kernel, 'row': kernel[:1], 'other': np.ones((3, 3))})
        name += ':k'
    cube = smooth_cube(30)
    lq = build_degradation({'preset': 'kernel_file', 'kernel': name}, 3)(cube, rng())
    expected = [correlate(band, kernel / kernel.sum(), mode='nearest')[1::3, 1::3] for band in cube.astype(np.float64)]
    np.testing.assert_allclose(lq, expected, rtol=0, atol=1e-6)
    turned = [convolve(band, kernel[::-1, ::-1] / kernel.sum(), mode='nearest')[1::3, 1::3] for band in cube]
    np.testing.assert_allclose(lq, turned, rtol=0, atol=1e-5)


@pytest.mark.parametrize('scale', SCALES)
@pytest.mark.parametrize(
    'opt',
    [
        {'preset': 'gaussian', 'sigma': 0.3},
        {'preset': 'gaussian', 'sigma': [3, 1.2], 'angle': 40},
        {'preset': 'gaussian', 'sigma': 2, 'resampling': 'bicubic'},
        {'preset': 'gaussian', 'sigma': 2, 'resampling': 'bilinear'},
        {'preset': 'sensor_mtf', 'nyquist_gain': 0.3},
        'bicubic',
        {'preset': 'bicubic', 'antialias': False},
        'average',
        'noise_free',
        {'preset': 'authors_fixed', 'kernel_centering': 'aligned'},
    ],
    ids=str,
)
def test_centre_of_mass_is_the_centre_of_the_block(opt: dict | str, scale: int) -> None:
    np.testing.assert_allclose(displacement(opt, scale), 0, atol=5e-3)


@pytest.mark.parametrize(
    ('side', 'scale', 'resampling', 'expected'),
    [
        (5, 3, 'strided', 0),
        (6, 4, 'strided', 0),
        (5, 4, 'strided', -0.5),
        (5, 4, 'bicubic', 0),
        (6, 4, 'bicubic', -0.5),
    ],
)
def test_user_kernels_of_the_wrong_parity_miss_by_half_a_pixel(
    tmp_path: Path, side: int, scale: int, resampling: str, expected: float
) -> None:
    np.save(tmp_path / 'k.npy', np.ones((side, side)))
    opt = {'preset': 'kernel_file', 'kernel': str(tmp_path / 'k.npy'), 'resampling': resampling}
    np.testing.assert_allclose(displacement(opt, scale), expected, atol=1e-3)


@pytest.mark.parametrize(('scale', 'expected'), [(3, 0), (4, -0.5), (32, -0.5)])
def test_middle_pixel_of_an_even_block_misses_by_half_a_pixel(scale: int, expected: float) -> None:
    np.testing.assert_allclose(displacement('strided', scale), expected, atol=1e-4)


def test_poisson_noise_has_the_variance_of_its_mean() -> None:
    grey = np.full((2, 512, 512), 0.25, dtype=np.float32)
    degradation = build_degradation({'preset': 'average', 'poisson_peak': 400}, 2)
    lq = degradation(grey, rng(1))
    assert lq.mean() == pytest.approx(0.25, abs=3e-4)
    assert lq.var() == pytest.approx(0.25 / 400, rel=0.02)
    np.testing.assert_allclose(lq * 400, np.round(lq * 400), atol=1e-3)  # counts
    both = build_degradation({'preset': 'average', 'poisson_peak': 400, 'noise_sigma': 0.03}, 2)(grey, rng(1))
    assert both.var() == pytest.approx(0.25 / 400 + 0.03**2, rel=0.02)
    assert (degradation(grey, rng(1)) == lq).all()
    assert (degradation(grey, rng(2)) != lq).any()


def test_draw_holds_all_but_the_noise_field() -> None:
    draw = build_degradation({'preset': 'authors_random', 'poisson_peak': 50, 'noise_sigma': 0.1}, 4).draw(rng())
    assert (draw.poisson_peak, draw.noise_sigma) == (50, 0.1)
    assert build_degradation('authors_random', 4).draw(rng()).poisson_peak == 0


@pytest.mark.parametrize(
    ('opt', 'message'),
    [
        ('gaussian', "preset gaussian has no 'sigma'"),
        ('sensor_mtf', "preset sensor_mtf has no 'nyquist_gain'"),
        ('kernel_file', "preset kernel_file has no 'kernel'"),
        ({'preset': 'gaussian', 'sigma': 0}, 'a number above 0'),
        ({'preset': 'gaussian', 'sigma': [1, 2, 3]}, 'sigma has 3 values'),
        ({'preset': 'gaussian', 'sigma': 1e6}, 'deviation 1e.06 pixels needs a kernel of 8000001x.* at most 1025x1025'),
        ({'preset': 'average', 'poisson_peak': 1e20}, 'a number above 0, up to 1e12'),
        ({'preset': 'gaussian', 'sigma': 1, 'resampling': 'cubic'}, "did you mean 'bicubic'"),
        ({'preset': 'sensor_mtf', 'nyquist_gain': 1}, 'below 1'),
        ({'preset': 'average', 'sigma': 1}, 'sigma has no effect with preset average, which takes noise_sigma'),
        ({'preset': 'strided', 'phase': 8}, 'expected 0 to 7 at scale 8'),
        ({'preset': 'average', 'poisson_peak': 0}, 'poisson_peak is 0'),
        ({'preset': 'gausian', 'sigma': 1}, "did you mean 'gaussian'"),
        ({'preset': 'kernel_file', 'kernel': 'blur'}, 'expected a .npy, .csv or .mat file'),
    ],
)
def test_wrong_options_are_explained(opt: dict | str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_degradation(opt, 8)


@pytest.mark.parametrize(
    ('kernel', 'message'),
    [
        (np.ones((3, 4)), r'\(3x4\); 0 of them are square'),
        (np.zeros((3, 3)), 'sums to 0'),
        (np.ones((1026, 1026)), 'needs a kernel of 1026x1026 pixels, expected at most 1025x1025'),
        (np.full((3, 3), np.nan), 'finite values'),
        (np.ones(9), 'expected a matrix of real numbers'),
        (np.ones((3, 3)) * 1j, 'expected a matrix of real numbers'),
    ],
)
def test_unfit_kernels_are_explained(tmp_path: Path, kernel: np.ndarray, message: str) -> None:
    np.save(tmp_path / 'k.npy', kernel)
    with pytest.raises(ValueError, match=message):
        build_degradation({'preset': 'kernel_file', 'kernel': str(tmp_path / 'k.npy')}, 4)
    with pytest.raises(FileNotFoundError, match='correct kernel'):
        build_degradation({'preset': 'kernel_file', 'kernel': str(tmp_path / 'absent.npy')}, 4)


@pytest.mark.parametrize(
    ('opt', 'words'),
    [
        ({'preset': 'gaussian', 'sigma': [2, 1], 'angle': 45}, ['stds 2 and 1 at 45 degrees', 'strided', 'no noise']),
        ({'preset': 'sensor_mtf', 'nyquist_gain': 0.3}, ['MTF 0.3 at Nyquist', 'Gaussian of std']),
        ({'preset': 'average', 'poisson_peak': 100}, ['average x8: mean of 8x8 blocks', 'Poisson noise of 100 counts']),
        ('bicubic', ['with antialiasing']),
        ('strided', ['pixel 3 of each block']),
    ],
)
def test_description_says_what_is_done(opt: dict | str, words: list[str]) -> None:
    text = build_degradation(opt, 8).describe()
    for word in words:
        assert word in text
