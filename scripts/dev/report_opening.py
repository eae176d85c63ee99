"""Time how a report opens in headless Chromium.

    python -m scripts.dev.report_opening report.html [older.html ...] [--rounds 3]

For each file and round, in turn: seconds from the call until pictures are drawn, until those shown first are unpacked,
until all cubes of the scene are, and the longest time that the page answered nothing, as the browser reports it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from mulsr_plugin.cli.arguments import whole_number

TIMEOUT = 120_000  # milliseconds
WATCH = """
window.longest = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) window.longest = Math.max(window.longest, entry.duration);
}).observe({ type: 'longtask', buffered: true });
"""
NOW = 'performance.now() / 1000'
CAPTIONS = "[...document.querySelectorAll('figcaption')].map((each) => each.textContent)"
STEPS = {
    'pictures drawn': f'() => {CAPTIONS}.length && {NOW}',
    'shown unpacked': f"() => {CAPTIONS}.length && {CAPTIONS}.every((text) => !text.includes('opening')) && {NOW}",
    'all unpacked': f"() => document.body && document.body.dataset.opened === '0' && {NOW}",
}


def open_once(browser: Any, path: Path) -> dict[str, float]:
    """Open a report in a new page; return the seconds of each step and the longest block."""
    page = browser.new_page(viewport={'width': 1280, 'height': 900})
    page.add_init_script(WATCH)
    page.goto(path.resolve().as_uri(), wait_until='commit', timeout=TIMEOUT)
    seconds = {
        step: page.wait_for_function(condition, timeout=TIMEOUT).json_value() for step, condition in STEPS.items()
    }
    page.wait_for_load_state('load')
    seconds['longest block'] = page.evaluate('longest / 1000')
    page.close()
    return seconds


def main() -> None:
    """Time the files in turn and print the median of every step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('reports', nargs='+', type=Path, help='files of `mulsr report`')
    parser.add_argument('--rounds', type=whole_number(1), default=3, help='default: %(default)s')
    args = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which('chromium'), args=['--no-sandbox'])
        rounds = [{path: open_once(browser, path) for path in args.reports} for _ in range(args.rounds)]
        browser.close()
    for path in args.reports:
        print(f'{path} ({path.stat().st_size / 1e6:.1f} MB)')
        for step in rounds[0][path]:
            values = [timed[path][step] for timed in rounds]
            print(f'  {step}: {statistics.median(values):.2f} s ({min(values):.2f} to {max(values):.2f})')


if __name__ == '__main__':
    main()
