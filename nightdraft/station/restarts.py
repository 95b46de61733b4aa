"""When a process that died is started again: at once, then later and later, for ever."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

CRASH_WINDOW_SECONDS = 120.0
"""Deaths that are older than this count no more."""

MAX_RESTART_DELAY = 30.0
"""Seconds, at most, between a death and the restart."""


@dataclass
class RestartDelay:
    """The deaths of one process, and when it may be started again.

    Args:
        max_seconds: Seconds, at most, between a death and the restart.
    """

    max_seconds: float = MAX_RESTART_DELAY
    deaths: list[float] = field(default_factory=list)
    restart_at: float = 0.0

    def record_death(self) -> float:
        """Record a death, or a start that failed; returns the seconds until the restart.

        A first death is followed by a restart at once, each further one by a longer delay.
        """
        now = time.monotonic()
        self.deaths = [at for at in self.deaths if now - at < CRASH_WINDOW_SECONDS] + [now]
        earlier = len(self.deaths) - 1
        delay = min(self.max_seconds, 2.0 ** (earlier - 1)) if earlier else 0.0
        self.restart_at = now + delay
        return delay

    def is_over(self) -> bool:
        """Whether the process may be started now."""
        return time.monotonic() >= self.restart_at
