"""Spectral responses: the shipped table, files of users, and what is said when a file does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io

from mulsr_plugin.data.spectral_response import NIKON_D700, apply_spectral_response, load_spectral_response

# Two channels over four bands, each summing to 1.
MATRIX = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.25, 0.0]])


def test_table_is_integers_over_row_sums() -> None:
    assert NIKON_D700.shape == (3, 31)
    np.testing.assert_allclose(NIKON_D700.sum(axis=1), 1)
    counts = NIKON_D700 * np.array([[255], [203], [251]])
    np.testing.assert_allclose(counts, counts.round(), atol=1e-12)
    assert counts.round().astype(int)[:, [0, 6, 13, 20, 30]].tolist() == [
        [2, 0, 0, 21, 17],
        [1, 2, 21, 5, 2],
        [7, 30, 0, 1, 1],
    ]
    with pytest.raises(ValueError, match='read-only'):
        NIKON_D700[0, 0] = 1


def test_table_equals_the_published_matrix(real_data: Path) -> None:
    published = scipy.io.loadmat(real_data / 'SRF' / 'P_N_V2.mat')['P']
    np.testing.assert_allclose(NIKON_D700, published, rtol=0, atol=1e-15)


def test_guide_is_the_matrix_product_per_pixel() -> None:
    cube = np.random.default_rng(0).random((31, 5, 7), dtype=np.float32)
    response = load_spectral_response('nikon_d700', 31)
    guide = apply_spectral_response(response, cube)
    np.testing.assert_allclose(guide, np.einsum('gl,lhw->ghw', NIKON_D700, cube.astype(np.float64)), rtol=0, atol=1e-6)
    assert (guide.shape, guide.dtype) == ((3, 5, 7), np.float32)


@pytest.mark.parametrize('matrix', [MATRIX, MATRIX.T], ids=['channels first', 'bands first'])
@pytest.mark.parametrize('suffix', ['npy', 'csv', 'mat'])
def test_files_in_either_orientation(tmp_path: Path, suffix: str, matrix: np.ndarray) -> None:
    path = tmp_path / f'response.{suffix}'
    if suffix == 'npy':
        np.save(path, matrix)
    elif suffix == 'csv':
        np.savetxt(path, matrix, delimiter=',')
    else:
        scipy.io.savemat(path, {'anything': matrix})
    loaded = load_spectral_response(str(path), 4)
    np.testing.assert_allclose(loaded, MATRIX, rtol=1e-6)
    assert loaded.dtype == np.float32


def test_mat_v73(tmp_path: Path) -> None:
    h5py = pytest.importorskip('h5py')
    with h5py.File(tmp_path / 'response.mat', 'w', userblock_size=512) as file:
        file['R'] = MATRIX.T  # as MATLAB writes a 2x4 matrix
    (tmp_path / 'response.mat').open('r+b').write(b'MATLAB 7.3 MAT-file'.ljust(124) + b'\x00\x02IM')
    np.testing.assert_allclose(load_spectral_response(str(tmp_path / 'response.mat'), 4), MATRIX, rtol=1e-6)


def test_only_fitting_variable_of_a_mat_file_is_found(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / 'r.mat', {'kernel': np.ones((32, 32)), 'R': MATRIX, 'note': 'text'})
    np.testing.assert_allclose(load_spectral_response(str(tmp_path / 'r.mat'), 4), MATRIX, rtol=1e-6)


def test_several_fitting_variables_are_listed_and_one_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / 'r.mat'
    scipy.io.savemat(path, {'P': MATRIX, 'P_20N': MATRIX / 2, 'C': np.ones((9, 9))})
    with pytest.raises(ValueError, match=r'P \(2x4\), P_20N \(2x4\), C \(9x9\); 2 of them fit 4 bands.*:NAME'):
        load_spectral_response(str(path), 4)
    np.testing.assert_allclose(load_spectral_response(f'{path}:P_20N', 4), MATRIX / 2, rtol=1e-6)
    with pytest.raises(ValueError, match="'Q' is not one of them"):
        load_spectral_response(f'{path}:Q', 4)


def test_real_files(real_data: Path) -> None:
    folder = real_data / 'SRF'
    np.testing.assert_allclose(
        load_spectral_response(str(folder / 'response coefficient.mat'), 31), NIKON_D700, atol=1e-7
    )
    np.testing.assert_allclose(load_spectral_response(f'{folder / "P_N_V2.mat"}:P', 31), NIKON_D700, atol=1e-7)
    assert load_spectral_response(str(folder / 'landsat_srf.mat'), 128).shape == (3, 128)
    with pytest.raises(ValueError, match='6 of them fit'):
        load_spectral_response(str(folder / 'P_N_V2.mat'), 31)
    with pytest.raises(ValueError, match='leave out wavelengths'):
        load_spectral_response(str(folder / 'Nikon_D700.csv'), 33)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('nm,R,G\n400,0.1,0.2\n', 'not a plain matrix of numbers'),
        ('0.1,0.2,0.7\n', '1x3 but a spectral response needs one side of 4'),
        ('0.1,0.2,0.3,0.9\n', 'channel 1 sum to 1.5.*divide each channel'),
        ('0.1,0.2,0.3,0.1\n0,0,0,0\n', 'channel 2 sum to 0'),
        ('0.1,0.2,nan,0.1\n', 'channel 1 sum to nan'),
        ('400,0.1\n410,0.2\n420,0.3\n430,0.4\n', 'leave out wavelengths'),
    ],
)
def test_unfit_csv_is_explained(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / 'response.csv'
    path.write_text(content)
    with pytest.raises(ValueError, match=message):
        load_spectral_response(str(path), 4)


@pytest.mark.parametrize('suffix', ['mat', 'npy'])
@pytest.mark.parametrize('content', [b'', b'garbage' * 40])
def test_damaged_file_is_explained(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f'response.{suffix}'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f'response.{suffix}'):
        load_spectral_response(str(path), 4)


def test_names_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="did you mean 'nikon_d700'"):
        load_spectral_response('nikon_d70', 31)
    with pytest.raises(ValueError, match='has 31 bands but the cube has 102'):
        load_spectral_response('nikon_d700', 102)
    with pytest.raises(FileNotFoundError, match='does not exist'):
        load_spectral_response(str(tmp_path / 'absent.npy'), 31)
