"""Leases: who works on which request. Claims, renewals, releases, and the fence.

"Being worked on" is a live lease: an owner, the number of the claim, and an expiry on the
database's clock. Every write carries the worker's lease; a write under a lost lease changes
nothing. After a lease expired its requests are suspects, which are claimed one at a time.

Locks are taken in one order: requests by their id, each before its lease. Claims, renewals and
expiry skip what somebody else has locked. So no two transactions wait for each other.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    and_,
    delete,
    exists,
    func,
    or_,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.session import interval
from records.database.tables import DraftRequest, Hold, LiveLease, Study
from records.states import EventKind, Purpose, Stage, StudyState
from records.workflow import events


@dataclass(frozen=True, slots=True)
class Lease:
    """A request that `owner` has claimed.

    Attributes:
        owner: the worker's process, as `host:pid`.
        claim_number: the number of the claim; no other claim has had it (fencing).
        alone: whether it is a suspect, which is worked on alone.
    """

    request_id: uuid.UUID
    study_id: uuid.UUID
    owner: str
    claim_number: int
    stage: Stage
    revision: int
    purpose: Purpose
    alone: bool
    prepared_blob: str | None
    inputs_digest: str | None
    preprocessing_digest: str | None
    provenance: dict[str, Any]


# A subquery that the planner cannot turn into a join: a join might leave the order of claims, and
# then all that is ready would be sorted for the first few.
_UNLEASED: ColumnElement[bool] = (
    select(LiveLease.request_id)
    .where(LiveLease.request_id == DraftRequest.id)
    .scalar_subquery()
    .is_(None)
)


def _claimable(stage: Stage, bundle: str | None) -> ColumnElement[bool]:
    """The condition of a request that is ready for the stage.

    It has no lease and is due, its study is complete at this revision and has no open hold.
    """
    return and_(
        DraftRequest.state == stage.claims,
        _UNLEASED,
        or_(DraftRequest.not_before.is_(None), DraftRequest.not_before <= func.clock_timestamp()),
        or_(DraftRequest.bundle.is_(None), DraftRequest.bundle == bundle)
        if bundle
        else text("true"),
        exists().where(
            Study.id == DraftRequest.study_id,
            Study.state == StudyState.COMPLETE,
            Study.revision == DraftRequest.revision,
        ),
        ~exists().where(Hold.study_id == DraftRequest.study_id, Hold.decision.is_(None)),
    )


def claim(
    session: Session,
    stage: Stage,
    owner: str,
    limit: int,
    lease_seconds: float,
    bundle: str | None = None,
) -> list[Lease]:
    """Claim ready requests by priority, due time and arrival.

    A suspect is claimed alone, so that a worker that dies of it takes no other study along.

    Args:
        session: the caller's transaction.
        stage: the stage that will work on them.
        owner: the worker's process.
        limit: how many requests, at most.
        lease_seconds: how long the leases last.
        bundle: the digest of the worker's bundle; requests for another one are left alone.

    Returns:
        The leases, in the order of the claim.
    """
    while ready := session.scalars(
        select(DraftRequest)
        .where(_claimable(stage, bundle))
        .order_by(
            DraftRequest.priority,
            DraftRequest.due_at.asc().nulls_last(),
            DraftRequest.created_at,
            DraftRequest.id,
        )
        .limit(limit)
        .with_for_update(of=DraftRequest, key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    ).all():
        alone = ready[0].suspect
        chosen = [ready[0]] if alone else [row for row in ready if not row.suspect]
        numbers = _insert_leases(session, stage, owner, chosen, alone, lease_seconds)
        if numbers:
            break
        # Others claimed all of these after our statement began to read; a new one sees that.
    claimed = [row for row in chosen if row.id in numbers] if ready else []
    events.append_events(
        session,
        EventKind.CLAIMED,
        [(row.study_id, row.id, f"{stage} by {owner}") for row in claimed],
    )
    return [
        Lease(
            request_id=row.id,
            study_id=row.study_id,
            owner=owner,
            claim_number=numbers[row.id],
            stage=stage,
            revision=row.revision,
            purpose=Purpose(row.purpose),
            alone=alone,
            prepared_blob=row.prepared_blob,
            inputs_digest=row.inputs_digest,
            preprocessing_digest=row.preprocessing_digest,
            provenance=row.provenance,
        )
        for row in claimed
    ]


def _insert_leases(
    session: Session,
    stage: Stage,
    owner: str,
    requests: Sequence[DraftRequest],
    alone: bool,
    lease_seconds: float,
) -> dict[uuid.UUID, int]:
    """Insert leases for requests that are locked; returns the number of each claim.

    A request whose lease was committed since the caller read is left out: a row that another
    transaction has locked and not changed is not read again after the wait for it.
    """
    inserted = session.execute(
        insert(LiveLease)
        .values(
            [
                {
                    "request_id": request.id,
                    "study_id": request.study_id,
                    "stage": stage,
                    "owner": owner,
                    "alone": alone,
                    "expires_at": func.clock_timestamp() + interval(lease_seconds),
                }
                for request in requests
            ]
        )
        .on_conflict_do_nothing()
        .returning(LiveLease.request_id, LiveLease.claim)
    )
    return {row.request_id: row.claim for row in inserted}


def claimable_ids(session: Session, stage: Stage, limit: int) -> Sequence[uuid.UUID]:
    """Requests that the stage could claim now, in the order of claims; the sweep rings for them."""
    return session.scalars(
        select(DraftRequest.id)
        .where(_claimable(stage, None))
        .order_by(
            DraftRequest.priority,
            DraftRequest.due_at.asc().nulls_last(),
            DraftRequest.created_at,
            DraftRequest.id,
        )
        .limit(limit)
    ).all()


def _fence(leases: Sequence[Lease]) -> ColumnElement[bool]:
    """The condition that every write of a worker checks.

    The request still has the same claim of the same owner, and the lease has not run out on the
    database's clock. `request_id` is the primary key, so no other lease is looked at.
    """
    return and_(
        LiveLease.request_id.in_([lease.request_id for lease in leases]),
        tuple_(LiveLease.request_id, LiveLease.owner, LiveLease.claim).in_(
            [(lease.request_id, lease.owner, lease.claim_number) for lease in leases]
        ),
        LiveLease.expires_at > func.clock_timestamp(),
    )


def renew(session: Session, leases: Sequence[Lease], lease_seconds: float) -> set[uuid.UUID]:
    """Renew leases while their work goes on; returns the requests whose lease was not lost.

    A lease that somebody else has locked is being ended. It is not waited for.
    """
    if not leases:
        return set()
    unlocked = select(LiveLease.request_id).where(_fence(leases)).with_for_update(skip_locked=True)
    now = func.clock_timestamp()
    session.execute(
        update(LiveLease)
        .where(LiveLease.request_id.in_(unlocked))
        .values(renewed_at=now, expires_at=now + interval(lease_seconds))
        .execution_options(synchronize_session=False)
    )
    return set(session.scalars(select(LiveLease.request_id).where(_fence(leases))))


def lock_held(session: Session, leases: Sequence[Lease]) -> set[uuid.UUID]:
    """Lock the requests whose lease the worker still has, until the transaction ends.

    This is the fence: what a worker writes about a request comes after it, in one transaction. Once
    the rows are locked nobody else can claim the request or end the lease. So it does no harm when
    the lease's time runs out before the commit.

    Returns:
        The requests that the worker may write about.
    """
    if not leases:
        return set()
    return set(
        session.scalars(
            select(DraftRequest.id)
            .join(LiveLease, LiveLease.request_id == DraftRequest.id)
            .where(DraftRequest.id.in_([lease.request_id for lease in leases]), _fence(leases))
            .order_by(DraftRequest.id)
            # In this order: PostgreSQL locks the row of each table as they are named.
            .with_for_update(of=[DraftRequest, LiveLease], key_share=True)
        )
    )


def lock_if_held(session: Session, lease: Lease) -> bool:
    """Whether the worker still has the lease; the rows stay locked until the transaction ends."""
    return bool(lock_held(session, [lease]))


def leased_ids(session: Session, request_ids: Sequence[uuid.UUID]) -> set[uuid.UUID]:
    """Those of these requests that have a lease, be it run out or not."""
    return set(
        session.scalars(select(LiveLease.request_id).where(LiveLease.request_id.in_(request_ids)))
    )


def end(session: Session, request_ids: Sequence[uuid.UUID]) -> None:
    """End the leases of requests that the caller has locked. A move of the state ends them too."""
    session.execute(delete(LiveLease).where(LiveLease.request_id.in_(request_ids)))


def release(
    session: Session, leases: Sequence[Lease], reason: str, *, suspect: bool = False
) -> int:
    """Release leases uncounted: the disk, database, bundle, device or a shutdown is to blame.

    Args:
        session: the caller's transaction.
        leases: the leases; lost ones are left alone.
        reason: a few words for the timeline.
        suspect: one of these studies may be to blame after all, so each is claimed alone from now
            on.

    Returns:
        How many leases were released.
    """
    held = lock_held(session, leases)
    if not held:
        return 0
    end(session, list(held))
    if suspect:
        session.execute(
            update(DraftRequest)
            .where(DraftRequest.id.in_(held))
            .values(suspect=True, changed_at=func.clock_timestamp())
            .execution_options(synchronize_session=False)
        )
    events.append_events(
        session,
        EventKind.LEASE_RELEASED,
        [
            (lease.study_id, lease.request_id, reason)
            for lease in leases
            if lease.request_id in held
        ],
    )
    return len(held)
