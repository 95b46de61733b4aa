"""The running parts: heartbeats, alarms, and what was refused at the door. Knows no studies."""

from __future__ import annotations

import datetime as dt
import os
import socket
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.session import interval
from records.database.tables import Alarm, Heartbeat, Refusal

SILENT_SECONDS = 60.0
"""A part that was not seen for so long does not run."""


def owner() -> str:
    """This process, as leases and heartbeats name it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def beat(session: Session, part: str, facts: dict[str, Any] | None = None) -> None:
    """Say that this process runs as `part`."""
    values: dict[str, Any] = {"facts": facts or {}, "seen_at": func.clock_timestamp()}
    session.execute(
        insert(Heartbeat)
        .values(part=part, owner=owner(), **values)
        .on_conflict_do_update(index_elements=["part", "owner"], set_=values)
    )


def leave(session: Session, part: str) -> None:
    """Say that this process ends as `part`."""
    session.execute(delete(Heartbeat).where(Heartbeat.part == part, Heartbeat.owner == owner()))


def running(session: Session, silent_seconds: float = SILENT_SECONDS) -> Sequence[Heartbeat]:
    """The parts that were seen lately."""
    return session.scalars(
        select(Heartbeat)
        .where(Heartbeat.seen_at > func.clock_timestamp() - interval(silent_seconds))
        .order_by(Heartbeat.part, Heartbeat.owner)
    ).all()


def forget_silent(session: Session, silent_seconds: float = 3600.0) -> None:
    """Remove the heartbeats of parts that ended without a word long ago."""
    session.execute(
        delete(Heartbeat).where(
            Heartbeat.seen_at < func.clock_timestamp() - interval(silent_seconds)
        )
    )


def raise_alarm(session: Session, part: str, sentence: str) -> None:
    """Open an alarm of a part; one that is open stands."""
    session.execute(insert(Alarm).values(part=part, sentence=sentence).on_conflict_do_nothing())


def open_alarms(session: Session, part: str | None = None) -> Sequence[Alarm]:
    """Alarms that nobody has closed, of one part or all."""
    query = select(Alarm).where(Alarm.closed_at.is_(None)).order_by(Alarm.id)
    return session.scalars(query.where(Alarm.part == part) if part else query).all()


def close_alarms(session: Session, part: str | None = None) -> int:
    """Close the open alarms of one part or of all; returns how many."""
    change = update(Alarm).where(Alarm.closed_at.is_(None)).values(closed_at=func.now())
    return len(
        session.scalars(
            (change.where(Alarm.part == part) if part else change).returning(Alarm.id)
        ).all()
    )


def refuse(
    session: Session,
    *,
    calling_ae: str,
    sop_class_uid: str,
    sop_instance_uid: str,
    reason: str,
    sentence: str,
) -> None:
    """Keep a line of what was refused, so that nothing vanishes."""
    session.execute(
        insert(Refusal).values(
            calling_ae=calling_ae[:16],
            sop_class_uid=sop_class_uid[:64],
            sop_instance_uid=sop_instance_uid[:64],
            reason=reason,
            sentence=sentence,
        )
    )


def refusals(session: Session, limit: int = 100) -> Sequence[Refusal]:
    """The newest refusals."""
    return session.scalars(select(Refusal).order_by(Refusal.id.desc()).limit(limit)).all()


def refusal_counts(session: Session) -> dict[str, int]:
    """How many were refused, by reason."""
    rows = session.execute(select(Refusal.reason, func.count()).group_by(Refusal.reason))
    return {row[0]: row[1] for row in rows}


def database_time(session: Session) -> dt.datetime:
    """The database's clock: one question, one answer, so a check that it works."""
    now: dt.datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    return now
