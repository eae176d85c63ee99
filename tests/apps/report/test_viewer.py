"""The page in a real browser: every control is used, and what it shows is compared with the cubes.

Skipped without Chromium or Playwright.
"""

from __future__ import annotations

import base64
import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mulsr_plugin.apps.report.measures import angle_map, common_top
from mulsr_plugin.data.false_colour import error_map, false_colour, stretch_limits
from tests.apps.report.made import (
    BANDS,
    HOSTILE,
    HOSTILE_METHODS,
    HOSTILE_SCENE,
    SIZE,
    WAVELENGTHS,
    known_cubes,
    write_known_report,
)

sync_api = pytest.importorskip('playwright.sync_api')
CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason='Chromium is not installed')

REFERENCE, RESULTS = known_cubes()
CUBES = {'Reference': REFERENCE, **RESULTS}
TOLERANCE = 3e-3  # of values, far above the stated error of single values


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        yield browser
        browser.close()


@pytest.fixture(scope='module')
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_known_report(tmp_path_factory.mktemp('report') / 'report.html')


@pytest.fixture
def page(browser: Any, file: Path) -> Iterator[Any]:
    """A page with the first scene opened, which may neither print to the console nor ask for anything nor be hacked."""
    page = browser.new_page(viewport={'width': 1280, 'height': 900})
    said: list[str] = []
    page.on('console', lambda message: said.append(message.text))
    page.on('pageerror', lambda error: said.append(str(error)))
    page.on('request', lambda request: said.extend([request.url] * (request.url.split(':')[0] not in ('file', 'blob'))))
    page.goto(file.as_uri())
    page.wait_for_selector('body[data-opened="0"]')
    yield page
    assert said == []
    assert page.evaluate('window.hacked') is None
    assert page.locator('img, svg, b').count() == 0
    page.close()


def colours_in(page: Any, panel: int = 0) -> np.ndarray:
    """Return the pixels of a panel, averaged within each pixel of the scene, but for the marker: (H, W, 3)."""
    url = page.locator('#pictures canvas').nth(panel).evaluate('canvas => canvas.toDataURL()')
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(url.split(',')[1]), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    ratio = min(picture.shape[0] / SIZE[0], picture.shape[1] / SIZE[1])
    top, left = ((side - ratio * count) / 2 for side, count in zip(picture.shape, SIZE))
    rows = np.round(top + ratio * (np.arange(SIZE[0]) + 0.5) - 0.5).astype(int)
    columns = np.round(left + ratio * (np.arange(SIZE[1]) + 0.5) - 0.5).astype(int)
    return picture[np.ix_(rows, columns)].astype(int)


def assert_shown(page: Any, expected: np.ndarray, panel: int = 0, tolerance: int = 8) -> None:
    difference = np.abs(colours_in(page, panel) - expected.astype(int))
    rows, columns = (slice(side // 2 - 3, side // 2 + 4) for side in SIZE)  # the marker
    difference[rows, columns] = 0
    assert np.percentile(difference, 99) <= tolerance


def choose(page: Any, name: str, value: str) -> None:
    page.locator(f'[name={name}][value={value}]').check()


def captions(page: Any) -> list[str]:
    return page.locator('figcaption').all_text_contents()


def click_pixel(page: Any, row: float, column: float, to: tuple[float, float] | None = None, panel: int = 0) -> None:
    """Click a pixel, or drag from it to another."""
    page.locator('#pictures canvas').nth(panel).scroll_into_view_if_needed()
    box = page.locator('#pictures canvas').nth(panel).bounding_box()
    ratio = min(box['width'] / SIZE[1], box['height'] / SIZE[0])
    centre = box['x'] + box['width'] / 2, box['y'] + box['height'] / 2

    def at(row: float, column: float) -> tuple[float, float]:
        return (
            centre[0] + (column + 0.5 - SIZE[1] / 2) * ratio,
            centre[1] + (row + 0.5 - SIZE[0] / 2) * ratio,
        )

    page.mouse.move(*at(row, column))
    page.mouse.down()
    if to is not None:
        page.mouse.move(*at(*to), steps=3)
    page.mouse.up()


def saved_spectra(page: Any) -> dict[str, np.ndarray]:
    with page.expect_download() as download:
        page.locator('#save').click()
    rows = list(csv.reader(io.StringIO(Path(download.value.path()).read_text(encoding='utf-8'))))
    columns = np.array(rows[1:], float).T
    return dict(zip(rows[0], columns))


def readout(page: Any) -> dict[str, list[str]]:
    rows = page.locator('#readout tbody tr').all()
    return {cells[0]: cells[1:] for cells in (row.locator('td').all_text_contents() for row in rows)}


def test_names_and_facts_are_shown_as_they_are(page: Any) -> None:
    assert page.title() == HOSTILE and page.locator('h1').text_content() == HOSTILE
    assert captions(page)[1] == f'{HOSTILE}, 40.00 dB'
    assert page.locator('#scene option').first.text_content() == HOSTILE_SCENE
    facts = page.locator('#facts').text_content()
    assert 'Report made' in facts and 'Versions' in facts and f'mulsr report {HOSTILE}' in facts
    assert 'at most' in facts and 'The smallest error of a method' in facts
    assert page.locator('#area').text_content() == f'Shown: {HOSTILE}.'


def test_false_colour(page: Any) -> None:
    limits = stretch_limits(REFERENCE, WAVELENGTHS)
    for panel, cube in enumerate(list(CUBES.values())[:4]):
        assert_shown(page, false_colour(cube, WAVELENGTHS, limits), panel)


def test_bands(page: Any) -> None:
    page.locator('#band').evaluate('e => { e.value = 7; e.dispatchEvent(new Event("input", { bubbles: true })); }')
    assert page.locator('#band-text').text_content() == f'8 of {BANDS}, {WAVELENGTHS[7]:.4g} nm'
    assert page.locator('[name=view][value=band]').is_checked()
    low, high = np.percentile(REFERENCE[..., 7], (0.5, 99.5))
    for panel, cube in enumerate(list(CUBES.values())[:4]):
        shade = 255 * np.clip((cube[..., 7] - low) / (high - low), 0, 1) ** (1 / 2.2)
        assert_shown(page, np.repeat(shade[..., None], 3, axis=2), panel)


@pytest.mark.parametrize('view', ['error', 'angle'])
def test_maps_and_their_scale(page: Any, view: str) -> None:
    choose(page, 'view', view)
    maps = [(error_map if view == 'error' else angle_map)(result, REFERENCE) for result in RESULTS.values()]
    top = common_top(maps)[1]
    assert float(page.locator('#top').input_value()) == pytest.approx(top, rel=0.01)
    viridis = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_VIRIDIS)[:, 0, ::-1]

    def coloured(values: np.ndarray, top: float) -> np.ndarray:
        levels = np.round(255 * np.clip(np.nan_to_num(values) / top, 0, 1)).astype(int)
        return np.where(np.isnan(values)[..., None], 128, viridis[levels])

    assert_shown(page, coloured(maps[0], top), 1, tolerance=12)
    page.locator('#top').fill(f'{top / 2:.6g}')
    page.locator('#top').press('Enter')
    assert_shown(page, coloured(maps[1], top / 2), 2, tolerance=16)
    page.locator('#top-reset').click()
    assert float(page.locator('#top').input_value()) == pytest.approx(top, rel=0.01)
    assert '(false colour)' in captions(page)[0]


def test_spectra_of_a_pixel(page: Any) -> None:
    click_pixel(page, 30, 12, panel=1)
    assert page.locator('#spectra-title').text_content() == 'Spectra at row 30, column 12'
    saved = saved_spectra(page)
    np.testing.assert_allclose(saved['wavelength_nm'], WAVELENGTHS, rtol=1e-5)
    assert "'=1+1" in saved
    for label, cube in CUBES.items():
        spectrum = saved["'=1+1" if label == '=1+1' else label]
        np.testing.assert_allclose(spectrum, cube[30, 12], atol=TOLERANCE)
        shown = readout(page)[label]
        assert float(shown[0]) == pytest.approx(cube[30, 12, 0], abs=TOLERANCE)
        if label != 'Reference':
            assert float(shown[1]) == pytest.approx(error_map(cube, REFERENCE)[30, 12], rel=0.031)
            assert float(shown[2]) == pytest.approx(angle_map(cube, REFERENCE)[30, 12], rel=0.031)
    lines = page.locator('#spectra .u-legend .u-label').all_text_contents()
    assert lines == ['nm', *CUBES]
    assert page.locator('#response .u-legend .u-label').all_text_contents()[1:] == [
        'Guide, channel 1',
        'Guide, channel 2',
    ]
    assert page.locator('#psnr .u-legend .u-label').all_text_contents() == ['nm', *RESULTS]
    assert page.locator('#psnr-title').text_content() == 'PSNR per band, of the part shown'
    dashes = page.eval_on_selector_all('#psnr .u-marker', 'all => all.map(each => getComputedStyle(each).borderStyle)')
    assert dashes[1:5] == ['solid', 'dashed', 'dotted', 'double']  # as the lines


def test_mean_spectra_of_an_area(page: Any) -> None:
    click_pixel(page, 5, 10, to=(12, 25))
    assert page.locator('#spectra-title').text_content() == 'Mean spectra of rows 5 to 12, columns 10 to 25'
    np.testing.assert_allclose(saved_spectra(page)['Plain'], RESULTS['Plain'][5:13, 10:26].mean((0, 1)), atol=TOLERANCE)


def test_methods_to_choose(page: Any) -> None:
    boxes = page.locator('#shown input')
    assert boxes.count() == 7 and len(captions(page)) == 4
    boxes.nth(4).check()
    boxes.nth(5).check()
    boxes.nth(6).click()
    assert len(captions(page)) == 6 and not boxes.nth(6).is_checked()
    assert 'At most 6 pictures' in page.locator('#message').text_content()
    for number in range(5):
        boxes.nth(number).uncheck()
    boxes.nth(6).check()
    assert [caption.split(',')[0] for caption in captions(page)] == HOSTILE_METHODS[4:]


def test_zoom_and_movement_are_linked(page: Any) -> None:
    place = 'canvas => canvas.toDataURL()'
    before = [canvas.evaluate(place) for canvas in page.locator('#pictures canvas').all()]
    box = page.locator('#pictures canvas').nth(2).bounding_box()
    page.mouse.move(box['x'] + 40, box['y'] + 40)
    page.mouse.wheel(0, -200)
    page.locator('#zoom-in').click()
    zoomed = [canvas.evaluate(place) for canvas in page.locator('#pictures canvas').all()]
    assert all(one != other for one, other in zip(before, zoomed))
    choose(page, 'tool', 'pan')
    click_pixel(page, 20, 20, to=(25, 30))
    moved = [canvas.evaluate(place) for canvas in page.locator('#pictures canvas').all()]
    assert all(one != other for one, other in zip(zoomed, moved))
    assert page.locator('#spectra-title').text_content() == f'Spectra at row {SIZE[0] // 2}, column {SIZE[1] // 2}'
    page.locator('#zoom-out').click()
    page.locator('#zoom-fit').click()
    assert [canvas.evaluate(place) for canvas in page.locator('#pictures canvas').all()] == before


def test_zoomed_pixels_are_picked_where_they_are_seen(page: Any) -> None:
    box = page.locator('#pictures canvas').first.bounding_box()
    ratio = box['width'] / SIZE[1]
    point = box['x'] + 10.5 * ratio, box['y'] + 8.5 * ratio
    page.mouse.move(*point)
    for _ in range(5):
        page.mouse.wheel(0, -100)
    page.mouse.click(*point)
    assert page.locator('#spectra-title').text_content() == 'Spectra at row 8, column 10'


def test_swipe(page: Any) -> None:
    choose(page, 'layout', 'swipe')
    page.locator('#pair-a').select_option(index=0)
    page.locator('#pair-b').select_option(index=5)
    page.locator('#split').evaluate('e => { e.value = 25; e.dispatchEvent(new Event("input", { bubbles: true })); }')
    limits = stretch_limits(REFERENCE, WAVELENGTHS)
    left, right = (false_colour(cube, WAVELENGTHS, limits) for cube in (REFERENCE, list(CUBES.values())[5]))
    at = round(0.25 * SIZE[1])
    assert_shown(page, np.concatenate([left[:, :at], right[:, at:]], axis=1), tolerance=10)
    assert captions(page)[0].startswith('left Reference | right ') and len(captions(page)) == 1
    page.keyboard.press('x')
    assert captions(page)[0].endswith('| right Reference')


def test_flicker(page: Any) -> None:
    choose(page, 'layout', 'flicker')
    seen = set()
    for _ in range(8):
        seen.add(captions(page)[0].split(',')[0])
        page.wait_for_timeout(350)
    assert seen == set(HOSTILE_METHODS[-2:])
    page.locator('#running').uncheck()
    still = captions(page)
    page.wait_for_timeout(1600)
    assert captions(page) == still


def test_table_can_be_sorted(page: Any) -> None:
    def column(number: int) -> list[str]:
        return page.locator(f'#metrics tbody td:nth-child({number + 1})').all_text_contents()

    assert page.locator('#metrics-of option').first.text_content() == 'Means over 2 scenes of Set'
    assert column(0) == HOSTILE_METHODS and column(1)[0] == '41.00'
    assert page.locator('#metrics td.best').all_text_contents() == ['41.00', '1.0000']
    page.locator('#metrics th button').nth(1).click()
    assert column(0) == HOSTILE_METHODS
    page.locator('#metrics th button').nth(1).click()
    assert column(0) == HOSTILE_METHODS[::-1]
    assert page.locator('#metrics th[aria-sort=ascending]').count() == 1
    page.locator('#metrics-of').select_option(index=1)
    assert column(1) == [f'{value:.2f}' for value in range(35, 41)]
    page.locator('#metrics th button').first.press('Enter')
    in_order = page.evaluate('names => names.sort((one, other) => one.localeCompare(other))', HOSTILE_METHODS)
    assert column(0) == in_order


def test_scene_without_reference_of_one_band(page: Any) -> None:
    page.locator('#scene').select_option(index=1)
    page.wait_for_selector('body[data-opened="1"]')
    assert captions(page) == ['Plain']
    assert page.locator('[name=view][value=error]').is_disabled()
    assert page.locator('#area').text_content().startswith('Without a reference there are no maps')
    assert not page.locator('#layouts').is_visible()
    page.keyboard.press('s')
    assert captions(page) == ['Plain']
    assert not page.locator('#psnr-section').is_visible() and not page.locator('#response').is_visible()
    click_pixel(page, 30, 12)
    assert page.locator('#spectra-title').text_content() == 'Spectra at row 37, column 15'
    saved = saved_spectra(page)
    assert saved['band'] == [1] and saved['Plain'] == pytest.approx(REFERENCE[30, 12, :1], abs=TOLERANCE)
    page.keyboard.press('3')
    assert page.locator('[name=view][value=colour]').is_checked()
    page.keyboard.press('n')
    page.wait_for_selector('body[data-opened="0"]')
    assert len(captions(page)) == 1  # the choice of methods is kept


def test_keyboard(page: Any) -> None:
    checked = page.locator('[name=view]:checked, [name=layout]:checked, [name=tool]:checked')

    def values() -> list[str]:
        return [radio.get_attribute('value') for radio in checked.all()]

    for keys, expected in {
        '2': ['band', 'grid', 'pick'],
        '3': ['error', 'grid', 'pick'],
        '4': ['angle', 'grid', 'pick'],
        's': ['angle', 'swipe', 'pick'],
        'f': ['angle', 'flicker', 'pick'],
        'g': ['angle', 'grid', 'pick'],
        'm': ['angle', 'grid', 'pan'],
        '1': ['colour', 'grid', 'pan'],
    }.items():
        page.keyboard.press(keys)
        assert values() == expected
    for key in (']', ']', ']', '['):
        page.keyboard.press(key)
    assert page.locator('#band-text').text_content().startswith(f'3 of {BANDS}')
    for key in ('ArrowUp', 'ArrowUp', 'ArrowLeft', 'ArrowDown', 'ArrowRight', 'ArrowRight'):
        page.keyboard.press(key)
    title = page.locator('#spectra-title').text_content()
    assert title == f'Spectra at row {SIZE[0] // 2 - 1}, column {SIZE[1] // 2 + 1}'
    before = page.locator('#pictures canvas').first.evaluate('canvas => canvas.toDataURL()')
    page.keyboard.press('+')
    page.keyboard.press('Shift+ArrowRight')
    page.keyboard.press('-')
    page.keyboard.press('0')
    assert page.locator('#pictures canvas').first.evaluate('canvas => canvas.toDataURL()') == before
    page.keyboard.press('?')
    assert page.locator('#help').get_attribute('open') is not None
    page.keyboard.press('p')
    page.wait_for_selector('body[data-opened="1"]')


@pytest.mark.parametrize('width', [360, 800])
def test_narrow_window(page: Any, width: int) -> None:
    page.set_viewport_size({'width': width, 'height': 700})
    page.wait_for_timeout(100)
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert page.locator('#metrics td').first.bounding_box()['width'] > 100  # names are not cut letter by letter
    click_pixel(page, 30, 12)
    assert page.locator('#spectra-title').text_content() == 'Spectra at row 30, column 12'


def test_print(page: Any, tmp_path: Path) -> None:
    page.pdf(path=str(tmp_path / 'report.pdf'), format='A4')
    assert (tmp_path / 'report.pdf').read_bytes().startswith(b'%PDF')
    page.emulate_media(media='print')
    shapes = page.eval_on_selector_all(
        'figure canvas', 'all => all.map(each => [each.clientWidth / each.clientHeight, each.width / each.height])'
    )
    assert shapes and page.locator('#controls').is_hidden()
    for shown, drawn in shapes:  # the columns of paper are narrower than those that were drawn for
        assert shown == pytest.approx(drawn, rel=0.02)
    page.emulate_media(media='screen')


def test_damaged_file_is_explained(browser: Any, file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    at = content.index(b'id="cube-0-0">') + 200
    (tmp_path / 'damaged.html').write_bytes(content[:at] + content[at + 400 :])
    page = browser.new_page()
    page.goto((tmp_path / 'damaged.html').as_uri())
    page.wait_for_selector('#message:visible')
    assert 'may be damaged' in page.locator('#message').text_content()
    page.close()


def test_file_that_was_cut_off_is_explained(browser: Any, file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    (tmp_path / 'cut.html').write_bytes(content[: content.index(b'id="cube-0-3">') + 100])
    page = browser.new_page()
    page.goto((tmp_path / 'cut.html').as_uri())
    page.wait_for_selector('#message:visible')
    assert 'The file may be damaged' in page.locator('#message').text_content()
    assert len(captions(page)) == 4  # what has arrived is shown
    page.close()


def test_scenes_changed_before_they_are_unpacked(page: Any) -> None:
    page.evaluate(
        "for (const key of 'npnpn') document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }))"
    )
    page.wait_for_selector('body[data-opened="1"]')
    assert captions(page) == ['Plain'] and page.locator('#scene').input_value() == '1'
    click_pixel(page, 30, 12)
    assert saved_spectra(page)['Plain'] == pytest.approx(REFERENCE[30, 12, :1], abs=TOLERANCE)
