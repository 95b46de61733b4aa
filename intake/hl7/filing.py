"""Stores what messages say, and decides what each is answered. An answer is given after the commit.

The messages of several connections are stored in one transaction. Where that fails each is stored
by itself: what is wrong with one is then answered to its sender alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy.orm import Session

from intake.hl7.answers import ACCEPTED, ERROR, REJECTED, Answer
from intake.hl7.orders import ReadOrder
from intake.hl7.patients import PatientCorrection, PatientEffect, PatientMerge
from intake.hl7.reading import ReadMessage
from intake.hl7.refusal import ErrorCode, MessageRefused
from intake.hl7.reports import ReadReport
from records import received_messages
from records.database.order_tables import ReceivedMessage
from records.database.session import unit_of_work
from records.errors import MessageError, PartError, SettingsError, safe_text
from records.failpoints import failpoint
from records.orders.receiving import receive_orders
from records.patient_changes import correct_patient, merge_patients, move_visit
from records.received_messages import AcceptedMessage
from records.reports.receiving import receive_report
from records.settings import settings
from records.states import MessageOutcome, Origin
from records.telemetry import logger

_CODES = {error.code: error for error in ErrorCode}
_ATTEMPTS = 3
"""How often one message is tried: another process may just have stored the same one."""


def file_messages(messages: Sequence[ReadMessage]) -> list[Answer | None]:
    """Store messages, and return what each is answered; None for one that is never answered.

    When this returns all is committed.

    Raises:
        PartError, SettingsError: Nothing of the messages is at fault, and some of them may not be
            stored: none is to be answered, so that its sender sends it again.
    """
    if len(messages) > 1:
        try:
            with unit_of_work() as session:
                answers = _file_together(session, messages)
                failpoint("hl7-before-commit")
            return answers
        except Exception as error:  # whichever message it was, it is met again below
            logger().info("messages are stored one by one", reason=safe_text(error))
    return [_file_alone(message) for message in messages]


def _file_alone(message: ReadMessage) -> Answer | None:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with unit_of_work() as session:
                answer = _file(session, message)
                failpoint("hl7-before-commit")
            return answer
        except (PartError, SettingsError):
            raise
        except MessageError as error:
            refusal = _refusal_of(error)
        except Exception as error:
            if attempt < _ATTEMPTS:
                continue
            logger().error("a message could not be stored", error=safe_text(error))
            refusal = MessageRefused(
                ErrorCode.INTERNAL, "", "the message could not be stored; its text is kept"
            )
        with unit_of_work() as session:
            return _refuse(session, message, refusal)
    raise AssertionError("the last attempt returns or raises")


def _file_together(session: Session, messages: Sequence[ReadMessage]) -> list[Answer | None]:
    """Store messages in their order; new ones that only place or change orders with few statements.

    What comes one after the other on a connection has its effect in that order.
    """
    known = received_messages.find_many(session, Origin.HL7, [_key(m) for m in messages])
    seen = set(known)
    answers: list[Answer | None] = []
    new: list[ReadMessage] = []
    for message in messages:
        if _is_plain(message) and _key(message) not in seen:
            seen.add(_key(message))
            new.append(message)
            continue
        answers += _file_new(session, new)
        new = []
        answers.append(_file(session, message))
    return answers + _file_new(session, new)


def _is_plain(message: ReadMessage) -> bool:
    return (
        message.refusal is None
        and not message.is_acknowledgment
        and not message.is_test
        and bool(message.effects)
        and all(isinstance(effect, ReadOrder) for effect in message.effects)
    )


def _file_new(session: Session, messages: Sequence[ReadMessage]) -> list[Answer | None]:
    """Store messages of which none was stored before, and all that they say are orders."""
    if not messages:
        return []
    answer = Answer(ACCEPTED)
    kept = []
    for message in messages:
        sender, control_id, digest = _key(message)
        header = message.header
        kept.append(
            AcceptedMessage(
                sender,
                control_id,
                header.message_type if header else "",
                header.processing_id if header else "",
                digest,
            )
        )
    row_ids = received_messages.keep_accepted(session, Origin.HL7, answer.code, kept)
    orders = [
        (effect.order, row_id)
        for message, row_id in zip(messages, row_ids, strict=True)
        for effect in message.effects
        if isinstance(effect, ReadOrder)
    ]
    receive_orders(session, [order for order, _ in orders], [row_id for _, row_id in orders])
    return [answer] * len(messages)


def _file(session: Session, message: ReadMessage) -> Answer | None:
    if message.is_acknowledgment:
        return None
    stored = _find(session, message)
    if stored is not None:
        received_messages.count_repeat(session, stored.id)
        # A refused message had no effect. It may be good now, for a mapping can be corrected.
        if stored.outcome != MessageOutcome.REFUSED or message.refusal is not None:
            return _answer_of(stored)
        received_messages.accept_after_all(session, stored.id)
        _apply(session, message, stored.id)
        return Answer(ACCEPTED)
    if message.refusal is not None:
        return _refuse(session, message, message.refusal)
    has_effect = bool(message.effects) and (not message.is_test or settings().hl7_test_system)
    outcome = MessageOutcome.ACCEPTED if has_effect else MessageOutcome.IGNORED
    if message.is_test and not settings().hl7_test_system:
        outcome = MessageOutcome.TEST
    answer = Answer(ACCEPTED)
    row_id = _keep(session, message, outcome, answer)
    if has_effect:
        _apply(session, message, row_id)
    return answer


def _apply(session: Session, message: ReadMessage, row_id: uuid.UUID) -> None:
    sender = message.header.sender if message.header else ""
    # All orders of a message in one call: they are locked in one sequence.
    orders = [effect.order for effect in message.effects if isinstance(effect, ReadOrder)]
    if orders:
        receive_orders(session, orders, [row_id] * len(orders))
    for effect in message.effects:
        if isinstance(effect, ReadReport):
            receive_report(session, effect.report, row_id)
        elif not isinstance(effect, ReadOrder):
            _change_patient(session, effect, sender, row_id)


def _change_patient(
    session: Session, effect: PatientEffect, sender: str, row_id: uuid.UUID
) -> None:
    origin = Origin.HL7
    if isinstance(effect, PatientCorrection):
        correct_patient(session, origin, sender, effect.ids, effect.patient, row_id)
    elif isinstance(effect, PatientMerge):
        merge_patients(
            session,
            origin,
            sender,
            effect.surviving,
            effect.surviving_ids,
            effect.retired_ids,
            row_id,
        )
    else:
        move_visit(session, origin, sender, effect.to, effect.to_ids, effect.visit_number, row_id)


def _find(session: Session, message: ReadMessage) -> ReceivedMessage | None:
    return received_messages.find(session, Origin.HL7, *_key(message))


def _key(message: ReadMessage) -> tuple[str, str, str]:
    """What is equal where a message comes again: sender, control id, digest of its bytes."""
    header = message.header
    digest = received_messages.make_digest(message.content)
    return (header.sender, header.control_id, digest) if header else ("", "", digest)


def _refuse(session: Session, message: ReadMessage, refusal: MessageRefused) -> Answer:
    code = REJECTED if refusal.code.is_rejection else ERROR
    answer = Answer(code, refusal.code, refusal.location, refusal.sentence)
    stored = _find(session, message)
    if stored is None:
        is_kept_apart = message.is_test and not settings().hl7_test_system
        outcome = MessageOutcome.TEST if is_kept_apart else MessageOutcome.REFUSED
        row_id = _keep(session, message, outcome, answer)
        logger().warning(
            "a message was refused", request_id=str(row_id), reason=refusal.sentence, outcome=code
        )
    return answer


def _keep(
    session: Session, message: ReadMessage, outcome: MessageOutcome, answer: Answer
) -> uuid.UUID:
    header = message.header
    return received_messages.keep(
        session,
        origin=Origin.HL7,
        sender=header.sender if header else "",
        control_id=header.control_id if header else "",
        message_type=header.message_type if header else "",
        processing_id=header.processing_id if header else "",
        content=message.content,
        outcome=outcome,
        answer_code=answer.code,
        error_code=answer.error.code if answer.error else "",
        sentence=answer.sentence,
        location=answer.location,
    )


def _answer_of(stored: ReceivedMessage) -> Answer:
    error = _CODES.get(stored.error_code)
    return Answer(stored.answer_code, error, stored.location, stored.sentence)


def _refusal_of(error: MessageError) -> MessageRefused:
    if isinstance(error, MessageRefused):
        return error
    return MessageRefused(ErrorCode.DATA_TYPE, "", str(error))
