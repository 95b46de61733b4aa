"""Draft requests: what is to be drafted. They go from state to state by `move` alone.

Every write of a worker carries its lease (`records.workflow.leases`); a write under a lost lease
changes nothing. What an error costs is in `records.workflow.attempts`.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Text, Update, cast, exists, func, or_, select, update
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest
from records.database.session import new_id
from records.database.tables import Study
from records.errors import NotAllowed
from records.states import (
    OPEN,
    TRANSITIONS,
    EndReason,
    EventKind,
    FailReason,
    Priority,
    Purpose,
    RequestState,
)
from records.workflow import events, leases
from records.workflow.leases import Lease
from records.workflow.site_scope import is_of_site

_KEPT_BY_DRAFT = ["views", "left_out", "notes", "indication", "indication_source", "indications"]
"""What a draft copies from the provenance of its request."""


@dataclass(frozen=True, slots=True)
class PreparedInput:
    """What preparing stores for drafting.

    Attributes:
        blob: the key of the prepared input.
        inputs_digest: the digest of everything it was made from.
        preprocessing_digest: the digest of how it was prepared; with another it is prepared again.
        provenance: what the draft will keep: views, left_out, notes, indication.
    """

    blob: str
    inputs_digest: str
    preprocessing_digest: str
    provenance: dict[str, Any]


def create_request(
    session: Session,
    study: Study,
    *,
    purpose: Purpose = Purpose.PRIMARY,
    bundle: str | None = None,
    priority: Priority | None = None,
) -> uuid.UUID:
    """Create a request for the study's present revision; an open primary one is superseded.

    What a person cancelled stays cancelled: the request after a cancelled one is cancelled at once,
    until `retry` takes that back.

    Args:
        session: the caller's transaction, which has locked the study.
        study: the study.
        purpose: why it is drafted.
        bundle: the digest of the bundle that drafts; None is whichever is served.
        priority: None is the study's own.

    Returns:
        The request's id.
    """
    request_id = new_id(session)
    # What the caller changed of the study and its new request are one UPDATE: each leaves a dead
    # version of the row behind, in every index.
    with session.no_autoflush:
        previous = session.execute(
            select(DraftRequest.state, DraftRequest.reason, DraftRequest.detail).where(
                DraftRequest.id == study.request_id
            )
        ).one_or_none()
        if purpose is Purpose.PRIMARY:
            detail = f"superseded by revision {study.revision}"
            supersede(session, study.id, EndReason.LATE_IMAGES, detail)
            study.request_id = request_id
    session.flush()  # before the request, which is claimable where its study is complete
    request = DraftRequest(
        id=request_id,
        study_id=study.id,
        revision=study.revision,
        purpose=purpose,
        bundle=bundle,
        priority=study.priority if priority is None else priority,
    )
    session.add(request)
    session.flush()
    events.append_event(session, study.id, EventKind.REQUESTED, purpose, request_id)
    if (
        purpose is Purpose.PRIMARY
        and previous is not None
        and previous.state == RequestState.CANCELLED
    ):
        cancel(session, study.id, previous.detail, EndReason(previous.reason))
    return request_id


def lock_open(session: Session, study_ids: Sequence[uuid.UUID]) -> None:
    """Lock the open requests of these studies, in the one order in which requests are locked.

    Who is about to end requests of several studies calls it first. Otherwise it could wait for a
    worker that saves its drafts, while that worker waits for it.
    """
    session.execute(
        select(DraftRequest.id)
        .where(DraftRequest.study_id.in_(study_ids), DraftRequest.state.in_(OPEN))
        .order_by(DraftRequest.id)
        .with_for_update(key_share=True)
    )


def supersede(session: Session, study_id: uuid.UUID, reason: EndReason, detail: str) -> int:
    """End the study's open primary request; a worker that has it loses its lease.

    Returns:
        How many requests ended.
    """
    superseded = session.scalars(
        move(RequestState.SUPERSEDED)
        .where(
            DraftRequest.study_id == study_id,
            DraftRequest.purpose == Purpose.PRIMARY,
            DraftRequest.state.in_(OPEN),
        )
        .values(reason=reason, detail=detail)
        .returning(DraftRequest.id)
    ).all()
    events.append_events(
        session,
        EventKind.SUPERSEDED,
        [(study_id, id_, detail) for id_ in superseded],
        reason=reason,
    )
    return len(superseded)


def move(target: RequestState) -> Update:
    """An UPDATE to `target` of rows whose state may go there; a trigger ends their lease."""
    sources = [state for state, targets in TRANSITIONS.items() if target in targets]
    return (
        update(DraftRequest)
        .where(DraftRequest.state.in_(sources))
        .values(state=target, changed_at=func.clock_timestamp())
        .execution_options(synchronize_session=False)
    )


def mark_prepared(session: Session, lease: Lease, prepared: PreparedInput) -> bool:
    """WAITING -> PREPARED; False where the lease is lost."""
    if not leases.lock_if_held(session, lease):
        return False
    session.execute(
        move(RequestState.PREPARED)
        .where(DraftRequest.id == lease.request_id)
        .values(
            prepared_blob=prepared.blob,
            inputs_digest=prepared.inputs_digest,
            preprocessing_digest=prepared.preprocessing_digest,
            provenance=prepared.provenance,
            attempts=0,
            suspect=False,
            not_before=None,
        )
    )
    events.append_event(
        session, lease.study_id, EventKind.PREPARED, "", lease.request_id, worker=lease.worker
    )
    return True


def prepare_again(session: Session, lease: Lease, reason: str) -> bool:
    """PREPARED -> WAITING, uncounted: the input is gone, damaged, or of another preprocessing.

    Returns:
        False where the lease is lost.
    """
    if not leases.lock_if_held(session, lease):
        return False
    session.execute(
        move(RequestState.WAITING)
        .where(DraftRequest.id == lease.request_id)
        .values(prepared_blob=None, inputs_digest=None, preprocessing_digest=None)
    )
    events.append_event(session, lease.study_id, EventKind.PREPARE_AGAIN, reason, lease.request_id)
    return True


def prepare_anew(session: Session, study_ids: Sequence[uuid.UUID], reason: str) -> None:
    """PREPARED -> WAITING: something that was not known when these studies were prepared.

    A worker that has one of them loses its lease and cannot save. Whoever prepares one now looks
    again at the end: its request is locked here until the caller's commit.
    """
    lock_open(session, study_ids)
    rows = session.execute(
        move(RequestState.WAITING)
        .where(
            DraftRequest.study_id.in_(study_ids),
            DraftRequest.state == RequestState.PREPARED,
        )
        .values(prepared_blob=None, inputs_digest=None, preprocessing_digest=None)
        .returning(DraftRequest.study_id, DraftRequest.id)
    ).all()
    events.append_events(
        session, EventKind.PREPARE_AGAIN, [(study, request, reason) for study, request in rows]
    )


def mark_drafted(session: Session, lease: Lease, draft_id: uuid.UUID) -> None:
    """-> DRAFTED with its draft. `drafts.save` calls it, and holds the lock of the request.

    The time of the lease is not looked at again: if it ran out since the lock was taken, the draft
    would be kept and its request left behind.

    What only drafting needed, and what the draft itself keeps, is dropped from the row, so that the
    table holds little of millions of studies that are done. `inputs_digest` stays: it names the
    prepared input. So does what a review reads of `provenance`.
    """
    session.execute(
        move(RequestState.DRAFTED)
        .where(DraftRequest.id == lease.request_id)
        .values(
            draft_id=draft_id,
            reason="",
            detail="",
            suspect=False,
            prepared_blob=None,
            preprocessing_digest=None,
            provenance=DraftRequest.provenance.op("-")(cast(_KEPT_BY_DRAFT, ARRAY(Text))),
        )
    )
    events.append_event(
        session,
        lease.study_id,
        EventKind.DRAFTED,
        f"draft {draft_id}",
        lease.request_id,
        worker=lease.worker,
    )


def skip(session: Session, lease: Lease, reason: str, detail: str) -> bool:
    """-> SKIPPED: the study is not for this model.

    Args:
        session: the caller's transaction.
        lease: the worker's lease.
        reason: a stable word.
        detail: a sentence for a person.

    Returns:
        False where the lease is lost.
    """
    if not leases.lock_if_held(session, lease):
        return False
    session.execute(
        move(RequestState.SKIPPED)
        .where(DraftRequest.id == lease.request_id)
        .values(reason=reason, detail=detail)
    )
    events.append_event(
        session,
        lease.study_id,
        EventKind.SKIPPED,
        f"{reason}: {detail}",
        lease.request_id,
        reason=reason,
        worker=lease.worker,
    )
    return True


def count_waiting_for_order(session: Session) -> int:
    """How many requests wait because their study has no order yet."""
    return session.scalars(
        select(func.count()).select_from(DraftRequest).where(DraftRequest.waits_for_order)
    ).one()


def wake_due(session: Session, limit: int) -> int:
    """Let requests be claimed whose `not_before` has passed; a trigger makes them claimable.

    Returns:
        How many were woken; call again while there are `limit` of them.
    """
    due = (
        select(DraftRequest.id)
        .where(
            DraftRequest.not_before <= func.now(),
            DraftRequest.state.in_([state.value for state in OPEN]),
        )
        .order_by(DraftRequest.not_before)
        .limit(limit)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return len(
        session.scalars(
            update(DraftRequest)
            .where(DraftRequest.id.in_(due))
            .values(not_before=None, waits_for_order=False)
            .returning(DraftRequest.id)
            .execution_options(synchronize_session=False)
        ).all()
    )


def cancel(
    session: Session, study_id: uuid.UUID, detail: str, reason: EndReason = EndReason.DECIDED
) -> int:
    """End the study's open requests and its newest one: a person decided against a draft.

    Returns:
        How many requests ended.
    """
    newest = exists().where(Study.id == DraftRequest.study_id, Study.request_id == DraftRequest.id)
    rows = session.scalars(
        move(RequestState.CANCELLED)
        .where(DraftRequest.study_id == study_id, or_(DraftRequest.state.in_(OPEN), newest))
        .values(reason=reason, detail=detail)
        .returning(DraftRequest.id)
    ).all()
    events.append_events(
        session,
        EventKind.CANCELLED,
        [(study_id, id_, detail) for id_ in rows],
        reason=reason,
    )
    return len(rows)


def keep_cancelled(session: Session, study: Study, detail: str) -> None:
    """Make a request that a final from elsewhere ended one that a person ended.

    It stays so where that final is cancelled.
    """
    session.execute(
        update(DraftRequest)
        .where(
            DraftRequest.id == study.request_id,
            DraftRequest.state == RequestState.CANCELLED,
            DraftRequest.reason == EndReason.REPORTED_ELSEWHERE,
        )
        .values(reason=EndReason.DECIDED, detail=detail)
        .execution_options(synchronize_session=False)
    )


def _retriable(
    reason: str | None, since: dt.datetime | None = None, study_id: uuid.UUID | None = None
) -> list[ColumnElement[bool]]:
    """Which requests `retry` takes up."""
    states = [RequestState.FAILED]
    # Nothing is skipped for a reason for which studies fail.
    may_be_skipped = reason is not None and reason not in FailReason.__members__
    if may_be_skipped or study_id is not None:
        states.append(RequestState.SKIPPED)
    if study_id is not None:
        states.append(RequestState.CANCELLED)
    conditions: list[ColumnElement[bool]] = [
        DraftRequest.state.in_(states),
        # A subquery for each row: an EXISTS might be planned to read all studies.
        select(Study.request_id)
        .where(Study.id == DraftRequest.study_id, is_of_site(Study.site_id))
        .scalar_subquery()
        == DraftRequest.id,
    ]
    if reason is not None:
        conditions.append(DraftRequest.reason == reason)
    if since is not None:
        conditions.append(DraftRequest.changed_at >= since)
    if study_id is not None:
        conditions.append(DraftRequest.study_id == study_id)
    return conditions


@dataclass(frozen=True, slots=True)
class FailedGroup:
    """Studies whose newest request FAILED for one reason.

    Attributes:
        reason: a FailReason.
        number: how many; one that is FAILURES_COUNTED stands for more.
    """

    reason: str
    number: int


FAILURES_COUNTED = 10_000
"""Counting what failed for a reason ends here, so that it costs the same however many there are."""


def list_failed(session: Session) -> list[FailedGroup]:
    """The studies that FAILED and can be retried, by reason, the largest group first."""
    groups = [
        FailedGroup(reason, number)
        for reason in FailReason
        if (number := count_failed(session, reason))
    ]
    return sorted(groups, key=lambda group: -group.number)


def count_failed(session: Session, reason: FailReason) -> int:
    """How many studies FAILED for a reason and can be retried; so many at most are counted."""
    failed = select(DraftRequest.id).where(*_retriable(reason)).limit(FAILURES_COUNTED).subquery()
    return session.scalar(select(func.count()).select_from(failed)) or 0


def retry(
    session: Session,
    *,
    reason: str | None = None,
    since: dt.datetime | None = None,
    study_id: uuid.UUID | None = None,
    limit: int = 1000,
) -> int:
    """FAILED -> WAITING with all attempts; the study is prepared afresh.

    SKIPPED goes back too where `reason` or `study_id` names it, CANCELLED where `study_id` does:
    what a person decided about one study is not taken back for many. Only a study's newest request
    goes back; an older revision stays as it ended.

    Args:
        session: the caller's transaction.
        reason: only requests that ended for this reason.
        since: only requests that ended at this time or later.
        study_id: only this study's request.
        limit: how many, at most, so that no transaction locks a night's failures for a minute.

    Returns:
        How many requests went back; call again, in another transaction, while there are `limit`.

    Raises:
        NotAllowed: the named study's newest request is at none of these ends.
    """
    chosen = (
        select(DraftRequest.id)
        .where(*_retriable(reason, since, study_id))
        .limit(limit)
        .with_for_update(of=DraftRequest, key_share=True, skip_locked=study_id is None)
    )
    rows = session.execute(
        move(RequestState.WAITING)
        .where(DraftRequest.id.in_(chosen))
        .values(
            attempts=0,
            reason="",
            detail="",
            not_before=None,
            prepared_blob=None,
            inputs_digest=None,
            preprocessing_digest=None,
        )
        .returning(DraftRequest.study_id, DraftRequest.id)
    ).all()
    events.append_events(
        session, EventKind.RETRIED, [(study, request, reason or "") for study, request in rows]
    )
    if study_id is not None and not rows:
        raise NotAllowed("the study's newest request is not one that can be retried")
    return len(rows)
