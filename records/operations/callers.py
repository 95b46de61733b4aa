"""Callers: when each calling AE title sent its last film.

Listeners write it with their heartbeat and not with each film, so that films of one caller never
wait for each other.
"""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.operation_tables import Caller
from records.database.session import interval

MAX_CALLERS = 100
"""Callers that are kept, the latest ones: anybody can make up AE titles."""


def record_films(session: Session, seconds_ago: Mapping[str, float]) -> None:
    """Record that callers sent films.

    Args:
        session: the caller's transaction.
        seconds_ago: by calling AE title, how long ago its last film was kept.
    """
    # In one order, so that no two listeners wait for each other.
    for calling_ae, seconds in sorted(seconds_ago.items()):
        row = insert(Caller).values(
            calling_ae=calling_ae[:16], last_film_at=func.clock_timestamp() - interval(seconds)
        )
        latest = func.greatest(Caller.last_film_at, row.excluded.last_film_at)
        session.execute(
            row.on_conflict_do_update(index_elements=["calling_ae"], set_={"last_film_at": latest})
        )
    if seconds_ago:
        kept = select(Caller.calling_ae).order_by(Caller.last_film_at.desc()).limit(MAX_CALLERS)
        session.execute(delete(Caller).where(Caller.calling_ae.not_in(kept)))


def seconds_since_last_film(session: Session) -> dict[str, float]:
    """How long ago each caller sent its last film, by calling AE title; MAX_CALLERS at most."""
    seconds = func.extract("epoch", func.clock_timestamp() - Caller.last_film_at)
    rows = session.execute(
        select(Caller.calling_ae, seconds).order_by(Caller.last_film_at.desc()).limit(MAX_CALLERS)
    )
    return {calling_ae: max(0.0, float(number)) for calling_ae, number in rows}
