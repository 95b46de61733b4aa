"""Holds: questions that a person must decide. While one is open nothing of its study is claimed."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from sqlalchemy import exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.tables import Hold, Study
from records.states import Decision, EventKind, HoldReason
from records.workflow import events
from records.workflow.site_scope import is_of_site, visible_sites


def open_hold(session: Session, study_id: uuid.UUID, reason: HoldReason, detail: str) -> None:
    """Open a hold; one that is open for the same reason stays as it is."""
    opened = session.scalar(
        insert(Hold)
        .values(study_id=study_id, reason=reason, detail=detail)
        .on_conflict_do_nothing()
        .returning(Hold.id)
    )
    if opened is not None:
        events.append_event(session, study_id, EventKind.HELD, f"{reason}: {detail}", reason=reason)


def list_open_of_study(session: Session, study_id: uuid.UUID) -> Sequence[Hold]:
    """The study's open holds, oldest first."""
    return session.scalars(
        select(Hold)
        .where(Hold.study_id == study_id, Hold.decision.is_(None))
        .order_by(Hold.opened_at, Hold.id)
    ).all()


def list_open(
    session: Session, reason: HoldReason | None = None, limit: int = 200
) -> Sequence[Hold]:
    """The open holds of all studies, oldest first."""
    query = select(Hold).where(Hold.decision.is_(None))
    if visible_sites() is not None:
        query = query.where(exists().where(Study.id == Hold.study_id, is_of_site(Study.site_id)))
    if reason is not None:
        query = query.where(Hold.reason == reason)
    rows = session.scalars(query.order_by(Hold.opened_at, Hold.id).limit(limit)).all()
    note_look(study_ids=[hold.study_id for hold in rows])
    return rows


def list_by_study(session: Session, study_id: uuid.UUID) -> Sequence[Hold]:
    """The study's holds, open ones and decided ones, oldest first."""
    return session.scalars(
        select(Hold).where(Hold.study_id == study_id).order_by(Hold.opened_at)
    ).all()


def approved_reasons(study_holds: Iterable[Hold]) -> set[HoldReason]:
    """The reasons of those of a study's holds that a person decided with PROCEED."""
    return {HoldReason(hold.reason) for hold in study_holds if hold.decision == Decision.PROCEED}


def find_open(session: Session, study_id: uuid.UUID, reason: HoldReason) -> Hold | None:
    """The study's open hold for a reason; None where there is none."""
    return session.scalar(
        select(Hold).where(
            Hold.study_id == study_id, Hold.reason == reason, Hold.decision.is_(None)
        )
    )


def settle(session: Session, hold: Hold, note: str) -> None:
    """Close a hold whose question has gone, so that nobody is asked any more."""
    hold.decision, hold.decided_at = Decision.PROCEED, func.now()
    hold.decided_by, hold.note = "Nightdraft", note
    session.flush()
    events.append_event(session, hold.study_id, EventKind.DECIDED, f"{hold.reason}: {note}")
