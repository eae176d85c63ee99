"""docs/datasets.md names what there is, and its option blocks are legal."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from mulsr_plugin.cli.sources import SOURCES
from mulsr_plugin.data.degradation import build_degradation
from mulsr_plugin.data.degradation.presets import PRESETS
from mulsr_plugin.data.scene_splits import shipped_splits
from mulsr_plugin.data.spectral_response import SENSORS, SPECTRAL_RESPONSES

PAGE = (Path(__file__).parents[2] / 'docs' / 'datasets.md').read_text()


@pytest.mark.parametrize('name', [*SOURCES, *PRESETS, *SENSORS, *SPECTRAL_RESPONSES, *shipped_splits()])
def test_everything_is_named(name: str) -> None:
    assert f'`{name}`' in PAGE


def test_option_blocks_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / 'psf.npy', np.ones((5, 5)))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r'```yaml\n(.*?)```', PAGE, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        build_degradation(yaml.safe_load(block)['degradation'], 4)
