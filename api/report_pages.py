"""The pages of reports of other systems: the list with its filters, and one report."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from api.forms import NONE_IF_EMPTY
from api.list_queries import ListQuery
from api.rendering import render
from api.schemas import SearchText
from api.times import Day
from records.database.session import snapshot
from records.reports import listing
from records.reports.listing import ReportFilter
from records.states import Origin, ReportStatus

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)

PAGE_SIZE = 50
"""Reports on one page."""


class ReportsQuery(ListQuery):
    """Which reports are shown; the fields are those of `ReportFilter`. after: the page's mark."""

    patient_id: SearchText = ""
    accession_number: SearchText = ""
    status: Annotated[ReportStatus | None, NONE_IF_EMPTY] = None
    origin: Annotated[Origin | None, NONE_IF_EMPTY] = None
    from_day: Annotated[Day | None, NONE_IF_EMPTY] = None
    to_day: Annotated[Day | None, NONE_IF_EMPTY] = None

    def as_filter(self) -> ReportFilter:
        """The filter, without the page."""
        return ReportFilter(**self.model_dump(exclude={"after"}))


@router.get("/reports")
def show_reports(query: Annotated[ReportsQuery, Query()]) -> str:
    """The reports of other systems, the newest first."""
    with snapshot() as session:
        page = listing.read_page(session, query.as_filter(), after=query.after, limit=PAGE_SIZE)
        return render(
            "reports.html",
            query=query,
            is_filtered=query.as_filter() != ReportFilter(),
            page=page,
            statuses=list(ReportStatus),
            origins=[origin for origin in Origin if origin is not Origin.WORKLIST],
        )


@router.get("/reports/{report_id}")
def show_report(report_id: uuid.UUID) -> str:
    """One report: its text, its fields, its versions, and its studies."""
    with snapshot() as session:
        return render("report.html", record=listing.read_report(session, report_id))
