"""Opens and closes the alarms of parts that do not run and of a Redis that does not answer.

It also looks for senders of whom much was refused and for certificates that end, counts the
processes that ended without a word, records whether Redis answers, and forgets what no light shows
any more.

The sweep's process looks, from its heartbeat's thread: sweeps themselves need Redis.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from records.alarm_kinds import AlarmKind
from records.broker import broker_client
from records.database.session import unit_of_work
from records.errors import BrokerDown
from records.operations import (
    alarms,
    certificates,
    heartbeats,
    lights,
    overview,
    refused_messages,
)
from records.operations.lights import Seen
from records.settings import settings

MISSING_SECONDS = 120.0
"""A part opens its alarm after so long without a heartbeat that counts; a restart takes less."""

REDIS_SECONDS = 30.0
"""Redis opens its alarm when it has not answered for so long."""

REDIS_ALARM_PART = "redis"
_MISSING_PREFIX = "part "
# Not the part's own name: an alarm under that one means that its workers stopped themselves.

_PING_SECONDS = 2.0


class PartAlarms:
    """Remembers since when something is missing, and keeps the alarms as they should be."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing missing. clock: the time in seconds, of any origin."""
        self._clock = clock
        self._missing_since: dict[str, float] = {}
        self._answers_since: float | None = None

    def settle(self) -> None:
        """Look once: open the alarms of what is missing for long, close those of what is back.

        Raises:
            DatabaseDown: PostgreSQL does not answer; the next look goes on.
        """
        absent = self._look_at_redis()
        try:
            self._settle(absent)
        except Exception:
            self._answers_since = None
            raise

    def _settle(self, absent: dict[str, tuple[float, AlarmKind, str]]) -> None:
        with unit_of_work() as session:
            now = self._clock()
            if self._answers_since is None:
                self._answers_since = now
            # While the database was away nobody could write a heartbeat.
            if now - self._answers_since >= heartbeats.DEAD_SECONDS:
                heartbeats.count_deaths(session)
                lights.forget_old(session, settings().dead_part_hours)
            config = settings()
            refused_messages.settle_alarms(session, config.refused_messages, config.refused_minutes)
            certificates.settle_alarms(session)
            redis = absent.get(REDIS_ALARM_PART)
            sentence = redis[2] if redis else "Redis answers the sweep."
            lights.record_observations(session, [Seen("redis", redis is None, sentence)])
            for part in overview.read_parts(session).missing:
                name, _, host = part.partition("@")
                absent[f"{_MISSING_PREFIX}{part}"] = (
                    MISSING_SECONDS,
                    AlarmKind.PART_MISSING,
                    f"No {name} part was seen for more than {heartbeats.SILENT_SECONDS:.0f} s, on "
                    f"{host or 'any machine'}.",
                )
            self._missing_since = {
                name: self._missing_since.get(name, now) for name in sorted(absent)
            }
            opened = {
                alarm.part: alarm
                for alarm in alarms.open_alarms(session)
                if alarm.kind in (AlarmKind.PART_MISSING, AlarmKind.REDIS_DOWN)
            }
            for name, (seconds, kind, cause) in absent.items():
                if name not in opened and now - self._missing_since[name] >= seconds:
                    alarms.raise_alarm(session, kind, name, cause)
            for name in opened.keys() - absent.keys():
                alarms.close_alarms(session, name)

    def _look_at_redis(self) -> dict[str, tuple[float, AlarmKind, str]]:
        """Redis where it does not answer: seconds until its alarm, the kind, the cause."""
        try:
            with broker_client(settings().address("redis_url"), _PING_SECONDS) as client:
                client.ping()
        except BrokerDown as error:
            cause = f"{error}. Nothing new is prepared or drafted until it answers."
            return {REDIS_ALARM_PART: (REDIS_SECONDS, AlarmKind.REDIS_DOWN, cause)}
        return {}
