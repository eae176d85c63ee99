"""Estimated spectral responses: exact on made pairs, against an independent solver on real ones, and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from scipy.ndimage import gaussian_filter
from scipy.optimize import lsq_linear

from mulsr_plugin.__main__ import main
from mulsr_plugin.data.cube import Cube
from mulsr_plugin.data.response_estimation import estimate_of_pair, estimate_spectral_response, write_response
from mulsr_plugin.data.spectral_response import NIKON_D700, load_spectral_response

WAVELENGTHS = tuple(float(nm) for nm in range(400, 701, 10))


def random_cube(side: int = 24, bands: int = 31) -> np.ndarray:
    return np.random.default_rng(0).random((side, side, bands))


def test_known_response_is_recovered_with_its_gain() -> None:
    cube = random_cube()
    gains = np.array([0.5, 1.0, 1.5])
    estimate = estimate_spectral_response(cube, cube @ (NIKON_D700 * gains[:, None]).T)
    np.testing.assert_allclose(estimate.response, NIKON_D700, atol=1e-9)
    np.testing.assert_allclose(estimate.gains, gains, rtol=1e-9)
    np.testing.assert_allclose(estimate.residuals, 0, atol=1e-9)


def test_residual_is_the_noise_over_the_signal() -> None:
    cube = random_cube(128, 4)
    guide = cube @ np.array([[0.1, 0.2, 0.3, 0.4]]).T
    noisy = guide + 0.05 * np.random.default_rng(1).standard_normal(guide.shape)
    residual = estimate_spectral_response(cube, noisy).residuals[0]
    assert residual == pytest.approx(0.05 / np.sqrt((noisy**2).mean()), rel=0.02)


def test_guide_of_higher_resolution_is_reduced_first() -> None:
    smooth = gaussian_filter(np.random.default_rng(0).random((96, 96, 6)), (9, 9, 0))
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    blocks = np.arange(4) - 1.5
    weights = np.exp(-(blocks**2) / 2) / np.exp(-(blocks**2) / 2).sum()  # standard deviation 4 / 4
    low = np.einsum('isjtl,s,t->ijl', smooth.reshape(24, 4, 24, 4, 6), weights, weights)
    response = np.array([[0.5, 0.3, 0.2, 0, 0, 0], [0, 0, 0, 0.2, 0.3, 0.5]])
    estimate = estimate_of_pair(Cube(low, 1.0), Cube(smooth @ response.T, 1.0))
    np.testing.assert_allclose(estimate.response, response, atol=1e-4)
    assert estimate.residuals.max() < 1e-5


def test_real_pairs_against_another_solver(real_data: Path) -> None:
    pair = scipy.io.loadmat(real_data / 'ParisHyperionALI' / 'paris_data_hs_ms.mat')
    cube, guide = pair['HSim'].reshape(-1, 128), pair['MSim'].reshape(-1, 9)
    estimate = estimate_spectral_response(pair['HSim'], pair['MSim'])
    for channel in (0, 4, 8):
        reference = lsq_linear(cube, guide[:, channel], (0, np.inf), tol=1e-12)
        expected = np.sqrt(2 * reference.cost / (guide[:, channel] ** 2).sum())
        assert estimate.residuals[channel] == pytest.approx(expected, rel=1e-3)
    assert estimate.residuals.max() < 0.15


def test_written_file_is_a_spectral_response(tmp_path: Path) -> None:
    cube = random_cube()
    estimate = estimate_spectral_response(cube, cube @ NIKON_D700.T)
    write_response(tmp_path / 'table.csv', estimate, WAVELENGTHS)
    write_response(tmp_path / 'matrix.csv', estimate)
    table = load_spectral_response(str(tmp_path / 'table.csv'), 31, WAVELENGTHS)
    matrix = load_spectral_response(str(tmp_path / 'matrix.csv'), 31)
    np.testing.assert_allclose(table, NIKON_D700, atol=1e-7)
    np.testing.assert_allclose(matrix, NIKON_D700, atol=1e-7)
    half = load_spectral_response(str(tmp_path / 'table.csv'), 16, WAVELENGTHS[::2])
    np.testing.assert_allclose(half, NIKON_D700[:, ::2] / NIKON_D700[:, ::2].sum(1, keepdims=True), atol=1e-6)
    assert '# channel 2: gain 1, relative residual' in (tmp_path / 'table.csv').read_text()
    # two bands of one centre make no table
    write_response(tmp_path / 'overlap.csv', estimate, (*WAVELENGTHS[:-1], WAVELENGTHS[0]))
    assert 'wavelength' not in (tmp_path / 'overlap.csv').read_text()
    with pytest.raises(FileExistsError):
        write_response(tmp_path / 'table.csv', estimate)


def test_bands_that_descend_give_a_table_for_any_cube(tmp_path: Path) -> None:
    cube = random_cube()[..., ::-1]
    write_response(
        tmp_path / 'table.csv', estimate_spectral_response(cube, cube @ NIKON_D700[:, ::-1].T), WAVELENGTHS[::-1]
    )
    falling = load_spectral_response(str(tmp_path / 'table.csv'), 31, WAVELENGTHS[::-1])
    np.testing.assert_allclose(falling, NIKON_D700[:, ::-1], atol=1e-7)
    np.testing.assert_allclose(
        load_spectral_response(str(tmp_path / 'table.csv'), 31, WAVELENGTHS), NIKON_D700, atol=1e-7
    )


def test_command_line(tmp_path: Path, real_data: Path, capsys: pytest.CaptureFixture) -> None:
    file, output = str(real_data / 'WorldView2' / 'imgWV2.mat'), str(tmp_path / 'pan.csv')
    arguments = ['estimate-response', file, '--key', 'I_MS', '--guide', file, '--guide-key', 'I_PAN', '--out', output]
    arguments += ['--value-scale', '1/2047', '--guide-value-scale', '1/2047']
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert 'channel 1: relative residual 9.7' in printed
    assert 'cube: 320x320x8 (rows x columns x bands, by the convention of MATLAB)' in printed
    assert 'guide: 1280x1280x1 (rows x columns x bands, rows, then columns)' in printed
    response = load_spectral_response(output, 8)
    assert response.shape == (1, 8)
    # the panchromatic band ends at 800 nm, so NIR1 and NIR2 count for little
    assert response[0, 6:].sum() < 0.1
    assert main(arguments) == 1
    assert 'exists already' in capsys.readouterr().err


def test_unfit_pairs_are_explained(tmp_path: Path) -> None:
    cube = random_cube(8, 4)
    with pytest.raises(ValueError, match='expected equal sizes'):
        estimate_spectral_response(cube, cube[:4])
    with pytest.raises(ValueError, match='9 pixels cannot determine the weights of 31 bands'):
        estimate_spectral_response(random_cube(3), random_cube(3))
    with pytest.raises(ValueError, match='No positive weights of the bands make channel 2'):
        estimate_spectral_response(cube, np.stack([cube[..., 0], -cube[..., 1]], axis=2))
    with pytest.raises(ValueError, match='does not end in .csv'):
        write_response(tmp_path / 'response.txt', estimate_spectral_response(cube, cube))
