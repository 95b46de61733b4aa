"""Reads reports from elsewhere for people: those of a study, and their distance from its draft."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from records.database.report_tables import FinalComparison, ReceivedReport, ReportKey
from records.database.tables import Study
from records.workflow.identifiers import patient_ids
from records.workflow.patients import Patient
from records.workflow.study_lookup import is_of_patient, study_keys


def list_by_study(session: Session, study: Study) -> list[ReceivedReport]:
    """The reports that other systems made of a study, the newest first; no older versions.

    A report with the study's accession number that is of another patient is none of them.
    """
    keys = sorted(study_keys(study))
    if not keys:
        return []
    by_key = select(ReportKey.report_id).where(
        or_(*(and_(ReportKey.kind == kind, ReportKey.value == value) for kind, value in keys))
    )
    reports = session.scalars(
        select(ReceivedReport)
        .where(ReceivedReport.id.in_(by_key), ReceivedReport.superseded_at.is_(None))
        .order_by(ReceivedReport.received_at.desc(), ReceivedReport.id.desc())
    ).all()
    return [
        report
        for report in reports
        if is_of_patient(session, study, _patient(report), patient_ids(report))
    ]


def list_comparisons(session: Session, study_id: uuid.UUID) -> Sequence[FinalComparison]:
    """How far finals from elsewhere are from the study's drafts, the newest comparison first."""
    return session.scalars(
        select(FinalComparison)
        .where(FinalComparison.study_id == study_id)
        .order_by(FinalComparison.id.desc())
    ).all()


def _patient(report: ReceivedReport) -> Patient:
    return Patient(
        report.patient_id,
        report.patient_id_issuer,
        report.patient_name,
        report.patient_birth_date,
        report.patient_sex,
    )
