"""Reads reports out of ORU^R01 and MDM (HL7 2.9, chapters 7 and 9)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from intake.hl7.field_reader import FieldReader
from intake.hl7.header import Header
from intake.hl7.mapping import FieldMapping
from intake.hl7.orders import describe_accessions, describe_patient
from intake.hl7.refusal import ErrorCode, MessageRefused
from intake.hl7.rules import (
    DOCUMENT_STATUSES,
    MODALITIES,
    OTHER_DOCUMENTS,
    OTHER_SERVICES,
    REPORT_STATUSES,
)
from model.prompting.sections import split_sections
from records.hl7_messages import Segment
from records.hl7_results import TEXT_TYPES, read_results, read_sections
from records.received_text import clean_text
from records.reports.report import OutsideReport
from records.states import FINAL_STATUSES, Origin, ReportStatus

DOCUMENT_EVENTS = ("T02", "T04", "T06", "T08", "T10", "T11")
"""Events of MDM that bring a document's text, or say that there is none (T11)."""

_REPLACING = ("T08", "T10")
_CANCELLING = "T11"
_FINAL_TEXTS = ("F", "C", "")
_ALL_TEXTS = (*_FINAL_TEXTS, "P", "R", "S", "I")
_SHARED = ("MSH", "PID", "PV1", "TXA", "ZDS")
_HEADING = re.compile(r"(?:^|\s)(?:FINDINGS?|IMPRESSIONS?|CONCLUSIONS?)\s*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ReadReport:
    """A report of a message, and which field gave which of its values."""

    report: OutsideReport
    used: dict[str, str]

    def describe(self) -> tuple[str, dict[str, str]]:
        """What it is in words, and its values by the names of the rules."""
        report = self.report
        return f"{report.status.lower()} report", {
            **describe_patient(report.patient, report.other_patient_ids),
            "report_number": report.report_number,
            "addendum_to": report.parent_number,
            "placer_order_number": report.placer_order_number,
            "filler_order_number": report.filler_order_number,
            "accession_numbers": describe_accessions(
                report.accession_numbers, report.accession_number_issuer
            ),
            "study_instance_uids": report.study_instance_uid,
            "procedure": report.procedure,
            "modality": report.modality,
            "performed_on": report.performed_on,
            "author": report.author,
            "findings": report.findings,
            "impression": report.impression,
            "text": report.text,
        }


@dataclass(frozen=True, slots=True)
class _Document:
    """What ORU and MDM have in common."""

    segments: list[Segment]  # MSH, PID, PV1, ORC, OBR, TXA
    observations: list[Segment]
    status: ReportStatus
    study_uid: str = ""


def read_reports(
    segments: Sequence[Segment], header: Header, mapping: FieldMapping
) -> list[ReadReport]:
    """Read the reports of a message; none where all its results are of other departments.

    Raises:
        MessageRefused: A segment or a value is missing or cannot be used.
    """
    if not any(segment.name == "PID" for segment in segments):
        raise MessageRefused(
            ErrorCode.SEGMENT_SEQUENCE, "PID", "the message has no PID: it names no patient"
        )
    documents = _documents(segments, header) if header.code == "MDM" else _results(segments)
    return [_read(document, header, mapping) for document in documents]


def _results(segments: Sequence[Segment]) -> list[_Document]:
    results = list(read_results(segments))
    if not results:
        raise MessageRefused(
            ErrorCode.SEGMENT_SEQUENCE, "OBR", "the message has no OBR: it holds no result"
        )
    shared = [segment for segment in segments if segment.name in _SHARED]
    documents = []
    for result in results:
        status = REPORT_STATUSES.get(result.status)
        if status is None or result.request.part(24).upper() in OTHER_SERVICES:
            continue
        own = [result.order, result.request] if result.order else [result.request]
        documents.append(_Document([*shared, *own], result.observations, status, result.study_uid))
    return documents


def _documents(segments: Sequence[Segment], header: Header) -> list[_Document]:
    document = next((segment for segment in segments if segment.name == "TXA"), None)
    if document is None:
        raise MessageRefused(
            ErrorCode.SEGMENT_SEQUENCE, "TXA", "the message has no TXA: it names no document"
        )
    if document.part(2).upper() in OTHER_DOCUMENTS:
        return []
    observations = [segment for segment in segments if segment.name == "OBX"]
    status = DOCUMENT_STATUSES.get(document.part(17).upper())
    if status is None:
        states = {s.part(11).upper() for s in observations if s.part(2) in TEXT_TYPES}
        is_final = bool(states) and states <= {*_FINAL_TEXTS}
        status = ReportStatus.FINAL if is_final else ReportStatus.PRELIMINARY
    if status is ReportStatus.FINAL and header.event in _REPLACING:
        status = ReportStatus.CORRECTED
    if header.event == _CANCELLING or document.part(19).upper() == "CA":
        status = ReportStatus.CANCELLED
    own = [segment for segment in segments if segment.name in (*_SHARED, "ORC", "OBR")]
    return [_Document(own, observations, status)]


def _read(document: _Document, header: Header, mapping: FieldMapping) -> ReadReport:
    reader = FieldReader(mapping, document.segments)
    patient, other_ids = reader.patient()
    if not patient.patient_id:
        raise MessageRefused(ErrorCode.REQUIRED_FIELD, "PID-3", "the message names no patient id")
    allowed = _FINAL_TEXTS if document.status in FINAL_STATUSES else _ALL_TEXTS
    texts = read_sections(document.observations, allowed)
    findings, impression, text = _sections(texts)
    if not any(map(clean_text, texts.values())) and document.status is not ReportStatus.CANCELLED:
        raise _no_text(document)
    accessions = reader.numbers("accession_numbers")
    modality = reader.first("modality").upper()
    uids = tuple(uid.id for uid in reader.numbers("study_instance_uids"))
    number, parent = _report_numbers(reader, header)
    report = OutsideReport(
        origin=Origin.HL7,
        sender=header.sender,
        status=document.status,
        patient=patient,
        report_number=number,
        parent_number=parent,
        other_patient_ids=other_ids,
        placer_order_number=reader.number("placer_order_number"),
        filler_order_number=reader.number("filler_order_number"),
        accession_numbers=tuple(dict.fromkeys(number.id for number in accessions)),
        accession_number_issuer=next((n.issuer for n in accessions if n.issuer), ""),
        study_instance_uid=next(iter(uids), document.study_uid),
        procedure=reader.first("procedure"),
        modality=modality if modality in MODALITIES else "",
        performed_on=reader.moment_digits("performed_on"),
        findings=findings,
        impression=impression,
        text=text,
        author=_author(reader),
        sent_at=reader.sending_time(header.sent),
    )
    if not report.identity:
        raise MessageRefused(
            ErrorCode.REQUIRED_FIELD,
            "TXA-12" if header.code == "MDM" else "OBR-3",
            "the report has no number, no accession number and no study UID",
        )
    return ReadReport(report, reader.used)


def _sections(texts: dict[str, str]) -> tuple[str, str, str]:
    """Findings, impression and the whole text; a text is divided where it has headings."""
    body = texts.get("report", "")
    findings, impression = texts.get("findings", ""), texts.get("impression", "")
    if not findings and not impression and _HEADING.search(body):
        parts = split_sections(body)
        return parts.findings, parts.impression, body
    named = [("Findings", findings), ("Impression", impression)]
    sections = [f"{name}: {text}" for name, text in named if text]
    return findings, impression, "\n".join(filter(None, [body, *sections]))


def _no_text(document: _Document) -> MessageRefused:
    kinds = sorted({s.part(2).upper() for s in document.observations} - {*TEXT_TYPES})
    known = [kind for kind in kinds if re.fullmatch(r"[A-Z]{2,3}", kind)]
    if known:
        return MessageRefused(
            ErrorCode.DATA_TYPE, "OBX-5", f"its report is no text ({', '.join(known)})"
        )
    return MessageRefused(ErrorCode.REQUIRED_FIELD, "OBX-5", "it has no text of a report")


def _report_numbers(reader: FieldReader, header: Header) -> tuple[str, str]:
    """The report's own number, and that of the report that it is an addendum to, or ""."""
    own = reader.first("report_number")
    parents = [segment.part(13) for segment in reader.segments if segment.name == "TXA"]
    parent = parents[0] if parents else ""
    if header.event == "T10":
        # A replacement has a number of its own, and TXA-13 is that of what it replaces.
        return parent or own, ""
    documents = [segment.part(12) for segment in reader.segments if segment.name == "TXA"]
    if parent and header.event == "T06" and documents[0] in ("", parent):
        # It has no number of its own. Under its parent's it would take that one's place.
        return f"{parent}#{header.control_id}", parent
    return own, "" if parent == own else parent


def _author(reader: FieldReader) -> str:
    """Who answers for the report, as DICOM writes names: of XCN, or of NDL, whose name is XCN's."""
    for source in reader.mapping.sources["author"]:
        for segment in reader.segments:
            if segment.name != source.segment or not segment.raw(source.field):
                continue
            first = segment.part(source.field, 1)
            if segment.separators[4] in first:
                parts = first.split(segment.separators[4])
            else:
                parts = [segment.part(source.field, number) for number in range(1, 4)]
            name = "^".join(part.strip() for part in parts[1:3]).strip("^") or parts[0].strip()
            if name:
                reader.used["author"] = source.name
                return name
    return ""
