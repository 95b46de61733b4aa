"""A report as a system sends it: by HL7, FHIR, a structured report or a file."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import Any

from records.database.report_tables import ReceivedReport
from records.received_text import clean_line, clean_numbers, clean_text, join_numbers
from records.states import FINAL_STATUSES, Origin, ReportStatus
from records.workflow.identifiers import PatientId, plain_key
from records.workflow.patients import Patient


@dataclass(frozen=True, slots=True)
class OutsideReport:
    """One report as it was sent. Texts are untrusted; nothing of it may be logged.

    Attributes:
        origin: by which interface it came.
        sender: who sent it: MSH-3 and MSH-4, a FHIR server, an AE title, a file's name.
        status: how far it is (OBR-25, TXA-17, DiagnosticReport.status, (0040,A493) with
            (0040,A496)).
        patient: the patient, with the id that (0010,0020) is most likely to hold.
        report_number: what the sender calls the report: TXA-12, Identifier.value, a SOP Instance
            UID; OBR-3 where there is nothing else.
        parent_number: the number of the report that it is an addendum to; "" where it is none.
        other_patient_ids: the patient's further ids.
        placer_order_number, filler_order_number: of the order that it answers.
        accession_numbers: (0008,0050) of the studies that it is about.
        accession_number_issuer: (0008,0051).
        study_instance_uid: (0020,000D) of the study, where it is given.
        procedure: the name of the examination.
        modality: (0008,0060), or "".
        body_region: CHEST, another region, or "" where it is not known.
        performed_on: when the examination was performed, as HL7 (TS), DICOM (DA, DT) or ISO 8601
            write it, in the sender's local time or with a time zone; "" where it is not known.
        findings, impression: its sections; both "" where it has none.
        text: the whole report.
        author: who answers for it.
        consent: whether it may be trained on.
        sent_at: by the sender's clock.
    """

    origin: Origin
    sender: str
    status: ReportStatus
    patient: Patient
    report_number: str = ""
    parent_number: str = ""
    other_patient_ids: tuple[PatientId, ...] = ()
    placer_order_number: str = ""
    filler_order_number: str = ""
    accession_numbers: tuple[str, ...] = ()
    accession_number_issuer: str = ""
    study_instance_uid: str = ""
    procedure: str = ""
    modality: str = ""
    body_region: str = ""
    performed_on: str = ""
    findings: str = ""
    impression: str = ""
    text: str = ""
    author: str = ""
    consent: bool = False
    sent_at: dt.datetime | None = field(default=None, compare=False)

    @property
    def identity(self) -> str:
        """What is equal in two messages about one report; "" where nothing identifies it."""
        prefix = self._prefix
        for kind, value in (
            ("report", self.report_number),
            ("filler", self.filler_order_number),
            ("accession", join_numbers(self.accession_numbers)),
            ("study", self.study_instance_uid),
        ):
            if number := plain_key(clean_line(value)):
                return f"{prefix}{kind}|{number}"
        return ""

    @property
    def parent_identity(self) -> str:
        """The identity of the report that it is an addendum to; "" where it is none."""
        number = plain_key(clean_line(self.parent_number))
        return f"{self._prefix}report|{number}" if number else ""

    @property
    def _prefix(self) -> str:
        return f"{self.origin}|{plain_key(clean_line(self.sender))}|"

    def columns(self) -> dict[str, Any]:
        """The columns of `received_reports` that it fills, without control characters."""
        patient = self.patient
        lines = {
            "placer_order_number": self.placer_order_number,
            "filler_order_number": self.filler_order_number,
            "accession_number_issuer": self.accession_number_issuer,
            "study_instance_uid": self.study_instance_uid,
            "patient_id": patient.patient_id,
            "patient_id_issuer": patient.issuer,
            "patient_name": patient.name,
            "patient_birth_date": patient.birth_date,
            "patient_sex": patient.sex,
            "procedure": self.procedure,
            "modality": self.modality,
            "body_region": self.body_region,
            "performed_on": self.performed_on,
            "author": self.author,
        }
        texts = {"findings": self.findings, "impression": self.impression, "text": self.text}
        return {
            **{name: clean_line(value) for name, value in lines.items()},
            **{name: clean_text(value, limit=None) for name, value in texts.items()},
            "status": self.status.value,
            "addendum_to": self.parent_identity,
            "accession_numbers": clean_numbers(self.accession_numbers),
            "other_patient_ids": [
                PatientId(number, clean_line(other.issuer)).as_json()
                for other in self.other_patient_ids
                if (number := clean_line(other.id))
            ],
            "consent": self.consent,
            "sent_at": self.sent_at,
        }


def patient_of(report: ReceivedReport) -> Patient:
    """The patient of a report that is kept."""
    return Patient(
        report.patient_id,
        report.patient_id_issuer,
        report.patient_name,
        report.patient_birth_date,
        report.patient_sex,
    )


def is_final(report: ReceivedReport) -> bool:
    """Whether a physician answers for a report, and it says something."""
    return report.status in FINAL_STATUSES and bool(report.text.strip())
