"""REST for reports of other systems: lists of them, and one with its versions and studies."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated

from fastapi import APIRouter, Query

from api.list_queries import PageLimit, PageMark
from api.problems import problem_responses
from api.report_schemas import OutsideReportDetail, OutsideReportPage
from api.schemas import SearchText
from records.database.session import snapshot
from records.reports import listing
from records.reports.listing import ReportFilter
from records.states import Origin, ReportStatus

router = APIRouter(prefix="/api", tags=["reports"])


@router.get("/reports", responses=problem_responses(409))
def list_reports(
    patient_id: Annotated[
        SearchText, Query(description="A whole patient id, in any capitals.")
    ] = "",
    accession_number: Annotated[
        SearchText, Query(description="A whole accession number, in any capitals.")
    ] = "",
    status: Annotated[
        ReportStatus | None, Query(description="Only reports with this status.")
    ] = None,
    origin: Annotated[
        Origin | None, Query(description="Only reports that came by this interface.")
    ] = None,
    from_day: Annotated[
        dt.date | None, Query(description="The first day on which they came.")
    ] = None,
    to_day: Annotated[dt.date | None, Query(description="The last day on which they came.")] = None,
    after: PageMark = None,
    limit: PageLimit = 50,
) -> OutsideReportPage:
    """Reports of other systems, the newest first, without their texts and older versions."""
    wanted = ReportFilter(patient_id, accession_number, status, origin, from_day, to_day)
    with snapshot() as session:
        page = listing.read_page(session, wanted, after=after, limit=limit)
        return OutsideReportPage.from_page(page)


@router.get("/reports/{report_id}", responses=problem_responses(404))
def read_report(report_id: uuid.UUID) -> OutsideReportDetail:
    """One report with its text, its versions, and the studies for which it counts."""
    with snapshot() as session:
        return OutsideReportDetail.from_record(listing.read_report(session, report_id))
