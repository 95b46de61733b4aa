"""Takes the pictures and the screencast of the documentation from the running demo.

    python -m tools.pictures [FOLDER]      # writes into docs/use, or into FOLDER

It runs `nightdraft demo` in a data folder of its own and opens its pages in Chromium, so the
pictures show what the software shows. All patients on them are phantoms.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import Browser, Page, sync_playwright

from tools.screencast import SIZE as SCREENCAST_SIZE
from tools.screencast import Screencast

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "use"
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
PAGES = ("worklist", "study", "held")
SCREENCAST = "demo.gif"
PICTURES = (
    *(f"{page}{'' if scheme == 'light' else '-dark'}.png" for page in PAGES for scheme in SCHEMES),
    SCREENCAST,
)
"""The files that are written."""

VIEWPORT = (1440, 900)
_START_SECONDS = 600.0
_RUN_SECONDS = 600.0


@dataclass
class Site:
    """Pages that are served. url: their address, without a slash at the end."""

    url: str

    def get(self, path: str) -> Any:
        """Return what REST answers."""
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def is_up(self) -> bool:
        """Return whether the pages answer."""
        try:
            self.get("/api/counts")
        except OSError:
            return False
        return True

    def drafted_study(self) -> str:
        """Return our id of the drafted study that has most to show: a second draft, two films."""
        studies = self.get("/api/studies?state=DRAFTED&limit=200")["studies"]
        return str(max(studies, key=lambda study: (study["revision"], study["films"]))["id"])

    def held_study(self) -> str:
        """Return our id of a held study, if possible of one with films of two patients."""
        held = self.get("/api/holds")
        return str(max(held, key=lambda hold: bool(hold["reason"] == "PATIENT_MISMATCH"))["study"])


class Demo(Site):
    """A running `nightdraft demo`; what it prints is read as it comes."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        super().__init__(url)
        self._process = process
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())

    def has_printed(self, text: str) -> bool:
        """Return whether a line holds this text.

        Raises:
            RuntimeError: The demo ended by itself.
        """
        if self._process.poll() is not None:
            raise RuntimeError("the demo ended by itself:\n" + "\n".join(self._lines[-20:]))
        return any(text in line for line in self._lines)


@contextmanager
def running_demo() -> Iterator[Demo]:
    """Run the demo in a new data folder, and end it."""
    # Outside home folders, which PostgreSQL's user cannot enter.
    data_dir = Path(tempfile.mkdtemp(prefix="nightdraft-pictures-", dir="/var/tmp"))
    data_dir.chmod(0o755)
    port = _free_port()
    own = {"DATA_DIR": data_dir / "data", "SERVE_PORT": port, "LISTEN_PORT": _free_port()}
    inherited = {name: value for name, value in os.environ.items() if "NIGHTDRAFT" not in name}
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "nightdraft", "demo"],
        cwd=ROOT,
        env=inherited | {f"NIGHTDRAFT_{name}": str(value) for name, value in own.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield Demo(process, f"http://127.0.0.1:{port}")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
        shutil.rmtree(data_dir, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def wait_until(what: str, condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition.

    Raises:
        TimeoutError: It did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def open_page(browser: Browser, size: tuple[int, int], scheme: Scheme = "light") -> Page:
    """Open an empty page of this size, in this colour scheme."""
    width, height = size
    return browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)


def go_to(page: Page, address: str) -> None:
    """Open an address, and wait until all of its images and its first film are drawn.

    Images that nobody has scrolled to or opened may wait.
    """
    page.goto(address)
    page.wait_for_function(
        """() => document.querySelector(".stage[data-state=loading]") === null
            && [...document.images].every(image => image.loading === "lazy"
                || (image.complete && image.naturalWidth > 0))"""
    )


def take_screencast(browser: Browser, demo: Demo, path: Path) -> None:
    """Record how films arrive, states change and a draft is opened."""
    page = open_page(browser, SCREENCAST_SIZE)
    screencast = Screencast(page)
    go_to(page, demo.url)
    wait_until("all parts run", lambda: demo.has_printed("up after"), _START_SECONDS)
    deadline = time.monotonic() + _RUN_SECONDS

    def is_over() -> bool:
        if time.monotonic() > deadline:
            raise TimeoutError("the demo does not come to its end")
        return demo.has_printed("Ctrl-C ends all of it")

    arriving = "make demo: films of drawn phantoms arrive by C-STORE and are drafted"
    go_to(page, demo.url)
    screencast.show(arriving, 1.0)
    screencast.watch(
        arriving,
        lambda: go_to(page, demo.url),
        is_over,
        9.0,
    )
    screencast.show("Every study is drafted, or says why not", 2.0)
    go_to(page, f"{demo.url}/?state=SKIPPED")
    screencast.show("What is not for this model is skipped, with the reason", 2.0)
    go_to(page, f"{demo.url}/?state=HELD")
    screencast.show("What only a person can decide is held", 1.5)
    _follow(page, demo.held_study())
    screencast.show("It shows both sides and the decisions", 2.5)
    go_to(page, f"{demo.url}/?state=DRAFTED")
    screencast.show("Drafts that can be read", 1.0)
    _follow(page, demo.drafted_study())
    screencast.show("A draft beside its films: a radiologist must check every sentence", 3.0)
    page.mouse.move(SCREENCAST_SIZE[0] / 2, SCREENCAST_SIZE[1] / 2)
    page.mouse.wheel(0, 420)
    page.wait_for_function("() => window.scrollY > 100")
    screencast.show("Below it: what the draft was made from", 2.0)
    page.close()
    screencast.write(path)


def _follow(page: Page, study: str) -> None:
    """Click the link to a study, and wait until its images are drawn."""
    page.locator(f'a[href^="/studies/{study}"]').first.click()
    page.wait_for_url(f"**/studies/{study}*")
    go_to(page, page.url)


def take_pictures(browser: Browser, site: Site, folder: Path) -> None:
    """Take each page in each colour scheme."""
    paths = {
        "worklist": "/",
        "study": f"/studies/{site.drafted_study()}",
        "held": f"/studies/{site.held_study()}",
    }
    for scheme in SCHEMES:
        page = open_page(browser, VIEWPORT, scheme)
        for name in PAGES:
            go_to(page, f"{site.url}{paths[name]}")
            suffix = "" if scheme == "light" else "-dark"
            page.screenshot(path=folder / f"{name}{suffix}.png")
        page.close()


def main() -> None:
    """Take all of them."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright, running_demo() as demo:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        wait_until("the pages answer", demo.is_up, _START_SECONDS)
        print(f"recording {SCREENCAST}", flush=True)
        take_screencast(browser, demo, folder / SCREENCAST)
        take_pictures(browser, demo, folder)
        browser.close()
    for name in PICTURES:
        print(f"{folder / name}: {(folder / name).stat().st_size // 1000} KB")


if __name__ == "__main__":
    main()
