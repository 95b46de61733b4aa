"""Asks one other system, one question after the other, at its rate, and waits while it is away.

What another system lacks is one fault: there is one alarm, the questions wait, and one of them is
asked from time to time until it is answered. No study pays for it with an attempt.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Protocol

from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import DatabaseDown, LostLease, NightdraftError, PartError, safe_text
from records.operations import alarms, lights
from records.operations.lights import Seen
from records.orders import queries
from records.orders.queries import ClaimedQuery
from records.states import QueryKind
from records.telemetry import logger

IDLE_SECONDS = 1.0
"""Time between two looks for questions while there are none."""

CLAIM_SECONDS = 600.0
"""A question that was claimed and not ended, for its process died, is asked again after so long.
No question may take longer."""

FIRST_PAUSE_SECONDS = 5.0
LAST_PAUSE_SECONDS = 300.0
"""The pause after a system did not answer, at first and at most; it doubles."""

FAILURES_IN_A_ROW = 3
"""So many questions about different studies that fail in a row are the system's fault."""

LIGHT_SECONDS = 10.0
"""Time between two records of whether the system answers."""


class SystemAway(PartError):
    """Another system does not answer, or lets nobody ask. Start it, or correct the settings.

    Attributes:
        retry_seconds: how long it asks to be left alone; None where it says nothing.
    """

    def __init__(self, sentence: str, retry_seconds: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_seconds = retry_seconds


class QuestionFailed(NightdraftError):
    """One question was answered in a way that cannot be used. The sentence names no patient."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How a system is asked.

    Attributes:
        per_minute: questions a minute, at most.
        attempts: how often one question is asked.
        retry_seconds: the wait before it is asked again; it doubles.
        give_up_seconds: a question that is older is not asked any more.
        alarm_seconds: the alarm opens after the system has been away for so long.
    """

    per_minute: float
    attempts: int
    retry_seconds: float
    give_up_seconds: float
    alarm_seconds: float


class OtherSystem(Protocol):
    """A system that is asked."""

    kind: QueryKind
    name: str
    """Whose alarm and light it is: `worklist`, `report server`."""
    alarm_kind: AlarmKind
    limits: Limits

    def ask(self, query: ClaimedQuery) -> bool:
        """Ask, and keep what came in one transaction together with the outcome of the question.

        Returns:
            Whether the question has an outcome. False where the answer was empty.

        Raises:
            SystemAway, QuestionFailed: nothing was kept.
        """

    def check(self) -> None:
        """Find out whether the system answers.

        Raises:
            SystemAway: it does not.
        """


class Asker(threading.Thread):
    """Asks one system until it is stopped."""

    def __init__(self, system: OtherSystem) -> None:
        super().__init__(name=system.name, daemon=True)
        self.asked = 0
        self._system = system
        self._limits = system.limits
        self._stopped = threading.Event()
        self._pause = 0.0
        self._away_since: float | None = None
        self._failures: list[object] = []
        self._is_known = False  # whether the system was asked since this process began
        self._seen_at = 0.0
        self._log_error = ""
        self._away_sentence = ""

    def stop(self) -> None:
        """Begin no other question."""
        self._stopped.set()

    def run(self) -> None:
        """Ask until stopped; whatever happens is logged once, and tried again."""
        while not self._stopped.is_set():
            try:
                wait = self.take_turn()
                self._log_error = ""
            except Exception as error:
                # PostgreSQL is away, or a fault of ours: the question's claim runs out.
                text = safe_text(error)
                if text != self._log_error:
                    logger().warning("a question waits", owner=self._system.name, error=text)
                self._log_error = text
                wait = FIRST_PAUSE_SECONDS
            self._rest(wait)

    def _rest(self, seconds: float) -> None:
        """Wait for the next turn; the light of a system that is away stays fresh in a long pause.

        A light that nobody records for a minute says that no process looks at the system.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._stopped.wait(min(left, LIGHT_SECONDS)):
                return
            if self._away_since is not None:
                try:
                    self._record_away()
                except DatabaseDown:  # the next turn logs it
                    return

    def take_turn(self) -> float:
        """Ask one question if one is due.

        Returns:
            Seconds until the next turn.

        Raises:
            DatabaseDown: PostgreSQL does not answer.
        """
        with unit_of_work() as session:
            query = queries.claim(session, self._system.kind, CLAIM_SECONDS)
        if query is None:
            if self._away_since is not None or not self._is_known:
                return self._check()
            if time.monotonic() - self._seen_at >= LIGHT_SECONDS:
                self._record_well()
            return IDLE_SECONDS
        if query.age > self._limits.give_up_seconds:
            hours = self._limits.give_up_seconds / 3600
            with unit_of_work() as session:
                queries.give_up(session, query, f"it could not be asked within {hours:g} hours")
            return 0.0
        begun = time.monotonic()
        try:
            self._ask(query)
        except SystemAway as error:
            self._put_back(query, error)
            return self._wait_for_system(error)
        except LostLease:
            logger().warning("a question was asked twice", study=str(query.study_id))
        self.asked += 1
        return max(0.0, 60.0 / self._limits.per_minute - (time.monotonic() - begun))

    def _ask(self, query: ClaimedQuery) -> None:
        limits = self._limits
        error_text = ""
        try:
            if self._system.ask(query):
                self._note_answer()
                return
        except QuestionFailed as error:
            error_text = str(error)
        with unit_of_work() as session:
            again = queries.ask_again(
                session, query, error_text, limits.attempts, limits.retry_seconds
            )
        if not error_text:
            self._note_answer()
            return
        logger().warning(
            "a question failed",
            owner=self._system.name,
            study=str(query.study_id),
            attempt=query.attempt,
            outcome="asked again" if again else "given up",
            error=error_text,
        )
        if query.study_id not in self._failures:
            self._failures.append(query.study_id)
        if len(self._failures) >= FAILURES_IN_A_ROW:
            self._failures.clear()
            raise SystemAway(
                f"questions about {FAILURES_IN_A_ROW} studies failed one after the other; the last "
                f"error: {error_text}"
            )

    def _note_answer(self) -> None:
        """The system answered: its alarm is over."""
        self._failures.clear()
        self._pause = 0.0
        if self._away_since is not None:
            logger().info("a system answers again", owner=self._system.name)
        if self._away_since is not None or not self._is_known:
            self._record_well()
        self._away_since = None
        self._is_known = True

    def _put_back(self, query: ClaimedQuery, error: SystemAway) -> None:
        try:
            with unit_of_work() as session:
                queries.put_back(session, query, str(error))
        except LostLease:  # its outcome is written, or somebody else has it
            return

    def _wait_for_system(self, error: SystemAway) -> float:
        """Note that the system is away, open its alarm when that has lasted; returns the pause."""
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
            logger().warning("a system does not answer", owner=self._system.name, error=str(error))
        self._is_known = True
        self._pause = min(max(FIRST_PAUSE_SECONDS, 2 * self._pause), LAST_PAUSE_SECONDS)
        if error.retry_seconds is not None:
            self._pause = min(max(self._pause, error.retry_seconds), LAST_PAUSE_SECONDS)
        lasted = now - self._away_since
        if lasted >= self._limits.alarm_seconds:
            with unit_of_work() as session:
                alarms.raise_alarm(session, self._system.alarm_kind, self._system.name, f"{error}.")
        self._away_sentence = f"{error}."
        self._record_away()
        if lasted < self._limits.alarm_seconds:
            # The alarm is not to wait for the end of a long pause.
            return min(self._pause, max(self._limits.alarm_seconds - lasted, FIRST_PAUSE_SECONDS))
        return self._pause

    def _record_away(self) -> None:
        away = Seen(self._system.name, is_well=False, sentence=self._away_sentence)
        with unit_of_work() as session:
            lights.record_observations(session, [away])

    def _check(self) -> float:
        """Find out whether the system answers while there is no question that would show it."""
        try:
            self._system.check()
        except SystemAway as error:
            return self._wait_for_system(error)
        self._note_answer()
        return IDLE_SECONDS

    def _record_well(self) -> None:
        self._seen_at = time.monotonic()
        well = Seen(self._system.name, is_well=True, sentence="It answered when it was last asked.")
        with unit_of_work() as session:
            lights.record_observations(session, [well])
            alarms.close_alarms(session, self._system.name)
