"""Holds: a person must decide. While one is open nothing of its study is claimed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records import requests, trail
from records.errors import NotFound
from records.tables import Hold
from records.vocabulary import Decision, EventKind, HoldReason


def open_hold(session: Session, study_id: uuid.UUID, reason: HoldReason, detail: str) -> None:
    """Open a hold; one that is open for the same reason stands as it is."""
    opened = session.scalar(
        insert(Hold)
        .values(study_id=study_id, reason=reason, detail=detail)
        .on_conflict_do_nothing()
        .returning(Hold.id)
    )
    if opened is not None:
        trail.tell(session, study_id, EventKind.HELD, f"{reason}: {detail}")


def decide(
    session: Session, study_id: uuid.UUID, decision: Decision, by: str, note: str = ""
) -> int:
    """Close all open holds of the study as a person decided; returns how many.

    PROCEED lets the study go on with what stands; CANCEL ends its open request.

    Raises:
        NotFound: the study has no open hold.
    """
    decided = session.scalars(
        update(Hold)
        .where(Hold.study_id == study_id, Hold.decision.is_(None))
        .values(decision=decision, decided_at=func.now(), decided_by=by, note=note)
        .returning(Hold.reason)
    ).all()
    if not decided:
        raise NotFound("the study has no open hold")
    trail.tell(session, study_id, EventKind.DECIDED, f"{decision} by {by}: {', '.join(decided)}")
    if decision is Decision.CANCEL:
        requests.cancel(session, study_id, f"held ({', '.join(decided)}), and cancelled by {by}")
    return len(decided)


def of_study(session: Session, study_id: uuid.UUID) -> Sequence[Hold]:
    """The study's holds, open ones and decided ones, oldest first."""
    return session.scalars(
        select(Hold).where(Hold.study_id == study_id).order_by(Hold.opened_at)
    ).all()


def answered(session: Session, study_id: uuid.UUID) -> set[HoldReason]:
    """The questions about this study to which a person said PROCEED."""
    return {
        HoldReason(reason)
        for reason in session.scalars(
            select(Hold.reason).where(Hold.study_id == study_id, Hold.decision == Decision.PROCEED)
        )
    }
