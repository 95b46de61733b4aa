"""Opens and closes the alarm that the night is too short for what is to be drafted.

The sweep's process looks, from its heartbeat's thread. The alarm opens when the promise has been
broken for some minutes without a break, and closes when it has held for as long: a pace that wavers
opens no second one. It closes at once when nothing is left to do or the night is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.operations import alarms, overview
from records.operations.tonight import Outlook, Tonight, read_tonight
from records.settings import settings

ALARM_PART = "night"

STOPPING_KINDS = frozenset(
    {
        AlarmKind.WORKER_STOPPED,
        AlarmKind.BUNDLE_UNUSABLE,
        AlarmKind.PART_MISSING,
        AlarmKind.PART_CRASHING,
        AlarmKind.STATION_WAITS,
        AlarmKind.REDIS_DOWN,
        AlarmKind.DISK_FULL,
    }
)
"""Alarms about what lets work stand still. While one is open, it says why nothing is drafted."""

LOOK_SECONDS = 15.0
"""Time between two looks at the pace."""


class NightAlarm:
    """Remembers since when the promise is broken or holds, and keeps the alarm as it should be."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing seen. clock: the time in seconds, of any origin."""
        self._clock = clock
        self._looked_at: float | None = None
        self._is_broken: bool | None = None
        self._since = 0.0

    def settle(self) -> None:
        """Look, where the last look is some seconds old, and open or close the alarm.

        Raises:
            DatabaseDown: PostgreSQL does not answer; the next look goes on.
        """
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        config = settings()
        if not config.night_late_minutes:
            return
        with unit_of_work() as session:
            parts = overview.read_parts(session)
            tonight = read_tonight(session, config, overview.read_workload(session, parts), parts)
            is_open = any(alarm.part == ALARM_PART for alarm in parts.alarms)
            stops = any(alarm.kind in STOPPING_KINDS for alarm in parts.alarms)
            # A part that is down has an alarm of its own: the same fault is not told twice.
            has_cause = tonight.outlook is Outlook.STALLED and stops
            self._note(now, tonight.is_promise_broken and not (has_cause and not is_open))
            self._settle(session, tonight, now, 60 * config.night_late_minutes, is_open)

    def _note(self, now: float, is_broken: bool) -> None:
        if is_broken is not self._is_broken:
            self._is_broken, self._since = is_broken, now

    def _settle(
        self, session: Session, tonight: Tonight, now: float, seconds: float, is_open: bool
    ) -> None:
        is_over = not tonight.has_begun or tonight.outlook is Outlook.NOTHING_TO_DO
        has_lasted = now - self._since >= seconds
        if is_open and (is_over or (has_lasted and not self._is_broken)):
            alarms.close_alarms(session, ALARM_PART)
        elif not is_open and not is_over and has_lasted and self._is_broken:
            alarms.raise_alarm(session, AlarmKind.NIGHT_LATE, ALARM_PART, tonight.sentence)
