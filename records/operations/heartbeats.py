"""Heartbeats: which parts of Nightdraft run, as each process writes it into the database."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.session import interval
from records.database.tables import Heartbeat

SILENT_SECONDS = 60.0
"""A part without a heartbeat for so long counts as not running."""


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
