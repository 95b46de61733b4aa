"""What REST gives of reports of other systems, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid

from pydantic import BaseModel, ConfigDict

from api.related_schemas import Addendum
from records.database import report_tables
from records.reports import listing
from records.states import Origin, ReportStatus


class OutsideReportSummary(BaseModel):
    """A report of another system, in a list. It is not our draft.

    versions: how many versions of it came; this is the newest one. performed_on: YYYYMMDD or
    YYYYMMDDHHMMSS, perhaps with a time zone.
    """

    id: uuid.UUID
    origin: Origin
    sender: str
    status: ReportStatus
    patient_id: str
    patient_id_issuer: str
    patient_name: str
    patient_birth_date: str
    accession_numbers: list[str]
    procedure: str
    performed_on: str
    author: str
    received_at: dt.datetime
    versions: int

    @classmethod
    def from_row(cls, report: report_tables.ReceivedReport, versions: int) -> OutsideReportSummary:
        """The report of a row."""
        fields = {name: getattr(report, name) for name in cls.model_fields if name != "versions"}
        return cls(**fields, versions=versions)


class OutsideReportPage(BaseModel):
    """Reports, the newest first; `next` is the `after` of the following page."""

    reports: list[OutsideReportSummary]
    next: str | None

    @classmethod
    def from_page(cls, page: listing.ReportPage) -> OutsideReportPage:
        """The page of a list."""
        return cls(
            reports=[
                OutsideReportSummary.from_row(report, page.versions[report.id])
                for report in page.reports
            ],
            next=page.next,
        )


class OutsideReport(BaseModel):
    """One version of a report. superseded_at: when a newer version took its place.

    addenda: what was added to it by other documents; the texts have it, too. is_addendum: whether
    it is an addendum itself, to a report that Nightdraft does not have.
    """

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    origin: Origin
    sender: str
    status: ReportStatus
    patient_id: str
    patient_id_issuer: str
    other_patient_ids: list[dict[str, str]]
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    placer_order_number: str
    filler_order_number: str
    accession_numbers: list[str]
    accession_number_issuer: str
    study_instance_uid: str
    procedure: str
    modality: str
    body_region: str
    performed_on: str
    findings: str
    impression: str
    text: str
    addenda: list[Addendum]
    is_addendum: bool
    author: str
    consent: bool
    sent_at: dt.datetime | None
    received_at: dt.datetime
    superseded_at: dt.datetime | None
    message_id: uuid.UUID | None


class OutsideReportStudy(BaseModel):
    """A study for which a report counts.

    study: our id. is_about: whether the report is about it; else it is an earlier report of its
    patient. has_ended_draft: whether a final from elsewhere ended its draft. prior_of: our ids of
    its drafts that had the report as the prior report.
    """

    study: uuid.UUID
    study_instance_uid: str
    is_about: bool
    has_ended_draft: bool
    prior_of: list[uuid.UUID]


class OutsideReportDetail(BaseModel):
    """A report with all its versions, the newest first, and its studies."""

    report: OutsideReport
    versions: list[OutsideReport]
    studies: list[OutsideReportStudy]

    @classmethod
    def from_record(cls, record: listing.ReportRecord) -> OutsideReportDetail:
        """The report of a record."""
        return cls(
            report=OutsideReport.model_validate(record.report),
            versions=[OutsideReport.model_validate(version) for version in record.versions],
            studies=[
                OutsideReportStudy(
                    study=use.study.id,
                    study_instance_uid=use.study.study_instance_uid,
                    is_about=use.is_about,
                    has_ended_draft=use.has_ended_draft,
                    prior_of=list(use.prior_of),
                )
                for use in record.studies
            ],
        )
