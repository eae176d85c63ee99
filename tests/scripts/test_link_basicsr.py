"""The link to the installed BasicSR, and BasicSR's own scripts started through it."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from textwrap import dedent

import pytest

from tests.processes import ROOT, run_python

SCRIPT = str(ROOT / 'scripts' / 'link_basicsr.py')
OPTIONS = """
    name: linked
    model_type: MulSRModel
    scale: 2
    num_gpu: 0
    manual_seed: 0
    datasets:
      train:
        name: nothing
        type: PairedHSIRGBDataset
        dataroot_gt: no/such/folder.lmdb
        io_backend: {type: lmdb}
        gt_size: 8
        num_worker_per_gpu: 0
        batch_size_per_gpu: 1
    network_g: {type: MulSR, upscale: 2}
    path: {}
    train: {total_iter: 1}
    logger: {print_freq: 1, save_checkpoint_freq: 1, use_tb_logger: false}
"""


def link(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_python(SCRIPT, '--root', str(root), *arguments, cwd=root)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    try:
        (tmp_path / 'probe').symlink_to(tmp_path)
    except OSError:
        pytest.skip('no symbolic links here')
    return tmp_path


def test_made_kept_replaced_removed(root: Path) -> None:
    installed = Path(str(distribution('basicsr').locate_file('basicsr'))).resolve()
    for expected in (f'-> {installed}', 'already points'):
        process = link(root)
        assert process.returncode == 0, process.stderr
        assert expected in process.stdout
        assert (root / 'basicsr').resolve() == installed
    (root / 'basicsr').unlink()
    (root / 'basicsr').symlink_to(root / 'gone')  # such as a .venv made anew elsewhere
    assert link(root).returncode == 0
    assert (root / 'basicsr').resolve() == installed
    for expected in ('removed', 'does not exist'):
        assert expected in link(root, '--remove').stdout
    assert not (root / 'basicsr').is_symlink()
    assert (installed / 'train.py').is_file()


@pytest.mark.parametrize('arguments', [(), ('--remove',)])
def test_real_folder_is_left_alone(root: Path, arguments: tuple[str, ...]) -> None:
    (root / 'basicsr').mkdir()
    (root / 'basicsr' / 'kept.py').touch()
    process = link(root, *arguments)
    assert process.returncode == 1
    assert 'is not a link' in process.stderr
    assert 'Traceback' not in process.stderr
    assert (root / 'basicsr' / 'kept.py').exists()


def test_old_link_is_not_mistaken_for_the_installed_package(root: Path) -> None:
    (root / 'old').mkdir()
    (root / 'old' / '__init__.py').touch()
    (root / 'basicsr').symlink_to(root / 'old')
    process = run_python(SCRIPT, '--root', str(root), cwd=root, path=root)  # the link comes first on sys.path
    assert process.returncode == 0, process.stderr
    assert (root / 'basicsr' / 'train.py').is_file()


def test_file_system_without_links(root: Path) -> None:
    code = """
        import runpy, sys
        from pathlib import Path
        def refuse(*arguments, **options):
            raise OSError('privilege not held')
        Path.symlink_to = refuse
        runpy.run_path(sys.argv[0], run_name='__main__')
    """
    patched = f'import sys\nsys.argv = [{SCRIPT!r}, "--root", {str(root)!r}]\n' + dedent(code)
    process = subprocess.run([sys.executable, '-c', patched], capture_output=True, text=True, timeout=60)
    assert process.returncode == 1
    assert 'privilege not held' in process.stderr
    assert 'python -m mulsr_plugin.train' in process.stderr


@pytest.mark.parametrize('command', [['basicsr/train.py'], ['-m', 'basicsr.train']])
def test_stock_script_finds_the_plugin(root: Path, command: list[str]) -> None:
    assert link(root).returncode == 0
    (root / 'options.yml').write_text(dedent(OPTIONS))
    process = run_python(*command, '-opt', 'options.yml', cwd=root)
    # our own rules answer, so the stock script knows the plugin, and nothing has been made
    assert "train has no 'optim_g', which is needed" in process.stderr
    assert process.returncode == 1 and not (root / 'experiments').exists()
