"""A station as a child process, waited for until it is ready; for the demo and the bench.

Knows the station's command and the file in which it says where it is.
"""

from __future__ import annotations

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

from nightdraft.station.embedded import make_data_dir
from nightdraft.station.processes import Children, end
from nightdraft.station.station import read_addresses
from nightdraft.station.supervisor import PATIENCE
from records.errors import PartError

ENDS_IN = 3 * PATIENCE
"""Seconds: the listener, the other parts and the servers end one after the other."""


class StationProcess:
    """`nightdraft station` on `data_dir`, running while the `with` block runs.

    chosen: settings by name, beside those of the environment. `addresses` is what the station says
    of itself. What the parts say is in `<data_dir>/logs`.

    Raises (on entering):
        PartError: it does not start; its own line says why.
    """

    def __init__(
        self, data_dir: Path, chosen: Mapping[str, object], *, starts_in: float = 180.0
    ) -> None:
        self.data_dir = data_dir
        self.logs = data_dir / "logs"
        self.addresses: dict[str, Any] = {}
        self._env = os.environ | {
            f"NIGHTDRAFT_{name.upper()}": str(value)
            for name, value in {**chosen, "data_dir": data_dir}.items()
        }
        self._starts_in = starts_in
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> StationProcess:
        make_data_dir(self.data_dir)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        words = self.logs / "station.log"
        with words.open("wb") as output:
            self._process = Children(self.data_dir / "run/station.json").start(
                [sys.executable, "-m", "nightdraft", "station", "--logs", str(self.logs)],
                env=self._env,
                output=output,
            )
        until = time.monotonic() + self._starts_in
        while time.monotonic() < until:
            if self._process.poll() is not None:
                lines = words.read_text(errors="replace").strip().splitlines() or ["no words"]
                raise PartError(lines[-1].removeprefix("nightdraft: "))
            with suppress(PartError):
                facts = read_addresses(self.data_dir)
                # A file of another station is not of this one.
                if facts.get("pid") == self._process.pid and facts.get("ready"):
                    self.addresses = facts
                    return self
            time.sleep(0.1)
        self.stop()
        raise PartError(f"the station is not ready after {self._starts_in:.0f} s: see {self.logs}")

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
            end([self._process], signal.SIGTERM, ENDS_IN)

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def page(self) -> str:
        """Where the worklist is."""
        return f"http://{self.addresses['serve_host']}:{self.addresses['serve_port']}/"
