"""The web server as a process of its own, and a browser that opens its pages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    expect,
    sync_playwright,
)

from tests.support.accounts import PASSWORD
from tests.support.page_looks import AS_THE_COMPUTER
from tests.support.seeded_studies import StudySeeder
from tests.support.waiting import eventually
from tools.pictures import CHROMIUM, FLAGS

expect.set_options(timeout=30_000)  # a page waits for its server, and that for the machine

START = """
import sys
from pathlib import Path
from api.app import run_server
from records.errors import NightdraftError
from records.settings import settings
from records.telemetry import set_up_logs
set_up_logs(part="api")
try:
    run_server(settings(), ready=lambda port: Path(sys.argv[1]).write_text(f"{port}\\n"))
except NightdraftError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@dataclass
class Server:
    """A running `run_server`."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def end(self) -> int:
        """End the server by SIGTERM and return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=20)


@contextmanager
def servers_in(folder: Path) -> Iterator[Callable[..., Server]]:
    """Gives a function that starts a server with the settings of this process; all are ended."""
    started: list[subprocess.Popen[bytes]] = []

    def start(wait: bool = True, **values: object) -> Server:
        number = len(started)
        port_file, log = folder / f"port{number}", folder / f"log{number}"
        env = {f"NIGHTDRAFT_{name.upper()}": str(value) for name, value in values.items()}
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-W", "error", "-c", START, str(port_file)],
                env={**os.environ, "NIGHTDRAFT_SERVE_PORT": "0", **env},
                stdout=out,
                stderr=out,
            )
        started.append(process)
        port = ""
        if wait:

            def is_up() -> bool:
                assert process.poll() is None, log.read_text()
                return port_file.exists() and port_file.read_text().endswith("\n")

            eventually(is_up)
            port = port_file.read_text().strip()
        return Server(process, f"http://127.0.0.1:{port}", log)

    try:
        yield start
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def serve(database: str, data_dir: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """`serve(serve_port=0)` starts a server on this database; all are ended after the test."""
    with servers_in(tmp_path) as start:
        yield start


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, headless and without background network traffic."""
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"no browser: {CHROMIUM} is missing")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def open_page(serve: Callable[..., Server], browser: Browser) -> Iterator[Callable[..., Page]]:
    """Open an address; an error of the browser (a blocked style, a failed load) fails the test.

    It comes after `serve`, so that the server ends when the pages are closed. A page is closed when
    it has loaded: Chromium complains of a load that it broke off itself.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def complain(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"{message.text} {message.location['url']}")

    def open_it(url: str, width: int = 1440, scheme: Literal["dark", "light"] = "light") -> Page:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        context.add_init_script(AS_THE_COMPUTER)
        contexts.append(context)
        page = context.new_page()
        page.on("console", complain)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(url, wait_until="networkidle")
        return page

    yield open_it
    for context in contexts:
        for page in context.pages:
            page.wait_for_load_state("networkidle")
        context.close()
    assert complaints == []


@pytest.fixture
def seeder(database: str, data_dir: Path) -> StudySeeder:
    """Seeds studies whose films have 256 pixels a side."""
    return StudySeeder(data_dir, size=256)


@contextmanager
def watched_page(browser: Browser, width: int, height: int) -> Iterator[Page]:
    """A page; an error of the browser (a blocked script, a failed load) fails the test."""
    opened = browser.new_page(viewport={"width": width, "height": height})
    complaints: list[str] = []
    opened.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    opened.close()
    assert complaints == []


def log_in_at(page: Page, url: str, login: str) -> Page:
    """Log a person in, by the page of the login."""
    page.goto(f"{url}/login")
    enter_login(page, login)
    return page


def enter_login(page: Page, login: str) -> None:
    """Fill in the login that the page shows, and wait for the page that it leads to."""
    page.get_by_label("Login name").fill(login)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()


@pytest.fixture
def log_in(browser: Browser) -> Iterator[Callable[..., Page]]:
    """`log_in(url, "roe")` is a page of somebody who is logged in, in a browser of its own."""
    contexts: list[BrowserContext] = []

    def open_it(url: str, login: str, **options: Any) -> Page:
        contexts.append(browser.new_context(viewport={"width": 1280, "height": 900}, **options))
        return log_in_at(contexts[-1].new_page(), url, login)

    yield open_it
    for context in contexts:
        context.close()
