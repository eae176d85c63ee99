"""The file of a report: nothing in it comes from elsewhere, and no text of the data is markup."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mulsr_plugin.apps.report.page import ENCODING, write_report
from mulsr_plugin.apps.report.scenes import Crop, LoadedScene, Report, ReportScene, chosen, cut_scene
from tests.apps.report.made import (
    HOSTILE,
    HOSTILE_METHODS,
    HOSTILE_SCENE,
    known_cubes,
    known_report,
    write_known_report,
)


class Elements(HTMLParser):
    """Collects start tags and the text of scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        attributes = self.tags[-1][1] if self.tags else {}
        if attributes.get('id'):
            self.texts[str(attributes['id'])] = self.texts.get(str(attributes['id']), '') + data


@pytest.fixture(scope='module')
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_known_report(tmp_path_factory.mktemp('report') / 'report.html')


@pytest.fixture(scope='module')
def elements(written: Path) -> Elements:
    parser = Elements()
    parser.feed(written.read_bytes().decode('latin-1'))
    return parser


def test_no_text_of_the_data_is_markup(elements: Elements) -> None:
    assert not {'img', 'svg', 'b'} & {tag for tag, _ in elements.tags}
    assert not [name for _, attributes in elements.tags for name in attributes if name.startswith('on')]
    content = json.loads(elements.texts['content'])
    assert content['title'] == HOSTILE and content['methods'] == HOSTILE_METHODS
    assert content['scenes'][0]['name'] == HOSTILE_SCENE


def test_nothing_is_asked_of_a_network(written: Path, elements: Elements) -> None:
    assert not [attributes for _, attributes in elements.tags if {'src', 'href'} & set(attributes)]
    policy = next(a['content'] for t, a in elements.tags if a.get('http-equiv') == 'Content-Security-Policy')
    assert policy is not None and policy.startswith("default-src 'none'") and 'unsafe' not in policy
    assert f'charset="{ENCODING}"' in written.read_bytes()[:200].decode('latin-1')


def test_the_page_runs_before_the_cubes_are_read(written: Path) -> None:
    content = written.read_bytes()
    assert content.index(b'new Viewer(') < content.index(b'id="cube-0-0"') < content.index(b'id="cube-1-0"')


def test_stated_errors(elements: Elements) -> None:
    content = json.loads(elements.texts['content'])
    scene = content['scenes'][0]
    reference, results = known_cubes()
    smallest = min(float(np.sqrt(np.mean((result - reference) ** 2))) for result in results.values())
    assert scene['smallestError'] == pytest.approx(smallest, rel=1e-4)
    assert max(cube['rms'] for cube in scene['cubes']) <= scene['tolerance'] <= smallest / 10
    psnr = -10 * np.log10(np.mean((results['Plain'] - reference) ** 2, axis=(0, 1)))
    np.testing.assert_allclose(scene['cubes'][-1]['psnr'], psnr, rtol=1e-4)


def test_nothing_is_left_when_a_cube_is_damaged(tmp_path: Path) -> None:
    reference, results = known_cubes()
    results['Plain'][3, 4, 5] = np.nan
    scene = ReportScene('s', '', lambda crop: cut_scene('s', results, reference, crop))
    with pytest.raises(ValueError, match='the cube of Plain holds NaN'):
        write_report(Report('t', [scene], HOSTILE_METHODS), tmp_path / 'r.html', Crop(10**9), '')
    assert not list(tmp_path.iterdir())


def test_cubes_of_other_shapes_are_refused() -> None:
    reference, results = known_cubes()
    for wrong in (results['Plain'][:-1], results['Plain'][..., :-1], results['Plain'][..., 0]):
        with pytest.raises(ValueError, match=r'the cube of A has shape .* needs cubes of one shape'):
            cut_scene('s', {'A': wrong}, reference, Crop(10**9))


@pytest.mark.parametrize(
    ('crop', 'size', 'words'),
    [
        (Crop(10**9), (41, 57), ''),
        (Crop(10**9, side=20), (20, 20), 'rows 10 to 29, columns 18 to 37 of 41x57 pixels'),
        (Crop(10**9, side=50), (41, 50), 'rows 0 to 40, columns 3 to 52 of 41x57 pixels'),
        (Crop(10**9, area=(1, 2, 3, 4)), (3, 4), 'rows 1 to 3, columns 2 to 5 of 41x57 pixels'),
        (Crop(2 * 12 * 100), (10, 10), 'rows 15 to 24, columns 23 to 32 of 41x57 pixels, cut to bound the size'),
    ],
)
def test_part_shown(crop: Crop, size: tuple[int, int], words: str) -> None:
    reference, results = known_cubes()
    scene = cut_scene('s', {'Plain': results['Plain']}, reference, crop)
    assert scene.cubes['Plain'].shape[:2] == size and scene.area.startswith(words) and bool(scene.area) == bool(words)
    numbers = [int(number) for number in re.findall(r'\d+', scene.area)] or [0, 40, 0, 56]
    assert scene.origin == (numbers[0], numbers[2])
    expected = reference[numbers[0] : numbers[1] + 1, numbers[2] : numbers[3] + 1]
    np.testing.assert_array_equal(scene.reference, expected)


def test_area_outside_is_refused() -> None:
    reference, _ = known_cubes()
    with pytest.raises(ValueError, match='is not inside of a scene of 41x57 pixels'):
        cut_scene('s', {}, reference, Crop(10**9, area=(0, 0, 42, 1)))


def test_choice_of_scenes_and_methods() -> None:
    report = known_report()
    assert [scene.name for scene in chosen(report, ['one band'], ['Plain'], 6, None).scenes] == ['one band']
    first = chosen(report, None, ['Plain'], 1, 'Title')
    assert (first.title, first.methods, len(first.scenes)) == ('Title', ['Plain'], 1)
    assert ('Scenes', 'pictures of the first 1 of 2 scenes; --scenes names others') in first.facts
    assert {row['method'] for row in first.rows} == {'Plain'}
    with pytest.raises(ValueError, match="no method 'Other'"):
        chosen(report, None, ['Other'], 6, None)


def test_methods_that_equal_the_reference(tmp_path: Path) -> None:
    reference, _ = known_cubes()
    scene = ReportScene('s', '', lambda _: LoadedScene({'Equal': reference}, reference))
    write_report(Report('t', [scene], ['Equal']), tmp_path / 'r.html', Crop(10**9), '')
    assert (tmp_path / 'r.html').stat().st_size > 0
