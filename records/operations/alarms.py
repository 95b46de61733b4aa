"""Alarms: sentences for the person on call, opened by a part and closed by a person."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.tables import Alarm


def raise_alarm(session: Session, part: str, sentence: str) -> None:
    """Open an alarm of a part; one that is open already stays as it is."""
    session.execute(insert(Alarm).values(part=part, sentence=sentence).on_conflict_do_nothing())


def open_alarms(session: Session, part: str | None = None) -> Sequence[Alarm]:
    """The open alarms of one part or of all, oldest first."""
    query = select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.id)
    return session.scalars(query.where(Alarm.part == part) if part else query).all()


def close_alarms(session: Session, part: str | None = None) -> int:
    """Close the open alarms of one part or of all; returns how many there were."""
    change = update(Alarm).where(Alarm.closed_at.is_(None)).values(closed_at=func.now())
    return len(
        session.scalars(
            (change.where(Alarm.part == part) if part else change).returning(Alarm.id)
        ).all()
    )
