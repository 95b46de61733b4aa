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

_R = DraftRequest
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
        _R.state == stage.claims,
        _R.lease_owner.is_(None),
        or_(_R.not_before.is_(None), _R.not_before <= func.clock_timestamp()),
        or_(_R.bundle.is_(None), _R.bundle == bundle) if bundle else text("true"),
        exists().where(
            Study.id == _R.study_id,
            Study.state == StudyState.COMPLETE,
            Study.revision == _R.revision,
        ),
        ~exists().where(Hold.study_id == _R.study_id, Hold.decision.is_(None)),
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
        select(_R.id, _R.suspect)
        .where(_claimable(stage, bundle))
        .order_by(_R.priority, _R.due_at.asc().nulls_last(), _R.created_at, _R.id)
        .limit(limit)
        .with_for_update(of=_R, skip_locked=True)
    ).all()
    if not ready:
        return []
    alone = ready[0].suspect
    taken = [ready[0].id] if alone else [row.id for row in ready if not row.suspect]
    order = {id_: place for place, id_ in enumerate(taken)}
    rows = session.scalars(
        update(_R)
        .where(_R.id.in_(taken))
        .values(
            lease_owner=owner,
            lease_expires_at=func.clock_timestamp() + interval(lease_seconds),
            lease_alone=alone,
            claims=_R.claims + 1,
            changed_at=func.clock_timestamp(),
        )
        .returning(_R)
        .execution_options(synchronize_session=False, populate_existing=True)
    ).all()
    events.tell_all(
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


def ready_ids(session: Session, stage: Stage, limit: int) -> Sequence[uuid.UUID]:
    """Requests that the stage could claim now, first ones first: what the sweep rings for."""
    return session.scalars(
        select(_R.id)
        .where(_claimable(stage, None))
        .order_by(_R.priority, _R.due_at.asc().nulls_last(), _R.created_at, _R.id)
        .limit(limit)
    ).all()


def held_by(lease: Lease) -> ColumnElement[bool]:
    """The fence: still the same claim of the same owner, not run out on the database's clock."""
    return and_(
        _R.id == lease.request_id,
        _R.lease_owner == lease.owner,
        _R.claims == lease.claim,
        _R.lease_expires_at > func.clock_timestamp(),
    )


def extend(session: Session, leases: Sequence[Lease], lease_seconds: float) -> set[uuid.UUID]:
    """Renew leases while their work goes on; returns the requests whose lease still stands."""
    if not leases:
        return set()
    return set(
        session.scalars(
            update(_R)
            .where(or_(*(held_by(lease) for lease in leases)))
            .values(lease_expires_at=func.clock_timestamp() + interval(lease_seconds))
            .returning(_R.id)
            .execution_options(synchronize_session=False)
        )
    )


def holds_lease(session: Session, lease: Lease) -> bool:
    """Whether the lease stands; the row is locked, so it stands until the transaction ends."""
    return session.scalar(select(_R.id).where(held_by(lease)).with_for_update()) is not None


def give_back(session: Session, leases: Sequence[Lease], why: str, *, suspect: bool = False) -> int:
    """Release leases uncounted: the disk, database, bundle, device or a shutdown is to blame.

    suspect: one of these may be to blame after all, so each is claimed alone from here on.
    """
    if not leases:
        return 0
    rows = session.execute(
        update(_R)
        .where(or_(*(held_by(lease) for lease in leases)))
        .values(
            **NO_LEASE,
            suspect=or_(_R.suspect, literal(suspect)),
            changed_at=func.clock_timestamp(),
        )
        .returning(_R.study_id, _R.id)
        .execution_options(synchronize_session=False)
    ).all()
    events.tell_all(session, EventKind.LEASE_RELEASED, [(s, r, why) for s, r in rows])
    return len(rows)
