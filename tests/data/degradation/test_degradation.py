"""The degradation against the authors' numbers, a literal slow form and closed forms."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import correlate

from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.degradation.correlation import DegradationDraw, blur_and_downsample
from mulsr_plugin.data.degradation.kernels import anisotropic_gaussian_kernel, isotropic_gaussian_kernel
from mulsr_plugin.data.sample_seeds import key_generator

GOLDEN = Path(__file__).parents[2] / 'golden' / 'test_degradation.npz'


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def slow_form(cube: np.ndarray, draw: DegradationDraw, scale: int) -> np.ndarray:
    """The description word by word: SciPy's correlation, then PyTorch's interpolation or plain slicing."""
    mode = 'nearest' if draw.resampling == 'strided' else 'reflect'
    blurred = np.stack([correlate(band, draw.kernel, mode=mode) for band in cube.astype(np.float64)])
    if draw.resampling == 'strided':
        return blurred[:, ::scale, ::scale]
    image = torch.from_numpy(blurred)[None]
    return F.interpolate(image, scale_factor=1 / scale, mode=draw.resampling, align_corners=False, antialias=False)[
        0
    ].numpy()


def displacement(draw: DegradationDraw, scale: int) -> tuple[float, float]:
    """Rows and columns by which a low-resolution pixel in the interior misses the centre of its block."""
    middle = 24 // scale + 1  # far enough from the borders for every kernel
    size = (2 * middle + 1) * scale
    ramp = np.broadcast_to(np.arange(size) / size, (size, size))
    lq = blur_and_downsample(np.stack([ramp.T, ramp]), draw, scale)[:, middle, middle] * size
    return tuple(lq - (middle * scale + (scale - 1) / 2))


@pytest.mark.parametrize('scale', [4, 8, 16])
def test_fixed_degradation_equals_the_authors(scale: int) -> None:
    golden = np.load(GOLDEN)
    lq = build_degradation({'preset': 'authors_fixed', 'noise_sigma': 0}, scale)(golden['cube'], rng())
    np.testing.assert_allclose(lq, golden[f'lq_x{scale}_no_noise'], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ('scale', 'centroid', 'shift'),
    [(4, (7.499, 7.171), (1.50, 1.17)), (8, (9.444, 8.539), (3.44, 2.54)), (16, (11.611, 10.291), (5.61, 4.29))],
)
def test_legacy_centring_displaces_as_published(
    scale: int, centroid: tuple[float, float], shift: tuple[float, float]
) -> None:
    draw = build_degradation('authors_fixed', scale).draw(rng())
    steps = np.arange(13)
    measured = (draw.kernel.sum(1) @ steps, draw.kernel.sum(0) @ steps)
    np.testing.assert_allclose(measured, centroid, atol=6e-4)
    np.testing.assert_allclose(displacement(draw, scale), shift, atol=6e-3)


def test_fixed_kernel_has_its_larger_variance_along_the_columns() -> None:
    kernel = anisotropic_gaussian_kernel(61, (2, 10), np.pi / 2)
    squares = (np.arange(61) - 30) ** 2
    np.testing.assert_allclose((kernel.sum(1) @ squares, kernel.sum(0) @ squares), (2, 10), rtol=1e-6)


@pytest.mark.parametrize('scale', [2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize('resampling', ['bicubic', 'bilinear', 'strided'])
@pytest.mark.parametrize(('width', 'blocks'), [(7, (3, 4)), (21, (2, 5)), (15, (2, 2))])
def test_composed_kernel_equals_the_two_steps(scale: int, resampling: str, width: int, blocks: tuple[int, int]) -> None:
    cube = rng(3).random((3, blocks[0] * scale, blocks[1] * scale), dtype=np.float32)
    kernel = rng(4).random((width, width))  # no symmetry that could hide an exchanged axis or direction
    draw = DegradationDraw(kernel / kernel.sum(), resampling, -(width // 2), 0.0, 'anisotropic')
    np.testing.assert_allclose(blur_and_downsample(cube, draw, scale), slow_form(cube, draw, scale), rtol=0, atol=2e-6)


@pytest.mark.parametrize('scale', [2, 3, 4, 8, 16])
@pytest.mark.parametrize('preset', ['authors_random', 'authors_fixed', 'noise_free'])
def test_aligned_means_no_displacement_for_every_kernel_and_resampling(scale: int, preset: str) -> None:
    degradation = build_degradation({'preset': preset, 'kernel_centering': 'aligned'}, scale)
    generator, seen = rng(scale), set()
    for _ in range(60 if preset == 'authors_random' else 1):
        draw = degradation.draw(generator)
        seen.add((draw.kind, draw.resampling))
        np.testing.assert_allclose(displacement(draw, scale), 0, atol=2e-4, err_msg=str(draw[1:]))
    assert len(seen) == (6 if preset == 'authors_random' else 1)


def test_strided_anisotropic_training_kernels_are_aligned_in_legacy_too() -> None:
    kernel = anisotropic_gaussian_kernel(21, (2, 3), 0.7, centre=10 + (4 - 1) / 2)
    np.testing.assert_allclose(displacement(DegradationDraw(kernel, 'strided', -10, 0, ''), 4), 0, atol=1e-3)


def test_legacy_isotropic_kernel_is_a_quarter_gaussian() -> None:
    degradation = build_degradation('authors_random', 8)
    generator = rng(1)
    draws = [draw for draw in (degradation.draw(generator) for _ in range(40)) if draw.kind == 'isotropic']
    assert len(draws) > 10
    for draw in draws:
        along, across = draw.kernel[0] / draw.kernel[0, 0], draw.kernel[:, 0] / draw.kernel[0, 0]
        np.testing.assert_allclose(along, across)
        np.testing.assert_allclose(along, along[1] ** (np.arange(len(along)) ** 2), atol=1e-12)
        assert 0.2 <= np.sqrt(-0.5 / np.log(along[1])) <= 8


def test_centred_isotropic_kernels_peak_in_the_middle() -> None:
    degradation = build_degradation({'preset': 'authors_random', 'isotropic': 'centred'}, 8)
    generator = rng(1)
    for draw in (degradation.draw(generator) for _ in range(40)):
        if draw.kind == 'isotropic':
            half = len(draw.kernel) // 2
            assert np.unravel_index(draw.kernel.argmax(), draw.kernel.shape) == (half, half)


def test_kernel_far_outside_its_window_stays_finite() -> None:
    kernel = anisotropic_gaussian_kernel(7, (0.2, 0.2), 0, centre=60)
    assert kernel.sum() == pytest.approx(1)
    assert kernel[-1, -1] == kernel.max()


def test_random_law_has_the_published_frequencies() -> None:
    degradation, generator, count = build_degradation('authors_random', 8), rng(7), 6000
    draws = [degradation.draw(generator) for _ in range(count)]

    def check(values: list, expected: dict) -> None:
        found = Counter(values)
        assert set(found) == set(expected)
        for value, share in expected.items():
            # five standard deviations of a binomial count
            assert abs(found[value] - share * count) < 5 * np.sqrt(count * share * (1 - share)), (value, found)

    check([len(draw.kernel) for draw in draws], dict.fromkeys((7, 9, 13, 15, 21), 1 / 5))
    check([draw.kind for draw in draws], {'isotropic': 1 / 2, 'anisotropic': 1 / 2})
    check([draw.resampling for draw in draws], dict.fromkeys(('bicubic', 'bilinear', 'strided'), 1 / 3))
    check([round(draw.noise_sigma * 255, 6) for draw in draws], {0: 0.2, 1: 0.2, 2: 0.2, 3: 0.2, 4: 0.2})
    check(
        [(len(draw.kernel) < 10, draw.kind == 'isotropic') for draw in draws],
        {(True, True): 0.2, (True, False): 0.2, (False, True): 0.3, (False, False): 0.3},
    )


def test_spreads_are_variances_if_anisotropic_and_standard_deviations_if_isotropic() -> None:
    degradation, generator = build_degradation({'preset': 'authors_random', 'kernel_centering': 'aligned'}, 3), rng(5)
    spreads: dict[str, list[float]] = {'isotropic': [], 'anisotropic': []}
    for draw in (degradation.draw(generator) for _ in range(3000)):
        if len(draw.kernel) == 21:  # wide enough that the window cuts nothing off
            columns, rows = np.meshgrid(*[np.arange(21.0) - 10] * 2)
            covariance = [[np.sum(draw.kernel * a * b) for a in (columns, rows)] for b in (columns, rows)]
            eigenvalues = np.linalg.eigvalsh(covariance)
            spreads[draw.kind] += list(eigenvalues if draw.kind == 'anisotropic' else np.sqrt(eigenvalues))
    for kind, values in spreads.items():
        assert max(values) < 3.01, kind
        assert max(values) > 2.9, kind
        # uniform from 0.2 to 3; a pixel grid cannot show a standard deviation below about 0.3
        assert np.mean(values) == pytest.approx(1.6, abs=0.1), kind


@pytest.mark.parametrize('scale', [4, 8, 16])
def test_noise_free_is_the_gaussian_mean_of_each_block(scale: int) -> None:
    degradation = build_degradation('noise_free', scale)
    cube = rng(2).random((2, 2 * scale, 3 * scale))
    lq = degradation(cube, rng())
    distance = np.arange(scale) - (scale - 1) / 2
    weights = np.exp(-(distance**2) / (2 * (scale / 4) ** 2))
    weights /= weights.sum()
    blocks = cube.reshape(2, 2, scale, 3, scale)
    np.testing.assert_allclose(lq, np.einsum('lisjt,s,t->lij', blocks, weights, weights), rtol=0, atol=1e-6)


def test_noise_free_at_8_is_the_8x8_gaussian_of_std_2() -> None:
    kernel = build_degradation('noise_free', 8).draw(rng()).kernel
    assert kernel.shape == (8, 8)
    assert kernel[3, 4] / kernel[3, 5] == pytest.approx(np.exp((1.5**2 - 0.5**2) / 8))


@pytest.mark.parametrize('preset', ['authors_random', 'authors_fixed', 'noise_free'])
@pytest.mark.parametrize('scale', [2, 3, 8])
def test_without_noise_linear_and_constant_on_constants(preset: str, scale: int) -> None:
    degradation = build_degradation({'preset': preset, 'noise_sigma': 0}, scale)
    first, second = rng(1).uniform(0.3, 0.7, (2, 4, 5 * scale, 4 * scale)).astype(np.float32)
    mixed = degradation(0.25 * first + 0.75 * second, rng(9))
    np.testing.assert_allclose(
        mixed, 0.25 * degradation(first, rng(9)) + 0.75 * degradation(second, rng(9)), rtol=0, atol=1e-6
    )
    constant = degradation(np.full_like(first, 0.4), rng(9))
    np.testing.assert_allclose(constant, np.full((4, 5, 4), 0.4), rtol=0, atol=1e-6)


def test_noise_has_the_stated_level_and_is_clipped() -> None:
    grey = np.full((31, 256, 256), 0.5, dtype=np.float32)
    fixed = build_degradation('authors_fixed', 4)(grey, rng(1))
    assert np.std(fixed - 0.5) * 255 == pytest.approx(3, rel=0.01)
    assert np.mean(fixed) == pytest.approx(0.5, abs=1e-4)
    paper = build_degradation({'preset': 'noise_free', 'noise_sigma': 0.0316}, 4)(grey, rng(1))
    assert np.std(paper - 0.5) == pytest.approx(0.0316, rel=0.01)
    black = build_degradation('authors_fixed', 4)(np.zeros_like(grey), rng(1))
    assert black.min() == 0
    assert np.mean(black == 0) == pytest.approx(0.5, abs=0.01)


def test_one_draw_serves_all_bands() -> None:
    cube = np.repeat(rng(1).random((1, 48, 48), dtype=np.float32), 5, axis=0)
    lq = build_degradation({'preset': 'authors_random', 'noise_sigma': 0}, 4)(cube, rng(2))
    assert (lq == lq[:1]).all()


def test_same_generator_same_result_and_input_untouched() -> None:
    cube = rng(1).random((3, 32, 32), dtype=np.float32)
    before = cube.copy()
    degradation = build_degradation('authors_random', 4)
    assert (degradation(cube, rng(5)) == degradation(cube, rng(5))).all()
    assert (cube == before).all()
    assert degradation(cube, rng(5)).dtype == np.float32


def test_overriding_the_noise_leaves_the_kernels_as_they_were() -> None:
    kernels = [
        build_degradation({'preset': 'authors_random', 'noise_sigma': sigma}, 8).draw(rng(3)).kernel
        for sigma in (None, 0, 0.1)
    ]
    assert (kernels[0] == kernels[1]).all()
    assert (kernels[0] == kernels[2]).all()


def test_key_generator_depends_on_seed_and_key_only() -> None:
    first, again, other_key, other_seed = (
        key_generator(*arguments).random() for arguments in ((1, 'cd'), (1, 'cd'), (1, 'clay'), (2, 'cd'))
    )
    assert first == again
    assert len({first, other_key, other_seed}) == 3


def test_isotropic_kernel_equals_scipys_gaussian() -> None:
    from scipy.ndimage import gaussian_filter

    impulse = np.zeros((21, 21))
    impulse[10, 10] = 1
    np.testing.assert_allclose(
        isotropic_gaussian_kernel(21, 2.0), gaussian_filter(impulse, 2.0, radius=10, mode='constant'), atol=1e-12
    )


@pytest.mark.parametrize(
    ('opt', 'message'),
    [
        ('author_fixed', "did you mean 'authors_fixed'"),
        ({'preset': 'noisefree'}, "did you mean 'noise_free'"),
        ({'preset': 'authors_fixed', 'noise_sigm': 0}, "did you mean 'noise_sigma'"),
        ({'preset': 'authors_fixed', 'kernel_centering': 'align'}, "did you mean 'aligned'"),
        ({'preset': 'authors_random', 'isotropic': 'centered'}, "did you mean 'centred'"),
        ({'preset': 'authors_fixed', 'noise_sigma': 3}, '0.01176 for 3/255'),
        ({'preset': 'authors_fixed', 'noise_sigma': '3/255'}, '0.01176 for 3/255'),
        ({'preset': 'authors_fixed', 'seed': -1}, 'seed is -1'),
        ({'preset': 'authors_fixed', 'isotropic': 'centred'}, 'isotropic has no effect with preset authors_fixed'),
        ({'preset': 'noise_free', 'kernel_centering': 'legacy'}, 'one aligned kernel'),
        ({'preset': 'authors_random', 'kernel_centering': 'aligned', 'isotropic': 'legacy'}, 'cannot be aligned'),
        ({'noise_sigma': 0}, "no 'preset'"),
        (['authors_fixed'], 'expected a block'),
    ],
)
def test_wrong_options_are_explained(opt: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_degradation(opt, 8)


@pytest.mark.parametrize('scale', [1, 2.5, '8', True])
def test_wrong_scale_is_explained(scale: object) -> None:
    with pytest.raises(ValueError, match='whole number from 2 to 256'):
        build_degradation('authors_fixed', scale)


@pytest.mark.parametrize('shape', [(3, 33, 32), (3, 32, 31), (32, 32), (0, 32, 32)])
def test_wrong_cube_is_explained(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match='multiples of 8'):
        build_degradation('authors_fixed', 8)(np.zeros(shape, dtype=np.float32), rng())


@pytest.mark.parametrize(
    ('opt', 'words'),
    [
        ('authors_fixed', ['authors_fixed x8', '13x13', 'legacy', 'bicubic', '0.01176', 'seed 0']),
        (
            {'preset': 'authors_fixed', 'kernel_centering': 'aligned', 'noise_sigma': 0, 'seed': 4},
            ['aligned', 'no noise', 'seed 4'],
        ),
        ('noise_free', ['8x8', 'std 2', 'no noise']),
        ({'preset': 'authors_random', 'isotropic': 'centred'}, ['random', 'centred isotropic', '4/255']),
    ],
)
def test_description_says_what_is_done(opt: object, words: list[str]) -> None:
    text = build_degradation(opt, 8).describe()
    assert '\n' not in text
    for word in words:
        assert word in text
