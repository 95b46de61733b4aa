"""The alarms of senders of whom many messages were refused within a short time.

A sender has one alarm for a burst. It closes once nothing of the sender was refused for the time
and a message was accepted, or once a person has settled all its refused messages.

A look reads the refused messages of the last minutes that nobody has settled, by an index that has
no others. So it costs the same however many messages were ever received.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from records.alarm_kinds import AlarmKind
from records.database.order_tables import Order, ReceivedMessage
from records.database.report_tables import ReceivedReport
from records.database.session import interval
from records.operations import alarms
from records.states import MessageOutcome, Origin

PART_PREFIX = "messages by "
"""Before the interface and the sender in the name of an alarm's part."""

MAX_LOOKED_AT = 10_000
"""Rows that one question of a look reads, at most; of a longer burst the newest are counted."""

_OPEN = (ReceivedMessage.outcome == MessageOutcome.REFUSED, ReceivedMessage.settled_at.is_(None))


@dataclass(frozen=True, slots=True)
class RefusedBurst:
    """Messages of one sender that were refused within the time, and that nobody has settled.

    Attributes:
        origin, sender: by which interface they came, and from whom.
        count: how many they are.
        reason: the error code and the field that most of them have, as "101 at PID-3".
    """

    origin: Origin
    sender: str
    count: int
    reason: str

    @property
    def part(self) -> str:
        """The name of the alarm's part."""
        return f"{PART_PREFIX}{self.origin} from {self.sender}"


def settle_alarms(session: Session, count: int, minutes: float) -> None:
    """Open the alarms of senders of whom much was refused, and close those that are over.

    Args:
        session: the caller's transaction.
        count: so many refused messages of one sender open its alarm; 0 opens none.
        minutes: within so many minutes.
    """
    opened = {
        alarm.part: alarm
        for alarm in alarms.open_alarms(session)
        if alarm.kind == AlarmKind.MESSAGES_REFUSED
    }
    bursts = {burst.part: burst for burst in _list_bursts(session, minutes)}
    for part, burst in bursts.items():
        if part in opened:
            opened[part].cause = _cause(burst, minutes)
        elif count and burst.count >= count:
            alarms.raise_alarm(session, AlarmKind.MESSAGES_REFUSED, part, _cause(burst, minutes))
    for part in sorted(opened.keys()):
        if not count or (part not in bursts and _is_over(session, part, minutes)):
            alarms.close_alarms(session, part)


def _list_bursts(session: Session, minutes: float) -> list[RefusedBurst]:
    newest = (
        select(
            ReceivedMessage.origin,
            ReceivedMessage.sender,
            ReceivedMessage.error_code,
            ReceivedMessage.location,
        )
        .where(*_OPEN, ReceivedMessage.received_at > func.now() - interval(minutes * 60))
        .order_by(ReceivedMessage.received_at.desc())
        .limit(MAX_LOOKED_AT)
        .subquery()
    )
    # A location names a field or an element, never its value.
    reason = newest.c.error_code + func.coalesce(" at " + func.nullif(newest.c.location, ""), "")
    rows = session.execute(
        select(
            newest.c.origin,
            newest.c.sender,
            func.count(),
            func.mode().within_group(reason),
        ).group_by(newest.c.origin, newest.c.sender)
    )
    return [RefusedBurst(Origin(row[0]), row[1], row[2], row[3]) for row in rows]


def _cause(burst: RefusedBurst, minutes: float) -> str:
    return (
        f"{burst.count:,} messages by {burst.origin} from {burst.sender} were refused within "
        f"{minutes:g} minutes, and nobody has settled them. Most of them have the error "
        f"{burst.reason}."
    )


def _is_over(session: Session, part: str, minutes: float) -> bool:
    """Whether a sender's alarm can close, of whom nothing open was refused within the time."""
    name, _, sender = part.removeprefix(PART_PREFIX).partition(" from ")
    origin = Origin(name)
    return not _has_open(session, origin, sender) or _was_accepted(session, origin, sender, minutes)


def _has_open(session: Session, origin: Origin, sender: str) -> bool:
    """Whether a refused message of a sender waits for a person."""
    return (
        session.scalar(
            select(ReceivedMessage.id)
            .where(*_OPEN, ReceivedMessage.origin == origin, ReceivedMessage.sender == sender)
            .limit(1)
        )
        is not None
    )


def _was_accepted(session: Session, origin: Origin, sender: str, minutes: float) -> bool:
    """Whether something of a sender was accepted within the time.

    Only HL7 keeps a row of each message that was accepted. Of the other interfaces the orders and
    reports are looked at.
    """
    if origin is Origin.HL7:
        newest = (
            select(ReceivedMessage.sender)
            .where(
                ReceivedMessage.outcome == MessageOutcome.ACCEPTED,
                ReceivedMessage.received_at > func.now() - interval(minutes * 60),
            )
            .order_by(ReceivedMessage.received_at.desc())
            .limit(MAX_LOOKED_AT)
            .subquery()
        )
        query = select(newest.c.sender).where(newest.c.sender == sender)
        return session.scalar(query.limit(1)) is not None
    for table, at in ((Order, Order.changed_at), (ReceivedReport, ReceivedReport.received_at)):
        rows = (
            select(table.origin)
            .where(at > func.now() - interval(minutes * 60))
            .order_by(at.desc())
            .limit(MAX_LOOKED_AT)
            .subquery()
        )
        if session.scalar(select(rows.c.origin).where(rows.c.origin == origin).limit(1)):
            return True
    return False
