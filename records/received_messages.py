"""Messages of other systems: what each was answered, and the content of those that were refused.

The row of a message is written in the transaction of its effect. So a message that comes again is
known, gets the same answer and has no second effect; and one without a row has had none.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, func, insert, select, tuple_, update
from sqlalchemy.orm import Session

from records import message_keys
from records.audit.looks import note_look
from records.database.order_tables import ReceivedMessage
from records.database.session import interval
from records.database.time_marks import TimeMark
from records.errors import NotAllowed, NotFound
from records.states import MessageOutcome, Origin, TallyKind
from records.workflow import tallies
from records.workflow.site_lists import newest_visible
from records.workflow.site_scope import is_visible, shows, visible_sites
from records.workflow.sites import sites_of_senders

_REMOVE_AT_ONCE = 1000
"""Rows that one call of `remove_old` changes."""


def make_digest(content: bytes) -> str:
    """The digest by which the same bytes are known again: SHA-256 in hex."""
    return hashlib.sha256(content).hexdigest()


def find(
    session: Session, origin: Origin, sender: str, control_id: str, digest: str
) -> ReceivedMessage | None:
    """The message that had the same sender, control id and bytes; None where none had.

    Args:
        session: the caller's transaction.
        origin: the interface.
        sender: who sent it.
        control_id: MSH-10, or what stands in its place.
        digest: `make_digest` of its bytes.
    """
    return session.scalar(
        select(ReceivedMessage).where(
            ReceivedMessage.origin == origin,
            ReceivedMessage.sender == sender,
            ReceivedMessage.control_id == control_id,
            ReceivedMessage.digest == digest,
        )
    )


def find_many(
    session: Session, origin: Origin, keys: Sequence[tuple[str, str, str]]
) -> dict[tuple[str, str, str], ReceivedMessage]:
    """Those of many messages that are known, by (sender, control id, digest); see `find`."""
    key = (ReceivedMessage.sender, ReceivedMessage.control_id, ReceivedMessage.digest)
    rows = session.scalars(
        select(ReceivedMessage).where(ReceivedMessage.origin == origin, tuple_(*key).in_(keys))
    )
    return {(row.sender, row.control_id, row.digest): row for row in rows}


def count_repeat(session: Session, message_id: uuid.UUID) -> None:
    """Note that a message came once more."""
    session.execute(
        update(ReceivedMessage)
        .where(ReceivedMessage.id == message_id)
        .values(repeats=ReceivedMessage.repeats + 1)
    )


def accept_after_all(session: Session, message_id: uuid.UUID) -> None:
    """Note that a message that was refused came again and could be used.

    Args:
        session: the caller's transaction, which has the message's effect, too.
        message_id: our id of it.
    """
    session.execute(
        update(ReceivedMessage)
        .where(ReceivedMessage.id == message_id)
        .values(
            outcome=MessageOutcome.ACCEPTED,
            answer_code="AA",
            error_code="",
            sentence="",
            location="",
            content=None,
        )
    )


def keep(
    session: Session,
    *,
    origin: Origin,
    sender: str,
    control_id: str,
    message_type: str,
    processing_id: str,
    content: bytes,
    outcome: MessageOutcome,
    answer_code: str,
    error_code: str = "",
    sentence: str = "",
    location: str = "",
) -> uuid.UUID:
    """Keep what a message was answered, and the content, encrypted, of one that was refused.

    It belongs to the site of its sender, where that is known.

    Args:
        session: the caller's transaction, which has the message's effect, too.
        origin: the interface.
        sender: who sent it.
        control_id: MSH-10, or what stands in its place.
        message_type: as ORM^O01.
        processing_id: MSH-11; "" where there is none.
        content: its bytes.
        outcome: what became of it.
        answer_code: AA, AE, AR, CA, CE, CR, or an HTTP status.
        error_code: of HL7 table 0357; "" where there is no error.
        sentence: why it was refused, for a person; it names no patient.
        location: the field at fault, as PID-3.

    Returns:
        Our id of the message.

    Raises:
        sqlalchemy.exc.IntegrityError: the same message was kept by another transaction.
        SettingsError, PartError: the key for its content cannot be used.
    """
    return session.execute(
        insert(ReceivedMessage)
        .values(
            origin=origin,
            sender=sender,
            site_id=sites_of_senders(session, [sender]).get(sender),
            control_id=control_id,
            message_type=message_type,
            processing_id=processing_id,
            digest=make_digest(content),
            outcome=outcome,
            answer_code=answer_code,
            error_code=error_code,
            sentence=sentence,
            location=location,
            content=message_keys.encrypt(content) if outcome is MessageOutcome.REFUSED else None,
        )
        .returning(ReceivedMessage.id)
    ).scalar_one()


@dataclass(frozen=True, slots=True)
class AcceptedMessage:
    """A message that could be used; the fields are those of `keep`."""

    sender: str
    control_id: str
    message_type: str
    processing_id: str
    digest: str


def keep_accepted(
    session: Session, origin: Origin, answer_code: str, messages: Sequence[AcceptedMessage]
) -> list[uuid.UUID]:
    """Keep what many messages were answered that have their effect; our ids of them, in order.

    Raises:
        sqlalchemy.exc.IntegrityError: as `keep`.
    """
    statement = insert(ReceivedMessage).returning(ReceivedMessage.id, sort_by_parameter_order=True)
    shared = {
        "origin": origin,
        "outcome": MessageOutcome.ACCEPTED,
        "answer_code": answer_code,
        "error_code": "",
        "sentence": "",
        "location": "",
    }
    sites = sites_of_senders(session, {message.sender for message in messages})
    values = [
        asdict(message) | shared | {"site_id": sites.get(message.sender)} for message in messages
    ]
    return list(session.scalars(statement, values))


def read_content(row: ReceivedMessage) -> bytes:
    """The content of a message that was refused.

    Raises:
        NotFound: none is kept: the message was not refused, or its time was over.
        SettingsError, PartError: it cannot be decrypted here.
    """
    if row.content is None:
        raise NotFound("the content of this message is not kept, or not any more")
    return message_keys.decrypt(row.content)


def list_open(session: Session, limit: int) -> Sequence[ReceivedMessage]:
    """The refused messages that no person has settled, oldest first.

    Args:
        session: the caller's transaction.
        limit: how many at most.
    """
    return session.scalars(
        select(ReceivedMessage)
        .where(*_OPEN, is_visible(ReceivedMessage.site_id))
        .order_by(ReceivedMessage.received_at)
        .limit(limit)
    ).all()


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Some messages, newest first; `next` is the mark of the following page, or None."""

    messages: Sequence[ReceivedMessage]
    next: str | None


def read_page(
    session: Session,
    *,
    outcome: MessageOutcome | None = None,
    only_open: bool = False,
    after: str | None = None,
    limit: int = 50,
) -> MessagePage:
    """A page of the messages that were received, newest first.

    Args:
        session: the caller's transaction.
        outcome: only messages of which this became.
        only_open: only refused messages that no person has settled.
        after: the `next` of the page before.
        limit: messages on the page, at most.

    Raises:
        NotAllowed: `after` is not a mark that this function gave.
    """
    query = select(ReceivedMessage)
    if outcome is not None:
        query = query.where(ReceivedMessage.outcome == outcome)
    if only_open:
        query = query.where(*_OPEN)
    if after is not None:
        mark = TimeMark.parse(after)
        query = query.where(
            tuple_(ReceivedMessage.received_at, ReceivedMessage.id) < tuple_(mark.at, mark.id)
        )
    rows = session.scalars(
        newest_visible(
            query,
            ReceivedMessage,
            ReceivedMessage.received_at,
            limit + 1,
        )
    ).all()
    messages = rows[:limit]
    if len(rows) <= limit:
        return MessagePage(messages, None)
    return MessagePage(messages, str(TimeMark(messages[-1].received_at, messages[-1].id)))


def get_message(session: Session, message_id: uuid.UUID) -> ReceivedMessage:
    """A message by our id.

    Raises:
        NotFound: there is no such message.
    """
    row = session.get(ReceivedMessage, message_id)
    if row is None or not _is_shown(row):
        raise NotFound("there is no such message")
    note_look(thing=f"message {row.id}")
    return row


def count_by_outcome(session: Session) -> dict[str, int]:
    """How many messages were ever received, by what became of them; those without any are 0."""
    return dict.fromkeys(map(str, MessageOutcome), 0) | tallies.read_numbers(
        session, TallyKind.MESSAGES
    )


def count_open(session: Session, limit: int) -> tuple[int, dt.datetime | None]:
    """How many refused messages no person has settled, and since when the oldest waits.

    Args:
        session: the caller's transaction.
        limit: counting ends there, so that it costs the same however many wait.
    """
    oldest_first = (
        select(ReceivedMessage.received_at)
        .where(*_OPEN, is_visible(ReceivedMessage.site_id))
        .order_by(ReceivedMessage.received_at)
        .limit(limit)
        .subquery()
    )
    count, since = session.execute(
        select(func.count(), func.min(oldest_first.c.received_at)).select_from(oldest_first)
    ).one()
    return count, since


def settle(session: Session, message_id: uuid.UUID, by: str) -> None:
    """Note that a person has dealt with a refused message.

    Args:
        session: the caller's transaction.
        message_id: our id of it.
        by: who.

    Raises:
        NotFound: there is no such message.
        NotAllowed: it was not refused, or is settled already.
    """
    row = session.get(ReceivedMessage, message_id, with_for_update=True)
    if row is None or not _is_shown(row):
        raise NotFound("there is no such message")
    if row.outcome != MessageOutcome.REFUSED:
        raise NotAllowed("the message was not refused: there is nothing to settle")
    if row.settled_at is not None:
        raise NotAllowed(f"the message is settled already, by {row.settled_by}")
    row.settled_at = func.clock_timestamp()
    row.settled_by = by
    session.flush()


def remove_old(session: Session, days: float) -> int:
    """Remove what is older than so many days: contents, and rows of messages without an effect.

    The rows of messages that had an effect stay, for the history of orders names them; and those of
    refused ones, which a person may still ask about. A thousand of each are changed at most: call
    again for more.

    Args:
        session: the caller's transaction.
        days: how old.

    Returns:
        How many rows were changed.
    """
    before = func.now() - interval(days * 86_400)
    with_content = (
        select(ReceivedMessage.id)
        .where(ReceivedMessage.content.is_not(None), ReceivedMessage.received_at < before)
        .order_by(ReceivedMessage.received_at)
        .limit(_REMOVE_AT_ONCE)
    )
    without_effect = (
        select(ReceivedMessage.id)
        .where(
            ReceivedMessage.outcome.in_((MessageOutcome.IGNORED, MessageOutcome.TEST)),
            ReceivedMessage.received_at < before,
        )
        .order_by(ReceivedMessage.received_at)
        .limit(_REMOVE_AT_ONCE)
    )
    emptied = session.scalars(
        update(ReceivedMessage)
        .where(ReceivedMessage.id.in_(with_content))
        .values(content=None)
        .returning(ReceivedMessage.id)
    ).all()
    deleted = session.scalars(
        delete(ReceivedMessage)
        .where(ReceivedMessage.id.in_(without_effect))
        .returning(ReceivedMessage.id)
    ).all()
    return len(emptied) + len(deleted)


def _is_shown(row: ReceivedMessage) -> bool:
    """Whether a message is of a site that is shown; one of no known site is for who sees all."""
    return visible_sites() is None if row.site_id is None else shows(row.site_id)


_OPEN = (ReceivedMessage.outcome == MessageOutcome.REFUSED, ReceivedMessage.settled_at.is_(None))
