"""REST for messages of other systems: lists of them, one with its content, and settling one."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.list_queries import PageLimit, PageMark
from api.message_schemas import (
    ReceivedMessage,
    ReceivedMessageDetail,
    ReceivedMessages,
    SettlementRequest,
)
from api.problems import problem_responses
from records import received_messages
from records.database.session import snapshot, unit_of_work
from records.errors import NightdraftError, safe_text
from records.hl7_messages import readable_lines
from records.orders import reading
from records.states import MessageOutcome

router = APIRouter(prefix="/api", tags=["messages"])


def load_message(session: Session, message_id: UUID) -> ReceivedMessageDetail:
    """One message with its content, or the reason why there is none.

    Raises:
        NotFound: there is no such message.
    """
    row = received_messages.get_message(session, message_id)
    lines, why = None, ""
    try:
        lines = readable_lines(received_messages.read_content(row))
    except NightdraftError as error:
        why = safe_text(error)
    return ReceivedMessageDetail.from_row(
        row, lines, why, reading.list_by_message(session, message_id)
    )


@router.get("/messages", responses=problem_responses(409))
def list_messages(
    outcome: Annotated[
        MessageOutcome | None, Query(description="Only messages of which this became.")
    ] = None,
    open: Annotated[  # the name that callers write
        bool, Query(description="Only refused messages that no person has settled.")
    ] = False,
    after: PageMark = None,
    limit: PageLimit = 50,
) -> ReceivedMessages:
    """Messages of other systems, newest first."""
    with snapshot() as session:
        page = received_messages.read_page(
            session, outcome=outcome, only_open=open, after=after, limit=limit
        )
        return ReceivedMessages.from_page(page)


@router.get("/messages/{message_id}", responses=problem_responses(404))
def read_message(message_id: UUID) -> ReceivedMessageDetail:
    """One message; of one that was refused, the content as it was sent."""
    with snapshot() as session:
        return load_message(session, message_id)


@router.post(
    "/messages/{message_id}/settle", responses=problem_responses(400, 403, 404, 409, 411, 413)
)
def settle_message(message_id: UUID, settlement: SettlementRequest) -> ReceivedMessage:
    """Note that a person has dealt with a refused message: it needs nobody any more."""
    with unit_of_work() as session:
        received_messages.settle(session, message_id, settlement.by)
        row = received_messages.get_message(session, message_id)
        session.refresh(row)
        return ReceivedMessage.model_validate(row)
