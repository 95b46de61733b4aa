"""Refuses what cannot be used with an OperationOutcome, and keeps it for a person to look at."""

from __future__ import annotations

from collections.abc import Callable

from fastapi.responses import JSONResponse, Response

from api.outcomes import FHIR_MEDIA_TYPE, issue, outcome
from records import received_messages
from records.database.session import unit_of_work
from records.fhir import store
from records.fhir.elements import ResourceError
from records.fhir.versions import InvalidResource
from records.states import MessageOutcome, Origin

SENDER = "FHIR"
"""The sender of what could not be read: there is no login that would name him."""

STATUS_BY_CODE = {"structure": 400, "conflict": 412, "duplicate": 412, "too-costly": 413}
"""HTTP status by the code of issue-type; 422 for all others."""


def answer(take_in: Callable[[], Response], kind: str, body: bytes) -> Response:
    """Take something in, or answer why it is refused.

    Args:
        take_in: takes it in, and makes the answer.
        kind: what it is, as `POST ServiceRequest`.
        body: its bytes.
    """
    try:
        return take_in()
    except ResourceError as error:
        status = STATUS_BY_CODE.get(error.code, 422)
        _keep(error, status, kind, body)
        mistakes = [(str(error), error.expression, error.code)]
        if isinstance(error, InvalidResource):
            mistakes = error.mistakes
        issues = [issue(code, sentence, where) for sentence, where, code in mistakes]
        return JSONResponse(outcome(issues), status, media_type=FHIR_MEDIA_TYPE)


def _keep(error: ResourceError, status: int, kind: str, body: bytes) -> None:
    """Keep what was refused, encrypted; the same once more is counted."""
    digest = received_messages.make_digest(body)
    with unit_of_work() as session:
        store.lock(session, [digest])  # the same may come at once twice
        known = received_messages.find(session, Origin.FHIR, SENDER, "", digest)
        if known is not None:
            received_messages.count_repeat(session, known.id)
            return
        received_messages.keep(
            session,
            origin=Origin.FHIR,
            sender=SENDER,
            control_id="",
            message_type=kind,
            processing_id="",
            content=body,
            outcome=MessageOutcome.REFUSED,
            answer_code=str(status),
            error_code=error.code,
            sentence=str(error),
            location=error.expression,
        )
