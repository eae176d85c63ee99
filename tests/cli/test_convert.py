"""`mulsr convert` sees what a file is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.archs import build_network

from mulsr_plugin.__main__ import main
from mulsr_plugin.checkpoints.files import load_safely
from tests.archs.golden_mulsr import author_state


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('is_bare', [True, False])
def test_authors_files_are_recognised(
    tmp_path: Path, suffix: str, is_bare: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    state = author_state('x4_m1')
    torch.save(state if is_bare else {'epoch': 1, 'model': state}, tmp_path / 'model.pth')
    assert main(['convert', str(tmp_path / 'model.pth'), str(tmp_path / f'net{suffix}')]) == 0
    assert 'MulSR, 1,446,218 parameters. In the option file' in capsys.readouterr().out
    network = build_network({'type': 'MulSR', 'upscale': 4, 'num_modules': 1})
    network.load_state_dict(load_safely(tmp_path / f'net{suffix}')['params'])


def test_checkpoints_of_basicsr_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = build_network({'type': 'UAL', 'upscale': 4, 'num_bands': 4}).state_dict()
    torch.save({'params': state}, tmp_path / 'net_g.pth')
    assert main(['convert', str(tmp_path / 'net_g.pth'), str(tmp_path / 'net.safetensors')]) == 0
    assert capsys.readouterr().out.endswith(' parameters\n')
    assert main(['convert', str(tmp_path / 'net_g.pth'), str(tmp_path / 'out.pth'), '--network', 'UAL']) == 1
    assert 'this is a checkpoint in the form of BasicSR already' in capsys.readouterr().err


def test_other_files_say_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contents = {
        'state.pth': ({'optimizers': [], 'iter': 3}, 'it is a training state'),
        'bare.pth': ({'conv.weight': torch.ones(3)}, 'bare.pth: '),
        'list.pth': ([1, 2], 'it holds list'),
    }
    for name, (content, message) in contents.items():
        torch.save(content, tmp_path / name)
        assert main(['convert', str(tmp_path / name), str(tmp_path / 'out.pth')]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'out.pth').exists()
