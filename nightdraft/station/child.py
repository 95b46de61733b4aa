"""Starts a station as a child process and waits until it is ready; for the demo and the bench."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from nightdraft.station.checks import check_bundle
from nightdraft.station.data_folder import make_data_dir
from nightdraft.station.processes import ChildProcesses, end_processes
from nightdraft.station.station import read_addresses
from nightdraft.station.supervisor import GRACE_SECONDS
from records.errors import PartError
from records.settings import settings

_STOP_SECONDS = 3 * GRACE_SECONDS
"""The listener, the other parts and the servers end one after the other."""

_NO_TLS: Mapping[str, object] = {
    "listen_plain": True, "listen_tls_port": 0, "listen_certificate": "",
    "listen_client_certificates": "none", "listen_client_ca": "",
    "serve_certificate": "", "serve_certificate_key": "",
}  # fmt: skip
"""Whoever starts a station so speaks with it on loopback, whatever the site's own one does."""


class StationProcess:
    """`nightdraft station` on a data folder, running while the `with` block runs.

    What the station logs is in `<data_dir>/logs/station.log`, what each part logs in a file beside
    it. `addresses` is the content of the station's `run/addresses.json`.

    Args:
        data_dir: The data folder; it is made where it is missing.
        overrides: Settings by name, which win over those of the environment.
        start_timeout: Seconds until every part must be ready.

    Raises:
        PartError: On entering: the station does not start; its own line says why.
        SettingsError, BundleUnusable: On entering: it would never be ready without a bundle.
    """

    def __init__(
        self, data_dir: Path, overrides: Mapping[str, object], *, start_timeout: float = 180.0
    ) -> None:
        self.data_dir = data_dir
        self.log_dir = data_dir / "logs"
        self.addresses: dict[str, Any] = {}
        self._env = os.environ | {
            f"NIGHTDRAFT_{name.upper()}": str(value)
            for name, value in {**_NO_TLS, **overrides, "data_dir": data_dir}.items()
        }
        self._start_timeout = start_timeout
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StationProcess:
        check_bundle(self._env.get("NIGHTDRAFT_BUNDLE") or settings().bundle)
        make_data_dir(self.data_dir)
        self.log_dir.mkdir(mode=0o700, exist_ok=True)
        log_file = self.log_dir / "station.log"
        with log_file.open("wb") as output:
            self._process = ChildProcesses(self.data_dir / "run/station.json").start(
                [sys.executable, "-m", "nightdraft", "station", "--logs", str(self.log_dir)],
                env=self._env,
                output=output,
            )
        deadline = time.monotonic() + self._start_timeout
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                lines = log_file.read_text(errors="replace").strip().splitlines()
                raise PartError(
                    _message_of(lines[-1])
                    if lines
                    else f"the station ended with status {self._process.returncode} and no message"
                )
            with suppress(PartError):
                addresses = read_addresses(self.data_dir)
                # The file may be of another station on this folder.
                if addresses.get("pid") == self._process.pid and addresses.get("ready"):
                    self.addresses = addresses
                    return self
            time.sleep(0.1)
        self.stop()
        raise PartError(
            f"the station is not ready after {self._start_timeout:.0f} s: see {self.log_dir}"
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the station and all its parts."""
        if self._process is not None:
            end_processes([self._process], signal.SIGTERM, _STOP_SECONDS)

    @property
    def alive(self) -> bool:
        """Whether the station still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def page(self) -> str:
        """The URL of the worklist."""
        addresses = self.addresses
        return f"{addresses['serve_scheme']}://{addresses['serve_host']}:{addresses['serve_port']}/"


def _message_of(line: str) -> str:
    """The message of a log line, whether it is text or JSON."""
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return line.removeprefix("nightdraft: ")
