"""Leases: who works on which request. Claims, renewals, releases, and the fence.

"Being worked on" is a live lease: an owner, the number of the claim, and an expiry on the
database's clock. Every write carries the worker's lease; a write under a lost lease changes
nothing. After a lease expired its requests are suspects, which are claimed one at a time.

Locks are taken in one order: requests by their id, each before its lease. Claims, renewals and
expiry skip what somebody else has locked. So no two transactions wait for each other.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    delete,
    func,
    literal,
    select,
    text,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest, LiveLease
from records.database.session import interval
from records.states import EventKind, Purpose, Stage
from records.workflow import events


@dataclass(frozen=True, slots=True)
class Lease:
    """A request that `owner` has claimed.

    Attributes:
        owner: the worker's process, as `host:pid`.
        claim_number: the number of the claim; no other claim has had it (fencing).
        alone: whether it is a suspect, which is worked on alone.
        waited_seconds: how long the request had been in its state when it was claimed.
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
    waited_seconds: float = 0.0

    @property
    def worker(self) -> str:
        """The worker that has it, as its successes and deaths are counted."""
        return worker_name(self.stage, self.owner)

    @property
    def log_fields(self) -> dict[str, str]:
        """How a log line names what is worked on."""
        return {"study": str(self.study_id), "draft_request": str(self.request_id)}


def worker_name(stage: str, owner: str) -> str:
    """A stage on a host, as `draft@gpu-3`: what falls ill together, and stops together.

    Args:
        stage: the stage.
        owner: a process, as `host:pid`.
    """
    return f"{stage}@{owner.rpartition(':')[0] or owner}"


_ORDER = (
    DraftRequest.priority,
    DraftRequest.due_at.asc().nulls_last(),
    DraftRequest.created_at,
    DraftRequest.id,
)
"""The order of claims."""

# PostgreSQL reads the leases once for a claim and keeps them as a hash. A join, as of NOT EXISTS,
# might leave the order of claims, and then all that is ready would be sorted for the first few.
_UNLEASED: ColumnElement[bool] = DraftRequest.id.not_in(select(LiveLease.request_id))


def _first_ready(stage: Stage, bundle: ColumnElement[str] | None) -> Select[DraftRequest]:
    """The first :limit requests for exactly this bundle that are ready and nobody works on."""
    return (
        select(DraftRequest)
        .where(
            DraftRequest.state == stage.claims,
            DraftRequest.claimable,
            DraftRequest.bundle.is_(None) if bundle is None else DraftRequest.bundle == bundle,
            _UNLEASED,
        )
        # The bundle is one and the same; it is named so that the planner sees the index's order.
        .order_by(DraftRequest.bundle, *_ORDER)
        .limit(bindparam("limit", type_=Integer))
    )


@lru_cache
def _ready_query(stage: Stage, bundle_count: int, *, lock: bool) -> Select[Any]:
    """The first :limit ready requests for any bundle, and for :bundle_0, :bundle_1 and so on.

    Each is a walk over its part of the index, and the walks are merged. Built once: SQLAlchemy
    takes ten times as long to build this statement as PostgreSQL to answer it.
    """
    names = [bindparam(f"bundle_{number}", type_=Text()) for number in range(bundle_count)]
    walks = [_first_ready(stage, name) for name in (None, *names)]
    if lock:
        # A row that is locked and not taken, for another bundle's came first, is free again with
        # the commit.
        walks = [
            walk.with_for_update(of=DraftRequest, key_share=True, skip_locked=True)
            for walk in walks
        ]
    first = union_all(*(select(walk.subquery()) for walk in walks)).subquery()
    return (
        select(first)
        .order_by(
            first.c.priority, first.c.due_at.asc().nulls_last(), first.c.created_at, first.c.id
        )
        .limit(bindparam("limit", type_=Integer))
    )


def _ready(
    session: Session, stage: Stage, bundles: Sequence[str], limit: int, *, lock: bool
) -> Sequence[Row[Any]]:
    """The first ready requests for any bundle or for one of these, in the order of claims."""
    values = {f"bundle_{number}": name for number, name in enumerate(bundles)}
    query = _ready_query(stage, len(bundles), lock=lock)
    return session.execute(query, {"limit": limit, **values}).all()


def _requested_bundles(session: Session, stage: Stage) -> list[str]:
    """The bundles that ready requests name. The index is asked once for each of them."""
    ready = and_(DraftRequest.state == stage.claims, DraftRequest.claimable)
    first = (
        select(DraftRequest.bundle)
        .where(ready, DraftRequest.bundle.is_not(None))
        .order_by(DraftRequest.bundle)
        .limit(1)
        .subquery()
    )
    bundles = select(first.c.bundle).cte("bundles", recursive=True)
    following = (
        select(DraftRequest.bundle)
        .where(ready, DraftRequest.bundle > bundles.c.bundle)
        .order_by(DraftRequest.bundle)
        .limit(1)
        .scalar_subquery()
    )
    bundles = bundles.union_all(select(following).where(bundles.c.bundle.is_not(None)))
    return [name for name in session.scalars(select(bundles.c.bundle)) if name is not None]


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
        bundle: the digest of the worker's bundle; requests for another one are left alone. None
            takes requests for whichever bundle.

    Returns:
        The leases, in the order of the claim.
    """
    bundles = [bundle] if bundle else _requested_bundles(session, stage)
    while ready := _ready(session, stage, bundles, limit, lock=True):
        alone = ready[0].suspect
        chosen = [ready[0]] if alone else [row for row in ready if not row.suspect]
        chosen_ids = [row.id for row in chosen]
        made = _insert_leases(session, stage, owner, chosen_ids, alone, lease_seconds)
        if made:
            break
        # Each was claimed or stopped after our statement began to read; a new one sees that.
    claimed = [row for row in chosen if row.id in made] if ready else []
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
            claim_number=made[row.id].claim,
            stage=stage,
            revision=row.revision,
            purpose=Purpose(row.purpose),
            alone=alone,
            prepared_blob=row.prepared_blob,
            inputs_digest=row.inputs_digest,
            preprocessing_digest=row.preprocessing_digest,
            provenance=row.provenance,
            waited_seconds=(made[row.id].claimed_at - row.changed_at).total_seconds(),
        )
        for row in claimed
    ]


def _insert_leases(
    session: Session,
    stage: Stage,
    owner: str,
    request_ids: Sequence[uuid.UUID],
    alone: bool,
    lease_seconds: float,
) -> dict[uuid.UUID, Row[uuid.UUID, int, dt.datetime]]:
    """Insert leases for requests that are locked; returns number and time of each claim.

    Left out is a request whose lease, or whose study's hold, was committed since the caller read. A
    row that another transaction had locked and not changed is not read again once it is free.
    """
    ready = select(
        DraftRequest.id,
        DraftRequest.study_id,
        literal(stage.value),
        literal(owner),
        literal(alone),
        func.clock_timestamp() + interval(lease_seconds),
    ).where(DraftRequest.id.in_(request_ids), func.request_is_claimable(text("draft_requests")))
    inserted = session.execute(
        insert(LiveLease)
        .from_select(["request_id", "study_id", "stage", "owner", "alone", "expires_at"], ready)
        .on_conflict_do_nothing()
        .returning(LiveLease.request_id, LiveLease.claim, LiveLease.claimed_at)
    )
    made = {row.request_id: row for row in inserted}
    if len(made) < len(request_ids):
        # A trigger says what is true now.
        session.execute(
            update(DraftRequest)
            .where(DraftRequest.id.in_(set(request_ids) - made.keys()))
            .values(claimable=False)
            .execution_options(synchronize_session=False)
        )
    return made


def claimable_ids(session: Session, stage: Stage, limit: int) -> Sequence[uuid.UUID]:
    """Requests that the stage could claim now, in the order of claims; the sweep rings for them."""
    bundles = _requested_bundles(session, stage)
    return [row.id for row in _ready(session, stage, bundles, limit, lock=False)]


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
