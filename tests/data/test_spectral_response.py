"""Spectral responses: the shipped table, files of users, and what is said when a file does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.io
from basicsr.utils import get_root_logger

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
    with pytest.raises(ValueError, match='needs the wavelengths of the 33 bands'):
        load_spectral_response(str(folder / 'Nikon_D700.csv'), 33)


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('0.1,0.2\n0.1,n/a\n', 'not a plain matrix of numbers'),
        ('0.1,0.2\n0.1\n', 'same number of cells'),
        ('# nothing\n', 'is empty'),
        ('0.1,0.2,0.7\n', r'\(1x3\); 0 of them fit 4 bands.*first column is nanometres'),
        ('0.1,0.2,0.3,0.9\n', 'channel 1 sum to 1.5.*divide each channel'),
        ('0.1,0.2,0.3,0.1\n0,0,0,0\n', 'channel 2 sum to 0'),
        ('0.1,0.2,nan,0.1\n', 'channel 1 sum to nan'),
        ('0.40,0.1\n0.41,0.2\n0.42,0.3\n0.43,0.4\n', 'needs the wavelengths of the 4 bands'),
        ('400,0.1\n410,0.2\n405,0.3\n', r'0 of them fit.*rise or fall throughout'),
        ('nm,R\n400,0.1\n410,0.2\n420,0.3\n', 'needs the wavelengths of the 4 bands'),
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


def measured(folder: Path) -> np.ndarray:
    """The camera's file read with NumPy alone: wavelengths first."""
    return np.loadtxt(folder / 'SRF' / 'Nikon_D700.csv', delimiter=',').T


@pytest.mark.parametrize(
    'wavelengths',
    [np.arange(400, 701, 10.0), np.arange(420, 721, 10.0), np.linspace(380, 1050, 224)],
    ids=['CAVE', 'Harvard', 'beyond the table'],
)
def test_measured_camera_is_interpolated_to_the_bands(real_data: Path, wavelengths: np.ndarray) -> None:
    table = measured(real_data)
    path = str(real_data / 'SRF' / 'Nikon_D700.csv')
    response = load_spectral_response(path, len(wavelengths), tuple(wavelengths))
    for channel, curve in zip(response, table[1:]):
        expected = np.interp(wavelengths, table[0], curve)
        expected[(wavelengths < 400) | (wavelengths > 720)] = 0
        np.testing.assert_allclose(channel, expected / expected.sum(), rtol=1e-5, atol=1e-9)


def test_table_of_a_mat_file_and_a_csv_with_a_heading(real_data: Path) -> None:
    wavelengths = tuple(np.arange(430, 861, 4.0))
    ikonos = scipy.io.loadmat(real_data / 'SRF' / 'ikonos_spec_resp.mat')['ikonos_sp']
    response = load_spectral_response(str(real_data / 'SRF' / 'ikonos_spec_resp.mat'), len(wavelengths), wavelengths)
    expected = np.stack([np.interp(wavelengths, ikonos[:, 0], ikonos[:, i]) for i in range(1, 6)])
    np.testing.assert_allclose(response, expected / expected.sum(1, keepdims=True), rtol=1e-5, atol=1e-8)
    camera = load_spectral_response(str(real_data / 'SRF' / 'RGB_Camera_QE.csv'), len(wavelengths), wavelengths)
    assert camera.shape == (4, len(wavelengths))
    peaks = [wavelengths[int(i)] for i in camera.argmax(1)]
    assert peaks[0] > peaks[1] > peaks[3]  # red, green, blue


@pytest.mark.parametrize('separator', [',', ';', '\t', ' '])
def test_heading_comments_and_separators_of_a_csv(tmp_path: Path, separator: str) -> None:
    text = '#acamera\n\nnm R G\n500 1 0\n510 3 4\n'
    (tmp_path / 'r.csv').write_text(text.replace(' ', separator))
    response = load_spectral_response(str(tmp_path / 'r.csv'), 3, (500, 505, 515))
    np.testing.assert_allclose(response, [[1 / 3, 2 / 3, 0], [0, 1, 0]], rtol=1e-6)


def test_channel_without_overlap_is_zero_and_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savetxt(tmp_path / 'r.csv', [[400, 1, 0], [450, 1, 0], [800, 0, 0], [900, 0, 1]], delimiter=',')
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    response = load_spectral_response(str(tmp_path / 'r.csv'), 2, (410, 440))
    assert response.tolist() == [[0.5, 0.5], [0, 0]]
    assert 'channel 2 of 2 does not overlap' in caplog.text
    with pytest.raises(ValueError, match='No channel .* overlaps'):
        load_spectral_response(str(tmp_path / 'r.csv'), 2, (1000, 1100))


def test_channel_that_is_mostly_outside_is_warned_of_with_its_share(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    wavelengths = tuple(np.arange(400, 701, 10.0))  # reaches to 705 nm
    # of a normal distribution 58 %, 44 % and 0.9 % lie below these centres' distances to 705 nm
    response = load_spectral_response('gaussian:700/60,709/60,765/60', 31, wavelengths)
    np.testing.assert_allclose(response.sum(1), [1, 1, 0], rtol=1e-6)
    assert 'only 44 % of channel 2 of 3 lie within the wavelengths of the cube, 400 to 700 nm' in caplog.text
    assert 'channel 3 of 3 does not overlap' in caplog.text
    assert 'channel 1' not in caplog.text
    with pytest.raises(ValueError, match='No channel .* overlaps'):
        load_spectral_response('gaussian:765/60', 31, wavelengths)


def test_one_band_is_taken_for_all_of_its_channel(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    assert load_spectral_response('gaussian:450/60,550/60,640/60', 1, (540.0,)).tolist() == [[0], [1], [0]]
    assert 'channel 1, 3 of 3 does not overlap' in caplog.text
    assert 'only' not in caplog.text


def test_share_of_a_table(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(get_root_logger(), 'propagate', True)
    np.savetxt(tmp_path / 'flat.csv', [[400, 1], [1000, 1]], delimiter=',')
    load_spectral_response(str(tmp_path / 'flat.csv'), 3, (410, 430, 450))  # from 400 to 460 nm
    assert 'only 10 % of channel 1 of 1' in caplog.text
    caplog.clear()
    load_spectral_response(str(tmp_path / 'flat.csv'), 3, (450, 650, 950))
    assert not caplog.text


@pytest.mark.parametrize('name', ['worldview2_rgb', 'gaussian:659/60,546/70,478/60'])
def test_gaussians_have_their_centres_and_widths(name: str) -> None:
    wavelengths = np.arange(400, 1000, 1.0)
    response = load_spectral_response(name, len(wavelengths), tuple(wavelengths)).astype(np.float64)
    np.testing.assert_allclose(response.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(response @ wavelengths, [659, 546, 478], atol=0.01)
    for channel, width in zip(response, (60, 70, 60)):
        assert np.sum(channel >= channel.max() / 2) == pytest.approx(width, abs=1)
        assert np.sum(channel > 0) == pytest.approx(6 * width / 2.3548, abs=2)


def test_sensors_seen_by_their_own_bands() -> None:
    centres = (427, 478, 546, 608, 659, 724, 833, 949)
    assert (load_spectral_response('worldview2', 8, centres).argmax(1) == np.arange(8)).all()
    assert load_spectral_response('worldview2_rgb', 8, centres).argmax(1).tolist() == [4, 2, 1]
    landsat = load_spectral_response('landsat8_rgb', 31, tuple(np.arange(400, 701, 10.0)))
    np.testing.assert_allclose(landsat @ np.arange(400, 701, 10.0), [655, 561, 482], atol=3)


def test_shipped_table_serves_other_cubes_by_wavelength_and_31_bands_in_order() -> None:
    half = np.arange(400, 701, 20.0)
    response = load_spectral_response('nikon_d700', 16, tuple(half))
    np.testing.assert_allclose(response, NIKON_D700[:, ::2] / NIKON_D700[:, ::2].sum(1, keepdims=True), rtol=1e-6)
    harvard = load_spectral_response('nikon_d700', 31, tuple(np.arange(420, 721, 10.0)))
    np.testing.assert_allclose(harvard, NIKON_D700, rtol=1e-6)


@pytest.mark.parametrize(
    ('name', 'wavelengths', 'message'),
    [
        ('worldview2', None, 'not stored'),
        ('worldview2', (0.45, 0.55, 0.65), 'expected nanometres.*multiplied by 1000'),
        ('worldview2', (450, 550), 'has 3 bands but 2 wavelengths'),
        ('worldview2', (450, 550, np.nan), 'not finite'),
        ('worldview', None, "did you mean 'worldview2'"),
        ('gaussian:659/60,546', (450, 550, 650), 'not of the form gaussian:CENTRE/WIDTH'),
        ('gaussian:0.66/0.06', (450, 550, 650), 'in nm'),
        ('gaussian:659/0', (450, 550, 650), 'not of the form'),
    ],
)
def test_response_over_wavelengths_that_cannot_be_applied(name: str, wavelengths: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_spectral_response(name, 3, wavelengths)


GRID = np.arange(400, 701, 2.0)
BELLS = np.stack([np.exp(-(((GRID - centre) / 40) ** 2)) for centre in (600, 540, 460)], axis=1)
CAVE_BANDS = np.arange(400, 701, 10.0)


@pytest.mark.parametrize('factor', [1, 1e-3], ids=['nm', 'um'])
@pytest.mark.parametrize('falling', [False, True])
@pytest.mark.parametrize('in_rows', [False, True])
def test_tables_fall_or_rise_in_nm_or_um(tmp_path: Path, factor: float, falling: bool, in_rows: bool) -> None:
    table = np.column_stack([GRID * factor, BELLS])[:: -1 if falling else 1]
    np.save(tmp_path / 'r.npy', table.T if in_rows else table)
    expected = np.stack([np.interp(CAVE_BANDS, GRID, channel) for channel in BELLS.T])
    response = load_spectral_response(str(tmp_path / 'r.npy'), 31, CAVE_BANDS)
    np.testing.assert_allclose(response, expected / expected.sum(1, keepdims=True), atol=1e-6)


def test_weights_below_1_are_never_taken_for_micrometres(tmp_path: Path) -> None:
    weights = np.array([[0.2, 0.25, 0.3], [0.3, 0.3, 0.4]])  # the first channel rises within 0.2 to 20
    np.save(tmp_path / 'r.npy', weights)
    np.testing.assert_allclose(load_spectral_response(str(tmp_path / 'r.npy'), 3, (400, 500, 600)), weights, rtol=1e-6)


def test_31_bands_that_descend_get_the_table_the_other_way() -> None:
    response = load_spectral_response('nikon_d700', 31, CAVE_BANDS[::-1])
    np.testing.assert_allclose(response, NIKON_D700[:, ::-1], atol=1e-7)
    harvard = load_spectral_response('nikon_d700', 31, CAVE_BANDS + 20)
    np.testing.assert_allclose(harvard, NIKON_D700, atol=1e-7)


@pytest.mark.parametrize('name', ['nikon_d700', 'table', 'landsat8', 'gaussian:659/60,546/70,478/60'])
@pytest.mark.parametrize('num_bands', [31, 5, 224])
def test_bands_that_no_channel_covers_are_refused(tmp_path: Path, name: str, num_bands: int) -> None:
    np.save(tmp_path / 'r.npy', np.column_stack([GRID, BELLS]))
    name = str(tmp_path / 'r.npy') if name == 'table' else name
    for wavelengths in (np.linspace(1000, 2500, num_bands), np.linspace(2500, 1000, num_bands)):
        with pytest.raises(ValueError, match=r'No channel .* nm, overlaps .* 1000 to 2500 nm'):
            load_spectral_response(name, num_bands, wavelengths)


def test_31_bands_of_another_spacing_are_sampled_at_their_wavelengths() -> None:
    wavelengths = np.linspace(400, 1000, 31)
    response = load_spectral_response('nikon_d700', 31, wavelengths)
    expected = np.stack([np.interp(wavelengths, CAVE_BANDS, row, right=0) for row in NIKON_D700])
    np.testing.assert_allclose(response, expected / expected.sum(1, keepdims=True), atol=1e-6)
