"""How the trail is: sealed up to when, and sent up to where."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.audit.heads import head_file
from records.audit.keys import key_file
from records.audit.rows import Source, id_of
from records.audit.sealing import highest_sealed
from records.database.audit_tables import AuditDelivery, AuditKey, AuditSeal

COUNTED = 10_000
"""Rows without a seal are counted up to so many."""


@dataclass(frozen=True, slots=True)
class DeliveryStatus:
    """How far the trail was sent to a server. waiting: rows of seals that were not sent."""

    destination: str
    sent_seal: int
    waiting: int
    attempts: int
    away_since: dt.datetime | None
    next_at: dt.datetime | None
    error: str


@dataclass(frozen=True, slots=True)
class TrailStatus:
    """How the trail is.

    Attributes:
        seals: the number of the newest seal; 0 where there is none.
        sealed_at: when it was made.
        unsealed: rows that the next seals will cover, up to COUNTED.
        key_id: of the key that the trail was begun with; "" where nothing was written yet.
        key_file, head_file: where this system looks for its key, and writes heads.
    """

    seals: int
    sealed_at: dt.datetime | None
    unsealed: int
    key_id: str
    key_file: str
    head_file: str
    deliveries: Sequence[DeliveryStatus]


def read_status(session: Session) -> TrailStatus:
    """How the trail is now."""
    newest = session.scalars(
        select(AuditSeal).order_by(AuditSeal.number.desc()).limit(1)
    ).one_or_none()
    unsealed = 0
    for source in Source:
        some = (
            select(id_of(source))
            .where(id_of(source) > highest_sealed(newest, source))
            .limit(COUNTED)
            .subquery()
        )
        unsealed += session.scalar(select(func.count()).select_from(some)) or 0
    return TrailStatus(
        seals=newest.number if newest else 0,
        sealed_at=newest.at if newest else None,
        unsealed=min(unsealed, COUNTED),
        key_id=session.scalar(select(AuditKey.key_id).where(AuditKey.number == 1)) or "",
        key_file=str(key_file()),
        head_file=str(head_file()),
        deliveries=[
            DeliveryStatus(
                one.destination,
                one.sent_seal,
                session.scalar(
                    select(func.coalesce(func.sum(AuditSeal.row_count), 0)).where(
                        AuditSeal.number > one.sent_seal
                    )
                )
                or 0,
                one.attempts,
                one.away_since,
                one.next_at,
                one.error,
            )
            for one in session.scalars(select(AuditDelivery).order_by(AuditDelivery.destination))
        ],
    )
