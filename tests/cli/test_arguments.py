"""Names and values of arguments: old spellings, scales, positional inputs."""

from __future__ import annotations

import argparse
from fractions import Fraction
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from mulsr_plugin.__main__ import main
from mulsr_plugin.cli.parsing import CommandParser
from mulsr_plugin.cli.reading import reading_options


def parse(module: str, words: str) -> argparse.Namespace:
    parser = CommandParser(prog=module)
    import_module(f'mulsr_plugin.cli.{module}').add_arguments(parser)
    return parser.parse_args(words.split())


@pytest.mark.parametrize(
    ('module', 'old', 'new'),
    [
        (
            'infer',
            '--hsi a --rgb b --rgb-key k --rgb-scale 1/255 --rgb-axes bhw --rgb-fill 0 --rgb-clip --output c --opt d',
            'a --guide b --guide-key k --guide-value-scale 1/255 --guide-axes bhw --guide-fill 0 --guide-clip --out c '
            '-opt d',
        ),
        ('infer', '--input a --out c', '--hsi a --out c'),
        ('infer', '--out=c --rgb=b a', 'a --out c --guide b'),
        ('prepare', 'mat --input a --output b --scale 1/2047', 'mat a --out b --value-scale 1/2047'),
        (
            'prepare',
            'pair --hsi a --rgb g --guide-scale max --output b',
            'pair a --guide g --guide-value-scale max --out b',
        ),
        ('response', '--hsi a --rgb b --output c --scale 0.0001', 'a --guide b --out c --value-scale 1/10000'),
        ('plot', 'A=a --opt b --output c', 'A=a -opt b --out c'),
        ('export', 'a b.pt2 --opt c', 'a b.pt2 -opt c'),
        ('benchmark', '--opt a', '-opt a'),
        ('train', '--opt a --auto-resume --force-yml x=1', '-opt a --auto_resume --force_yml x=1'),
    ],
)
def test_old_spellings_mean_the_same(module: str, old: str, new: str) -> None:
    assert parse(module, old) == parse(module, new)


def test_old_spellings_are_not_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (['infer'], ['prepare', 'pair'], ['estimate-response'], ['plot'], ['export']):
        with pytest.raises(SystemExit):
            main([*words, '--help'])
        text = capsys.readouterr().out
        assert not any(old in text for old in ('--rgb', '--output', '--opt ', '--guide-scale')), words
    assert '--scale' in text  # of export, the factor of super-resolution


@pytest.mark.parametrize('value', ['1/2047', '0.0001', 'max', '1'])
@pytest.mark.parametrize('module', ['prepare', 'response'])
def test_the_former_scale_is_taken_where_it_can_mean_nothing_else(module: str, value: str) -> None:
    words = {'prepare': 'mat a --out b', 'response': 'a --guide b --out c'}[module]
    expected = value if value == 'max' else pytest.approx(float(Fraction(value)))
    assert reading_options(parse(module, f'{words} --scale {value}'))['value_scale'] == expected


@pytest.mark.parametrize('value', ['2', '8', '255'])
@pytest.mark.parametrize(
    ('words', 'name'),
    [
        (['prepare', 'mat', 'a', '--out', 'b', '--scale'], '--value-scale'),
        (['prepare', 'pair', 'a', '--out', 'b', '--guide-scale'], '--guide-value-scale'),
        (['estimate-response', 'a', '--guide', 'b', '--out', 'c', '--scale'], '--value-scale'),
        (['infer', 'a', '--out', 'c', '--rgb-scale'], '--guide-value-scale'),
    ],
)
def test_a_former_scale_that_looks_like_super_resolution_is_refused(
    words: list[str], name: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*words, value])
    assert f'{value} looks like a super-resolution factor' in (error := capsys.readouterr().err)
    assert error.rstrip().endswith(name)


def test_scale_of_inference_is_that_of_super_resolution(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse('infer', 'a --out b --scale 8 --value-scale 8').scale == 8
    for value, advice in (('1/2047', '--value-scale 1/2047'), ('max', '--value-scale max'), ('1', '--value-scale 1')):
        with pytest.raises(SystemExit):
            parse('infer', f'a --out b --scale {value}')
        assert capsys.readouterr().err.rstrip().endswith(advice)
    with pytest.raises(SystemExit):
        parse('infer', 'a --out b --scale x')
    assert capsys.readouterr().err.rstrip().endswith('a whole number of at least 2, such as 8')


@pytest.mark.parametrize('words', ['--out c', 'a --hsi b --out c'])
def test_one_input_is_wanted(words: str) -> None:
    with pytest.raises(SystemExit):
        parse('infer', words)


def test_input_may_stand_anywhere() -> None:
    for words in ('--out c --clip a', 'a --clip --out c', '--out c --hsi a --clip'):
        assert parse('infer', words).hsi == 'a'


def test_scale_is_compared_with_the_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / 'lr.npy', np.full((4, 4, 5), 0.5, np.float32))
    np.save(tmp_path / 'rgb.npy', np.full((32, 32, 3), 0.5, np.float32))
    images = ['infer', str(tmp_path / 'lr.npy'), '--out', str(tmp_path / 'sr.npy'), '--device', 'cpu']
    assert main([*images, '--guide', str(tmp_path / 'rgb.npy'), '--scale', '4']) == 1
    assert 'The scale is 4, but the guide has 8 times as many rows' in capsys.readouterr().err
    assert main([*images, '--guide', str(tmp_path / 'rgb.npy'), '--scale', '8']) == 0
    assert np.load(tmp_path / 'sr.npy').shape == (32, 32, 5)
