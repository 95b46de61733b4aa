"""Opens a patient of another site in an emergency, for a typed reason: the page, and REST.

Nothing is looked for before the reason is recorded, so no answer before that tells whether there is
such a patient.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from pydantic import BaseModel, StringConstraints

from api.access.visitor import current_visitor
from api.forms import FormFields
from api.problems import problem_responses
from api.rendering import render
from api.schemas import ONE_LINE
from records.accounts import emergencies
from records.accounts.emergencies import LEAST_REASON, MOST_NUMBER, MOST_REASON, Opened
from records.accounts.sessions import LiveSession
from records.database.session import unit_of_work
from records.errors import NotAllowed, NotFound
from records.settings import settings

router = APIRouter()

Number = Annotated[str, StringConstraints(max_length=MOST_NUMBER, pattern=ONE_LINE)]


class EmergencyRequest(BaseModel):
    """Somebody needs a patient of another site.

    number: a whole patient id, accession number or Study Instance UID. reason: for the auditor.
    """

    number: Annotated[
        str,
        StringConstraints(
            strip_whitespace=True, min_length=1, max_length=MOST_NUMBER, pattern=ONE_LINE
        ),
    ]
    reason: Annotated[
        str,
        StringConstraints(
            strip_whitespace=True,
            min_length=LEAST_REASON,
            max_length=MOST_REASON,
            pattern=ONE_LINE,
        ),
    ]


class EmergencyAccess(BaseModel):
    """A patient who was opened. study: our id of the study to begin with. until: when it ends."""

    id: UUID
    study: UUID
    until: dt.datetime


@router.get("/emergency", include_in_schema=False, response_class=HTMLResponse)
def show_form(number: Annotated[Number, Query()] = "") -> str:
    """The page that asks for the number and the reason; it looks for nothing."""
    _limited_visitor()
    return _page(number, "", "")


@router.post("/emergency", include_in_schema=False, response_class=HTMLResponse)
def post_form(fields: FormFields) -> Response:
    """Open the patient, and go to the study."""
    values = dict(fields)
    number, reason = values.get("number", ""), values.get("reason", "")
    try:
        opened = _open(number, reason)
    except NotAllowed as error:
        text = str(error)
        return HTMLResponse(_page(number, reason, f"{text[:1].upper()}{text[1:]}."), 422)
    if isinstance(opened, str):
        return HTMLResponse(_page(number, reason, f"{opened}."), 404)
    return RedirectResponse(f"/studies/{opened.study_id}", status_code=303)


@router.post("/emergency/{access_id}/end", include_in_schema=False)
def post_end(access_id: UUID) -> Response:
    """End it now; one that has ended meanwhile is ended."""
    with suppress(NotFound):
        end_access(access_id)
    return RedirectResponse("/", status_code=303)


@router.post(
    "/api/emergency-accesses",
    status_code=201,
    tags=["emergencies"],
    responses=problem_responses(400, 404, 409, 411, 413),
)
def open_access(request: EmergencyRequest) -> EmergencyAccess:
    """Open a patient of another site for a limited time; the trail has who, when and why."""
    opened = _open(request.number, request.reason)
    if isinstance(opened, str):
        raise NotFound(opened[:1].lower() + opened[1:])
    return EmergencyAccess(
        id=opened.access_id, study=opened.study_id, until=opened.until.astimezone(dt.UTC)
    )


@router.delete(
    "/api/emergency-accesses/{access_id}",
    status_code=204,
    tags=["emergencies"],
    responses=problem_responses(404, 409),
)
def end_access(access_id: UUID) -> None:
    """End an access of this login now."""
    live, _ = _limited_visitor()
    with unit_of_work() as session:
        emergencies.end(session, live.id, access_id)


def _open(number: str, reason: str) -> Opened | str:
    live, site_ids = _limited_visitor()
    with unit_of_work() as session:
        return emergencies.open_patient(session, live, site_ids, number, reason)


def _limited_visitor() -> tuple[LiveSession, tuple[UUID, ...]]:
    """The session of the person who asks, and the sites that he or she sees.

    Raises:
        NotAllowed: the person sees every site, or nobody is logged in.
    """
    visitor = current_visitor()
    if visitor is None or visitor.session is None or visitor.site_ids is None:
        raise NotAllowed("you see the studies of every site: search for the patient")
    return visitor.session, visitor.site_ids


def _page(number: str, reason: str, wrong: str) -> str:
    return render(
        "emergency.html",
        number=number,
        reason=reason,
        wrong=wrong,
        minutes=settings().emergency_minutes,
        least=LEAST_REASON,
        most=MOST_REASON,
        most_number=MOST_NUMBER,
    )
