"""What of the trail was sent to an audit server, and what is to be sent next.

The trail itself is the queue: a row says up to which seal all was sent. So nothing grows while the
server is away, nothing is dropped, and one seal at a time is in memory.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.audit.heads import head_line
from records.audit.keys import load_key
from records.audit.lines import as_lines
from records.audit.messages import (
    MESSAGE_ID,
    SEAL_MESSAGE_ID,
    audit_message,
    syslog_message,
)
from records.audit.rows import read_spans
from records.database.audit_tables import AuditDelivery, AuditEntry, AuditSeal
from records.database.session import interval
from records.database.tables import Event

LONGEST_PAUSE = 300.0
"""Seconds between two attempts, at most; the first pauses are shorter."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The messages of one seal, and the head of the seal as the last one."""

    destination: str
    seal: int
    messages: list[bytes]


def next_batch(session: Session, destination: str, *, with_numbers: bool) -> Batch | None:
    """What is to be sent next to an audit server.

    Args:
        session: the caller's transaction.
        destination: the server; another one gets the whole trail.
        with_numbers: see `messages.audit_message`.

    Returns:
        None where all was sent, or the pause after a failure is not over.
    """
    session.execute(
        insert(AuditDelivery).values(destination=destination, sent_seal=0).on_conflict_do_nothing()
    )
    delivery = session.get_one(AuditDelivery, destination)
    now = session.execute(select(func.clock_timestamp())).scalar_one()
    if delivery.next_at is not None and delivery.next_at > now:
        return None
    seal = session.scalars(
        select(AuditSeal)
        .where(AuditSeal.number > delivery.sent_seal)
        .order_by(AuditSeal.number)
        .limit(1)
    ).one_or_none()
    if seal is None:
        return None
    rows: list[AuditEntry | Event] = []
    for first, last in read_spans(seal.entry_ids):
        rows += session.scalars(select(AuditEntry).where(AuditEntry.id.between(first, last)))
    for first, last in read_spans(seal.event_ids):
        rows += session.scalars(
            select(Event).where(Event.id.between(first, last), Event.actor_kind.is_not(None))
        )
    rows.sort(key=lambda row: (row.at, row.id))
    messages = [
        syslog_message(MESSAGE_ID, audit_message(line, with_numbers=with_numbers), line.at)
        for line in as_lines(session, load_key(), rows)
    ]
    messages.append(syslog_message(SEAL_MESSAGE_ID, head_line(seal), seal.at))
    return Batch(destination, seal.number, messages)


def record_sent(session: Session, batch: Batch) -> None:
    """Note that all of a batch was taken."""
    delivery = session.get_one(AuditDelivery, batch.destination)
    delivery.sent_seal = batch.seal
    delivery.attempts, delivery.error = 0, ""
    delivery.next_at = delivery.away_since = None


def record_failure(session: Session, batch: Batch, error: str) -> int:
    """Note that a batch was not taken, and when it is tried again; returns the attempts so far."""
    delivery = session.get_one(AuditDelivery, batch.destination)
    delivery.attempts += 1
    delivery.error = error
    now: dt.datetime = session.execute(select(func.clock_timestamp())).scalar_one()
    delivery.away_since = delivery.away_since or now
    pause = min(LONGEST_PAUSE, 5.0 * 2 ** min(delivery.attempts - 1, 10))
    delivery.next_at = session.execute(
        select(func.clock_timestamp() + interval(pause))
    ).scalar_one()
    return delivery.attempts
