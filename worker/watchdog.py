"""Ends this process when its work makes no progress.

The watchdog has a thread of its own and asks nobody: it takes no lock and uses no connection, so
what hangs cannot hang it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from records.telemetry import logger

GRACE_SECONDS = 30.0
"""How long a process may take to end by itself before it is ended."""


class Watchdog:
    """Watches one piece of work between `start` and `stop`.

    Args:
        name: what is watched, for the log.
        limit_seconds: work without progress for so long hangs.
        idle_seconds: how long the work has made no progress; None while there is nothing to do. It
            must not wait for anything.
        ask_to_end: asks the process to end by itself; None ends it at once. A hung driver or
            decoder cannot be interrupted, and a process that ends at once gives nothing back: its
            leases run out, and each study is then claimed alone, which shows the one at fault.
    """

    def __init__(
        self,
        name: str,
        limit_seconds: float,
        idle_seconds: Callable[[], float | None],
        ask_to_end: Callable[[], None] | None = None,
    ) -> None:
        self._name = name
        self._limit_seconds = limit_seconds
        self._idle_seconds = idle_seconds
        self._ask_to_end = ask_to_end
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name} watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """End watching."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(min(1.0, self._limit_seconds / 4)):
            idle_seconds = self._idle_seconds()
            if idle_seconds is not None and idle_seconds > self._limit_seconds:
                logger().error(
                    "the worker hangs, and ends itself",
                    reason=f"no progress: {self._name}",
                    seconds=round(idle_seconds, 1),
                )
                if self._ask_to_end is not None:
                    self._ask_to_end()
                    if self._stopped.wait(GRACE_SECONDS):
                        return
                os._exit(1)
