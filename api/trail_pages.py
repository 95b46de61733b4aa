"""The page of the trail, for auditors: search by patient, person and time."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from api.forms import NONE_IF_EMPTY
from api.list_queries import ListQuery
from api.rendering import render
from api.schemas import SearchText
from api.times import Day
from api.trail import read_page
from records.audit.lines import TrailFilter, count_emergencies
from records.audit.status import read_status
from records.database.session import unit_of_work
from records.states import AuditAction

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Lines on one page."""

EMERGENCY_DAYS = 7
"""The page says how many patients were opened in emergencies in so many days."""


class TrailQuery(ListQuery):
    """Which lines are shown.

    since, until: days by this machine's clock, both of them included. emergency: only what is of
    emergencies. after: the page's mark.
    """

    patient: SearchText = ""
    person: SearchText = ""
    action: SearchText = ""
    since: Annotated[Day | None, NONE_IF_EMPTY] = None
    until: Annotated[Day | None, NONE_IF_EMPTY] = None
    emergency: bool = False


@router.get("/trail")
def show_trail(query: Annotated[TrailQuery, Query()]) -> str:
    """Who saw and did what, newest first, and how the trail is sealed."""
    wanted = TrailFilter(
        query.patient,
        query.person,
        query.action,
        _begin(query.since),
        _end(query.until),
        query.emergency,
    )
    with unit_of_work() as session:  # that the trail was read is written there, too
        status = read_status(session)
        page = read_page(session, wanted, query.after, PAGE_SIZE, "/trail")
        return render(
            "trail.html",
            query=query,
            page=page,
            status=status,
            actions=list(AuditAction),
            emergencies=count_emergencies(session, EMERGENCY_DAYS),
            days=EMERGENCY_DAYS,
        )


def _begin(day: dt.date | None) -> dt.datetime | None:
    """The beginning of a day by this machine's clock, which the pages show, too."""
    if day is None:
        return None
    first = dt.date(1900, 1, 2)  # an earlier one may have no time of a zone
    return dt.datetime.combine(max(day, first), dt.time()).astimezone()


def _end(day: dt.date | None) -> dt.datetime | None:
    return None if day in (None, dt.date.max) else _begin(day + dt.timedelta(days=1))
