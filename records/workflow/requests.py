"""Draft requests: what is to be drafted. Only this module moves a DraftRequest between states.

Every write of a worker carries its lease (`records.workflow.leases`); a write under a lost lease
changes nothing. Only a study's own error costs an attempt. When a lease expires, its requests
become suspects, which are claimed one at a time. A lease that expires on a suspect costs an
attempt, so a study that kills its worker ends FAILED while the rest of its batch is drafted.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Text, Update, and_, cast, exists, func, or_, select, update
from sqlalchemy.orm import Session

from records.database.session import interval
from records.database.tables import DraftRequest, LiveLease, Study
from records.errors import NotAllowed
from records.states import (
    OPEN,
    TRANSITIONS,
    EndReason,
    EventKind,
    FailReason,
    Purpose,
    RequestState,
)
from records.workflow import events, leases
from records.workflow.leases import Lease

_KEPT_BY_DRAFT = ["views", "left_out", "notes", "indication", "indication_source"]
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


@dataclass(frozen=True, slots=True)
class ExpiredLease:
    """A lease that ran out.

    Attributes:
        blamed: the worker that may be sick, as `leases.worker_name` gives it; None where nothing
            speaks against it.
    """

    request_id: uuid.UUID
    blamed: str | None


def create_request(
    session: Session,
    study: Study,
    *,
    purpose: Purpose = Purpose.PRIMARY,
    bundle: str | None = None,
) -> uuid.UUID:
    """Create a request for the study's present revision; an open primary one is superseded.

    What a person cancelled stays cancelled: the request after a cancelled one is cancelled at once,
    until `retry` takes that back.

    Returns:
        The request's id.
    """
    previous = session.execute(
        select(DraftRequest.state, DraftRequest.reason, DraftRequest.detail).where(
            DraftRequest.id == study.request_id
        )
    ).one_or_none()
    if purpose is Purpose.PRIMARY:
        detail = f"superseded by revision {study.revision}"
        supersede(session, study.id, EndReason.LATE_IMAGES, detail)
    request = DraftRequest(
        study_id=study.id,
        revision=study.revision,
        purpose=purpose,
        bundle=bundle,
        priority=study.priority,
    )
    session.add(request)
    session.flush()
    events.append_event(session, study.id, EventKind.REQUESTED, purpose, request.id)
    if purpose is Purpose.PRIMARY:
        study.request_id = request.id
        session.flush()
        if previous is not None and previous.state == RequestState.CANCELLED:
            cancel(session, study.id, previous.detail, EndReason(previous.reason))
    return request.id


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
        _move(RequestState.SUPERSEDED)
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


def _move(target: RequestState) -> Update:
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
        _move(RequestState.PREPARED)
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
        _move(RequestState.WAITING)
        .where(DraftRequest.id == lease.request_id)
        .values(prepared_blob=None, inputs_digest=None, preprocessing_digest=None)
    )
    events.append_event(session, lease.study_id, EventKind.PREPARE_AGAIN, reason, lease.request_id)
    return True


def mark_drafted(session: Session, lease: Lease, draft_id: uuid.UUID) -> None:
    """-> DRAFTED with its draft. `drafts.save` calls it, and holds the lock of the request.

    The time of the lease is not looked at again: if it ran out since the lock was taken, the draft
    would be kept and its request left behind.

    What only drafting needed, and what the draft itself keeps, is dropped from the row, so that the
    table holds little of millions of studies that are done. `inputs_digest` stays: it names the
    prepared input. So does what a review reads of `provenance`.
    """
    session.execute(
        _move(RequestState.DRAFTED)
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
        _move(RequestState.SKIPPED)
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


def fail(
    session: Session,
    lease: Lease,
    reason: FailReason,
    detail: str,
    *,
    max_attempts: int,
    retry_seconds: float,
    for_good: bool = False,
) -> bool:
    """Count an attempt for a study's own error; after the last one the request is FAILED.

    Args:
        session: the caller's transaction.
        lease: the worker's lease.
        reason: what went wrong.
        detail: a sentence for a person.
        max_attempts: attempts that a request has.
        retry_seconds: wait before the next attempt.
        for_good: the same input fails the same way each time, so no further attempt is made.

    Returns:
        False where the lease is lost.
    """
    if not leases.lock_if_held(session, lease):
        return False
    attempts = session.execute(
        select(DraftRequest.attempts).where(DraftRequest.id == lease.request_id)
    ).scalar_one()
    _count_attempt(
        session,
        lease.request_id,
        lease.study_id,
        attempts + 1,
        reason,
        detail,
        last=for_good or attempts + 1 >= max_attempts,
        retry_seconds=retry_seconds,
        max_attempts=max_attempts,
        worker=lease.worker,
    )
    return True


def _count_attempt(
    session: Session,
    request_id: uuid.UUID,
    study_id: uuid.UUID,
    attempts: int,
    reason: FailReason,
    detail: str,
    *,
    last: bool,
    retry_seconds: float,
    max_attempts: int,
    worker: str | None,
) -> None:
    values: dict[str, Any] = {"attempts": attempts, "reason": reason, "detail": detail}
    if last:
        session.execute(
            _move(RequestState.FAILED).where(DraftRequest.id == request_id).values(**values)
        )
        events.append_event(
            session,
            study_id,
            EventKind.FAILED,
            f"{reason}: {detail}",
            request_id,
            reason=reason,
            worker=worker,
        )
        return
    leases.end(session, [request_id])
    session.execute(
        update(DraftRequest)
        .where(DraftRequest.id == request_id)
        .values(
            **values,
            suspect=True,
            not_before=func.clock_timestamp() + interval(retry_seconds),
            changed_at=func.clock_timestamp(),
        )
        .execution_options(synchronize_session=False)
    )
    events.append_event(
        session,
        study_id,
        EventKind.ATTEMPT_FAILED,
        f"{reason}: {detail} (attempt {attempts} of {max_attempts})",
        request_id,
        reason=reason,
        worker=worker,
    )


def restore_attempts(
    session: Session,
    request_ids: Sequence[uuid.UUID],
    worker: str | None = None,
    *,
    wait_seconds: float = 0.0,
) -> int:
    """Give the last attempt back: the worker turned out to be at fault, not these studies.

    Only a request that still stands as that attempt left it gets it back: one that waits to be
    tried again, or that FAILED by it and is still its study's newest. A request that somebody works
    on again, and one that a person or late images ended, stay as they are.

    Args:
        session: the caller's transaction.
        request_ids: the requests.
        worker: the worker at fault; its deaths are counted anew from here.
        wait_seconds: nobody claims the requests for so long.

    Returns:
        How many requests got their attempt back.
    """
    newest = exists().where(Study.id == DraftRequest.study_id, Study.request_id == DraftRequest.id)
    rows = session.scalars(
        select(DraftRequest)
        .where(
            DraftRequest.id.in_(request_ids),
            DraftRequest.attempts > 0,
            or_(
                DraftRequest.state.in_(OPEN),
                and_(
                    DraftRequest.state == RequestState.FAILED,
                    or_(DraftRequest.purpose != Purpose.PRIMARY, newest),
                ),
            ),
        )
        .order_by(DraftRequest.id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).all()
    leased = leases.leased_ids(session, [row.id for row in rows])
    restored = [row for row in rows if row.id not in leased]
    for row in restored:
        row.attempts -= 1
        row.not_before = func.clock_timestamp() + interval(wait_seconds) if wait_seconds else None
        if row.state == RequestState.FAILED:
            row.state, row.reason, row.detail = RequestState.WAITING, "", ""
        row.changed_at = func.clock_timestamp()
    session.flush()
    events.append_events(
        session,
        EventKind.FORGIVEN,
        [(row.study_id, row.id, "the worker was sick") for row in restored],
        worker=worker,
    )
    return len(restored)


def expire_leases(
    session: Session, max_attempts: int, retry_seconds: float, limit: int = 200
) -> list[ExpiredLease]:
    """End leases that ran out, because their worker died or hangs.

    The requests become suspects. A suspect was claimed alone, so its own study is at fault: that
    costs an attempt. Where other studies went well on the same worker since that lease was last
    renewed, the worker is well, and this death is no evidence against it.

    Returns:
        The leases that ended; call again while there are `limit` of them.
    """
    expired = session.execute(
        select(DraftRequest, LiveLease)
        .join(LiveLease, LiveLease.request_id == DraftRequest.id)
        .where(LiveLease.expires_at < func.clock_timestamp())
        .limit(limit)
        .with_for_update(of=[DraftRequest, LiveLease], key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    ).all()
    events.append_events(
        session,
        EventKind.LEASE_EXPIRED,
        [(lease.study_id, lease.request_id, f"{lease.owner} is silent") for _, lease in expired],
    )
    suspects = [lease.request_id for _, lease in expired if not lease.alone]
    if suspects:
        leases.end(session, suspects)
        session.execute(
            update(DraftRequest)
            .where(DraftRequest.id.in_(suspects))
            .values(suspect=True, changed_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
    ended = [ExpiredLease(lease.request_id, _blamed(session, lease)) for _, lease in expired]
    for (request, lease), outcome in zip(expired, ended, strict=True):
        if lease.alone:
            _count_attempt(
                session,
                request.id,
                request.study_id,
                request.attempts + 1,
                FailReason.WORKER_DIED,
                "its worker died while it worked on this study alone",
                last=request.attempts + 1 >= max_attempts,
                retry_seconds=retry_seconds,
                max_attempts=max_attempts,
                worker=outcome.blamed,
            )
    return ended


def _blamed(session: Session, lease: LiveLease) -> str | None:
    """The worker that may be sick, because it died on this study alone and did nothing since."""
    if not lease.alone:
        return None
    worker = leases.worker_name(lease.stage, lease.owner)
    last_success = events.last_success(session, worker)
    return None if last_success is not None and last_success > lease.renewed_at else worker


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
            .values(not_before=None)
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
        _move(RequestState.CANCELLED)
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
    states = [RequestState.FAILED]
    if reason is not None or study_id is not None:
        states.append(RequestState.SKIPPED)
    if study_id is not None:
        states.append(RequestState.CANCELLED)
    conditions = [
        DraftRequest.state.in_(states),
        exists().where(Study.id == DraftRequest.study_id, Study.request_id == DraftRequest.id),
    ]
    if reason is not None:
        conditions.append(DraftRequest.reason == reason)
    if since is not None:
        conditions.append(DraftRequest.changed_at >= since)
    if study_id is not None:
        conditions.append(DraftRequest.study_id == study_id)
    chosen = (
        select(DraftRequest.id)
        .where(*conditions)
        .limit(limit)
        .with_for_update(of=DraftRequest, key_share=True, skip_locked=study_id is None)
    )
    rows = session.execute(
        _move(RequestState.WAITING)
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
