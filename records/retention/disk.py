"""How long the disk lasts at the present pace: what came lately, less what was removed."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.database.session import database_time
from records.database.tables import Instance

DAYS = 7.0
"""Days over which the pace is measured."""

LEAST_DAYS = 1.0
"""A site whose first film came later than that has no pace yet."""


@dataclass(frozen=True, slots=True)
class DiskPace:
    """The bytes of films that came and went.

    Attributes:
        days: over how many days it was measured; at most `DAYS`.
        arrived: bytes that came.
        removed: bytes that retention removed, whenever they had come.
    """

    days: float
    arrived: int
    removed: int

    @property
    def is_known(self) -> bool:
        """Whether it was measured for long enough to say anything."""
        return self.days >= LEAST_DAYS

    @property
    def bytes_a_day(self) -> float:
        """By how much the films on disk grow in a day; below 0 where more is removed than comes."""
        return (self.arrived - self.removed) / self.days if self.days else 0.0

    def days_left(self, free: int) -> float | None:
        """For how many days so many free bytes last; None where it is not known, or for ever."""
        if not self.is_known or self.bytes_a_day <= 0:
            return None
        return free / self.bytes_a_day

    def describe(self, free: int) -> str:
        """How long the disk lasts, in a sentence for a person.

        Args:
            free: bytes up to the limit at which nothing more is received.
        """
        if not self.is_known:
            return (
                "For how long it lasts is not known yet: the first film came less than a day ago."
            )
        over = "the last 7 days" if self.days >= DAYS else f"only {self.days:.1f} days"
        flow = f"{_gigabytes(self.arrived / self.days)} came a day"
        if self.removed:
            flow += f" and {_gigabytes(self.removed / self.days)} were removed"
        left = self.days_left(free)
        if left is None:
            return f"It does not fill at the pace of {over} ({flow})."
        lasts = f"{left:.0f} days" if left >= 3 else f"{left * 24:.0f} hours"
        return f"It lasts {lasts} at the pace of {over} ({flow})."


def read_pace(session: Session) -> DiskPace:
    """Measure the pace; it reads the entries of one index for each film of the last days."""
    now = database_time(session)
    since = now - dt.timedelta(days=DAYS)
    stored, first = Instance.bytes_removed_at.is_(None), func.min(Instance.received_at)
    removed = Instance.bytes_removed_at.is_not(None)
    size = func.coalesce(func.sum(Instance.size), 0)
    lately = Instance.bytes_removed_at >= since
    arrived = session.scalars(select(size).where(stored, Instance.received_at >= since)).one()
    arrived += session.scalars(
        select(size).where(removed, lately, Instance.received_at >= since)
    ).one()
    gone = session.scalars(select(size).where(removed, lately)).one()
    oldest = [
        session.scalar(select(first).where(stored)),
        # What was removed first had come before nearly all others.
        session.scalar(
            select(Instance.received_at).where(removed).order_by(Instance.bytes_removed_at).limit(1)
        ),
    ]
    began = min((at for at in oldest if at is not None), default=now)
    days = (now - max(began, since)).total_seconds() / 86_400
    return DiskPace(days, int(arrived), int(gone))


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
