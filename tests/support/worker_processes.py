"""Worker parts as processes of their own, as a supervisor runs them."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_RUN = """
import sys
from records.errors import NightdraftError
from records.settings import settings
from records.telemetry import set_up_logs
from worker.running import run_worker
try:
    set_up_logs(settings().log_format, settings().log_level, sys.argv[1])
    sys.exit(run_worker(sys.argv[1]))
except NightdraftError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@dataclass
class Part:
    """A running part and its log."""

    process: subprocess.Popen[bytes]
    log: Path
    family: list[psutil.Process] = field(default_factory=list)

    def read_log(self) -> str:
        return self.log.read_text()

    def signal_to_end(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.family = self.family or self.children()
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it, wait, and see that nothing of it is left."""
        self.signal_to_end(number)
        status = self.process.wait(timeout=30)
        _, alive = psutil.wait_procs(self.family, timeout=10)
        for process in alive:
            process.kill()
        assert not alive, f"left behind: {alive}"
        return status

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def start(part: str, log: Path) -> Part:
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, part], stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
    return Part(process, log)
