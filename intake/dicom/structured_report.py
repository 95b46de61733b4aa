"""Reads a report out of a structured report that came by C-STORE.

A document counts as a report by its class and its title. It is final where it is complete
(0040,A491) and verified (0040,A493), or says that it is final (0040,A496); else it is preliminary.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path

from pydicom import Dataset, dcmread

from model.dicom.characters import decode_texts
from model.dicom.structured_reports import (
    SR_CLASSES,
    read_accession_number,
    read_name,
    read_text,
    read_texts,
)
from records.reports.own_outputs import is_own_name
from records.reports.report import OutsideReport
from records.section_codes import BODY, add_text, section_under
from records.states import Origin, ReportStatus
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient

MAX_BYTES = 2_000_000
"""A larger document is not read. Reports have some kilobytes."""
MAX_PATIENT_IDS = 20

_TITLE_CODES = frozenset({"18748-4", "11528-7", "18782-3", "18726-0", "68604-8", "18747-6"})
"""Titles of reports of imaging (LOINC; PS3.16 CID 7000); others are known by their meaning."""
_TITLE = re.compile(r"\bREPORT\b|BEFUND|RADIOLOG|DIAGNOS", re.IGNORECASE)
_NO_REPORT = re.compile(
    r"MEASUREMENT|DOSE|\bCAD\b|\bLOG\b|QUALITY|CALIBRATION|PERFORMED PROCEDURE", re.IGNORECASE
)


def read_report(
    path: Path, size: int, header: Dataset, patient: Patient, calling_ae: str
) -> OutsideReport | None:
    """Return the report in a file; None where the object is none, or this system made it.

    Args:
        path: The file, whose header could be read.
        size: Its bytes.
        header: With SOPClassUID.
        patient: The patient that the header names.
        calling_ae: Who sent it.
    """
    if str(header.get("SOPClassUID", "")) not in SR_CLASSES or size > MAX_BYTES:
        return None
    try:
        document = dcmread(path, stop_before_pixels=True)
        decode_texts(document)
        if not _is_report(document) or is_made_here(document):
            return None
        return _to_report(document, patient, calling_ae)
    except Exception:
        # pydicom raises all kinds of errors for a damaged file. It is kept as an object all the
        # same, and a page shows it as one that is not drafted from.
        return None


def is_made_here(document: Dataset) -> bool:
    """Whether an object's manufacturer, model or contributing equipment is this system.

    Args:
        document: The object, or a header with these elements.
    """
    return any(map(is_own_name, _device_names(document)))


def _is_report(document: Dataset) -> bool:
    title = read_name(document)
    if title is None:
        return False
    if title.code in _TITLE_CODES:
        return True
    return bool(_TITLE.search(title.meaning)) and not _NO_REPORT.search(title.meaning)


def _device_names(document: Dataset) -> Iterator[str]:
    """Manufacturer and model of the document, and of the equipment that worked on it."""
    equipment = document.get("ContributingEquipmentSequence") or ()  # (0018,A001)
    for item in (document, *equipment):
        yield read_text(item, "Manufacturer")
        yield read_text(item, "ManufacturerModelName")


def _to_report(document: Dataset, patient: Patient, calling_ae: str) -> OutsideReport:
    texts: dict[str, str] = {}
    whole = []
    for part in read_texts(document):
        section = section_under((name.code, name.meaning) for name in part.headings)
        add_text(texts, section, part.text)
        heading = f"{part.headings[-1].meaning}: " if part.headings else ""
        whole.append(f"{heading}{part.text}")
    has_sections = bool(texts.get("findings") or texts.get("impression"))
    accession = read_accession_number(document)
    study_uid = read_text(document, "StudyInstanceUID")
    return OutsideReport(
        origin=Origin.DICOM,
        sender=calling_ae,
        status=_status(document),
        patient=patient,
        # A corrected document has a UID of its own, and takes the place of the one before.
        report_number="" if accession or study_uid else read_text(document, "SOPInstanceUID"),
        other_patient_ids=tuple(_other_ids(document)),
        accession_numbers=(accession,) if accession else (),
        study_instance_uid=study_uid,
        procedure=read_text(document, "StudyDescription"),
        performed_on=_moment(document, "Study") or _moment(document, "Content"),
        findings=texts.get("findings", ""),
        impression=texts.get("impression", ""),
        # Without sections the texts' own headings divide it, if it has any.
        text="\n\n".join(whole) if has_sections else texts.get(BODY, ""),
        author=_author(document),
        sent_at=_sent_at(document),
    )


def _status(document: Dataset) -> ReportStatus:
    if read_text(document, "CompletionFlag") != "COMPLETE":
        return ReportStatus.PRELIMINARY
    preliminary = read_text(document, "PreliminaryFlag")
    is_verified = read_text(document, "VerificationFlag") == "VERIFIED"
    if preliminary == "PRELIMINARY" or not (is_verified or preliminary == "FINAL"):
        return ReportStatus.PRELIMINARY
    has_predecessor = bool(document.get("PredecessorDocumentsSequence"))  # (0040,A360)
    return ReportStatus.CORRECTED if has_predecessor else ReportStatus.FINAL


def _other_ids(document: Dataset) -> Iterator[PatientId]:
    for item in list(document.get("OtherPatientIDsSequence") or ())[:MAX_PATIENT_IDS]:
        if given := read_text(item, "PatientID"):
            yield PatientId(given, read_text(item, "IssuerOfPatientID"))


def _author(document: Dataset) -> str:
    for item in document.get("VerifyingObserverSequence") or ():  # (0040,A073)
        return read_text(item, "VerifyingObserverName")
    return ""


def _moment(document: Dataset, name: str) -> str:
    """A date with its time and its time zone, as `OutsideReport.performed_on` takes it."""
    date, time = read_text(document, f"{name}Date"), read_text(document, f"{name}Time")
    if not re.fullmatch(r"\d{8}", date, re.ASCII):
        return ""
    digits = re.match(r"\d{4}(\d{2})?", time, re.ASCII)
    if digits is None:
        return date
    zone = read_text(document, "TimezoneOffsetFromUTC")  # (0008,0201)
    return f"{date}{digits[0]:0<6}{zone if re.fullmatch(r'[+-][0-9]{4}', zone) else ''}"


def _sent_at(document: Dataset) -> dt.datetime | None:
    """When this version was written; None where it does not say the time."""
    moment = _moment(document, "Content")
    if len(moment) < len("YYYYMMDDHHMMSS"):
        return None
    try:
        if len(moment) > len("YYYYMMDDHHMMSS"):
            return dt.datetime.strptime(moment, "%Y%m%d%H%M%S%z")
        local = dt.datetime.now().astimezone().strftime("%z")
        return dt.datetime.strptime(f"{moment}{local}", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
