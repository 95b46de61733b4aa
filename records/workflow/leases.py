"""Who works on which request: claims, renewals, giving back, and the fence. Moves no request.

"Being worked on" is a live lease: an owner, the number of the claim, an expiry on the database's
clock. Every later word is given with it, and one whose lease has passed on changes nothing. After a
lease that died its requests are suspects, which are claimed one at a time.
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
    """A request that `owner` has claimed; `claim` counts the claims of this request (fencing)."""

    request_id: uuid.UUID
    study_id: uuid.UUID
    owner: str
    claim: int
    stage: Stage
    revision: int
    purpose: Purpose
    alone: bool
    prepared_blob: str | None
    inputs_digest: str | None
    preprocessing_digest: str | None
    provenance: dict[str, Any]


def _claimable(stage: Stage, bundle: str | None) -> ColumnElement[bool]:
    """Ready for the stage: no lease, due, its study complete at this revision, no open hold."""
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
    """Claim up to `limit` ready requests by priority, due time and arrival.

    A suspect is claimed alone: whoever dies of it takes nobody along.
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
    taken = [ready[0].id] if alone else [row.id for row in ready if not row.suspect]
    order = {id_: place for place, id_ in enumerate(taken)}
    rows = session.scalars(
        update(DraftRequest)
        .where(DraftRequest.id.in_(taken))
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
            claim=row.claims,
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
    """Requests that the stage could claim now, first ones first: what the sweep rings for."""
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
    """The fence: still the same claim of the same owner, not run out on the database's clock."""
    return and_(
        DraftRequest.id == lease.request_id,
        DraftRequest.lease_owner == lease.owner,
        DraftRequest.claims == lease.claim,
        DraftRequest.lease_expires_at > func.clock_timestamp(),
    )


def renew(session: Session, leases: Sequence[Lease], lease_seconds: float) -> set[uuid.UUID]:
    """Renew leases while their work goes on; returns the requests whose lease still stands."""
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
    """Whether the lease stands; the row is locked, so it stands until the transaction ends."""
    return session.scalar(select(DraftRequest.id).where(fence(lease)).with_for_update()) is not None


def release(session: Session, leases: Sequence[Lease], why: str, *, suspect: bool = False) -> int:
    """Release leases uncounted: the disk, database, bundle, device or a shutdown is to blame.

    suspect: one of these may be to blame after all, so each is claimed alone from here on.
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
    events.append_events(session, EventKind.LEASE_RELEASED, [(s, r, why) for s, r in rows])
    return len(rows)
