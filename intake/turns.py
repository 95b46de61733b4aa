"""Takes turns for one other system until it is stopped, and knows whether that system answers.

A fault of another system is one fault: it is logged once, its light shows it, it has one alarm once
it has lasted, and it is left alone for pauses that become longer. What waits for it pays for
nothing.
"""

from __future__ import annotations

import faulthandler
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import DatabaseDown, PartError, safe_text
from records.operations import alarms, lights
from records.operations.heartbeats import HeartbeatThread
from records.operations.lights import Seen
from records.telemetry import logger

IDLE_SECONDS = 1.0
"""Time between two looks for work while there is none."""

FIRST_PAUSE_SECONDS = 5.0
LAST_PAUSE_SECONDS = 300.0
"""The pause after a system did not answer, at first and at most; it doubles."""

LIGHT_SECONDS = 10.0
"""Time between two records of whether a system answers. A light that nobody records for a minute
says that no process looks at the system."""

STOP_SECONDS = 20.0
"""How long a turn may take once its part is stopping. What is not ended then is begun again by the
next process."""

_STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


class SystemAway(PartError):
    """Another system does not answer, or lets nobody ask. Start it, or correct the settings.

    Attributes:
        retry_seconds: how long it asks to be left alone; None where it says nothing.
    """

    def __init__(self, sentence: str, retry_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_seconds = retry_seconds


class Outage:
    """Since when a system is away, and how long it is left alone. All times are passed in.

    Args:
        alarm_seconds: the alarm is due after the system has been away for so long.

    Attributes:
        since: when it was first found away, in seconds on a clock that only goes forward; None
            where it is not away.
    """

    def __init__(self, alarm_seconds: float) -> None:
        self.since: float | None = None
        self._alarm_seconds = alarm_seconds
        self._pause = 0.0
        self._until = 0.0

    def note_away(self, now: float, retry_seconds: float | None = None) -> float:
        """The system did not answer: begin the next pause.

        Args:
            now: seconds on a clock that only goes forward.
            retry_seconds: how long it asks to be left alone.

        Returns:
            The seconds of the pause.
        """
        if self.since is None:
            self.since = now
        self._pause = min(max(FIRST_PAUSE_SECONDS, 2 * self._pause), LAST_PAUSE_SECONDS)
        if retry_seconds is not None:
            self._pause = min(max(self._pause, retry_seconds), LAST_PAUSE_SECONDS)
        pause = self._pause
        if not self.is_alarm_due(now):
            # The alarm is not to wait for the end of a long pause.
            left = self.since + self._alarm_seconds - now
            pause = min(pause, max(left, FIRST_PAUSE_SECONDS))
        self._until = now + pause
        return pause

    def note_answer(self) -> None:
        """The system answered: it is not away, and the next pause is a short one again."""
        self.since, self._pause, self._until = None, 0.0, 0.0

    def leave_alone(self, now: float, seconds: float) -> None:
        """Begin a pause that says nothing of the system."""
        self._until = now + seconds

    def rest_seconds(self, now: float) -> float:
        """How long it is left alone from now on."""
        return max(0.0, self._until - now)

    def is_alarm_due(self, now: float) -> bool:
        """Whether it has been away for so long that somebody is told."""
        return self.since is not None and now - self.since >= self._alarm_seconds


class Reachability:
    """Whether one system answers, with its light and its alarm; for all threads that ask it.

    Args:
        name: whose alarm and light it is.
        alarm_kind: which alarm opens.
        alarm_seconds: it opens after the system has been away for so long.
        clock: seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        name: str,
        alarm_kind: AlarmKind,
        alarm_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._alarm_kind = alarm_kind
        self._clock = clock
        self._lock = threading.Lock()
        self._outage = Outage(alarm_seconds)
        self._is_known = False  # whether the system was asked since this process began
        self._sentence = ""
        self._recorded_at = 0.0

    @property
    def is_known_well(self) -> bool:
        """Whether it answered when it was last asked."""
        return self._is_known and self._outage.since is None

    def rest_seconds(self) -> float:
        """How long it is left alone from now on."""
        return self._outage.rest_seconds(self._clock())

    def note_away(self, error: SystemAway) -> float:
        """Note that it does not answer, and begin the next pause.

        Returns:
            The seconds of the pause.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        with self._lock:
            if self._outage.since is None:
                logger().warning(
                    "a system does not answer", owner=self.name, error=safe_text(error)
                )
            pause = self._outage.note_away(self._clock(), error.retry_seconds)
            self._is_known = True
            self._sentence = f"{error}."
        self.record()
        return pause

    def note_answer(self) -> None:
        """Note that it answered: its alarm is over.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        with self._lock:
            was_well = self.is_known_well
            if self._outage.since is not None:
                logger().info("a system answers again", owner=self.name)
            self._outage.note_answer()
            self._is_known = True
        if not was_well:
            self.record()

    def pause(self, seconds: float) -> None:
        """Leave it alone for a reason that is not its own; the next answer is noted anew."""
        with self._lock:
            self._is_known = False
            self._outage.leave_alone(self._clock(), seconds)

    def record(self) -> None:
        """Record its light, and what follows for its alarm.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        with self._lock:
            now = self._recorded_at = self._clock()
            is_away = self._outage.since is not None
            is_alarm_due = self._outage.is_alarm_due(now)
            sentence = self._sentence if is_away else "It answered when it was last asked."
        with unit_of_work() as session:
            seen = Seen(self.name, is_well=not is_away, sentence=sentence)
            lights.record_observations(session, [seen])
            self.note_waiting(session, sentence if is_away else "")
            if is_alarm_due and self.is_needed(session, now=True):
                alarms.raise_alarm(session, self._alarm_kind, self.name, sentence)
            elif not is_away or not self.is_needed(session, now=False):
                alarms.close_alarms(session, self.name)

    def record_if_due(self) -> None:
        """Record its light again where the last record is old.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        if self._is_known and self._clock() - self._recorded_at >= LIGHT_SECONDS:
            self.record()

    def note_waiting(self, session: Session, sentence: str) -> None:
        """Say where work waits for it why it does; "" is that it answers. Nowhere, by itself."""

    def is_needed(self, session: Session, *, now: bool) -> bool:
        """Whether work waits for it; without any, it has no alarm. By itself, always.

        Args:
            session: the caller's transaction.
            now: whether work that waits for a later time is left out. An alarm opens only for
                work that waits now, and stays open while any does.
        """
        del session, now
        return True


class TurnThread(threading.Thread, ABC):
    """Takes turns until it is stopped.

    Args:
        name: of the thread.
        reachability: of the system, shared by all who take turns for it.
    """

    def __init__(self, name: str, reachability: Reachability) -> None:
        super().__init__(name=name, daemon=True)
        self._reachability = reachability
        self._stopped = threading.Event()
        self._log_error = ""

    @abstractmethod
    def take_turn(self) -> float:
        """Do one piece of work, if there is one.

        Returns:
            Seconds until the next turn.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopped.set()

    @property
    def is_stopped(self) -> bool:
        """Whether nothing more is to be begun."""
        return self._stopped.is_set()

    def run(self) -> None:
        """Take turns; whatever happens is logged once, and tried again."""
        while not self.is_stopped:
            try:
                wait = self.take_turn()
                self._log_error = ""
            except Exception as error:
                # PostgreSQL is away, or a fault of ours: a claim runs out.
                text = safe_text(error)
                if text != self._log_error:
                    logger().warning(
                        "a turn failed and is tried again",
                        owner=self._reachability.name,
                        error=text,
                    )
                self._log_error = text
                wait = FIRST_PAUSE_SECONDS
            self._rest(wait)

    def _rest(self, seconds: float) -> None:
        """Wait for the next turn; the light stays fresh in a long pause."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._stopped.wait(min(left, LIGHT_SECONDS)):
                return
            try:
                self._reachability.record_if_due()
            except DatabaseDown:  # the next turn logs it
                return


def run_turns(
    part: str,
    threads: Sequence[TurnThread],
    facts: Callable[[], Mapping[str, Any]],
    ready: Callable[[], None] | None = None,
) -> None:
    """Let threads take turns until SIGTERM or SIGINT; a turn that was begun is ended first.

    Args:
        part: whose heartbeat it is.
        threads: not yet started.
        facts: what the heartbeat says of them.
        ready: called once the threads run.
    """
    # Blocked in all threads that begin from now on, and taken by sigwait below.
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        with HeartbeatThread(part, facts):
            for thread in threads:
                thread.start()
            logger().info("other systems are asked", reason=", ".join(t.name for t in threads))
            if ready:
                ready()
            signal.sigwait(_STOP_SIGNALS)
            logger().info("asking is stopping")
            faulthandler.dump_traceback_later(2 * STOP_SECONDS, exit=True)
            for thread in threads:
                thread.stop()
            for thread in threads:
                thread.join(STOP_SECONDS)
            faulthandler.cancel_dump_traceback_later()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)
