"""What a person does to several studies at once: draft again, cancel, another priority.

A plan says of each study whether it would be changed, and why not. Carrying it out asks the same
again of each study while that is locked, in a transaction of its own: what changed meanwhile is
left alone and named. Only studies of the visible sites are changed.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ARRAY, Uuid, any_, literal, select
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest
from records.database.review_tables import Review
from records.database.tables import Study
from records.errors import NotAllowed
from records.states import (
    EndReason,
    EventKind,
    Priority,
    RequestState,
    ReviewDecision,
    VisibleState,
)
from records.workflow import events, requests
from records.workflow.request_priorities import set_open_request
from records.workflow.site_scope import shows
from records.workflow.withdrawals import lock_study
from records.workflow.worklist_rows import read_row

MOST_STUDIES = 200
"""Studies that one change names, at most."""

NOT_SHOWN = "It is not among the studies that you see."


class BulkAction(StrEnum):
    """What is done to several studies."""

    RETRY = "RETRY"  # FAILED and SKIPPED are taken up again
    CANCEL = "CANCEL"  # no draft is made
    PRIORITY = "PRIORITY"  # another priority, which no film and no order changes


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done. priority: the new one, of PRIORITY alone. by: who wants it."""

    action: BulkAction
    priority: Priority | None = None
    by: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one study.

    Attributes:
        study_id: the study.
        label: the accession number, or the study's description where it has none; no name.
        state: as a person sees it; None where the study is not shown.
        why_not: why it is not changed, as a sentence; "" where it is.
    """

    study_id: uuid.UUID
    label: str
    state: VisibleState | None
    why_not: str = ""


def plan(session: Session, study_ids: Sequence[uuid.UUID], change: Change) -> list[Verdict]:
    """What a change would do to each of these studies; it changes nothing.

    Raises:
        NotAllowed: no study, too many, or a priority that is missing or not asked for.
    """
    _check(study_ids, change)
    ids = list(dict.fromkeys(study_ids))
    found = {
        study.id: study
        for study in session.scalars(
            select(Study).where(Study.id == any_(literal(ids, ARRAY(Uuid))))
        )
    }
    return [_judge(session, id_, found.get(id_), change) for id_ in ids]


def carry_out(
    unit: Callable[[], AbstractContextManager[Session]],
    study_ids: Sequence[uuid.UUID],
    change: Change,
) -> list[Verdict]:
    """Do it, each study in a transaction of its own; what cannot be done is said and left alone.

    Args:
        unit: opens a transaction, as `unit_of_work`.
        study_ids: the studies, 200 at most.
        change: what is done.

    Raises:
        NotAllowed: as `plan`.
    """
    _check(study_ids, change)
    verdicts = []
    for id_ in dict.fromkeys(study_ids):
        with unit() as session:
            known = session.get(Study, id_)
            if known is None or not shows(known.site_id):
                verdicts.append(Verdict(id_, "", None, NOT_SHOWN))
                continue
            study = lock_study(session, id_)
            verdict = _judge(session, id_, study, change)
            if not verdict.why_not:
                _do(session, study, change)
            verdicts.append(verdict)
    return verdicts


def choose_priority(session: Session, study: Study, priority: Priority, by: str) -> None:
    """Give a study the priority that a person chose; no later film or order changes it.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        priority: the new one.
        by: who chose it; the timeline keeps the name.
    """
    before = Priority(study.priority)
    if study.received_priority is None:
        study.received_priority = study.priority
    study.priority = study.chosen_priority = priority
    session.flush()
    request = set_open_request(session, study, priority)
    detail = f"{priority.name} in place of {before.name}, chosen by {by or 'a person'}"
    events.append_event(
        session,
        study.id,
        EventKind.PRIORITY_CHOSEN,
        detail,
        request.id if request is not None else None,
    )


def _check(study_ids: Sequence[uuid.UUID], change: Change) -> None:
    if not study_ids:
        raise NotAllowed("no study is ticked: tick those that are meant")
    if len(study_ids) > MOST_STUDIES:
        raise NotAllowed(f"{MOST_STUDIES} studies at most are changed at once")
    if (change.priority is None) == (change.action is BulkAction.PRIORITY):
        raise NotAllowed("a priority is named for PRIORITY, and for nothing else")


def _judge(session: Session, id_: uuid.UUID, study: Study | None, change: Change) -> Verdict:
    if study is None or not shows(study.site_id):
        return Verdict(id_, "", None, NOT_SHOWN)
    row = read_row(session, id_)
    label = row.accession_number or row.study_description or "without a number"
    request = session.get(DraftRequest, study.request_id) if study.request_id else None
    why_not = {
        BulkAction.RETRY: _why_not_retried,
        BulkAction.CANCEL: _why_not_cancelled,
        BulkAction.PRIORITY: _why_not_moved,
    }[change.action](session, study, row.state, request, change)
    return Verdict(id_, label, row.state, why_not)


def _is_signed(session: Session, study: Study) -> bool:
    return (
        session.scalar(
            select(Review.id)
            .where(Review.study_id == study.id, Review.decision == ReviewDecision.SIGNED)
            .limit(1)
        )
        is not None
    )


def _why_not_retried(
    session: Session,
    study: Study,
    state: VisibleState,
    request: DraftRequest | None,
    change: Change,  # noqa: ARG001  # as the others
) -> str:
    if state is VisibleState.HELD:
        return "A person must decide about it first."
    if request is not None and request.state in (RequestState.FAILED, RequestState.SKIPPED):
        return "Its report is signed." if _is_signed(session, study) else ""
    if state is VisibleState.CANCELLED:
        return "Its draft was decided against: only its own page takes that back."
    if state is VisibleState.DRAFTED:
        return "It has a draft."
    return "It is being drafted already."


def _why_not_cancelled(
    session: Session,
    study: Study,
    state: VisibleState,
    request: DraftRequest | None,
    change: Change,  # noqa: ARG001  # as the others
) -> str:
    if _is_signed(session, study):
        return "Its report is signed."
    if state is VisibleState.HELD:
        return "A person must decide about it first."
    if state is VisibleState.DRAFTED:
        return "It has a draft: its own page withdraws that."
    if state is VisibleState.CANCELLED:
        return "It is cancelled already."
    if request is None or state is VisibleState.RECEIVING:
        return "Its images are still coming."
    return ""


def _why_not_moved(
    session: Session,
    study: Study,
    state: VisibleState,  # noqa: ARG001  # as the others
    request: DraftRequest | None,  # noqa: ARG001
    change: Change,
) -> str:
    if _is_signed(session, study):
        return "Its report is signed."
    if study.priority == change.priority and study.chosen_priority == change.priority:
        return "A person chose this priority already."
    return ""


def _do(session: Session, study: Study, change: Change) -> None:
    if change.action is BulkAction.RETRY:
        requests.retry(session, study_id=study.id)
    elif change.action is BulkAction.CANCEL:
        detail = f"no draft is wanted, said {change.by or 'a person'}"
        requests.cancel(session, study.id, detail, EndReason.DECIDED)
    elif change.priority is not None:
        choose_priority(session, study, change.priority, change.by)
