"""A study's timeline: append-only events. Details are our own words, never a patient's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from records.tables import Event
from records.vocabulary import EventKind


def tell(
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


def tell_all(
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
