"""Questions to other systems about a study: its order at a worklist, earlier reports at a server.

A question is a row. The sweep makes it when the study is complete; an `intake` process claims it,
asks, and writes the outcome in the same transaction as what the answer changed. A claim is worth
its time only (`not_before`): a process that dies lets the question be asked again. Every write
carries the claim's time, so a claim that ran out changes nothing.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest
from records.database.order_tables import Order, StudyQuery
from records.database.session import interval
from records.database.tables import Study
from records.errors import LostLease
from records.orders import effects, matching
from records.orders.order import ReceivedOrder
from records.orders.receiving import receive_orders
from records.settings import Settings
from records.states import EventKind, Priority, QueryKind, QueryState, RequestState
from records.workflow import events
from records.workflow.identifiers import KeyKind
from records.workflow.withdrawals import lock_study

_WORDS = {
    QueryKind.WORKLIST: ("the worklist", "order", EventKind.ORDER),
    QueryKind.REPORTS: ("the report server", "report", EventKind.REPORT_RECEIVED),
}
"""Who is asked, for what, and as which event the study's timeline shows it."""


@dataclass(frozen=True, slots=True)
class ClaimedQuery:
    """A question that this process may ask until its claim runs out.

    Attributes:
        id: of the row.
        study_id: the study that it is about.
        kind: who is asked.
        attempt: how often it has been asked, this time included.
        claimed_at: the database's time of the claim, which every write names.
        age: seconds since the question was made.
    """

    id: int
    study_id: uuid.UUID
    kind: QueryKind
    attempt: int
    claimed_at: dt.datetime
    age: float


def asked_kinds(config: Settings) -> tuple[QueryKind, ...]:
    """The kinds of questions for which the settings name a system."""
    named = {QueryKind.WORKLIST: config.worklist_host, QueryKind.REPORTS: config.reports_url}
    return tuple(kind for kind, address in named.items() if address)


def open_queries(session: Session, study_ids: Sequence[uuid.UUID], config: Settings) -> int:
    """Make the questions about studies that are complete now; the caller has locked them.

    The worklist is asked about a study for which no order counts. The report server is asked about
    every study, which waits for the answer for a while. A study that is complete again, after late
    images, is asked about again.

    Args:
        session: the transaction that completed the studies and matched their orders.
        study_ids: the studies.
        config: names the systems that are asked.

    Returns:
        How many questions wait now.
    """
    rows = []
    kinds = asked_kinds(config)
    for study_id in study_ids if kinds else ():
        rows += [
            {"study_id": study_id, "kind": kind}
            for kind in kinds
            if kind is not QueryKind.WORKLIST or not effects.counting_orders(session, study_id)
        ]
    if rows:
        made = insert(StudyQuery).values(rows)
        session.execute(
            made.on_conflict_do_update(
                index_elements=["study_id", "kind"],
                set_={
                    "state": QueryState.WAITING,
                    "not_before": func.clock_timestamp(),
                    "created_at": func.clock_timestamp(),
                    "attempts": 0,
                    "error": "",
                    "answers": None,
                    # A claim of the question before this one changes nothing any more.
                    "asked_at": None,
                    "wait_until": None,
                },
            )
        )
    if study_ids and QueryKind.REPORTS in kinds and config.reports_wait_seconds:
        _wait_for_reports(session, study_ids, config.reports_wait_seconds)
    return len(rows)


def _wait_for_reports(session: Session, study_ids: Sequence[uuid.UUID], seconds: float) -> None:
    """Let studies wait for their patients' earlier reports before they are prepared."""
    until = func.now() + interval(seconds)
    waiting = session.scalars(
        update(DraftRequest)
        .where(
            DraftRequest.id == Study.request_id,
            Study.id.in_(study_ids),
            DraftRequest.state == RequestState.WAITING,
            DraftRequest.priority > Priority.STAT,
        )
        # PostgreSQL's greatest() passes NULL by.
        .values(not_before=func.greatest(DraftRequest.not_before, until))
        .returning(DraftRequest.study_id)
        .execution_options(synchronize_session=False)
    ).all()
    session.execute(
        update(StudyQuery)
        .where(StudyQuery.study_id.in_(waiting), StudyQuery.kind == QueryKind.REPORTS)
        .values(wait_until=until)
        .execution_options(synchronize_session=False)
    )


def claim(session: Session, kind: QueryKind, seconds: float) -> ClaimedQuery | None:
    """Claim the question that has waited longest; None where none is due.

    Args:
        session: the caller's transaction.
        kind: who is asked.
        seconds: after so long the claim runs out, and the question is asked again.
    """
    due = (
        select(StudyQuery.id)
        .where(
            StudyQuery.state == QueryState.WAITING,
            StudyQuery.kind == kind,
            StudyQuery.not_before <= func.clock_timestamp(),
        )
        .order_by(StudyQuery.not_before, StudyQuery.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = session.execute(
        update(StudyQuery)
        .where(StudyQuery.id == due.scalar_subquery())
        .values(
            not_before=func.clock_timestamp() + interval(seconds),
            attempts=StudyQuery.attempts + 1,
            asked_at=func.clock_timestamp(),
        )
        .returning(
            StudyQuery.id,
            StudyQuery.study_id,
            StudyQuery.attempts,
            StudyQuery.asked_at,
            func.extract("epoch", func.clock_timestamp() - StudyQuery.created_at),
        )
        .execution_options(synchronize_session=False)
    ).first()
    if row is None:
        return None
    number, study_id, attempt, claimed_at, age = row
    assert claimed_at is not None  # it was set just now
    return ClaimedQuery(number, study_id, kind, attempt, claimed_at, float(age))


def keep_orders(
    session: Session,
    study_id: uuid.UUID,
    received: Sequence[ReceivedOrder],
    matched_by: KeyKind,
) -> int:
    """Take in the orders that were found for a study, and match them with the study.

    Args:
        session: the caller's transaction, which has locked nothing.
        study_id: the study that they were asked for.
        received: the orders.
        matched_by: by which of the study's keys they were found.

    Returns:
        How many orders count for the study now.

    Raises:
        MessageError: as `receive_orders`.
    """
    results = receive_orders(session, received)
    # An order that is kept already changes nothing, and one that was found by patient and date
    # shares no number with the study.
    study = lock_study(session, study_id)
    for result in results:
        order = session.get_one(Order, result.order_id)
        matching.match(session, study, order, by_patient=matched_by is KeyKind.PATIENT)
    effects.apply_to_study(session, study)
    return len(effects.counting_orders(session, study_id))


def mark_answered(session: Session, query: ClaimedQuery, answers: int, sentence: str = "") -> None:
    """End a question: `answers` of what was asked for came.

    Args:
        session: the transaction that kept what came.
        query: the claim.
        answers: how many there were.
        sentence: what the study's timeline says instead of the number.

    Raises:
        LostLease: somebody else has asked meanwhile; the caller's transaction must not commit.
    """
    _end(session, query, state=QueryState.ANSWERED, answers=answers, error="")
    who, what, event = _WORDS[query.kind]
    counted = f"no {what}" if not answers else f"{answers} {what}{'s' if answers > 1 else ''}"
    events.append_event(session, query.study_id, event, sentence or f"asked {who}: {counted}")


def ask_again(
    session: Session, query: ClaimedQuery, error: str, attempts: int, retry_seconds: float
) -> bool:
    """Let a question be asked again later: it failed, or its answer was empty.

    Args:
        session: the caller's transaction.
        query: the claim.
        error: why, in words without a patient; "" where the answer was empty.
        attempts: how often a question is asked.
        retry_seconds: the wait after the first time; it doubles with each.

    Returns:
        Whether it will be asked again. If not, it is GIVEN_UP, or ANSWERED where there was no
        error.

    Raises:
        LostLease: as `mark_answered`.
    """
    if query.attempt < attempts:
        seconds = retry_seconds * 2 ** (query.attempt - 1)
        _write(session, query, error=error, not_before=func.clock_timestamp() + interval(seconds))
        return True
    if error:
        give_up(session, query, error)
    else:
        mark_answered(session, query, 0)
    return False


def give_up(session: Session, query: ClaimedQuery, error: str) -> None:
    """End a question that has no answer, for good.

    Raises:
        LostLease: as `mark_answered`.
    """
    _end(session, query, state=QueryState.GIVEN_UP, error=error)
    who, _, event = _WORDS[query.kind]
    events.append_event(session, query.study_id, event, f"gave up asking {who}: {error}")


def put_back(session: Session, query: ClaimedQuery, error: str) -> None:
    """Give a claim back, uncounted: the fault is the other system's and not the question's.

    Raises:
        LostLease: as `mark_answered`.
    """
    _write(
        session,
        query,
        error=error,
        attempts=StudyQuery.attempts - 1,
        not_before=func.clock_timestamp(),
    )


def _end(session: Session, query: ClaimedQuery, **values: object) -> None:
    if query.kind is QueryKind.REPORTS:
        # It locks the study, which comes before its questions in every transaction.
        effects.end_report_wait(session, query.study_id)
    _write(session, query, **values)


def _write(session: Session, query: ClaimedQuery, **values: object) -> None:
    written = session.scalar(
        update(StudyQuery)
        .where(
            StudyQuery.id == query.id,
            StudyQuery.state == QueryState.WAITING,
            StudyQuery.asked_at == query.claimed_at,
        )
        .values(**values)
        .returning(StudyQuery.id)
        .execution_options(synchronize_session=False)
    )
    if written is None:
        raise LostLease("somebody else has asked this question meanwhile")
