"""Takes docs/use/worklist.png and docs/use/study.png of a running server.

python -m tests.support.screenshots [URL]
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.acceptance.api.conftest import CHROMIUM, FLAGS
from tests.support.paths import DOCS


def take(browser: Browser, url: str, folder: Path) -> None:
    """The worklist, and the page of the newest study that has a draft."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    _take(page, url, folder / "worklist.png")
    page.goto(f"{url}/?state=DRAFTED")
    page.locator("tbody th a").first.click()
    page.locator("figure img").first.wait_for()
    _take(page, page.url, folder / "study.png")
    page.close()


def _take(page: Page, url: str, to: Path) -> None:
    # The pages ask again every few seconds, so the network never falls silent.
    page.goto(url, wait_until="load")
    page.screenshot(path=to)


if __name__ == "__main__":
    with sync_playwright() as playwright:
        take(
            playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS),
            sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8080",
            DOCS / "use",
        )
