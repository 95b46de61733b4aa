"""Takes docs/use/worklist.png and docs/use/study.png of a running server.

python -m tests.support.screenshots [URL]
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.acceptance.api.conftest import CHROMIUM, FLAGS
from tests.support.paths import DOCS

WORKLIST, STUDY = "worklist.png", "study.png"


def open_page(browser: Browser) -> Page:
    """A page of the size that the pictures have."""
    return browser.new_page(viewport={"width": 1440, "height": 900})


def go_to_worklist(page: Page, url: str) -> None:
    """Open the worklist, with all states."""
    page.goto(url)


def go_to_drafted_study(page: Page, url: str) -> None:
    """Open the study with the newest draft, and wait until its images are drawn."""
    page.goto(f"{url}/?state=DRAFTED")
    page.locator("tbody th a").first.click()
    page.locator("figure img").first.wait_for()
    for image in page.locator("figure img").all():
        expect(image).to_have_js_property("complete", True)


def take_screenshots(browser: Browser, url: str, folder: Path) -> None:
    """Write a picture of the worklist and of a drafted study into `folder`."""
    page = open_page(browser)
    go_to_worklist(page, url)
    page.screenshot(path=folder / WORKLIST)
    go_to_drafted_study(page, url)
    page.screenshot(path=folder / STUDY)
    page.close()


if __name__ == "__main__":
    with sync_playwright() as playwright:
        take_screenshots(
            playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS),
            sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://127.0.0.1:8080",
            DOCS / "use",
        )
