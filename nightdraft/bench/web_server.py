"""A web server in a process of its own for a measurement, and questions to it."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from records.errors import PartError

_START_SECONDS = 60.0
_SERVE = (
    "import sys, pathlib; from api.app import run_server; from records.settings import settings; "
    "run_server(settings(), ready=lambda port: pathlib.Path(sys.argv[1]).write_text(f'{port} '))"
)


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    """Let a web server answer on loopback, by the settings of this process; its port.

    Raises:
        PartError: it does not start.
    """
    port_file = folder / "port"
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(port_file)],
        env=os.environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not (port_file.exists() and port_file.read_text().endswith(" ")):
            if process.poll() is not None or time.monotonic() > deadline:
                raise PartError("the web server does not start")
            time.sleep(0.05)
        yield int(port_file.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(port: int, path: str) -> tuple[float, int]:
    """Ask for an address over a new connection; return milliseconds to its last byte, and bytes."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    start = time.perf_counter()
    connection.request("GET", path, headers={"accept-encoding": "gzip"})
    answer = connection.getresponse()
    content = answer.read()
    taken = (time.perf_counter() - start) * 1000
    connection.close()
    if answer.status != 200:
        raise PartError(f"the web server answers {answer.status}")
    return taken, len(content)


def read(port: int, path: str) -> str:
    """The text of an answer.

    Raises:
        PartError: the answer is an error.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read().decode()
    connection.close()
    if answer.status != 200:
        raise PartError(f"the web server answers {answer.status}")
    return content
