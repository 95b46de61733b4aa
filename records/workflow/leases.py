"""Leases: who works on which request. Claims, renewals, releases, and the fence.

"Being worked on" is a live lease: an owner, the number of the claim, and an expiry on the
database's clock. Every write carries the worker's lease; a write under a lost lease changes
nothing. After a lease expired its requests are suspects, which are claimed one at a time.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, literal, or_, select, text, update
from sqlalchemy.orm import Session

from records.database.session import interval
from records.database.tables import DraftRequest, Hold, Study
from records.states import EventKind, Purpose, Stage, StudyState
from records.workflow import events

NO_LEASE: dict[str, Any] = {"lease_owner": None, "lease_expires_at": None, "lease_alone": False}
"""Columns of a request that nobody works on."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A request that `owner` has claimed.

    Attributes:
        owner: the worker's process, as `host:pid`.
        claim_number: how many claims this request has had, this one included (fencing).
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


def _claimable(stage: Stage, bundle: str | None) -> ColumnElement[bool]:
    """The condition of a request that is ready for the stage.

    It has no lease and is due, its study is complete at this revision and has no open hold.
    """
    return and_(
        DraftRequest.state == stage.claims,
        DraftRequest.lease_owner.is_(None),
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
    ready = session.execute(
        select(DraftRequest.id, DraftRequest.suspect)
        .where(_claimable(stage, bundle))
        .order_by(
            DraftRequest.priority,
            DraftRequest.due_at.asc().nulls_last(),
            DraftRequest.created_at,
            DraftRequest.id,
        )
        .limit(limit)
        .with_for_update(of=DraftRequest, skip_locked=True)
    ).all()
    if not ready:
        return []
    alone = ready[0].suspect
    claimed_ids = [ready[0].id] if alone else [row.id for row in ready if not row.suspect]
    order = {id_: index for index, id_ in enumerate(claimed_ids)}
    rows = session.scalars(
        update(DraftRequest)
        .where(DraftRequest.id.in_(claimed_ids))
        .values(
            lease_owner=owner,
            lease_expires_at=func.clock_timestamp() + interval(lease_seconds),
            lease_alone=alone,
            claims=DraftRequest.claims + 1,
            changed_at=func.clock_timestamp(),
        )
        .returning(DraftRequest)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).all()
    events.append_events(
        session,
        EventKind.CLAIMED,
        [(row.study_id, row.id, f"{stage} by {owner}") for row in rows],
    )
    return [
        Lease(
            request_id=row.id,
            study_id=row.study_id,
            owner=owner,
            claim_number=row.claims,
            stage=stage,
            revision=row.revision,
            purpose=Purpose(row.purpose),
            alone=alone,
            prepared_blob=row.prepared_blob,
            inputs_digest=row.inputs_digest,
            preprocessing_digest=row.preprocessing_digest,
            provenance=row.provenance,
        )
        for row in sorted(rows, key=lambda row: order[row.id])
    ]


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


def fence(lease: Lease) -> ColumnElement[bool]:
    """The condition that every write of a worker checks.

    The request still has the same claim of the same owner, and the lease has not run out on the
    database's clock.
    """
    return and_(same_claim(lease), DraftRequest.lease_expires_at > func.clock_timestamp())


def same_claim(lease: Lease) -> ColumnElement[bool]:
    """The request still has the same claim of the same owner, whether or not its time is up.

    It suffices after `lock_if_held` in the same transaction: the row is locked, so nobody else can
    claim the request before the end of the transaction.
    """
    return and_(
        DraftRequest.id == lease.request_id,
        DraftRequest.lease_owner == lease.owner,
        DraftRequest.claims == lease.claim_number,
    )


def renew(session: Session, leases: Sequence[Lease], lease_seconds: float) -> set[uuid.UUID]:
    """Renew leases while their work goes on; returns the requests whose lease was not lost."""
    if not leases:
        return set()
    return set(
        session.scalars(
            update(DraftRequest)
            .where(or_(*(fence(lease) for lease in leases)))
            .values(lease_expires_at=func.clock_timestamp() + interval(lease_seconds))
            .returning(DraftRequest.id)
            .execution_options(synchronize_session=False)
        )
    )


def lock_if_held(session: Session, lease: Lease) -> bool:
    """Whether the worker still has the lease; the row stays locked until the transaction ends."""
    return session.scalar(select(DraftRequest.id).where(fence(lease)).with_for_update()) is not None


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
    if not leases:
        return 0
    rows = session.execute(
        update(DraftRequest)
        .where(or_(*(fence(lease) for lease in leases)))
        .values(
            **NO_LEASE,
            suspect=or_(DraftRequest.suspect, literal(suspect)),
            changed_at=func.clock_timestamp(),
        )
        .returning(DraftRequest.study_id, DraftRequest.id)
        .execution_options(synchronize_session=False)
    ).all()
    events.append_events(
        session, EventKind.LEASE_RELEASED, [(study, request, reason) for study, request in rows]
    )
    return len(rows)
