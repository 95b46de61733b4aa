"""The attempts that a draft request has: counted, given back, and used up by a worker's death.

Only a study's own error costs an attempt. When a lease expires, its requests become suspects, which
are claimed one at a time. A lease that expires on a suspect costs an attempt, so a study that kills
its worker ends FAILED while the rest of its batch is drafted.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, exists, func, or_, select, update
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest, LiveLease
from records.database.session import interval
from records.database.tables import Study
from records.states import OPEN, EventKind, FailReason, Purpose, RequestState
from records.workflow import events, leases, requests
from records.workflow.leases import Lease


@dataclass(frozen=True, slots=True)
class ExpiredLease:
    """A lease that ran out.

    Attributes:
        blamed: the worker that may be sick, as `leases.worker_name` gives it; None where nothing
            speaks against it.
    """

    request_id: uuid.UUID
    study_id: uuid.UUID
    owner: str
    blamed: str | None


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
            requests.move(RequestState.FAILED).where(DraftRequest.id == request_id).values(**values)
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
        row.changed_at = func.clock_timestamp()
    session.flush()
    failed = [row.id for row in restored if row.state == RequestState.FAILED]
    session.execute(
        requests.move(RequestState.WAITING)
        .where(DraftRequest.id.in_(failed))
        .values(reason="", detail="")
    )
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
    ended = [
        ExpiredLease(lease.request_id, lease.study_id, lease.owner, _blamed(session, lease))
        for _, lease in expired
    ]
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
