"""The notebook runs from its first to its last cell, and is saved with outputs and small."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT

nbclient = pytest.importorskip('nbclient')
nbformat = pytest.importorskip('nbformat')
pytest.importorskip('ipykernel')
pytest.importorskip('matplotlib')

NOTEBOOK = ROOT / 'examples' / 'quickstart.ipynb'
MINUTES = re.compile(r'minutes = 2\b')


def printed(notebook: Any) -> str:
    return ''.join(
        output.get('text', '') for cell in notebook.cells for output in cell.get('outputs', []) if 'text' in output
    )


def psnr_of(notebook: Any) -> dict[str, float]:
    found = re.findall(r'^(.+?) +PSNR +([\d.]+) dB +SAM', printed(notebook), re.MULTILINE)
    return {name: float(value) for name, value in found}


def test_saved_with_outputs_and_small() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert NOTEBOOK.stat().st_size < 300_000
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert len(psnr_of(notebook)) == 4 and '/tmp' not in printed(notebook) and 'Error' not in printed(notebook)


def test_runs(tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell.source = MINUTES.sub('minutes = 0.02', cell.source)
    place = {'metadata': {'path': str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name='python3', resources=place).execute()
    psnr = psnr_of(notebook)
    assert set(psnr) == {'Bicubic', 'SensorFusion', 'MulSR, shipped', 'MulSR, trained here'}
    assert psnr['SensorFusion'] > psnr['Bicubic'] + 10
    assert (tmp_path / 'quickstart' / 'report.html').stat().st_size > 100_000
    shutil.rmtree(tmp_path / 'quickstart')
