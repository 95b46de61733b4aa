"""Asks one other system, one question after the other, at its rate, and waits while it is away.

While it is away the questions wait, and one of them is asked from time to time until it is
answered. No study pays for it with an attempt.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Protocol

from intake.turns import IDLE_SECONDS, Reachability, SystemAway, TurnThread
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import LostLease, NightdraftError
from records.orders import queries
from records.orders.queries import ClaimedQuery
from records.states import QueryKind
from records.telemetry import logger

CLAIM_SECONDS = 600.0
"""A question that was claimed and not ended, for its process died, is asked again after so long.
No question may take longer."""

FAILURES_IN_A_ROW = 3
"""So many questions about different studies that fail in a row are the system's fault."""


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


class Asker(TurnThread):
    """Asks one system until it is stopped."""

    def __init__(self, system: OtherSystem) -> None:
        limits = system.limits
        super().__init__(
            system.name, Reachability(system.name, system.alarm_kind, limits.alarm_seconds)
        )
        self.asked = 0
        self._system = system
        self._limits = limits
        self._failures: list[object] = []

    def take_turn(self) -> float:
        """Ask one question if one is due; see `TurnThread.take_turn`."""
        with unit_of_work() as session:
            query = queries.claim(session, self._system.kind, CLAIM_SECONDS)
        try:
            return self._check() if query is None else self._take(query)
        except SystemAway as error:
            return self._reachability.note_away(error)

    def _check(self) -> float:
        """Find out whether the system answers while there is no question that would show it."""
        if self._reachability.is_known_well:
            self._reachability.record_if_due()
        else:
            self._system.check()
            self._note_answer()
        return IDLE_SECONDS

    def _take(self, query: ClaimedQuery) -> float:
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
            raise
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
        self._failures.clear()
        self._reachability.note_answer()

    def _put_back(self, query: ClaimedQuery, error: SystemAway) -> None:
        try:
            with unit_of_work() as session:
                queries.put_back(session, query, str(error))
        except LostLease:  # its outcome is written, or somebody else has it
            return
