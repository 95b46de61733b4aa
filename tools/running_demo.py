"""A running `nightdraft demo` of which pictures are taken: its address, its reader, its answers."""

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
from typing import Any

from playwright.sync_api import Browser

ROOT = Path(__file__).parents[1]

START_SECONDS = 600.0
"""How long the demo may take until it answers."""


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

    def __init__(
        self, process: subprocess.Popen[str], url: str, data_dir: Path, hl7_port: int
    ) -> None:
        super().__init__(url)
        self.data_dir = data_dir
        self.hl7_port = hl7_port
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
        wait_until("the demo prints its link", lambda: bool(self.link()), START_SECONDS)
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
    port, hl7_port = _free_port(), _free_port()
    own = {
        "DATA_DIR": data_dir / "data",
        "SERVE_PORT": port,
        "LISTEN_PORT": _free_port(),
        "HL7_PORT": hl7_port,
        # Taking all of them lasts longer than a login is fresh.
        "FRESH_MINUTES": 60,
    }
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
        yield Demo(process, f"http://127.0.0.1:{port}", data_dir / "data", hl7_port)
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
