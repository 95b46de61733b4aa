"""Lists reports from elsewhere for people, and reads one with its versions and what it did here."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select, tuple_
from sqlalchemy.orm import Session

from records.audit.looks import note_look
from records.database.draft_tables import Draft, DraftRequest
from records.database.report_tables import ReceivedReport, ReportKey
from records.database.tables import Study
from records.database.time_marks import TimeMark
from records.errors import NotFound
from records.reports.report import patient_of
from records.states import FINAL_STATUSES, EndReason, Origin, ReportStatus, RequestState
from records.workflow.identifiers import KeyKind, patient_ids, plain_key
from records.workflow.site_lists import newest_visible
from records.workflow.site_scope import is_visible, shows
from records.workflow.study_lookup import find_studies_of_patient, find_study_ids, is_of_patient
from records.workflow.study_sites import are_of_two_sites


@dataclass(frozen=True, slots=True)
class ReportFilter:
    """Which reports are listed; a value that is left out does not count.

    Attributes:
        patient_id, accession_number: whole numbers, in any capitals.
        status, origin: how far the report is, and by which interface it came.
        from_day, to_day: the first and the last day on which it came, by this machine's clock.
    """

    patient_id: str = ""
    accession_number: str = ""
    status: ReportStatus | None = None
    origin: Origin | None = None
    from_day: dt.date | None = None
    to_day: dt.date | None = None


@dataclass(frozen=True, slots=True)
class ReportPage:
    """Some reports, the newest first.

    Attributes:
        reports: the newest version of each.
        versions: by our id, how many versions of it came.
        next: the mark of the following page, or None.
    """

    reports: Sequence[ReceivedReport]
    versions: dict[uuid.UUID, int]
    next: str | None


@dataclass(frozen=True, slots=True)
class ReportStudy:
    """A study for which a report counts.

    Attributes:
        study: the study.
        is_about: whether the report is about it; else it is an earlier report of its patient.
        has_ended_draft: whether a final report from elsewhere ended its draft.
        prior_of: our ids of its drafts that had the report as the prior report, oldest first.
    """

    study: Study
    is_about: bool
    has_ended_draft: bool
    prior_of: Sequence[uuid.UUID]


@dataclass(frozen=True, slots=True)
class ReportRecord:
    """One version of a report with all that is known of it.

    Attributes:
        report: the version.
        versions: all versions of the report, the newest first.
        studies: the studies for which it counts, those that it is about first.
    """

    report: ReceivedReport
    versions: Sequence[ReceivedReport]
    studies: Sequence[ReportStudy]


def read_page(
    session: Session, wanted: ReportFilter, *, after: str | None = None, limit: int = 50
) -> ReportPage:
    """A page of the reports of other systems, the newest first, without older versions.

    Args:
        session: the caller's transaction.
        wanted: which reports.
        after: the `next` of the page before.
        limit: reports on the page, at most.

    Raises:
        NotAllowed: `after` is not a mark that this function gave.
    """
    query = select(ReceivedReport).where(ReceivedReport.superseded_at.is_(None))
    for kind, number in (
        (KeyKind.PATIENT, wanted.patient_id),
        (KeyKind.ACCESSION, wanted.accession_number),
    ):
        if number.strip():
            query = query.where(
                ReceivedReport.id.in_(
                    select(ReportKey.report_id).where(
                        ReportKey.kind == kind, ReportKey.value == plain_key(number)
                    )
                )
            )
    if wanted.status is not None:
        query = query.where(ReceivedReport.status == wanted.status)
    if wanted.origin is not None:
        query = query.where(ReceivedReport.origin == wanted.origin)
    if wanted.from_day is not None:
        query = query.where(ReceivedReport.received_at >= _midnight(wanted.from_day))
    if wanted.to_day is not None and wanted.to_day < dt.date.max:
        following = wanted.to_day + dt.timedelta(days=1)
        query = query.where(ReceivedReport.received_at < _midnight(following))
    if after is not None:
        mark = TimeMark.parse(after)
        query = query.where(
            tuple_(ReceivedReport.received_at, ReceivedReport.id) < tuple_(mark.at, mark.id)
        )
    rows = session.scalars(
        newest_visible(
            query,
            ReceivedReport,
            ReceivedReport.received_at,
            limit + 1,
        )
    ).all()
    reports = rows[:limit]
    note_look(patients=[patient_of(report) for report in reports])
    is_last = len(rows) <= limit
    return ReportPage(
        reports,
        _count_versions(session, reports),
        None if is_last else str(TimeMark(reports[-1].received_at, reports[-1].id)),
    )


def read_report(session: Session, report_id: uuid.UUID) -> ReportRecord:
    """One version of a report with its other versions and its studies.

    Raises:
        NotFound: there is no such report.
    """
    report = session.get(ReceivedReport, report_id)
    if report is None or not shows(report.site_id):
        raise NotFound("there is no such report")
    versions = session.scalars(
        select(ReceivedReport)
        .where(ReceivedReport.identity == report.identity, is_visible(ReceivedReport.site_id))
        .order_by(ReceivedReport.received_at.desc(), ReceivedReport.id.desc())
    ).all()
    studies = _list_studies(session, report)
    note_look(
        study_ids=[one.study.id for one in studies],
        patients=[patient_of(version) for version in versions],
    )
    return ReportRecord(report, versions, studies)


def _midnight(day: dt.date) -> dt.datetime:
    """The beginning of a day by this machine's clock, which the pages show, too."""
    first = dt.date(1900, 1, 2)  # an earlier one may have no time of a zone
    return dt.datetime.combine(max(day, first), dt.time()).astimezone()


def _count_versions(session: Session, reports: Sequence[ReceivedReport]) -> dict[uuid.UUID, int]:
    rows = session.execute(
        select(ReceivedReport.identity, func.count())
        .where(ReceivedReport.identity.in_([report.identity for report in reports]))
        .group_by(ReceivedReport.identity)
    )
    counts = dict(rows.all())
    return {report.id: counts[report.identity] for report in reports}


def _list_studies(session: Session, report: ReceivedReport) -> list[ReportStudy]:
    ids = patient_ids(report)
    about = find_study_ids(session, report.accession_numbers, [report.study_instance_uid])
    others = set(find_studies_of_patient(session, ids)) - set(about)
    prior_of: dict[uuid.UUID, list[uuid.UUID]] = {}
    drafts = (
        select(Draft.study_id, Draft.id, Draft.prior_report)
        .where(Draft.study_id.in_([*about, *others]), Draft.prior_report.is_not(None))
        .order_by(Draft.created_at, Draft.id)
    )
    for study_id, draft_id, prior in session.execute(drafts):
        if prior and prior["report_id"] == str(report.id):
            prior_of.setdefault(study_id, []).append(draft_id)
    is_final = report.status in FINAL_STATUSES and report.superseded_at is None
    studies = []
    for study_id in [*about, *sorted(others & prior_of.keys())]:
        study = session.get_one(Study, study_id)
        if not shows(study.site_id):
            continue
        if study_id in about and (
            are_of_two_sites(study, report.site_id)
            or not is_of_patient(session, study, patient_of(report), ids)
        ):
            continue
        request = session.get(DraftRequest, study.request_id) if study.request_id else None
        is_ended = (
            request is not None
            and request.state == RequestState.CANCELLED
            and request.reason == EndReason.REPORTED_ELSEWHERE
        )
        studies.append(
            ReportStudy(
                study,
                is_about=study_id in about,
                has_ended_draft=study_id in about and is_final and is_ended,
                prior_of=prior_of.get(study_id, []),
            )
        )
    return studies
