"""Figures of cubes in files of several formats."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from mulsr_plugin.__main__ import main

pytest.importorskip('matplotlib')


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """References of scenes a and a_b as .npy, results of two methods as .mat and .npz under the names of their code."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ('truth', 'ours', 'theirs'):
        Path(name).mkdir()
    for scene in ('a', 'a_b'):
        truth = rng.random((24, 20, 6)).astype(np.float32)
        np.save(f'truth/{scene}.npy', truth)
        savemat(f'ours/{scene}.mat', {'hsi': (truth + 0.01).clip(0, 1)})
        np.savez(f'theirs/{scene}_sr.npz', (truth + 0.1).clip(0, 1))
    return tmp_path


WORDS = ['plot', '--method', 'Ours=ours', '--method', 'Theirs=theirs', '--reference', 'truth', '--out', 'figures']


def test_figures(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(WORDS) == 0
    names = sorted(path.name for path in Path('figures').iterdir())
    stems = ['a_b_results', 'a_b_spectra', 'a_results', 'a_spectra', 'psnr_per_band']
    assert names == [f'{stem}.{form}' for stem in stems for form in ('pdf', 'png')]
    assert len(capsys.readouterr().out.splitlines()) == len(names)


def test_text_of_vector_files_stays_text_in_embedded_fonts(folders: Path) -> None:
    assert main([*WORDS, '--images', 'a']) == 0
    content = Path('figures/psnr_per_band.pdf').read_bytes()
    assert b'/FontFile2' in content and b'/Subtype /Image' not in content
    streams = re.findall(rb'stream\r?\n(.*?)\r?\nendstream', content, re.DOTALL)
    texts = b''
    for stream in streams:
        try:
            texts += zlib.decompress(stream)
        except zlib.error:
            continue
    assert texts.count(b'Tj') + texts.count(b'TJ') > 5  # labels, not outlines


def test_scene_whose_name_begins_another_gets_its_own_cube(folders: Path) -> None:
    Path('theirs/a_sr.npz').unlink()
    assert main([*WORDS, '--images', 'a']) == 1
    assert main(WORDS) == 0
    assert not Path('figures/a_results.png').exists() and Path('figures/a_b_results.png').exists()


def test_single_files(folders: Path) -> None:
    words = ['plot', '--method', 'Ours=ours/a.mat', '--reference', 'truth/a.npy', '--out', 'one', '--pixels', '3,4']
    assert main(words) == 0
    assert len(list(Path('one').iterdir())) == 6


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda: np.save('truth/a.npy', np.zeros((24, 20, 5))), 'they must be equal'),
        (lambda: Path('ours/a.mat').write_bytes(b'none'), 'a.mat'),
        (lambda: [path.unlink() for path in Path('ours').iterdir()], 'There is no cube in ours'),
        (
            lambda: [path.rename(f'ours/x{path.name}') for path in Path('ours').iterdir()],
            'No scene has a cube of every',
        ),
        (lambda: np.savez('theirs/a_other.npz', np.zeros((24, 20, 6))), 'two cubes of scene a'),
    ],
)
def test_mistakes(folders: Path, change, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    change()
    assert main(WORDS) == 1
    errors = capsys.readouterr().err.strip().splitlines()
    assert errors[-1].startswith('error: ') and message in errors[-1]
    assert not Path('figures').exists()
