"""REST for the trail: who saw and did what."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from api.list_queries import PageLimit, PageMark
from api.problems import problem_responses
from api.schemas import SearchText
from api.times import Time
from api.trail_schemas import TrailLines
from records.audit import lines, readings
from records.audit.lines import TrailFilter, TrailPage
from records.database.session import unit_of_work

router = APIRouter(prefix="/api", tags=["trail"])


def read_page(
    session: Session, wanted: TrailFilter, after: str | None, limit: int, address: str
) -> TrailPage:
    """A page of the trail, for REST and for the page; that it was read is in the trail, too.

    Args:
        session: the caller's transaction.
        wanted: which lines.
        after: the `next` of the page before.
        limit: lines on the page, at most.
        address: by which address it was asked for.
    """
    page = lines.read_page(session, wanted, after=after, limit=limit)
    readings.record_reading(session, wanted, f"GET {address}", page.lines)
    return page


def with_zone(time: dt.datetime | None) -> dt.datetime | None:
    """A time that somebody sent; UTC where no zone is given."""
    return time if time is None or time.tzinfo else time.replace(tzinfo=dt.UTC)


@router.get("/trail", responses=problem_responses(409))
def list_lines(
    patient: Annotated[
        SearchText, Query(description="Only lines about this whole patient id, or pseudonym.")
    ] = "",
    person: Annotated[
        SearchText, Query(description="Only lines of this person or program, by whole name.")
    ] = "",
    action: Annotated[
        SearchText, Query(description="Only lines about this, as VIEW, or with an event's kind.")
    ] = "",
    since: Annotated[
        Time | None,
        Query(description="Only lines from this time on; UTC where no zone is given."),
    ] = None,
    until: Annotated[Time | None, Query(description="Only lines before this time.")] = None,
    emergency: Annotated[
        bool, Query(description="Only what was opened, seen and ended in emergencies.")
    ] = False,
    after: PageMark = None,
    limit: PageLimit = 50,
) -> TrailLines:
    """Who saw and did what, newest first."""
    wanted = TrailFilter(patient, person, action, with_zone(since), with_zone(until), emergency)
    with unit_of_work() as session:  # that the trail was read is written there, too
        return TrailLines.from_page(read_page(session, wanted, after, limit, "/api/trail"))
