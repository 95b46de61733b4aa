"""Pages as a person sees them: on a desk and on a phone, light and dark."""

from __future__ import annotations

import os
from pathlib import Path

PICTURES = os.environ.get("NIGHTDRAFT_PAGE_PICTURES", "")
"""A folder for pictures of the pages, for a person to look at; empty makes none."""

LOOKS = (("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390))


AS_THE_COMPUTER = "try { localStorage.setItem('nightdraft-theme', 'system') } catch {}"
"""A script by which pages are light or dark as Playwright's `color_scheme` says."""


def is_wide(page):
    """Whether the page must be moved sideways to be read."""
    return page.evaluate("document.documentElement.scrollWidth > window.innerWidth")


def look(open_page, address, name):
    """Open a page in each look; none of them may be wider than its window."""
    for scheme, width in LOOKS:
        page = open_page(address, width, scheme)
        page.wait_for_load_state("networkidle")
        assert not is_wide(page), (address, scheme, width)
        if PICTURES:
            page.screenshot(path=Path(PICTURES) / f"{name}-{scheme}-{width}.png", full_page=True)
        page.context.close()
