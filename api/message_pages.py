"""The pages of messages of other systems: the list, and one with its content."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from api.forms import NONE_IF_EMPTY, FormFields, validate_form
from api.list_queries import ListQuery
from api.message_schemas import SettlementRequest
from api.messages import load_message
from api.rendering import render
from records import received_messages
from records.database.session import snapshot, unit_of_work
from records.states import MessageOutcome

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Messages on one page, and refused ones above them that wait for a person."""

LINES_SHOWN = 500
CHARACTERS_SHOWN = 2_000
"""Of each line. A report's PDF can be a line of megabytes."""


class MessagesQuery(ListQuery):
    """Which messages are shown. after: where the page begins."""

    outcome: Annotated[MessageOutcome | None, NONE_IF_EMPTY] = None


@router.get("/messages")
def show_messages(query: Annotated[MessagesQuery, Query()]) -> str:
    """The refused messages that wait for a person, then all, newest first."""
    is_first = query.after is None and query.outcome is None
    with snapshot() as session:
        waiting = received_messages.list_open(session, PAGE_SIZE) if is_first else []
        page = received_messages.read_page(
            session, outcome=query.outcome, after=query.after, limit=PAGE_SIZE
        )
        return render(
            "messages.html",
            query=query,
            waiting=waiting,
            page=page,
            outcomes=list(MessageOutcome),
            shown=PAGE_SIZE,
        )


@router.get("/messages/{message_id}")
def show_message(message_id: uuid.UUID) -> str:
    """One message: what it was answered, and the content of one that was refused."""
    with snapshot() as session:
        message = load_message(session, message_id)
    lines = message.lines or []
    return render(
        "message.html",
        message=message,
        lines=[line[:CHARACTERS_SHOWN] for line in lines[:LINES_SHOWN]],
        is_cut=len(lines) > LINES_SHOWN or any(len(line) > CHARACTERS_SHOWN for line in lines),
    )


@router.post("/messages/{message_id}/settle")
def post_settlement(message_id: uuid.UUID, fields: FormFields) -> Response:
    """Settle a refused message, by the form on its page."""
    settlement = validate_form(SettlementRequest, dict(fields))
    with unit_of_work() as session:
        received_messages.settle(session, message_id, settlement.by)
    return RedirectResponse(f"/messages/{message_id}", status_code=303)
