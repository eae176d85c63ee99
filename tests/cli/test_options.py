"""Option files that come with the package: listed, copied, found by name."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mulsr_plugin.__main__ import main
from mulsr_plugin.training.command_line import parse_command_line
from mulsr_plugin.utils.options import find_option_file, shipped_option_file, shipped_options

OPTIONS = Path(__file__).parents[2] / 'options'
SHIPPED = [*OPTIONS.glob('*.yml'), *OPTIONS.glob('ablation/*.yml')]


def test_all_are_listed_with_their_first_comment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['options']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(SHIPPED) == len(shipped_options())
    for line, path in zip(lines, shipped_options().values()):
        name, text = line.split(maxsplit=1)
        assert shipped_option_file(name) == path
        assert path.read_text().startswith(f'# {text}\n')


@pytest.mark.parametrize('folder', ['', 'options/', './options/'])
@pytest.mark.parametrize('suffix', ['', '.yml'])
@pytest.mark.parametrize('name', ['train_mulsr_cave_x8', 'ablation/train_mulsr_cave_x8_no_mii'])
def test_a_name_does_with_and_without_folder_and_suffix(
    folder: str, suffix: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_option_file(f'{folder}{name}{suffix}').samefile(OPTIONS / f'{name}.yml')
    assert find_option_file(name.rpartition('/')[2]).samefile(OPTIONS / f'{name}.yml')


def test_a_file_of_the_working_directory_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('demo_mulsr_x8.yml').write_text('name: mine')
    assert find_option_file('demo_mulsr_x8.yml') == Path('demo_mulsr_x8.yml')
    assert find_option_file('demo_mulsr_x8').samefile(OPTIONS / 'demo_mulsr_x8.yml')


@pytest.mark.parametrize('name', ['nowhere', 'other/train_mulsr_cave_x8.yml', '/train_mulsr_cave_x8.yml', 'search'])
def test_other_names_are_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f'There is no option file {name}, and none'):
        find_option_file(name)


def test_copy_never_overwrites_without_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = OPTIONS / 'demo_mulsr_x8.yml'
    assert main(['options', 'demo_mulsr_x8']) == 0
    assert main(['options', 'demo_mulsr_x8', '--out', 'mine.yml']) == 0
    assert Path('demo_mulsr_x8.yml').read_bytes() == Path('mine.yml').read_bytes() == source.read_bytes()
    Path('mine.yml').write_text('mine')
    assert main(['options', 'demo_mulsr_x8', '--out', 'mine.yml']) == 1
    assert 'mine.yml exists already and is left as it is' in capsys.readouterr().err
    assert Path('mine.yml').read_text() == 'mine'
    assert main(['options', 'demo_mulsr_x8', '--out', 'mine.yml', '--force']) == 0
    assert Path('mine.yml').read_bytes() == source.read_bytes()


def test_trainings_take_names_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['train', '-opt', 'demo_mulsr_x8', '--force_yml', 'train:total_iter=3'])
    opt, args = parse_command_line(str(tmp_path), is_train=True)
    assert Path(args.opt).samefile(OPTIONS / 'demo_mulsr_x8.yml')
    assert (opt['name'], opt['train']['total_iter']) == ('demo_mulsr_x8', 3)
