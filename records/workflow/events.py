"""A study's timeline: events that are appended and never changed.

Details are in our own words and never name a patient, but for the reason that a person typed when
he or she withdrew a draft or took a rejection back.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from records.database.tables import DraftRequest, Event
from records.states import WORK_ENDED, EventKind, FailReason, Stage

TIMELINE_LINES = 200
"""Lines of a timeline that are shown at a time. A film that a device sends again and again adds one
line each time."""

_SUCCESSES = (EventKind.PREPARED, EventKind.DRAFTED)


def append_event(
    session: Session,
    study_id: uuid.UUID,
    kind: EventKind,
    detail: str = "",
    request_id: uuid.UUID | None = None,
    *,
    reason: str | None = None,
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
    """
    append_events(session, kind, [(study_id, request_id, detail)], reason=reason)


def append_events(
    session: Session,
    kind: EventKind,
    lines: Sequence[tuple[uuid.UUID, uuid.UUID | None, str]],
    *,
    reason: str | None = None,
) -> None:
    """Append one line of the same kind and reason for each (study, request, detail)."""
    if lines:
        session.execute(
            insert(Event),
            [
                {
                    "study_id": study_id,
                    "request_id": request_id,
                    "kind": kind,
                    "detail": detail,
                    "reason": reason,
                }
                for study_id, request_id, detail in lines
            ],
        )


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


def consecutive_worker_deaths(session: Session, stage: Stage, limit: int = 200) -> list[uuid.UUID]:
    """The requests that a worker of this stage died on, alone, since one last succeeded.

    Args:
        session: the caller's transaction.
        stage: the stage whose workers died.
        limit: how many of the newest ends of work are looked at.

    Returns:
        Each request once, the newest death first.
    """
    success = EventKind.PREPARED if stage is Stage.PREPARE else EventKind.DRAFTED
    kinds = [kind for kind in WORK_ENDED if kind not in _SUCCESSES or kind is success]
    # ix_events_work_ended: a night of ten million arrivals is not walked through.
    rows = session.execute(
        select(Event.kind, Event.reason, DraftRequest.id, DraftRequest.prepared_blob)
        .join(DraftRequest, DraftRequest.id == Event.request_id)
        .where(Event.kind.in_(kinds))
        .order_by(Event.id.desc())
        .limit(limit)
    )
    died: dict[uuid.UUID, None] = {}
    for kind, reason, request_id, prepared_blob in rows:
        if kind in (success, EventKind.FORGIVEN):
            break
        # A request that has its prepared input died while it was drafted.
        if reason == FailReason.WORKER_DIED and (
            (prepared_blob is not None) == (stage is Stage.DRAFT)
        ):
            died[request_id] = None
    return list(died)
