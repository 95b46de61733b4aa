"""Takes the pictures and the screencast of the documentation from the running demo.

    python -m tools.pictures [FOLDER]      # writes into docs, or into FOLDER

It runs `nightdraft demo` in a data folder of its own and opens its pages in Chromium as the demo's
reader, so the pictures show what the software shows. All patients on them are phantoms.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tools.page_pictures import SHOTS, Look, index_page, take_all
from tools.screencast import SIZE as SCREENCAST_SIZE
from tools.screencast import Screencast

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FOLDER = "pictures"
"""Where the pictures of the pages are, below the documentation."""
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

SCREENCAST = "use/demo.gif"

PICTURES = tuple(name for shot in SHOTS for _, _, name in shot.files())
"""The files that are written, besides the screencast."""

_START_SECONDS = 600.0
_RUN_SECONDS = 600.0


@dataclass
class Site:
    """Pages that are served.

    Attributes:
        url: their address, without a slash at the end.
        state: the cookies of who looks, as Playwright keeps them; None is nobody.
    """

    url: str
    state: Any = None

    def get(self, path: str) -> Any:
        """Return what REST answers."""
        cookies = (self.state or {}).get("cookies", ())
        headers = {"Cookie": "; ".join(f"{one['name']}={one['value']}" for one in cookies)}
        call = urllib.request.Request(f"{self.url}{path}", headers=headers)  # noqa: S310
        with urllib.request.urlopen(call, timeout=30) as answer:  # noqa: S310
            return json.load(answer)

    def is_up(self) -> bool:
        """Return whether the pages answer."""
        try:
            urllib.request.urlopen(f"{self.url}/healthz", timeout=30).close()  # noqa: S310
        except OSError:
            return False
        return True

    def drafted_study(self) -> str:
        """Return our id of the drafted study that has most to show: a second draft, two films."""
        studies = self.get("/api/studies?state=DRAFTED&limit=200")["studies"]
        return str(max(studies, key=lambda study: (study["revision"], study["films"]))["id"])

    def signed_study(self) -> str:
        """Return our id of a study whose report is signed."""
        studies = self.get("/api/worklist?review=SIGNED&limit=1")["studies"]
        return str(studies[0]["id"])

    def held_study(self) -> str:
        """Return our id of a held study, if possible of one with films of two patients."""
        held = self.get("/api/holds")
        return str(max(held, key=lambda hold: bool(hold["reason"] == "PATIENT_MISMATCH"))["study"])


class Demo(Site):
    """A running `nightdraft demo`; what it prints is read as it comes."""

    def __init__(self, process: subprocess.Popen[str], url: str, data_dir: Path) -> None:
        super().__init__(url)
        self.data_dir = data_dir
        self._process = process
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.append(line.rstrip())

    def link(self) -> str:
        """Return the one-use link that logs the reader in; "" before it was printed."""
        for line in list(self._lines):
            if "/link/" in line:
                return line.rpartition(" ")[2]
        return ""

    def log_in(self, browser: Browser) -> None:
        """Open the link of the demo's reader, and keep the cookies."""
        wait_until("the demo prints its link", lambda: bool(self.link()), _START_SECONDS)
        context = browser.new_context()
        context.new_page().goto(self.link())
        self.state = context.storage_state()
        context.close()

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
        yield Demo(process, f"http://127.0.0.1:{port}", data_dir / "data")
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


def open_page(browser: Browser, size: tuple[int, int], state: Any = None) -> Page:
    """Open an empty page of this size, of who has these cookies."""
    width, height = size
    return browser.new_page(
        viewport={"width": width, "height": height}, color_scheme="dark", storage_state=state
    )


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
    page = open_page(browser, SCREENCAST_SIZE, demo.state)
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


def take_pictures(browser: Browser, site: Site, folder: Path, auditor: Any = None) -> None:
    """Take each page in each size and colours.

    Args:
        browser: what opens them.
        site: the pages, and who reads there.
        folder: where the files are written.
        auditor: the cookies of who may open the trail.
    """
    held, text, signed = site.held_study(), site.drafted_study(), site.signed_study()
    places = {
        "worklist": "/",
        "worklist-filters": "/?priority=STAT",
        "worklist-keys": "/",
        "study": f"/studies/{text}",
        "text": f"/studies/{text}",
        "sign": f"/studies/{text}/sign",
        "signed": f"/studies/{signed}#editor",
        "held": f"/studies/{held}",
        "campaign-new": "/campaigns/new",
        "order": first(site.get("/api/orders")["orders"], "/orders/{id}"),
        "message": first(site.get("/api/messages")["messages"], "/messages/{id}"),
        "recall": first(site.get("/api/models")["models"], "/models/{digest}/drafts"),
        "api": "/api/docs",
        "problem": "/no-such-page",
        "again": "/again",
    }
    whose = {"login": None, "trail": auditor}
    prepared = {"worklist-keys": show_keys, "api": wait_for_calls}
    looks = [
        Look(
            shot,
            site.url + places.get(shot.name, f"/{shot.name}"),
            whose.get(shot.name, site.state),
            prepared.get(shot.name),
        )
        for shot in SHOTS
        if shot.name != "trail" or auditor is not None
    ]
    take_all(browser, looks, folder, go_to)


def first(rows: Sequence[dict[str, Any]], place: str) -> str:
    """Return the address of the first row's page."""
    return place.format(**rows[0])


def show_keys(page: Page) -> None:
    """Open the map of keys."""
    page.keyboard.press("?")
    page.locator("#keys").wait_for()


def wait_for_calls(page: Page) -> None:
    """Wait until the reference of REST is drawn."""
    page.locator(".opblock").first.wait_for()


def sign_one(browser: Browser, site: Site) -> None:
    """Sign the report of a drafted study, as its reader does."""
    page = open_page(browser, SCREENCAST_SIZE, site.state)
    studies = site.get("/api/studies?state=DRAFTED&limit=200")["studies"]
    study = next(one["id"] for one in studies if one["id"] != site.drafted_study())
    go_to(page, f"{site.url}/studies/{study}")
    page.get_by_label("Impression").press("Control+End")
    page.keyboard.type(" Compare with the earlier film.")
    page.get_by_role("button", name="Sign …").click()
    page.get_by_role("button", name="Sign the report").click()
    page.locator(".signature").wait_for()
    page.context.close()


def log_auditor_in(browser: Browser, demo: Demo) -> Any:
    """Make an account that may open the trail; return its cookies."""
    made = subprocess.run(
        [*(sys.executable, "-m", "nightdraft", "account", "create", "auditor"),
         *("--role", "AUDITOR", "--json")],
        cwd=ROOT,
        env=os.environ | {"NIGHTDRAFT_DATA_DIR": str(demo.data_dir)},
        check=True,
        capture_output=True,
        text=True,
    )  # fmt: skip
    path = json.loads(made.stdout)["link"].partition("/link/")[2]
    password = secrets.token_hex(16)
    page = open_page(browser, SCREENCAST_SIZE)
    page.goto(f"{demo.url}/link/{path}")
    page.get_by_label("New password").fill(password)
    page.get_by_label("The same once more").fill(password)
    page.get_by_role("button", name="Keep it").click()
    page.get_by_label("Login name").fill("auditor")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Log out").wait_for()
    state = page.context.storage_state()
    page.context.close()
    return state


def main() -> None:
    """Take all of them."""
    docs = Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS
    folder = docs / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (docs / SCREENCAST).parent.mkdir(exist_ok=True)
    with sync_playwright() as playwright, running_demo() as demo:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        wait_until("the pages answer", demo.is_up, _START_SECONDS)
        demo.log_in(browser)
        print(f"recording {SCREENCAST}", flush=True)
        take_screencast(browser, demo, docs / SCREENCAST)
        sign_one(browser, demo)
        print(f"taking {len(PICTURES)} pictures", flush=True)
        take_pictures(browser, demo, folder, log_auditor_in(browser, demo))
        browser.close()
    (folder / "README.md").write_text(index_page(), encoding="utf-8")
    total = sum((folder / name).stat().st_size for name in PICTURES)
    print(f"{folder}: {total // 1000} KB")


if __name__ == "__main__":
    main()
