"""Troubles: alarms that opened within a short time, and the messages about start and end of each.

The summary of a night is a message, too, and is claimed, sent and tried again as all others are.

Whoever calls `update` and `claim_message` may do so in several processes at once: rows are claimed
by locks that others skip, and a unique index keeps a message from being there twice.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import exists, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, aliased

from records.alarm_kinds import AlarmKind, Channel, MessageEvent
from records.database.operation_tables import Alarm, AlarmMessage, Trouble
from records.database.session import database_time, interval
from records.operations import alarms, night_summaries
from records.operations.night_summaries import NightRecord

CLAIM_SECONDS = 300.0
"""A message whose sender died while it was being sent is tried again after so long."""

FIRST_RETRY_SECONDS = 30.0
MAX_RETRY_SECONDS = 1800.0
GIVE_UP_SECONDS = 24 * 3600.0
"""A message that could not be sent for so long is given up: it is of another night."""

ALARM_AFTER_ATTEMPTS = 3
"""A channel by which a message failed so often opens an alarm, which is not pushed itself."""


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message that this process sends now, with all that it says: of a trouble or of a night."""

    message: AlarmMessage
    trouble: Trouble | None
    alarms: Sequence[Alarm]
    night: NightRecord | None = None


def update_troubles(
    session: Session, gather_seconds: float, channels: Collection[Channel]
) -> tuple[int, int]:
    """Begin and end troubles, with a message by each channel.

    A trouble begins when an open alarm is `gather_seconds` old, and takes all other new alarms
    along. It ends when all its alarms have been closed for so long. An alarm that opens again
    meanwhile belongs to the trouble that it was in. One that closes before it is in any is not
    told of.

    Args:
        session: the caller's transaction.
        gather_seconds: how long alarms are gathered.
        channels: the channels that are set up.

    Returns:
        How many troubles began and ended.
    """
    return (
        _begin(session, gather_seconds, channels),
        _end(session, gather_seconds),
    )


def _begin(session: Session, gather_seconds: float, channels: Collection[Channel]) -> int:
    opened = session.scalars(
        select(Alarm)
        .where(
            Alarm.closed_at.is_(None),
            Alarm.trouble_id.is_(None),
            Alarm.kind != AlarmKind.MESSAGES_FAIL,
        )
        .order_by(Alarm.id)
        .with_for_update(skip_locked=True)
    ).all()
    new = [alarm for alarm in opened if not _rejoin(session, alarm)]
    if not new:
        return 0
    began_at = min(alarm.opened_at for alarm in new)
    if (database_time(session) - began_at).total_seconds() < gather_seconds:
        return 0
    trouble = Trouble(began_at=began_at)
    session.add(trouble)
    session.flush()
    for alarm in new:
        alarm.trouble_id = trouble.id
    _add_messages(session, trouble, MessageEvent.START, channels)
    return 1


def _rejoin(session: Session, alarm: Alarm) -> bool:
    """Put an alarm that opened again into the trouble that it was in, where that goes on."""
    alarm.trouble_id = session.scalar(
        select(Alarm.trouble_id)
        .join(Trouble, Alarm.trouble_id == Trouble.id)
        .where(Trouble.ended_at.is_(None), Alarm.part == alarm.part, Alarm.kind == alarm.kind)
        .limit(1)
    )
    return alarm.trouble_id is not None


def _end(session: Session, gather_seconds: float) -> int:
    open_alarm = exists().where(Alarm.trouble_id == Trouble.id, Alarm.closed_at.is_(None))
    last_closed = (
        select(func.max(Alarm.closed_at)).where(Alarm.trouble_id == Trouble.id).scalar_subquery()
    )
    over = session.scalars(
        select(Trouble)
        .where(
            Trouble.ended_at.is_(None),
            ~open_alarm,
            last_closed <= func.clock_timestamp() - interval(gather_seconds),
        )
        .with_for_update(skip_locked=True)
    ).all()
    for trouble in over:
        trouble.ended_at = session.scalar(
            select(func.max(Alarm.closed_at)).where(Alarm.trouble_id == trouble.id)
        )
        # The end is told where the start was, or will be.
        told = session.scalars(
            select(AlarmMessage.channel).where(
                AlarmMessage.trouble_id == trouble.id,
                AlarmMessage.event == MessageEvent.START,
                AlarmMessage.given_up_at.is_(None),
            )
        ).all()
        _add_messages(session, trouble, MessageEvent.END, [Channel(name) for name in told])
    return len(over)


def _add_messages(
    session: Session, trouble: Trouble, event: MessageEvent, channels: Collection[Channel]
) -> None:
    for channel in channels:
        session.execute(
            insert(AlarmMessage)
            .values(trouble_id=trouble.id, event=event, channel=channel)
            .on_conflict_do_nothing()
        )


def claim_message(session: Session, channels: Collection[Channel]) -> ClaimedMessage | None:
    """The oldest message that is due by one of the channels; nobody else gets it meanwhile.

    A trouble's end waits until its start was sent or given up.
    """
    earlier = aliased(AlarmMessage)
    start_is_waiting = exists().where(
        earlier.trouble_id == AlarmMessage.trouble_id,
        earlier.channel == AlarmMessage.channel,
        earlier.id < AlarmMessage.id,
        earlier.sent_at.is_(None),
        earlier.given_up_at.is_(None),
    )
    message = session.scalars(
        select(AlarmMessage)
        .where(
            AlarmMessage.sent_at.is_(None),
            AlarmMessage.given_up_at.is_(None),
            AlarmMessage.due_at <= func.clock_timestamp(),
            AlarmMessage.channel.in_(list(channels)),
            ~start_is_waiting,
        )
        .order_by(AlarmMessage.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if message is None:
        return None
    message.attempts += 1
    message.due_at = func.clock_timestamp() + interval(CLAIM_SECONDS)
    if message.night is not None:
        night = night_summaries.read_night(session, message.night)
        session.flush()
        session.refresh(message)
        return ClaimedMessage(message, None, (), night)
    trouble = session.get_one(Trouble, message.trouble_id)
    of_trouble = session.scalars(
        select(Alarm).where(Alarm.trouble_id == trouble.id).order_by(Alarm.id)
    ).all()
    session.flush()
    session.refresh(message)
    return ClaimedMessage(message, trouble, of_trouble)


def record_sent(session: Session, message: AlarmMessage) -> None:
    """Record that a message was sent; its channel's alarm is closed."""
    session.execute(
        update(AlarmMessage)
        .where(AlarmMessage.id == message.id)
        .values(sent_at=func.clock_timestamp(), error="")
    )
    alarms.close_alarms(session, _alarm_part(message.channel))


def record_failure(session: Session, message: AlarmMessage, error: str) -> None:
    """Record that a message could not be sent: it is tried again later and later, then given up.

    Args:
        session: the caller's transaction.
        message: the message, as it was claimed.
        error: why, in words without passwords and patients.
    """
    age = (database_time(session) - message.created_at).total_seconds()
    wait = min(MAX_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(message.attempts - 1, 16))
    values = {"error": error, "due_at": func.clock_timestamp() + interval(wait)}
    if age >= GIVE_UP_SECONDS:
        values["given_up_at"] = func.clock_timestamp()
    session.execute(update(AlarmMessage).where(AlarmMessage.id == message.id).values(**values))
    if message.attempts >= ALARM_AFTER_ATTEMPTS:
        alarms.raise_alarm(
            session,
            AlarmKind.MESSAGES_FAIL,
            _alarm_part(message.channel),
            f"A message failed {message.attempts} times: {error}.",
        )


def _alarm_part(channel: str) -> str:
    return f"messages by {channel.lower()}"


def count_unsent(session: Session) -> dict[str, int]:
    """Messages that wait to be sent, by channel; every channel is a key."""
    rows = session.execute(
        select(AlarmMessage.channel, func.count())
        .where(AlarmMessage.sent_at.is_(None), AlarmMessage.given_up_at.is_(None))
        .group_by(AlarmMessage.channel)
    )
    return {channel.value: 0 for channel in Channel} | dict(rows.all())


@dataclass(frozen=True, slots=True)
class AlarmHistory:
    """An alarm, open or past, and the messages about its trouble."""

    alarm: Alarm
    messages: Sequence[AlarmMessage]


def list_history(session: Session, limit: int) -> list[AlarmHistory]:
    """The newest alarms with the messages about them, newest first."""
    newest = alarms.list_newest(session, limit)
    ids = {alarm.trouble_id for alarm in newest if alarm.trouble_id is not None}
    messages = session.scalars(
        select(AlarmMessage).where(AlarmMessage.trouble_id.in_(ids)).order_by(AlarmMessage.id)
    ).all()
    return [
        AlarmHistory(alarm, [m for m in messages if m.trouble_id == alarm.trouble_id])
        for alarm in newest
    ]
