"""The reports of a study's patient, with what rule 11 (`prior_rule`) reads of them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.order_tables import Order
from records.database.report_tables import ReceivedReport, ReportKey
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.reports.own_outputs import has_warning
from records.reports.prior_rule import EarlierReport, Examination
from records.reports.report import patient_of
from records.reports.signed_reports import SignedReport, leave_out_copies, list_signed_reports
from records.states import ReportStatus
from records.workflow.identifiers import KeyKind, PatientId, plain_key
from records.workflow.patients import Patient

MOST_REPORTS = 200
"""Reports of one patient that are looked at: those of the newest examinations."""


@dataclass(frozen=True, slots=True)
class PatientReports:
    """What is known before a study is prepared: the study itself, and its patient's reports.

    Attributes:
        study: the study, performed on the day that its row names.
        reports: the newest version of each report, the newest examination first.
        signed: the reports that were signed here and did not come back among these.
    """

    study: Examination
    reports: tuple[ReceivedReport, ...] = ()
    signed: tuple[SignedReport, ...] = ()

    @property
    def versions(self) -> set[uuid.UUID]:
        """What changes when a report of the patient comes or changes, is signed, or added to."""
        return {report.id for report in self.reports}.union(
            *(report.versions for report in self.signed)
        )


def read_patient_reports(session: Session, study: Study, orders: Sequence[Order]) -> PatientReports:
    """A study and the reports of its patient.

    Args:
        session: the caller's transaction.
        study: the study, as it is now.
        orders: the orders that are the study's, cancelled ones among them.
    """
    examination = Examination(
        patient=Patient.of_study(study),
        # The study's own report may come under any number under which it was ordered.
        accession_numbers=(
            study.accession_number,
            *study.requested_accession_numbers,
            *(number for order in orders for number in order.accession_numbers),
        ),
        accession_number_issuer=study.accession_number_issuer,
        study_instance_uids=(
            study.study_instance_uid,
            *(uid for order in orders for uid in order.study_instance_uids),
        ),
        performed_on=study.study_date,
    )
    received = list_reports(session, study)
    signed = leave_out_copies(list_signed_reports(session, study), received)
    return PatientReports(examination, tuple(received), tuple(signed))


def list_reports(session: Session, study: Study) -> Sequence[ReceivedReport]:
    """The newest version of each report that names a study's patient id, whoever issued it.

    They are of the study's site or of the first site, which has what nobody is known to own: a
    draft shows nothing of another site.

    Returns:
        Those of the newest examinations first, and MOST_REPORTS of them at most.
    """
    if not study.patient_id.strip():
        return ()
    keys = select(ReportKey.report_id).where(
        ReportKey.kind == KeyKind.PATIENT, ReportKey.value == plain_key(study.patient_id)
    )
    return session.scalars(
        select(ReceivedReport)
        .where(
            ReceivedReport.id.in_(keys),
            ReceivedReport.superseded_at.is_(None),
            ReceivedReport.site_id.in_((study.site_id, DEFAULT_SITE_ID)),
        )
        .order_by(ReceivedReport.performed_on.desc(), ReceivedReport.id.desc())
        .limit(MOST_REPORTS)
    ).all()


def to_rule(report: ReceivedReport, *, body_region: str, has_text: bool) -> EarlierReport:
    """What the rule reads of a report.

    Args:
        report: the report.
        body_region: CHEST, another region, or "" where it is not known.
        has_text: whether it has a text that can be used.
    """
    return EarlierReport(
        examination=Examination(
            patient=patient_of(report),
            other_patient_ids=tuple(
                PatientId(other["id"], other["issuer"]) for other in report.other_patient_ids
            ),
            accession_numbers=tuple(report.accession_numbers),
            accession_number_issuer=report.accession_number_issuer,
            study_instance_uids=(report.study_instance_uid,),
            performed_on=report.performed_on,
            body_region=body_region,
        ),
        status=ReportStatus(report.status),
        has_text=has_text,
        is_own=has_warning(report.text),
    )
