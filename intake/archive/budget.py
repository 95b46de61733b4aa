"""How often, how fast and how long one PACS is asked: rates, places, a back-off by answer times.

A PACS serves readers first. When its answers become slow, the pace is halved until they are quick
again. `Budget` and `CampaignRates` have the time passed in, so that every case can be tested.
"""

from __future__ import annotations

import statistics
import threading
import uuid
from collections import deque

RECENT = 15
"""So many answer times make the present median."""

JUDGED_FROM = 5
"""Fewer answers say nothing about a PACS."""

SLOWER = 3.0
"""The pace is halved where the median is so many times the best one."""

RECOVERED = 1.5
"""The pace is doubled again, up to what is allowed, where the median is below so many times."""

LEAST_SHARE = 1 / 16
"""The pace is not halved further."""

NOTABLE_SECONDS = 0.5
"""Medians below are all the same: a PACS that takes 60 ms instead of 20 is not in trouble."""

BEST_GROWS = 1.02
"""The best median grows by this factor with each judgement, so that a PACS that has become slower
for good is not taken for one in trouble for ever."""

SILENT_TIMES = 5
"""A PACS may be silent so many times longer than with a question: it may bring images from slow
media first."""

STUDY_SECONDS = 600.0
"""The longest time for one study. What came is kept, and the rest is asked for again."""


class Budget:
    """The budget of one PACS; the caller sees to it that one thread at a time uses it.

    Args:
        per_minute: studies a minute, at most.
    """

    def __init__(self, per_minute: float) -> None:
        self.per_minute = per_minute
        self.share = 1.0
        self._due = 0.0
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._since_change = 0
        self._best: float | None = None

    @property
    def pace(self) -> float:
        """Studies a minute now."""
        return self.per_minute * self.share

    def seconds_left(self, now: float) -> float:
        """How long the next study has to wait; 0 where it may be fetched now.

        Args:
            now: seconds on a clock that only goes forward.
        """
        return max(0.0, self._due - now)

    def take(self, now: float) -> None:
        """Count one study that is fetched now. What was not used before is not made up for."""
        self._due = max(self._due, now) + 60.0 / self.pace

    def note_answer(self, seconds: float) -> None:
        """Judge the PACS by one more answer time.

        Args:
            seconds: from a question to its first answer; of like questions only.
        """
        self._recent.append(max(seconds, NOTABLE_SECONDS))
        self._since_change += 1
        if len(self._recent) < JUDGED_FROM:
            return
        median = statistics.median(self._recent)
        self._best = median if self._best is None else min(median, self._best * BEST_GROWS)
        if self._since_change < JUDGED_FROM:
            return  # the answers since the last change are too few to judge it
        if median > SLOWER * self._best and self.share > LEAST_SHARE:
            self._change(self.share / 2)
        elif median < RECOVERED * self._best and self.share < 1.0:
            self._change(min(1.0, self.share * 2))

    def _change(self, share: float) -> None:
        self.share = share
        self._since_change = 0
        # What was measured at the pace before says little about the new one.
        while len(self._recent) > JUDGED_FROM:
            self._recent.popleft()


class Places:
    """The associations that a PACS allows; whoever has a place may have one of them.

    Args:
        number: of them.
    """

    def __init__(self, number: int) -> None:
        self._changed = threading.Condition()
        self._free = number
        self._waiting = 0

    def take(self) -> None:
        """Wait for a place, and take it."""
        with self._changed:
            self._waiting += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._free > 0)
            self._waiting -= 1
            self._free -= 1

    def give_back(self) -> None:
        """Give a place back."""
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *_: object) -> None:
        self.give_back()

    def is_wanted(self, seconds: float) -> bool:
        """Whether somebody waits for a place, now or within some seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._waiting > self._free, seconds)


class CampaignRates:
    """The rates of campaigns that have one of their own, below what the source allows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[uuid.UUID, float] = {}

    def resting(self, now: float) -> dict[uuid.UUID, float]:
        """Campaigns whose rate lets nothing be fetched yet, with the seconds that are left.

        Args:
            now: seconds on a clock that only goes forward.
        """
        with self._lock:
            return {key: due - now for key, due in self._due.items() if due > now}

    def take(self, campaign_id: uuid.UUID, per_minute: float | None, now: float) -> None:
        """Count a study that is fetched now against its campaign's rate; None is no rate."""
        if per_minute is None:
            return
        with self._lock:
            due = max(self._due.get(campaign_id, now), now)
            self._due[campaign_id] = due + 60.0 / per_minute
