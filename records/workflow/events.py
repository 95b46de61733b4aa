"""A study's timeline: append-only events. Details are our own words, never a patient's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from records.database.tables import DraftRequest, Event
from records.states import EventKind, FailReason, Stage


def append_event(
    session: Session,
    study_id: uuid.UUID,
    kind: EventKind,
    detail: str = "",
    request_id: uuid.UUID | None = None,
) -> None:
    """Add a line to the study's timeline, in the caller's transaction."""
    session.execute(
        insert(Event).values(study_id=study_id, request_id=request_id, kind=kind, detail=detail)
    )


def append_events(
    session: Session,
    kind: EventKind,
    lines: Sequence[tuple[uuid.UUID, uuid.UUID | None, str]],
) -> None:
    """Add one line each for many (study, request, detail)."""
    if lines:
        session.execute(
            insert(Event),
            [
                {"study_id": study, "request_id": request, "kind": kind, "detail": detail}
                for study, request, detail in lines
            ],
        )


def timeline(session: Session, study_id: uuid.UUID) -> Sequence[Event]:
    """The study's events, oldest first."""
    return session.scalars(select(Event).where(Event.study_id == study_id).order_by(Event.id)).all()


def consecutive_worker_deaths(session: Session, stage: Stage, reach: int = 200) -> list[uuid.UUID]:
    """The requests that a worker of this stage died on, alone, since one last succeeded.

    Looks back over the newest `reach` ends of work; each request once, the newest first.
    """
    success = EventKind.PREPARED if stage is Stage.PREPARE else EventKind.DRAFTED
    ends = (success, EventKind.FORGIVEN, EventKind.ATTEMPT_FAILED, EventKind.FAILED)
    rows = session.execute(
        select(Event.kind, Event.detail, DraftRequest.id, DraftRequest.prepared_blob)
        .join(DraftRequest, DraftRequest.id == Event.request_id)
        .where(Event.kind.in_(ends))
        .order_by(Event.id.desc())
        .limit(reach)
    )
    died: dict[uuid.UUID, None] = {}
    for kind, detail, request_id, prepared_blob in rows:
        if kind in (success, EventKind.FORGIVEN):
            break
        # A request that has its prepared input died while it was drafted.
        if detail.startswith(FailReason.WORKER_DIED) and (
            (prepared_blob is not None) == (stage is Stage.DRAFT)
        ):
            died[request_id] = None
    return list(died)
