"""An HL7 listener as a process that is killed and started again, and senders that never give up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nightdraft.station.wheels import free_port
from tests.support.mllp import MllpSender, field, make_order
from tests.support.paths import ROOT


class KilledListener:
    """`nightdraft listen --hl7`, started again whenever it dies, until `stop`.

    Args:
        log: Where its processes write.
        point: A failpoint at which the first process kills itself; "" for none.
        mark: The file that says that this has happened.
    """

    def __init__(self, log: Path, point: str = "", mark: Path | None = None) -> None:
        self.port = free_port()
        self.starts = 0
        self._log = log
        self._env = os.environ | {"NIGHTDRAFT_HL7_PORT": str(self.port)}
        if point:
            self._env |= {"NIGHTDRAFT_KILL_AT": point, "NIGHTDRAFT_KILL_MARK": str(mark)}
        self._process: subprocess.Popen[bytes] | None = None
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._keep_running)
        self._thread.start()

    def kill(self) -> None:
        """Kill the process that runs now."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)

    def stop(self) -> int:
        """End the process as an operator does; returns its exit status."""
        self._is_ending.set()
        if self._process is None:
            return 0
        self._process.terminate()
        self._thread.join(60)
        return self._process.wait(60)

    def _keep_running(self) -> None:
        while not self._is_ending.is_set():
            with self._log.open("ab") as output:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "nightdraft", "listen", "--hl7"],
                    cwd=ROOT,
                    env=self._env,
                    stdout=output,
                    stderr=output,
                )
            self.starts += 1
            self._process.wait()


@contextmanager
def killed_listener(
    log: Path, point: str = "", mark: Path | None = None
) -> Iterator[KilledListener]:
    """Such a listener while the block runs."""
    listener = KilledListener(log, point, mark)
    try:
        yield listener
    finally:
        listener.stop()


def send_until_answered(
    listener: KilledListener,
    numbers: Iterable[int],
    is_ending: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Send an order for each number, again and again until it is answered AA.

    Returns:
        The order numbers that were acknowledged.
    """
    acknowledged: list[str] = []
    sender: MllpSender | None = None
    for number in map(str, numbers):
        while not is_ending():
            try:
                sender = sender or MllpSender(listener.port)
                answer = sender.send(make_order(number, accession=number, control_id=number))
            except OSError:
                answer = ""
            if field(answer, "MSA", 1) == "AA" and field(answer, "MSA", 2) == number:
                acknowledged.append(number)
                break
            if sender is not None:
                sender.socket.close()
            sender = None
            with suppress(TimeoutError):
                threading.Event().wait(0.05)  # the port is closed while the listener starts
    if sender is not None:
        sender.socket.close()
    return acknowledged
