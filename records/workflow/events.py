"""A study's timeline: events that are appended and never changed.

Details are in our own words and never name a patient, but for the reason that a person typed when
he or she withdrew a draft or took a rejection back.
"""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from records.actors import NOBODY, Actor, current_actor
from records.database.tables import Event
from records.states import WORK_SUCCEEDED, ActorKind, EventKind, FailReason

TIMELINE_LINES = 200
"""Lines of a timeline that are shown at a time. A film that a device sends again and again adds one
line each time."""


def append_event(
    session: Session,
    study_id: uuid.UUID,
    kind: EventKind,
    detail: str = "",
    request_id: uuid.UUID | None = None,
    *,
    reason: str | None = None,
    worker: str | None = None,
) -> None:
    """Append a line to the study's timeline, in the caller's transaction.

    Args:
        session: the caller's transaction.
        study_id: the study.
        kind: what happened.
        detail: a sentence or a few words for a person.
        request_id: the draft request that it happened to.
        reason: a stable word where there is one: a FailReason, a HoldReason, an EndReason, or the
            reason for which a study is skipped.
        worker: the worker whose work on the request ended so, as `leases.worker_name` gives it.
    """
    append_events(session, kind, [(study_id, request_id, detail)], reason=reason, worker=worker)


def append_events(
    session: Session,
    kind: EventKind,
    lines: Sequence[tuple[uuid.UUID, uuid.UUID | None, str]],
    *,
    reason: str | None = None,
    worker: str | None = None,
) -> None:
    """Append one line of the same kind, reason and worker for each (study, request, detail).

    Each names `current_actor()`, unless a part of the system did it.
    """
    if lines:
        actor = _actor_columns(current_actor())
        session.execute(
            insert(Event),
            [
                {
                    "study_id": study_id,
                    "request_id": request_id,
                    "kind": kind,
                    "detail": detail,
                    "reason": reason,
                    "worker": worker,
                    **actor,
                }
                for study_id, request_id, detail in lines
            ],
        )


def _actor_columns(actor: Actor) -> dict[str, str | None]:
    """The columns that name who did it; NULL where nobody outside of the system did."""
    if actor.kind is ActorKind.PART or actor == NOBODY:
        return dict.fromkeys(("actor_kind", "actor_name", "actor_id", "actor_address"))
    return {
        "actor_kind": actor.kind,
        "actor_name": actor.name,
        "actor_id": actor.id,
        "actor_address": actor.address,
    }


def timeline(
    session: Session,
    study_id: uuid.UUID,
    *,
    before: int | None = None,
    limit: int = TIMELINE_LINES,
) -> Sequence[Event]:
    """The study's newest events, in the order in which they happened.

    Args:
        session: the caller's transaction.
        study_id: the study.
        before: only events that are older than the one of this id.
        limit: how many events, at most.
    """
    newest = select(Event).where(Event.study_id == study_id).order_by(Event.id.desc()).limit(limit)
    if before is not None:
        newest = newest.where(Event.id < before)
    return session.scalars(newest).all()[::-1]


def last_success(session: Session, worker: str) -> dt.datetime | None:
    """When a study last went well on this worker; None where none ever did."""
    return session.scalar(
        select(Event.at)
        .where(Event.worker == worker, Event.kind.in_(WORK_SUCCEEDED))
        .order_by(Event.id.desc())
        .limit(1)
    )


def consecutive_worker_deaths(session: Session, worker: str, limit: int = 200) -> list[uuid.UUID]:
    """The requests that a worker died on, alone, since one last went well there.

    Args:
        session: the caller's transaction.
        worker: the worker, as `leases.worker_name` gives it.
        limit: how many of the newest ends of its work are looked at.

    Returns:
        Each request once, the newest death first.
    """
    # ix_events_work_ended: neither a night of ten million arrivals nor what others did is read.
    rows = session.execute(
        select(Event.kind, Event.reason, Event.request_id)
        .where(Event.worker == worker)
        .order_by(Event.id.desc())
        .limit(limit)
    )
    died: dict[uuid.UUID, None] = {}
    for kind, reason, request_id in rows:
        if kind in (*WORK_SUCCEEDED, EventKind.FORGIVEN):
            break
        if reason == FailReason.WORKER_DIED and request_id is not None:
            died[request_id] = None
    return list(died)
